"""Small ways to wake tasks of one loop, and to wait for something only so long."""

import asyncio
from collections.abc import Callable
from typing import Any


def look_at(future: "asyncio.Future[Any]") -> None:
    """As a callback: its error counts as seen, where nobody else may look for it."""
    if not future.cancelled():
        future.exception()


class Alarm:
    """Goes off at a time that may change. Most are put off or given up long before it: the loop's timer is then left to
    run rather than made anew each time.

    Arguments:
        on_time: called then.

    Attributes:
        due: when, by the loop's time; None while it is not set.
    """

    def __init__(self, on_time: Callable[[], None]) -> None:
        self.due: float | None = None
        self._on_time = on_time
        self._timer: asyncio.TimerHandle | None = None

    def set(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        """In place of the time before. To give it up, forget `due`."""
        self.due = due
        timer = self._timer
        if timer is None or timer.when() > due:
            if timer is not None:
                timer.cancel()
            self._timer = loop.call_at(due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self.due is None:
            return
        if loop.time() < self.due:
            self.set(loop, self.due)
        else:
            self.due = None
            self._on_time()


class Bell:
    """Wakes the task that waits for it, if there is one; rung before, it need not wait."""

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None
        self._alarm = Alarm(self.ring)  # for who wants to be woken in any case
        self._at_once: Callable[[], None] | None = None
        self._has_answered = False  # in this turn of the loop

    def ring(self) -> None:
        """From the loop only."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def ring_at_once(self) -> None:
        """As `ring`, where to wake a task takes too long: what who waits has for this is called instead, once in a turn
        of the loop. What rings again in the same turn is the task's, all together.
        """
        at_once, waiter = self._at_once, self._waiter
        if at_once is None or waiter is None or waiter.done() or self._has_answered:
            self.ring()
            return
        self._has_answered = True
        waiter.get_loop().call_soon(self._end_turn)
        at_once()

    def _end_turn(self) -> None:
        self._has_answered = False

    async def wait(self, seconds: float | None = None, *, at_once: Callable[[], None] | None = None) -> None:
        """Until it rings, or the time is over.

        Arguments:
            seconds: how long at the most; None for no limit.
            at_once: what to call for `ring_at_once` meanwhile; None if that rings as well.
        """
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            self._at_once = at_once
            if seconds is not None:
                self._alarm.set(loop, loop.time() + max(seconds, 0))
            try:
                await self._waiter
            finally:
                self._waiter = self._alarm.due = None
        self._rung = False

    def hasten(self, seconds: float) -> None:
        """Have who waits do so no longer than this. Nothing happens if nobody waits. From the loop only."""
        if self._waiter is None:
            return
        loop = self._waiter.get_loop()
        due = loop.time() + max(seconds, 0)
        if self._alarm.due is None or due < self._alarm.due:
            self._alarm.set(loop, due)


class Company:
    """For whom something waits, but not long.

    Arguments:
        seconds: how long at the most.
        on_late: called then, if nobody has come.
    """

    def __init__(self, seconds: float, on_late: Callable[[], None]) -> None:
        self._seconds = seconds
        self._alarm = Alarm(on_late)

    def expect(self) -> None:
        """Something waits, if it did not before. From the loop only."""
        if self._alarm.due is None:
            loop = asyncio.get_running_loop()
            self._alarm.set(loop, loop.time() + self._seconds)

    def has_come(self) -> None:
        """It need not wait any more."""
        self._alarm.due = None


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


class Patience:
    """Is over when there was no progress for some seconds.

    In two steps, so that a loop that was held up first gets to what has come meanwhile.

    Arguments:
        seconds: how long without progress.
        progress: anything that changes when there is some.
        now: the loop's time.

    Attributes:
        until: when to look again.
    """

    def __init__(self, seconds: float, progress: object, now: float) -> None:
        self._step = seconds / 2
        self._begin(progress, now)

    def _begin(self, progress: object, now: float) -> None:
        self._progress = progress
        self._is_last_step = False
        self.until = now + self._step

    def is_over(self, progress: object, now: float) -> bool:
        """Whether it is; arguments as for the class."""
        if progress != self._progress:
            self._begin(progress, now)
        elif now >= self.until:
            if self._is_last_step:
                return True
            self._is_last_step = True
            self.until = now + self._step
        return False
