"""Watch a heartbeat: is the kernel alive, and since when not?"""

import asyncio
import logging
from collections.abc import Callable
from typing import Self

from kernelwire.channels import HeartbeatChannel
from kernelwire.errors import ChannelClosed, KernelwireError, NoBeat, WireDown

_log = logging.getLogger(__name__)


class HeartbeatMonitor:
    """Beats in the background for as long as it is open, and knows whether the last beat was answered.

    Use as an async context manager. Nothing is assumed before the first beat: `is_beating` is None until then.

    Arguments:
        channel: whose beats to watch.
        interval: seconds between an answer and the next beat.
        time_to_dead: seconds without an answer after which the kernel counts as dead.
        on_change: called in the loop with the new `is_beating` and the seconds since the last answer (since the
            start, if there was none) whenever `is_beating` changes, and again after each further miss.

    Attributes:
        is_beating: True, False, or None while unknown, as it is again while the wire is down, and when the channel
            cannot beat any more.
        round_trip: seconds that the last answered beat took; None if there was none.
    """

    def __init__(
        self,
        channel: HeartbeatChannel,
        *,
        interval: float = 1.0,
        time_to_dead: float = 3.0,
        on_change: Callable[[bool, float], None] | None = None,
    ) -> None:
        self.is_beating: bool | None = None
        self.round_trip: float | None = None
        self._channel = channel
        self._interval = interval
        self._time_to_dead = time_to_dead
        self._on_change = on_change
        self._running = asyncio.Event()
        self._running.set()
        self._changed = asyncio.Event()
        self._pauses = 0
        self._end: KernelwireError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def paused(self) -> bool:
        """Whether beating is suspended."""
        return not self._running.is_set()

    def pause(self) -> None:
        """Stop judging: nothing changes until `unpause`. A manager does so around a planned stop."""
        self._pauses += 1
        self._running.clear()

    def unpause(self) -> None:
        """Go on judging, with a fresh beat."""
        self._running.set()

    async def wait_beating(self, beating: bool = True) -> None:
        """Wait until `is_beating` is `beating`; without a time limit of its own.

        Raises:
            ChannelClosed: the channel or the monitor was closed.
            NotSupported, ConnectionLost: as the channel's `beat`.
        """
        while self.is_beating is not beating:
            if self._end is not None:
                raise self._end.again()
            self._changed.clear()
            await self._changed.wait()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="kernelwire heartbeat monitor")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._stop(ChannelClosed("the heartbeat monitor was closed"))

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        last_answer = loop.time()
        pauses = 0
        while True:
            if self._pauses != pauses:
                while self.paused:
                    await self._running.wait()
                last_answer = loop.time()
                pauses = self._pauses
            beating: bool | None
            try:
                took = await self._channel.beat(self._time_to_dead)
                beating = True
            except WireDown:
                beating = None
            except NoBeat:
                beating = False
            except KernelwireError as error:
                self.is_beating = None
                self._stop(error)
                return
            if self._pauses != pauses:  # what happened meanwhile was planned, even if the pause is over
                continue
            now = loop.time()
            if beating is None:
                # Of the time that nobody could ask nobody can say anything.
                self.is_beating = None
                self._changed.set()
                last_answer = now
                await asyncio.sleep(self._interval)  # a channel may say so at once
                continue
            since = now - last_answer
            if beating:
                last_answer = now
                self.round_trip = took
            if beating is not self.is_beating or not beating:
                self.is_beating = beating
                self._changed.set()
                self._tell(beating, since)
            # Even after a miss: a channel that refuses at once must not keep the loop for itself.
            await asyncio.sleep(self._interval if beating else 0)

    def _stop(self, error: KernelwireError) -> None:
        if self._end is None:
            self._end = error
        self._changed.set()

    def _tell(self, beating: bool, since: float) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(beating, since)
        except Exception:  # noqa: BLE001 - the caller's code; watching goes on
            _log.exception("the heartbeat callback failed")
