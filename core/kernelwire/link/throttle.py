"""How much of a lane's window its sender uses. Sans-I/O.

What is on the way delays what comes after it, and waits at whoever runs the pipe while the receiver is slow. So a
sender goes beyond :data:`OWN` only while the receiver takes that much in no time; and all who send over one
intermediary share what they have beyond it.
"""

from typing import Final

OWN: Final = 512 * 1024
"""Bytes that each sender may have on the way in any case."""

SHARED: Final = 3 * 1024 * 1024
"""Bytes that all of a host's senders together may have on the way beyond that."""

SWIFT: Final = 8 * OWN
"""Bytes a second that a receiver must take for more to be on the way: it will not be there for long then. A round
trip of an eighth of a second is no obstacle.
"""


class Pool:
    """What several senders share.

    Attributes:
        left: bytes of it that nobody has taken.
    """

    def __init__(self) -> None:
        self.left = SHARED


class Throttle:
    """One sender's, on one lane.

    Arguments:
        pool: shared with others; one of its own if None.

    Attributes:
        own: bytes that may be on the way in any case.
        is_swift: whether the receiver has just taken much in no time.
    """

    def __init__(self, pool: Pool | None = None) -> None:
        self.own = OWN
        self._pool = pool or Pool()
        self._taken = 0  # of the pool
        self.is_swift = False
        self._since: tuple[int, float] | None = None  # bytes accepted then, and when that was

    @property
    def most(self) -> int:
        """Bytes that may be on the way."""
        return OWN + self._taken + self._pool.left if self.is_swift else OWN

    def begin(self) -> None:
        """On a new connection nothing is on the way, and nothing is known of it."""
        self.on_the_way(0)
        self.is_swift, self._since = False, None

    def on_the_way(self, size: int) -> None:
        """So many bytes are, as far as the receiver's news say."""
        taken = max(0, size - OWN)
        self._pool.left += self._taken - taken
        self._taken = taken

    def accepted(self, total: int, now: float) -> None:
        """So many bytes have been accepted on this connection, as was heard at that time."""
        if self._since is None:
            self._since = total, now
            return
        before, then = self._since
        if total - before >= OWN:
            self.is_swift = total - before >= SWIFT * (now - then)
            self._since = total, now
