"""What a kernel publishes, kept once for all of a host's clients; each has a cursor. Sans-I/O.

When the log is full the oldest entries go, bulk first: what ends a request or asks a question stays as long as that is
possible at all. A client that had not come to them gets an exact gap in their place.
"""

from bisect import bisect_left
from collections import deque
from typing import Final

from msgspec import Struct

from kernelwire.channels import Channel
from kernelwire.link.envelope import Payload, pack_gap
from kernelwire.link.glance import Glance, look

LOG_LIMIT: Final = 16 * 1024 * 1024
"""Bytes that a log keeps, and one message more."""

PINNED_LIMIT: Final = 1024 * 1024
"""How many of them may be of messages that stay when older ones go."""

ENTRY_OVERHEAD: Final = 256
"""What an entry costs beside its bytes."""

_FELL_BEHIND: Final = "this client fell so far behind that the oldest had to go"


class Entry(Struct, frozen=True):
    """One message of a log.

    Attributes:
        number: its own.
        before: bytes of all the messages before it, since the log began.
        after: likewise, with its own.
        payload: it.
        is_pinned: whether it stays when older ones go.
    """

    number: int
    before: int
    after: int
    payload: Payload
    is_pinned: bool

    @property
    def cost(self) -> int:
        """What it counts for."""
        return self.payload.size + ENTRY_OVERHEAD


class Log:
    """What was published, by number; the first is 0.

    Arguments:
        limit: bytes.

    Attributes:
        held: bytes that are kept, with :data:`ENTRY_OVERHEAD` for each entry.
        end: the number that the next entry gets.
        total: bytes of all messages since the log began.
        limit: as given.
    """

    def __init__(self, limit: int = LOG_LIMIT) -> None:
        self.held = 0
        self.end = 0
        self.total = 0
        self.limit = limit
        self._bulk: dict[int, Entry] = {}
        self._oldest = 0  # of the bulk
        self._pins: list[Entry] = []  # older than that
        self._pinned = 0
        self._large: Entry | None = None  # the newest that is over the limit by itself

    @property
    def oldest(self) -> int:
        """The number from which on nothing is missing."""
        return self._oldest

    @property
    def volume(self) -> int:
        """As `total`, with :data:`ENTRY_OVERHEAD` for each message."""
        return self.total + self.end * ENTRY_OVERHEAD

    def is_full_for(self, size: int) -> bool:
        """Whether another message of `size` bytes makes older ones go."""
        held = self.held + size + ENTRY_OVERHEAD
        if held <= self.limit:
            return False
        return bool(self._bulk) and held > self._allowed(self._oldest, size + ENTRY_OVERHEAD)

    def oldest_after(self, size: int) -> int:
        """What `oldest` will be at the most once a message of `size` bytes has come. It may push out many."""
        cost = size + ENTRY_OVERHEAD
        held = self.held + cost
        number = self._oldest
        while number < self.end and held > self._allowed(number, cost):
            entry = self._bulk[number]
            number += 1
            if not entry.is_pinned:
                held -= entry.cost
        return number

    def append(self, payload: Payload) -> Glance:
        """Add a message, and say what it is; the oldest go for it."""
        glance = look(payload)
        before = self.total
        self.total += payload.size - len(payload.pieces[0])
        entry = self._bulk[self.end] = Entry(self.end, before, self.total, payload, glance.is_pinned)
        cost = payload.size + ENTRY_OVERHEAD
        self.end += 1
        self.held += cost
        if cost > self.limit:
            self._large = entry
        while self.held > self.limit and self._oldest < self.end - 1 and self.held > self._allowed(self._oldest):
            self._evict()
        return glance

    def at(self, cursor: int) -> Entry | None:
        """The first message from `cursor` on; None if there is none."""
        if cursor >= self._oldest:
            return self._bulk.get(cursor)
        pin = bisect_left(self._pins, cursor, key=_number)
        return self._pins[pin] if pin < len(self._pins) else self._bulk.get(self._oldest)

    def before(self, cursor: int) -> int | None:
        """Bytes of all messages before `cursor`, which is not beyond the end; None where that is not kept any more."""
        if cursor == self.end:
            return self.total
        entry = self.at(cursor)
        if entry is not None and entry.number == cursor:
            return entry.before
        return None if cursor else 0

    def _allowed(self, oldest: int, coming: int = 0) -> int:
        """Bytes to keep if that is the oldest: the newest message that is over the limit by itself does not count, so
        that it neither pushes out what is before it nor goes with the next small one.
        """
        if coming > self.limit:
            return self.limit + coming
        large = self._large
        return self.limit if large is None or large.number < oldest else self.limit + large.cost

    def _evict(self) -> None:
        entry = self._bulk.pop(self._oldest)
        self._oldest += 1
        if entry is self._large:
            self._large = None
        if not entry.is_pinned:
            self.held -= entry.cost
            return
        self._pins.append(entry)
        self._pinned += entry.cost
        while self._pinned > min(PINNED_LIMIT, self.limit // 2):
            oldest = self._pins.pop(0)
            self._pinned -= oldest.cost
            self.held -= oldest.cost


class _Reply(Struct, frozen=True):
    """A reply, and what was in the log when it came."""

    number: int
    before: int
    payload: Payload


class Feed:
    """Lane D of one client of a host: the log from a cursor on, and the client's replies where they belong in it.

    Arguments:
        log: the host's.
        cursor: where to begin; the log's end if None, or if it is beyond that.

    Attributes:
        cursor: the number of the next message of the log.
        replies_held: bytes of the replies that were not pulled yet.
    """

    def __init__(self, log: Log, cursor: int | None = None) -> None:
        self.cursor = log.end if cursor is None else min(cursor, log.end)
        self.replies_held = 0
        self._before = log.before(self.cursor)  # bytes of all messages before the cursor, None if nobody knows
        self._log = log
        self._replies: deque[_Reply] = deque()

    def reply(self, payload: Payload) -> None:
        """Add a reply: after all that was published before it, and before all that will be."""
        self._replies.append(_Reply(self._log.end, self._log.total, payload))
        self.replies_held += payload.size + ENTRY_OVERHEAD

    def __bool__(self) -> bool:
        return self.cursor < self._log.end or bool(self._replies)

    def pull(self) -> Payload | None:
        """As :meth:`kernelwire.link.resume.Source.pull`."""
        reply = self._replies[0] if self._replies else None
        if reply is not None and self.cursor >= reply.number:
            self._replies.popleft()
            self.replies_held -= reply.payload.size + ENTRY_OVERHEAD
            return reply.payload
        entry = self._log.at(self.cursor)
        if entry is None:
            return None
        if entry.number == self.cursor:
            self.cursor += 1
            self._before = entry.after
            return entry.payload
        # A gap ends where there is something to put behind it.
        end: Entry | _Reply = entry if reply is None or entry.number <= reply.number else reply
        count, size = end.number - self.cursor, None if self._before is None else end.before - self._before
        self.cursor, self._before = end.number, end.before
        return pack_gap(Channel.IOPUB, count, size, _FELL_BEHIND)


def _number(entry: Entry) -> int:
    return entry.number
