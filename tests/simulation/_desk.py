"""Where messages lie that came and were not read yet, and who may be sent more."""

from collections import deque
from typing import Generic, TypeVar

from kernelwire.link.records import Lane
from simulation._checker import Broken
from simulation._stage import Stage

T = TypeVar("T")


class Desk(Generic[T]):
    """A reader's.

    Arguments:
        stage: what all share.
    """

    def __init__(self, stage: Stage) -> None:
        self._limit = stage.scale.desk
        self._unread = [0, 0]
        self._piles: tuple[deque[tuple[int, T]], ...] = (deque(), deque())

    def put(self, lane: Lane, size: int, thing: T) -> None:
        """Something came."""
        self._unread[lane] += size
        self._piles[lane].append((size, thing))

    def clear(self, lane: Lane, most: int) -> None:
        """Take what came first, so many things at the most."""
        pile = self._piles[lane]
        for _ in range(min(most, len(pile))):
            self._unread[lane] -= pile.popleft()[0]

    def take(self, lane: Lane) -> T | None:
        """What came first, if there is anything."""
        pile = self._piles[lane]
        if not pile:
            return None
        size, thing = pile.popleft()
        self._unread[lane] -= size
        return thing

    def has_room(self, lane: Lane) -> bool:
        """Whether more may come."""
        return self._unread[lane] < self._limit

    def __bool__(self) -> bool:
        c, d = self._piles
        return bool(c or d)


class Spell:
    """How much came to a reader since it had no room: no more than a window, over any number of connections.

    Arguments:
        stage: what all share.
        whose: for people.
    """

    def __init__(self, stage: Stage, whose: str) -> None:
        self._stage = stage
        self._whose = whose
        self._came = [0, 0]

    def add(self, lane: Lane, size: int) -> None:
        """Something came, without room for it."""
        self._came[lane] += size
        # What had begun to come before may end in it.
        if self._came[lane] > self._stage.scale.window[lane] + self._stage.largest:
            raise Broken("bound", f"{self._came[lane]} bytes came to {self._whose}, which has no room for more")

    def end(self, lane: Lane) -> None:
        """There is room again."""
        self._came[lane] = 0
