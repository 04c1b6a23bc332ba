"""Exactly once and in order, over any number of connections: numbers, positions and what is kept until it was handled.

Sans-I/O. Both ends number the messages of a lane from 1. The receiver knows its position; on a new connection it says
so, and the sender goes on from exactly there, before anything new. What the receiver has handed on need not be kept.

What a host makes of a hello, and a client of the welcome, is in the tables :data:`HELLO_RULES` and
:data:`WELCOME_RULES`; the first row that fits holds.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import Final, Protocol

from msgspec import Struct

from kernelwire.errors import LinkViolation
from kernelwire.link.chunk import Assembly, cut
from kernelwire.link.envelope import Payload
from kernelwire.link.records import Data, Lane, Position, Status
from kernelwire.link.throttle import OWN, SHARED, Throttle
from kernelwire.messages import Frame

WINDOW: Final = {Lane.C: 64 * 1024, Lane.D: OWN + SHARED}
"""Bytes that a receiver lets its sender have on the way on each lane: what whoever runs the pipe may have to hold."""

KEPT_LIMIT: Final = 4 * 1024 * 1024
"""Bytes sent and not yet handled, beyond which nothing new is begun. One message may be larger."""

NOTHING: Final = (Position(0, 0), Position(0, 0))
"""Where both lanes begin."""

_SPARSE_BYTES: Final = 256 * 1024
_SPARSE_MESSAGES: Final = 64


class Outcome(Enum):
    """What follows from a greeting."""

    BEGIN = "both begin anew"
    RESUME = "both go on where they were"
    RESTART = "the other end knows nothing of before: what was under way is of unknown outcome; both begin anew"
    CONFLICT = "the identity is another's: refused"
    VIOLATION = "this cannot be: the connection is dropped"


HELLO_RULES: Final = (
    # identity known, secret equal and attempt newer, epoch its session's, positions possible
    ((False, None, None, None), Outcome.BEGIN),
    ((True, False, None, None), Outcome.CONFLICT),
    ((True, True, True, True), Outcome.RESUME),
    ((True, True, None, None), Outcome.BEGIN),
)
"""The host's side. A client that comes with its own secret and cannot resume has lost its memory, or we ours."""

WELCOME_RULES: Final = (
    # the host resumed, we had met a host, it has the same epoch, its positions are possible
    ((True, True, True, True), Outcome.RESUME),
    ((True, None, None, None), Outcome.VIOLATION),
    ((False, False, None, None), Outcome.BEGIN),
    ((False, True, None, None), Outcome.RESTART),
)
"""The client's side."""


def decide(rules: tuple[tuple[tuple[bool | None, ...], Outcome], ...], *facts: bool) -> Outcome:
    """The outcome of the first row that fits."""
    for row, outcome in rules:
        for want, fact in zip(row, facts, strict=True):
            if want is not None and want is not fact:
                break
        else:
            return outcome
    raise AssertionError("the rules have a row for everything")


class Source(Protocol):
    """Where a lane's messages come from."""

    def pull(self) -> Payload | None:
        """The next one, which is the lane's from now on; None if there is none."""

    def __bool__(self) -> bool:
        """Whether there is one."""


class Chunk(Struct, frozen=True, gc=False):
    """Bytes to be sent."""

    seq: int
    pieces: Sequence[Frame]
    size: int
    final: bool


