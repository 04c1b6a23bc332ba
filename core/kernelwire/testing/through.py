"""A transport of pipes with trouble on the way."""

from kernelwire.connection import ConnectionInfo
from kernelwire.link.backend import PipeBackend
from kernelwire.link.peer import Timing
from kernelwire.link.pipe import Listener, Pipe
from kernelwire.testing.faults import Middle


class Through(PipeBackend):
    """A transport of pipes, with its clients' pipes through the middle, and quick to notice that one is dead.

    Arguments:
        backend: the transport.
        middle: see there.
    """

    timing = Timing(ping_after=0.3, dead_after=1.0)

    def __init__(self, backend: PipeBackend, middle: Middle) -> None:
        self.capabilities = backend.capabilities  # type: ignore[misc] # of the class elsewhere
        self.log_limit = backend.log_limit
        self._backend = backend
        self._middle = middle

    async def open_pipe(self, info: ConnectionInfo) -> Pipe:  # noqa: D102 - as the abstract one
        await self._middle.dial()
        return self._middle.wrap(await self._backend.open_pipe(self._middle.destination or info))

    async def listen(self, info: ConnectionInfo) -> Listener:  # noqa: D102
        return await self._backend.listen(info)

    def room(self, info: ConnectionInfo) -> bytes:  # noqa: D102
        return self._backend.room(info)
