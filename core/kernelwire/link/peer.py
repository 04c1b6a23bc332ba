"""One end of a link, over any number of connections. Sans-I/O: frames and the time go in, events and frames come out.

========  ========================================  =======================================================
state     what comes                                what follows
========  ========================================  =======================================================
down      `open`                                    up: the lanes go on from the other end's positions
down      anything else                             nothing
up        data                                      an :class:`~kernelwire.link.envelope.Item` when it is whole
up        status                                    what was handled is forgotten, and more may be sent
up        ping                                      a pong
up        beat, beaten, ready                       the event
up        pong                                      nothing
up        bye                                       the event; what comes after it does not count
up        anything else, or broken rules            a LinkViolation as the last event: drop the connection
up        nothing, for :data:`PING_AFTER`           a ping
up        nothing, for :data:`DEAD_AFTER`           `is_dead`: the caller drops the connection
up        `leave`                                   a bye, after all news; it says what of the lanes did not go before
up        `close`                                   down: the lanes keep what was not handled
========  ========================================  =======================================================

Greetings come before: see :mod:`kernelwire.link.resume` for the rules, and the client's and the host's ends.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from kernelwire.errors import LinkViolation
from kernelwire.link.envelope import Item, account, unpack
from kernelwire.link.records import (
    FRAME_LIMIT,
    Beat,
    Beaten,
    Bye,
    Control,
    Data,
    Lane,
    Lost,
    Ping,
    Pong,
    Position,
    Ready,
    Reason,
    Status,
    decode,
)
from kernelwire.link.resume import InLane, OutLane, Source
from kernelwire.link.schedule import fill
from kernelwire.link.throttle import Pool, Throttle

PING_AFTER: Final = 5.0
"""Seconds without anything from the other end, after which it is asked."""

DEAD_AFTER: Final = 15.0
"""Seconds without anything from the other end, after which the connection counts as broken."""

STATUS_AFTER: Final = 0.1
"""Seconds that news of little weight may wait for company."""


PART_STATUS_AFTER: Final = 0.5
"""Seconds after which a message that has come in part only is news too: on a slow wire, nothing else shows the sender
that it gets on."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds, in which both ends of a link need not agree.

    Attributes:
        ping_after: see :data:`PING_AFTER`.
        dead_after: see :data:`DEAD_AFTER`; also what a greeting may take.
    """

    ping_after: float = PING_AFTER
    dead_after: float = DEAD_AFTER


USUAL: Final = Timing()

FIRST_FRAME: Final = 4 * 1024
"""Bytes of a connection's first frame at the most; each next one may be twice as large. A frame that is cut in the
middle is lost whole, so large ones alone would never pass a wire that breaks all the time."""

ANSWERS_LIMIT: Final = 64
"""Records to answer that may wait; who asks for more without listening breaks the rules."""

Event = Item | Beat | Beaten | Ready | Bye | LinkViolation


class Peer:
    """See the module.

    Arguments:
        sources: where the messages of lanes C and D come from.
        max_message_bytes: bytes of a message at the most.
        timing: when to ask, and when to give up.
        pool: of who sends to others over the same intermediary.

    Attributes:
        up: whether there is a connection.
        pong: the number of the last ping that the other end has answered on it; 0 if it has answered none.
        out: the sending halves of lanes C and D.
        into: the receiving ones. The caller sets their `room` to False while its own queues are full.
    """

    def __init__(
        self,
        sources: tuple[Source, Source],
        *,
        max_message_bytes: int,
        timing: Timing = USUAL,
        pool: Pool | None = None,
    ) -> None:
        self.up = False
        self.pong = 0
        self.out = (OutLane(Lane.C, sources[0]), OutLane(Lane.D, sources[1], Throttle(pool)))
        self.into = (InLane(Lane.C, max_message_bytes), InLane(Lane.D, max_message_bytes))
        self._timing = timing
        self._controls: deque[Control] = deque()
        self._heard = 0.0
        self._pinged: float | None = None
        self._status_due: float | None = None
        self._part_due: float | None = None
        self._ended = False
        self._leaving: Reason | None = None
        self._questions = 0  # records that wait to be sent, and questions in this frame

    @property
    def positions(self) -> tuple[Position, Position]:
        """How far this end has come, on C and D."""
        return self.into[0].position, self.into[1].position

    @property
    def progress(self) -> int:
        """A number that changes whenever the other end has taken something."""
        return sum(lane.progress for lane in self.out)

    @property
    def movement(self) -> int:
        """A number that also changes whenever the wire has taken something."""
        return sum(lane.movement for lane in self.out)

    @property
    def has_unhandled(self) -> bool:
        """Whether there is something that the other end has not handled yet, as far as we know."""
        return any(lane.kept or lane.has_more for lane in self.out)

    def can_resume(self, theirs: tuple[Position, Position]) -> bool:
        """Whether the other end can be there."""
        (c, d), (at_c, at_d) = self.out, theirs
        return c.can_resume(at_c) and d.can_resume(at_d)

    def begin(self) -> None:
        """Forget all that was sent and received."""
        for out in self.out:
            out.begin()
        for into in self.into:
            into.begin()

    def open(self, theirs: tuple[Position, Position], now: float) -> None:
        """There is a connection, and the other end stands there on the lanes."""
        for out, position in zip(self.out, theirs, strict=True):
            out.resume(position)
        for into in self.into:
            into.resume()
        self._controls.clear()
        self._heard, self._pinged, self._status_due, self._part_due = now, None, None, None
        self._frame_limit = FIRST_FRAME
        self.up, self.pong, self._ended, self._leaving = True, 0, False, None

    def close(self) -> None:
        """There is none any more."""
        self.up = False
        self._controls.clear()
        for out in self.out:
            out.pause()

    def say(self, control: Control) -> None:
        """Send a control record, if there is a connection."""
        if self.up:
            self._controls.append(control)

    def leave(self, reason: Reason) -> None:
        """Say goodbye with the next frame, if there is a connection. What was not sent before never will be."""
        if self.up:
            self._leaving = reason

    def take_unhandled(self) -> tuple[Lost, ...]:
        """What the other end is not known to have handled, for who closes. It is nowhere any more then."""
        return account(payload for lane in self.out for payload in lane.take_unhandled())

    def receive(self, plaintext: bytes, now: float) -> list[Event]:
        """Take a frame; return what happened, in order. A broken rule is the last of it: what came before counts."""
        events: list[Event] = []
        if not self.up or self._ended:
            return events
        self._heard, self._pinged = now, None
        self._questions = len(self._controls)
        try:
            for record in decode(plaintext):
                if isinstance(record, Data):
                    message = self.into[record.lane].on_data(record)
                    if message is not None:
                        events.append(unpack(record.lane, message))
                    continue
                self._on_control(record, events)
                if self._ended:
                    break
        except LinkViolation as violation:
            events.append(violation)
        c, d = self.into
        if self._status_due is None and (c.unsaid or d.unsaid):
            self._status_due = now + STATUS_AFTER
        if self._part_due is None and (c.is_under_way or d.is_under_way):
            self._part_due = now + PART_STATUS_AFTER
        return events

    def has_frame(self, now: float) -> bool:
        """Whether `next_frame` has something."""
        if not self.up:
            return False
        if self._controls or self._leaving is not None:
            return True
        (c, d), (from_c, from_d) = self.out, self.into
        if c.has_more or d.has_more or from_c.wants_status() or from_d.wants_status() or now >= self._news_due():
            return True
        return self._pinged is None and now >= self._heard + self._timing.ping_after

    def next_frame(self, now: float) -> bytes:
        """The plaintext of the next frame; empty if there is nothing to send now."""
        if not self.has_frame(now):
            return b""
        for lane in self.into:
            if lane.has_news():
                self._controls.append(lane.status())
        self._status_due = self._part_due = None
        if self._pinged is None and now >= self._heard + self._timing.ping_after:
            self._pinged = now
            self._controls.append(Ping(0))
        controls = tuple(self._controls)
        self._controls.clear()
        if self._leaving is not None:
            lost = account(payload for lane in self.out for payload in lane.take_unsent())
            bye = Bye(self._leaving, lost)
            self.close()  # what comes after it does not count
            return fill((*controls, bye), ())
        limit, self._frame_limit = self._frame_limit, min(2 * self._frame_limit, FRAME_LIMIT)
        return fill(controls, self.out, limit)

    def is_swift(self) -> bool:
        """Whether the other end takes what is sent in no time, so that large pieces hold nothing up."""
        return self.out[Lane.D].is_swift

    def dead_at(self) -> float:
        """When the connection must be broken, if nothing comes until then."""
        return self._heard + self._timing.dead_after

    def is_dead(self, now: float) -> bool:
        """Whether nothing has come for so long that the connection must be broken."""
        return self.up and now >= self._heard + self._timing.dead_after

    def wake_at(self) -> float | None:
        """When to ask `next_frame` again, if nothing happens before; None if that is not needed."""
        if not self.up:
            return None
        ping = self._heard + (self._timing.ping_after if self._pinged is None else self._timing.dead_after)
        return min(ping, self._news_due())

    def _news_due(self) -> float:
        due = math.inf if self._status_due is None else self._status_due
        if self._part_due is not None and self._part_due < due and any(lane.is_under_way for lane in self.into):
            return self._part_due
        return due

    def _on_control(self, control: Control, events: list[Event]) -> None:
        match control:
            case Status():
                self.out[control.lane].on_status(control, self._heard)
            case Ping(number):
                self._count_question()
                self._controls.append(Pong(number))
            case Pong(number):
                self.pong = max(self.pong, number)
            case Bye():
                self._ended = True
                events.append(control)
            case Beat():
                self._count_question()
                events.append(control)
            case Beaten() | Ready():
                events.append(control)
            case _:
                raise LinkViolation("a greeting in the middle of a connection")

    def _count_question(self) -> None:
        if self._questions >= ANSWERS_LIMIT:
            raise LinkViolation("more questions than anybody can answer")
        self._questions += 1
