"""A client's heartbeat over a link: the host answers for its kernel, as long as there is a connection to ask on."""

import asyncio
from collections.abc import Callable

from kernelwire.channels import HeartbeatChannel
from kernelwire.errors import ChannelClosed, KernelwireError, NoBeat, WireDown
from kernelwire.link.records import Beat
from kernelwire.loop_bound import LoopBound


class LinkHeartbeat(LoopBound, HeartbeatChannel):
    """See the module.

    Arguments:
        ask: sends a beat if there is a connection; returns whether there is.

    Attributes:
        host_left: whether the host has said goodbye and not come back: then nobody answers for the kernel, and that is
            no mere break of the wire.
        failure: why there will never be a connection again; None if there may.
    """

    def __init__(self, ask: Callable[[Beat], bool]) -> None:
        super().__init__()
        self.host_left = False
        self.failure: KernelwireError | None = None
        self._ask = ask
        self._number = 0
        self._closed = False
        self._waiting: asyncio.Future[bool] | None = None  # True for an answer, False for looking again

    async def beat(self, timeout: float) -> float:  # noqa: D102 - as the abstract one
        self.check_loop()
        started = self.loop.time()
        while True:
            if self._closed:
                raise ChannelClosed("the channel was closed by this end")
            if self.failure is not None:
                raise self.failure.again()
            self._number += 1
            asked = self._ask(Beat(self._number))
            self._waiting = self.loop.create_future()
            try:
                async with asyncio.timeout(started + timeout - self.loop.time()):
                    if await self._waiting:
                        return self.loop.time() - started
            except TimeoutError:
                if asked or self.host_left:
                    raise NoBeat(f"the kernel's host did not answer for it within {timeout:g} s") from None
                raise WireDown("the wire is down just now") from None
            finally:
                self._waiting = None

    def on_answer(self, number: int) -> None:
        """The host has answered a beat."""
        if number == self._number:
            self._settle(answered=True)

    def look_again(self) -> None:
        """There is a connection, or none any more, or no hope."""
        self._settle(answered=False)

    async def aclose(self) -> None:  # noqa: D102
        self.check_loop()
        self._closed = True
        self._settle(answered=False)

    def _settle(self, *, answered: bool) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answered)
