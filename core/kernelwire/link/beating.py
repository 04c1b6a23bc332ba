"""A client's heartbeat over a link: the host answers for its kernel, as long as there is a connection to ask on.

With each beat goes a ping, which the host answers by itself. So a host that is there and does not answer for its kernel
is told from silence, which may be a break of the wire that nobody has noticed yet.
"""

import asyncio
from collections.abc import Callable

from kernelwire.channels import HeartbeatChannel
from kernelwire.errors import ChannelClosed, KernelwireError, NoBeat, WireDown
from kernelwire.loop_bound import LoopBound


class LinkHeartbeat(LoopBound, HeartbeatChannel):
    """See the module.

    Arguments:
        ask: sends a beat and a ping of this number, if there is a connection.

    Attributes:
        host_left: whether the host has said goodbye and not come back: then nobody answers for the kernel, and that is
            no mere break of the wire.
        failure: why there will never be a connection again; None if there may.
    """

    def __init__(self, ask: Callable[[int], None]) -> None:
        super().__init__()
        self.host_left = False
        self.failure: KernelwireError | None = None
        self._ask = ask
        self._number = 0
        self._closed = False
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._heard: set[int] = set()  # those of them for which the host is there
        self._beaten: set[int] = set()  # and has answered for its kernel

    async def beat(self, timeout: float) -> float:  # noqa: D102 - as the abstract one
        self.check_loop()
        started = self.loop.time()
        while True:
            if self._closed:
                raise ChannelClosed("the channel was closed by this end")
            if self.failure is not None:
                raise self.failure.again()
            self._number += 1
            number = self._number
            answer = self._waiting[number] = self.loop.create_future()
            self._ask(number)
            try:
                async with asyncio.timeout(started + timeout - self.loop.time()):
                    await answer
                if number in self._beaten:
                    return self.loop.time() - started
            except TimeoutError:
                if number in self._beaten:  # in the nick of time
                    return self.loop.time() - started
                if number in self._heard or self.host_left:
                    raise NoBeat(f"the kernel's host did not answer for it within {timeout:g} s") from None
                raise WireDown(f"nothing came from the kernel's host within {timeout:g} s") from None
            finally:
                del self._waiting[number]
                self._heard.discard(number)
                self._beaten.discard(number)

    def on_pong(self, number: int) -> None:
        """The host has answered the pings up to this one."""
        self._heard.update(each for each in self._waiting if each <= number)

    def on_beaten(self, number: int) -> None:
        """The host has answered a beat."""
        if (answer := self._waiting.get(number)) is not None:
            self._beaten.add(number)
            _settle(answer)

    def look_again(self) -> None:
        """There is a connection, or none any more, or no hope."""
        for answer in self._waiting.values():
            _settle(answer)

    async def aclose(self) -> None:  # noqa: D102
        self.check_loop()
        self._closed = True
        self.look_again()


def _settle(answer: "asyncio.Future[None]") -> None:
    if not answer.done():
        answer.set_result(None)