class OutLane:
    """The sending half of a lane.

    Arguments:
        lane: see there.
        source: what is to be sent.
        throttle: how much of the window is used; one that shares with nobody if None.

    Attributes:
        number: the lane.
        kept: bytes of the messages that were begun and are not handled yet.
    """

    def __init__(self, lane: Lane, source: Source, throttle: Throttle | None = None) -> None:
        self.number = lane
        self.kept = 0
        self._source = source
        self._throttle = throttle or Throttle()
        self._items: deque[Payload] = deque()  # begun, and not handled as far as we know
        self._first = 1  # the number of the first of them
        self._at = 0  # which of them is being sent
        self._offset = 0  # and from where on
        self._reached = (1, 0)  # the number of the first message, and of its first byte, that were never sent
        self._sent = 0  # bytes, on this connection
        self._granted = 0
        self._window = 0  # the receiver's: how much it lets be on the way
        self._beyond = 0  # how much of that the throttle has a say in

    @property
    def has_more(self) -> bool:
        """Whether `next_chunk` has something."""
        if self._granted - self._sent <= self._beyond and self._room() <= 0:
            return False
        return self._at < len(self._items) or (bool(self._source) and self._may_begin())

    @property
    def is_swift(self) -> bool:
        """Whether the receiver takes what is sent in no time."""
        return self._throttle.is_swift

    @property
    def progress(self) -> int:
        """A number that changes whenever the receiver has taken something."""
        return self._first + self._granted

    @property
    def movement(self) -> int:
        """A number that also changes whenever the wire has taken something."""
        return self.progress + self._sent

    def take_unsent(self) -> Iterator[Payload]:
        """What was not sent to its end on this connection, for who closes. The source has nothing any more then."""
        yield from islice(self._items, self._at, None)
        yield from self._take_source()

    def take_unhandled(self) -> Iterator[Payload]:
        """Likewise, with what was sent and is not handled as far as we know."""
        yield from self._items
        yield from self._take_source()

    def _take_source(self) -> Iterator[Payload]:
        while (payload := self._source.pull()) is not None:
            yield payload

    def next_chunk(self, limit: int) -> Chunk | None:
        """What is to be sent next, as far as the receiver allows; it counts as sent then."""
        is_plenty = self._granted - self._sent - self._beyond >= limit
        room = limit if is_plenty else min(limit, self._room())
        if room <= 0:
            return None
        if self._at < len(self._items):
            payload = self._items[self._at]
        else:
            new = self._source.pull() if self._may_begin() else None
            if new is None:
                return None
            payload = new
            self._items.append(payload)
            self.kept += payload.size
        seq, offset = self._first + self._at, self._offset
        size = payload.size - offset
        final = size <= room
        if final:
            self._at += 1
            self._offset = 0
            reached = seq + 1, 0
        else:
            size = room
            self._offset = offset + size
            reached = seq, self._offset
        self._sent += size
        if self._granted - self._sent < self._beyond:
            self._throttle.on_the_way(self._window - self._granted + self._sent)
        if reached > self._reached:
            self._reached = reached
        return Chunk(seq, cut(payload, offset, size), size, final)

    def on_status(self, status: Status, now: float) -> None:
        """The receiver's news.

        Raises:
            LinkViolation: it has handled what was never sent, or takes back what it granted.
        """
        if status.handled >= self._first + self._at:
            raise LinkViolation("a message was acknowledged that was never sent")
        if status.granted < self._granted:
            raise LinkViolation("credit was taken back")
        if not self._granted:  # before it granted anything, it can have accepted nothing
            self._window = status.granted
            self._beyond = max(0, self._window - self._throttle.own)
        self._granted = status.granted
        self._throttle.on_the_way(self._window - self._granted + self._sent)
        self._throttle.accepted(status.granted - self._window, now)
        self._forget(status.handled)

    def can_resume(self, position: Position) -> bool:
        """Whether a receiver can be there."""
        following, offset = position.received + 1, position.offset
        if following < self._first or (following, offset) > self._reached:
            return False
        return offset == 0 or offset < self._items[following - self._first].size

    def resume(self, position: Position) -> None:
        """A new connection, on which the receiver stands there; :meth:`can_resume` says that it can."""
        self._at = position.received + 1 - self._first
        self._forget(position.received)
        self._offset = position.offset
        self.pause()

    def begin(self) -> None:
        """Forget all that was; the next message is number 1."""
        self._items.clear()
        self._first, self.kept, self._reached = 1, 0, (1, 0)
        self.resume(Position(0, 0))

    def pause(self) -> None:
        """No connection."""
        self._granted = self._sent = self._window = self._beyond = 0
        self._throttle.begin()

    def _room(self) -> int:
        """Bytes that may be sent now."""
        credit = self._granted - self._sent
        return credit if credit <= 0 else min(credit, credit - self._window + self._throttle.most)

    def _may_begin(self) -> bool:
        return self.kept < KEPT_LIMIT

    def _forget(self, handled: int) -> None:
        count = handled + 1 - self._first
        if count <= 0:
            return
        for _ in range(count):
            self.kept -= self._items.popleft().size
        self._first += count
        self._at -= count


class InLane:
    """The receiving half of a lane.

    Arguments:
        lane: see there.
        max_message_bytes: bytes of a message at the most.

    Attributes:
        room: whether more may be granted. Where it is False, what was granted may still come.
        unsaid: messages that were handed on since the last status.
    """

    def __init__(self, lane: Lane, max_message_bytes: int) -> None:
        self.room = True
        self.unsaid = 0
        self._lane = lane
        self._window = window = WINDOW[lane]
        # News of room are due while so much is left of the credit at the most: a sender that keeps to less than a
        # window must never wait for good.
        self._low = max(window - _SPARSE_BYTES, window // 2)
        self._assembly = Assembly(max_message_bytes)
        self._received = 0
        self._accepted = 0  # bytes, on this connection
        self._granted = 0
        self._heavy = 0  # bytes since the last status

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self._received, self._assembly.size)

    def on_data(self, data: Data) -> memoryview | None:
        """Take what came; return the message if that was its end.

        Raises:
            LinkViolation: it is not what must come next, more than was granted, or too large.
        """
        if data.seq != self._received + 1:
            raise LinkViolation("a message came that is not the next")
        chunk, final = data.chunk, data.final
        size = len(chunk)
        self._accepted += size
        self._heavy += size
        if self._accepted > self._granted:
            raise LinkViolation("more came than was granted")
        message = self._assembly.add(chunk, final=final)
        if final:
            self._received += 1
            self.unsaid += 1
        return message

    def wants_status(self) -> bool:
        """Whether the sender should hear news now, and not when there is something else to tell it."""
        if self.unsaid >= _SPARSE_MESSAGES:
            return True
        if not self.room:
            return self.unsaid > 0 and self._heavy >= _SPARSE_BYTES
        return self._granted - self._accepted <= self._low

    @property
    def is_under_way(self) -> bool:
        """Whether there is room, and something came of which the sender has not heard."""
        return self.room and self._heavy > 0

    def has_news(self) -> bool:
        """Whether there is anything to tell."""
        return self.unsaid > 0 or (self.room and self._granted < self._accepted + self._window)

    def status(self) -> Status:
        """The news, which count as told then."""
        if self.room:
            self._granted = self._accepted + self._window
        self.unsaid = self._heavy = 0
        return Status(int(self._lane), self._received, self._granted)

    def resume(self) -> None:
        """A new connection. The sender has no credit on it until the first status: there may be no room here."""
        self._accepted = self._heavy = self.unsaid = self._granted = 0

    def begin(self) -> None:
        """Forget all that was; the next message is number 1."""
        self._received = 0
        self._assembly.clear()
        self.resume()
