"""Two small ways to wake tasks of one loop."""

import asyncio


class Bell:
    """Wakes the task that waits for it, if there is one; rung before, it need not wait."""

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """From the loop only."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float | None = None) -> None:
        """Until it rings, or the time is over."""
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if seconds is None else loop.call_later(max(seconds, 0), self.ring)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        self._rung = False


class Turnstile:
    """Lets all who wait go on whenever it turns.

    Attributes:
        turns: how often it has.
    """

    def __init__(self) -> None:
        self.turns = 0
        self._waiters: dict[asyncio.Future[None], None] = {}

    def turn(self) -> None:
        """From the loop only."""
        self.turns += 1
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, seconds: float | None = None) -> None:
        """Until the next turn, or the time is over."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._waiters.pop(waiter, None)
