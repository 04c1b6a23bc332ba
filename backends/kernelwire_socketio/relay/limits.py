"""What a relay allows, and how it counts."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from kernelwire.link.throttle import OWN, SHARED

AROUND: Final = 128
"""Bytes that a message takes beside its own while it waits, and for which it counts: many small ones are large."""

FLOW_SHARE: Final = (OWN + 64 * 1024) * 3 // 2
"""Bytes of one pipe in one direction that may wait here in any case: what a link's end sends at first on both of its
lanes, and half as much more for what is around it."""

ROOM_LIMIT: Final = SHARED * 5 // 4
"""Bytes that may wait for all clients of a room together beyond that: what all links of a host share."""

FLOW_LIMIT: Final = FLOW_SHARE + ROOM_LIMIT
"""Bytes of one pipe in one direction that may wait here at all. Who sends more does not keep to the window."""

HOST_PAUSE: Final = 6 * 1024 * 1024
"""Bytes that wait for a host, above which its clients are not read for a while."""

_SOURCES: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may be set.

    Attributes:
        sockets: connections in all.
        pending: connections from one address that have no partner yet; one more, and the oldest of them goes.
        rooms: rooms that one host token may have open at a time.
        clients: clients in a room.
        joins: attempts to join, per minute, from one address, and to one room; the first so many at once. 0 for no
            limit.
        frames: messages per second on one connection; above that it is read more slowly.
        rate: bytes per second on one connection, likewise; 0 for no limit.
        deadline: seconds from being connected to having joined.
        patience: seconds that a client waits for a host.
        stall: seconds that one message may take to be taken, and that a goodbye may.
        probe: seconds that a host has to show that it is there.
    """

    sockets: int = 10_000
    pending: int = 64
    rooms: int = 16
    clients: int = 32
    joins: int = 600
    frames: int = 10_000
    rate: int = 0
    deadline: float = 5.0
    patience: float = 15.0
    stall: float = 20.0
    probe: float = 2.0


class Bucket:
    """Counts what happens against what may.

    Arguments:
        rate: per second.
        burst: at once.
        now: the time.
    """

    __slots__ = ("_burst", "_left", "_rate", "_then")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = self._left = burst
        self._then = now

    def spend(self, amount: float, now: float) -> float:
        """Take so much, and go into debt if need be; seconds until there is none any more."""
        self._left = min(self._burst, self._left + (now - self._then) * self._rate) - amount
        self._then = now
        return 0.0 if self._left >= 0 else -self._left / self._rate

    def try_spend(self, amount: float, now: float) -> bool:
        """Take so much if it is there."""
        wait = self.spend(amount, now)
        if wait:
            self._left += amount
        return not wait

    def is_full(self, now: float) -> bool:
        """Whether nothing has been taken lately: it can be forgotten."""
        return self._left + (now - self._then) * self._rate >= self._burst


class Buckets:
    """One for each name, of which the least used are forgotten.

    Arguments:
        rate, burst: of each.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: OrderedDict[object, Bucket] = OrderedDict()

    def try_spend(self, name: object, now: float) -> bool:
        """Take one."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._rate, self._burst, now)
        self._buckets.move_to_end(name)
        while len(self._buckets) > _SOURCES or next(iter(self._buckets.values())).is_full(now):
            _, oldest = self._buckets.popitem(last=False)
            if oldest is bucket:
                self._buckets[name] = bucket
                break
        return bucket.try_spend(1, now)
