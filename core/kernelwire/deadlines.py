"""Many time limits on one timer of the loop: most of them are dropped again long before they are due."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple


class _Limit(NamedTuple):
    """When, and what then."""

    due: float
    then: Callable[[], object]


class Deadlines:
    """Time limits by name; for the loop in which it was made. A name has one at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits: dict[str, _Limit] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0.0

    def __len__(self) -> int:
        return len(self._limits)

    def set(self, name: str, seconds: float, then: Callable[[], object]) -> None:
        """Have `then` called after `seconds`, unless `drop` comes first. Takes the place of an earlier one."""
        due = self._loop.time() + seconds
        self._limits[name] = _Limit(due, then)
        if self._timer is None or due < self._armed:
            self._arm(due)

    def drop(self, name: str) -> None:
        """Forget a time limit. Nothing happens if there is none."""
        # The timer stays: it costs less to let it run than to make another for the next one.
        self._limits.pop(name, None)

    def close(self) -> None:
        """Forget them all."""
        self._limits.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._sweep)
        self._armed = due

    def _sweep(self) -> None:
        self._timer = None
        now = self._armed  # what the loop waited for, however coarse its clock is
        for name, limit in [each for each in self._limits.items() if each[1].due <= now]:
            if self._limits.get(name) is limit:  # no other one's `then` has changed it
                del self._limits[name]
                limit.then()
        if self._limits:
            earliest = min(limit.due for limit in self._limits.values())
            if self._timer is None or earliest < self._armed:
                self._arm(earliest)
