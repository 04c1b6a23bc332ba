"""A client process: its end of the link, the shell around it, and an application that reads when it likes."""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice, LinkViolation
from kernelwire.link.client import ClientLink, Joined
from kernelwire.link.envelope import CHANNELS, LANE_OF, Item
from kernelwire.link.records import Beat, Beaten, Bye, Lost, Reason
from kernelwire.link.resume import Outcome
from kernelwire.messages import WireMessage
from simulation._checker import ENVELOPE, Broken, Expected, Session, message, name
from simulation._desk import Desk, Spell
from simulation._frames import check_halves, has_half, next_frame
from simulation._pipe import Wire
from simulation._stage import BODIES, LANES, Stage

GREETING_TIME: Final = 15.0
"""Seconds that a handshake and a greeting may take, at either end."""


class Request(NamedTuple):
    """What an application wants to send."""

    channel: Channel
    size: int


class Process:
    """See the module.

    Arguments:
        stage: what all share.
        name: for the history; no other process has it.
        identity: what it gives as its own.
        secret: its resume secret.
        requests: what it is going to send.
        cursor: where it wants to begin to hear.
        intruder: whether it only tries to get in under somebody else's identity.

    Attributes:
        wire: its connection.
        session: the one that it knows of.
        ran: the tags of its requests that were executed.
        frozen: until when it is asleep.
        appetite: how probable it is that it reads something when it is its turn.
        leaving: whether it says goodbye as soon as everything has arrived.
        over: why it is not there any more; empty while it is.
        again_at: before which it does not dial.
        conflicts: how often it was told that it is somebody else.
        greeted: the number of its newest connection that the host has welcomed.
    """

    def __init__(
        self,
        stage: Stage,
        name: str,
        identity: bytes,
        secret: bytes,
        requests: list[Request],
        *,
        cursor: int | None = None,
        intruder: bool = False,
    ) -> None:
        self.name = name
        self.identity = identity
        self.secret = secret
        self.requests = deque(requests)
        self.cursor = cursor
        self.intruder = intruder
        self.link = ClientLink(identity, max_message_bytes=stage.scale.message, cursor=cursor, resume_secret=secret)
        self.wire: Wire | None = None
        self.session: Session | None = None
        self.ran: set[bytes] = set()
        self.frozen = 0.0
        self.appetite = 1.0
        self.leaving = False
        self.over = ""
        self.again_at = 0.0
        self.conflicts = 0
        self.greeted = -1
        self._stage = stage
        self._outgoing: tuple[Expected, Expected] = (deque(), deque())
        self._numbers = [0, 0]
        self._streams = (f"{name}.C".encode(), f"{name}.D".encode())
        self._desk = Desk[Channel](stage)
        self._spell = Spell(stage, name)
        self._unknown: set[Channel] = set()
        self._beats = self._beaten = 0

    # What its shell does: each returns whether there was anything to do.

    def connect(self) -> bool:
        """Dial."""
        if self.wire is not None or self._stage.now < self.again_at:
            return False
        stage = self._stage
        haste = stage.rng.choice((1.0, 1.0, 1.0, 0.5, 0.1))
        stage.dials += 1
        if has_half(self.link.peer):
            stage.seen["half a message at a client"] += 1
        self.wire = wire = Wire(stage.dials, self, stage.scale.window, now=stage.now, haste=haste)
        stage.wires.append(wire)
        if stage.history is not None:
            stage.note(f"{self.name} dials: connection {wire.number}")
        if stage.sealed:
            shake = stage.initiator()
            wire.shakes[:] = shake, stage.responder()
            wire.up.put(shake.write())
        else:
            self.link.open(stage.now)
        return True

    def write(self) -> bool:
        """Put a frame on the wire."""
        wire = self.wire
        if wire is None or wire.shakes[0] is not None:
            return False
        is_last = self.leaving and self._said_goodbye
        plaintext, sizes = next_frame(self.link, self.link.peer, self._stage)
        if not plaintext:
            return False
        wire.up.put(wire.seal(0, plaintext), sizes)
        if is_last:
            self.hang_up(told=True, whole=True)
            self.over = "goodbye"
        return True

    def read(self) -> bool:
        """Take a frame from the wire."""
        wire = self.wire
        if wire is None:
            return False
        if not wire.down.frames:
            if wire.down.ended:
                self._stage.note(f"{self.name} hears that the connection broke")
                self.hang_up(told=True)
                return True
            return False
        frame = wire.down.take()
        if (shake := wire.shakes[0]) is not None:
            shake.read(frame)
            wire.seals[0], wire.shakes[0] = shake.split(), None
            self.link.open(self._stage.now)
            return True
        events = self.link.receive(wire.open(0, frame), self._stage.now)
        check_halves(self.link.peer, self._stage)
        self._on_events(wire, events)
        return True

    def look_at_clock(self) -> bool:
        """Break a connection on which nothing comes."""
        wire = self.wire
        if wire is None:
            return False
        now = self._stage.now
        if self.link.is_dead(now) if wire.shakes[0] is None else now >= wire.born + GREETING_TIME:
            self._stage.note(f"{self.name} finds the connection dead")
            self._stage.seen["silence noticed by a client"] += 1
            self.hang_up(told=True)
            return True
        return False

    def wake_at(self) -> float:
        """When to look again, if nothing happens."""
        if self.wire is None:
            return self.again_at
        if self.wire.shakes[0] is not None:
            return self.wire.born + GREETING_TIME
        at = self.link.wake_at()
        return self.link.dead_at() if at is None else min(at, self.link.dead_at())

    def hang_up(self, *, told: bool, whole: bool = False) -> None:
        """Close this end of the connection.

        Arguments:
            told: whether the host will hear of it.
            whole: whether all that is in flight arrives.
        """
        wire = self.wire
        if wire is None:
            return
        self.wire = None
        if wire.is_whole:
            self._stage.cuts += 1
        if wire.up.reader and not (wire.up.ended or wire.up.mute):
            if whole:
                wire.up.ended = True
            else:
                wire.up.cut(self._stage.some(wire.up.frames), told=told)
        wire.down.abandon()
        self.link.close()
        if self.intruder:
            self.over = "tried once"

    # What its application does.

    def send(self) -> bool:
        """Send the next request, or say goodbye."""
        if not self.requests:
            return self._say_goodbye() if self.leaving else False
        channel, size = self.requests.popleft()
        lane = LANE_OF[channel]
        number = self._numbers[lane] = self._numbers[lane] + 1
        start = number % 255
        content = message(self._streams[lane], number, BODIES[start : start + size])
        stage, all_of_it = self._stage, content.size
        stage.largest = max(stage.largest, all_of_it + ENVELOPE)
        self._outgoing[lane].append((channel, content, all_of_it))
        self.link.send(channel, content)
        if stage.history is not None:
            stage.note(f"{self.name} sends {name(content)} on {channel}, {size} bytes")
        return True

    def take(self) -> bool:
        """Read some of what lies there."""
        if not self._desk:
            return False
        for lane in LANES:
            self._desk.clear(lane, 8)
        self._look_for_room()
        return True

    def ask(self) -> None:
        """Ask for a beat of the kernel's."""
        self._beats += 1
        self.link.peer.say(Beat(self._beats))

    @property
    def is_done(self) -> bool:
        """Whether it has nothing to do any more, as far as it knows."""
        if self.over:
            return True
        waits = any(self.link.queues) or any(lane.kept for lane in self.link.peer.out)
        return not (self.requests or waits or self._desk or self.leaving) and self.link.peer.up

    def _say_goodbye(self) -> bool:
        peer = self.link.peer
        if self._said_goodbye or not peer.up or any(self.link.queues) or any(lane.kept for lane in peer.out):
            return False
        peer.leave(Reason.CLOSED)
        self._stage.note(f"{self.name} says goodbye")
        return True

    @property
    def _said_goodbye(self) -> bool:
        return self.link.peer._leaving is not None

    def _on_events(self, wire: Wire, events: Sequence[object]) -> None:
        for event in events:
            match event:
                case Item(channel, content):
                    self._on_item(channel, content)
                case Joined():
                    self._on_joined(wire, event)
                case Bye(reason, lost):
                    self._on_bye(reason, lost)
                case Beaten(number):
                    if not self._beaten < number <= self._beats:
                        raise Broken("mixed up", f"beat {number} was answered, after {self._beaten}")
                    self._beaten = number
                case LinkViolation():
                    raise Broken("violation", f"{self.name} says: {event}")
        if self._unknown:
            raise Broken("gap", "the host was started anew, and not every channel says so")
        self._look_for_room()

    def _on_item(self, channel: Channel, content: WireMessage | GapNotice) -> None:
        stage, session = self._stage, self.session
        if session is None:
            raise Broken("early", "a message came before the welcome")
        if stage.history is not None:
            what = name(content) if isinstance(content, WireMessage) else str(content)
            stage.note(f"{self.name} gets {what} on {channel}")
        if isinstance(content, GapNotice) and content.count is None and channel in self._unknown:
            self._unknown.discard(channel)
            return
        size = session.hear(channel, content)
        if isinstance(content, GapNotice):
            stage.seen["gap"] += 1
            return
        stage.delivered += 1
        lane = LANE_OF[channel]
        self._desk.put(lane, size, channel)
        if not self.link.peer.into[lane].room:
            stage.seen["no room at a client"] += 1
            self._spell.add(lane, size)

    def _on_joined(self, wire: Wire, joined: Joined) -> None:
        session = wire.session
        self._stage.seen[joined.outcome.name] += 1
        if self._stage.history is not None:
            self._stage.note(f"{self.name} joins on connection {wire.number}: {joined.outcome.name}")
        if session is None or session.owner is not self:
            raise Broken("intruder", f"{self.name} was welcomed in somebody else's place")
        if joined.outcome is Outcome.RESUME:
            if session is not self.session:
                raise Broken("mixed up", f"{self.name} resumes a session that is not the one it knows")
            return
        if joined.outcome is Outcome.RESTART:
            if self.session is None:
                raise Broken("restart", f"{self.name} had nothing to begin anew")
            if not self.session.ended:
                raise Broken("restart", f"{self.name} must begin anew, though nothing had happened")
            self._unknown = set(CHANNELS)
            self._outgoing = (deque(), deque())
        elif self.session is not None:
            raise Broken("restart", f"{self.name} begins anew without a word")
        if joined.cursor != session.next:
            raise Broken("mixed up", f"{self.name} begins at {joined.cursor} instead of {session.next}")
        self.session = session
        session.incoming = self._outgoing

    def _on_bye(self, reason: int, lost: Sequence[Lost]) -> None:
        stage = self._stage
        if self.session is not None and reason in (Reason.CLOSED, Reason.OVERFLOW):
            self.session.part(lost)
        stage.note(f"{self.name} is told goodbye: {Reason(reason).name}")
        stage.seen[f"refused: {Reason(reason).name}"] += 1
        self.hang_up(told=True)
        if reason == Reason.CONFLICT:
            self.conflicts += 1
            self.again_at = stage.now + 1.0
            if self.intruder or self.conflicts > 2:
                self.over = "conflict"
        elif reason == Reason.FULL:
            self.again_at = stage.now + 1.0
        elif reason not in (Reason.OVERFLOW, Reason.CLOSED):
            raise Broken("violation", f"{self.name} is told goodbye for {Reason(reason).name}")

    def _look_for_room(self) -> None:
        into = self.link.peer.into
        for lane in LANES:
            has_room = self._desk.has_room(lane)
            if has_room is not into[lane].room:
                into[lane].room = has_room
                if has_room:
                    self._spell.end(lane)
