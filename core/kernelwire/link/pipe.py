"""What the author of a transport writes: a pipe that carries bytes, and may break at any moment.

The link above makes channels of it: reliable, sealed, and five over one. A pipe need not keep the boundaries of what is
sent, nor know when it is broken: silence is noticed above. It must keep the order, and not invent bytes; whoever does
either is found out by the seal, and the pipe is dropped.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

Sink = Callable[[bytes | memoryview], None]
"""Takes bytes that nobody will alter."""


class Pipe(ABC):
    """One connection. Whatever its methods raise means that it is broken; ``ConnectionLost`` or ``OSError`` will do.

    The link sends from one task and receives from another, and closes it once, also after it broke.
    """

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Hand bytes to the wire, and wait while it is full: who does not wait keeps them in memory without bound.

        Arguments:
            data: 1 byte to some 192 KiB.
        """

    @abstractmethod
    async def receive(self) -> bytes:
        """Wait for the next bytes, one at least, as many as there are: some 64 KiB at a time are a good measure.

        When it was closed in good order this raises as well: :class:`~kernelwire.errors.EndOfChannel` says so.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close it: both ends' `receive` end soon. What the wire has taken should still arrive, but need not."""

    def pour(self, sink: Sink) -> bool:
        """Hand over what comes in the moment in which it comes, and what waits already at once: a short cut, which a
        pipe may offer whose wire calls it.

        Arguments:
            sink: called from the loop from now on, until this end closes the pipe. What it raises is the pipe's end,
                and it is called no more.

        Returns:
            Whether it is so; `receive` then only waits for the end, and raises it. False, the default, changes nothing.
        """
        return False

    def send_now(self, pieces: Sequence[bytes]) -> bool:
        """As `send` with all pieces together, where that need not wait: a short cut as well. False, the default, has
        sent nothing.
        """
        return False


class Listener(ABC):
    """Where a host waits for pipes."""

    @abstractmethod
    async def accept(self) -> Pipe:
        """Wait for the next pipe. Cancelled when the host closes.

        Raises:
            ConnectionLost: no more will come.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Wait for no more. The pipes that were accepted stay."""
