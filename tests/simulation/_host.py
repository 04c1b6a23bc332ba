"""A host process: its end of the link, and the shell around it. It looks at all that the link does."""

from collections.abc import Callable
from typing import Final, NamedTuple

from kernelwire.channels import Channel
from kernelwire.errors import LinkViolation
from kernelwire.link.envelope import LANE_OF, Item, pack
from kernelwire.link.host import Admission, HostLink, Member
from kernelwire.link.log import ENTRY_OVERHEAD, Log
from kernelwire.link.peer import Event
from kernelwire.link.records import Beat, Beaten, Bye, Lane, Ready, Reason
from kernelwire.messages import WireMessage
from simulation._checker import ENVELOPE, PIN, Broken, Published, Session, message, name
from simulation._desk import Spell
from simulation._frames import check_halves, has_half, next_frame
from simulation._kernel import Asked, Kernel
from simulation._pipe import Wire
from simulation._process import GREETING_TIME
from simulation._stage import LANES, Stage

AWAY: Final = 24 * 3600.0
"""Seconds that a client may be away."""


class _Waiting(NamedTuple):
    """A publisher waits for these."""

    members: list[Member]
    sessions: dict[bytes, Session]
    since: float
    until: float


class Host:
    """See the module.

    Arguments:
        stage: what all share.
        epoch: its own.
        members_limit: clients at a time.
        output: sizes of what a request publishes.

    Attributes:
        sessions: with whom it has one, by identity.
        record: what it has published.
        kernel: what it is host to.
        appetite: how probable it is that the kernel does something when it is its turn.
    """

    def __init__(self, stage: Stage, *, epoch: int, members_limit: int, output: Callable[[], list[int]]) -> None:
        self.link = HostLink(
            max_message_bytes=stage.scale.message,
            log=Log(stage.scale.log),
            epoch=epoch,
            members_limit=members_limit,
            patience=stage.scale.patience,
        )
        self.sessions: dict[bytes, Session] = {}
        self.record = Published(stage.scale)
        self.appetite = 1.0
        self._stage = stage
        self._members_limit = members_limit
        self.kernel = Kernel(stage, self, output)
        self._lines: dict[bytes, Wire] = {}
        self._has_room = [True, True]
        self._waiting: _Waiting | None = None

    # What its shell does: each returns whether there was anything to do.

    def write(self, wire: Wire) -> bool:
        """Put a frame on the wire."""
        member = wire.member
        if member is None or not wire.up.reader:
            return False
        plaintext, sizes = next_frame(member.peer, member.peer, self._stage)
        if not plaintext:
            return False
        wire.down.put(wire.seal(1, plaintext), sizes)
        return True

    def read(self, wire: Wire) -> bool:
        """Take a frame from the wire."""
        if not wire.up.reader:
            return False
        if not wire.up.frames:
            if wire.up.ended:
                self.hang_up(wire, told=True)
                return True
            return False
        frame = wire.up.take()
        if (shake := wire.shakes[1]) is not None:
            shake.read(frame)
            wire.down.put(shake.write())
            wire.seals[1], wire.shakes[1] = shake.split(), None
        elif wire.member is None:
            self._greet(wire, wire.open(1, frame))
        else:
            assert wire.session is not None
            peer = wire.member.peer
            events = peer.receive(wire.open(1, frame), self._stage.now)
            check_halves(peer, self._stage)
            self._on_events(wire, wire.member, wire.session, events)
        return True

    def look_at_clock(self, wire: Wire) -> bool:
        """Break a connection on which nothing comes."""
        if not wire.up.reader:
            return False
        member, now = wire.member, self._stage.now
        if now >= wire.born + GREETING_TIME if member is None else member.peer.is_dead(now):
            self._stage.note(f"the host finds connection {wire.number} dead")
            self._stage.seen["silence noticed by the host"] += 1
            self.hang_up(wire, told=True)
            return True
        return False

    def wake_at(self, wire: Wire) -> float:
        """When to look again, if nothing happens."""
        if wire.member is None:
            return wire.born + GREETING_TIME
        peer = wire.member.peer
        at = peer.wake_at()
        return peer.dead_at() if at is None else min(at, peer.dead_at())

    def hang_up(self, wire: Wire, *, told: bool, whole: bool = False) -> None:
        """Close this end of a connection; arguments as for a client."""
        if not wire.up.reader:
            return
        if wire.is_whole:
            self._stage.cuts += 1
        if wire.down.reader and not (wire.down.ended or wire.down.mute):
            if whole:
                wire.down.ended = True
            else:
                wire.down.cut(self._stage.some(wire.down.frames), told=told)
        wire.up.abandon()
        if wire.member is not None and self._lines.get(wire.member.identity) is wire:
            del self._lines[wire.member.identity]
            wire.member.close(self._stage.now)
            if wire.session is not None:
                wire.session.away_since = self._stage.now

    def close(self) -> None:
        """Say goodbye to everybody."""
        for wire in tuple(self._lines.values()):
            assert wire.member is not None
            wire.member.peer.leave(Reason.CLOSED)
            assert wire.session is not None
            wire.session.parted_at = len(self.record.messages)
            self.write(wire)
            self.hang_up(wire, told=True, whole=True)

    def tidy(self) -> bool:
        """Forget who has been away too long."""
        now = self._stage.now
        gone = [member.identity for member in self.link.expired(now)]
        due = [
            identity
            for identity, session in self.sessions.items()
            if session.away_since is not None and now >= session.away_since + AWAY
        ]
        if gone != due and sorted(gone) != sorted(due):
            raise Broken("expiry", f"{sorted(gone)} were forgotten instead of {sorted(due)}")
        for identity in gone:
            self._end(identity, "expired")
        self.check()
        return bool(gone)

    def check(self) -> None:
        """What must always hold."""
        if self.link.members.keys() != self.sessions.keys() or len(self.sessions) > self._members_limit:
            raise Broken("members", f"{sorted(self.link.members)} instead of {sorted(self.sessions)}")
        taken = sum(member.peer.out[Lane.D]._throttle._taken for member in self.link.members.values())
        left = self.link._pool.left
        if left < 0 or left + taken != self._stage.scale.shared:
            raise Broken("bound", f"{left} bytes of what is shared are left, and {taken} are on the way")

    # What its kernel does.

    def work(self, lane: Lane) -> bool:
        """Let the kernel do a step."""
        moved = self.kernel.work(lane)
        if not self._has_room[lane]:
            self._look_for_room()
        return moved

    def publish(self, body: bytes) -> bool:
        """Put a message into the log, unless somebody is to be waited for before."""
        content = message(b"iopub", len(self.record.messages), body, b"topic")
        payload = pack(Channel.IOPUB, content)
        if self._must_wait(payload.size):
            return False
        self.link.log.append(payload)
        entry = self.link.log.at(len(self.record.messages))
        if entry is None:
            raise Broken("lost", f"{name(content)} is not in the log")
        size = entry.payload.size
        self.record.add(content, size)
        self._stage.largest = max(self._stage.largest, size)
        held = self.link.log.held
        if held != self.record.held or held > self._stage.scale.log + self._stage.largest + ENTRY_OVERHEAD:
            raise Broken("bound", f"the log holds {held} bytes, and should hold {self.record.held}")
        if self._stage.history is not None:
            self._stage.note(f"the host publishes {name(content)}, {len(body)} bytes{', pinned' * (PIN in body)}")
        return True

    def _must_wait(self, size: int) -> bool:
        now = self._stage.now
        if (waiting := self._waiting) is not None:
            spent = min(now - waiting.since, waiting.until - waiting.since)
            self.link.waited(waiting.members, spent)
            for member in waiting.members:
                if (session := waiting.sessions.get(member.identity)) is not None:
                    session.wait(spent)
        members = self.link.in_the_way(size)
        if not members:
            self._waiting = None
            return False
        self._stage.seen["a publisher waits"] += 1
        sessions = {member.identity: self.sessions[member.identity] for member in members}
        self._waiting = _Waiting(members, sessions, now, now + self.link.patience_with(members))
        return True

    @property
    def waits_until(self) -> float | None:
        """Until when a publisher waits, if one does."""
        return None if self._waiting is None else self._waiting.until

    def answer(self, asked: Asked, channel: Channel, body: bytes) -> None:
        """Send something to one client, if it is still there."""
        stage, (member, session, _) = self._stage, asked
        if self.link.members.get(member.identity) is not member:
            return
        if member.held > stage.scale.replies:
            self._give_up(member, session)
            return
        lane = LANE_OF[channel]
        session.numbers[lane] += 1
        content = message(session.streams[lane], session.numbers[lane], body)
        size = content.size
        stage.largest = max(stage.largest, size + ENVELOPE)
        session.expect(channel, content, size)
        member.send(channel, content)
        if member.held > stage.scale.replies + size + ENVELOPE + ENTRY_OVERHEAD:
            raise Broken("bound", f"{member.held} bytes wait for {session.owner.name}")
        if stage.history is not None:
            stage.note(f"the host sends {name(content)} on {channel}")

    def _give_up(self, member: Member, session: Session) -> None:
        if session.waiting <= self._stage.scale.replies:
            raise Broken("bound", f"{session.owner.name} is given up for {session.waiting} bytes that wait for it")
        line = self._lines.get(member.identity)
        self.link.forget(member)
        self._end(member.identity, "too much waited")
        if line is not None:
            member.peer.leave(Reason.OVERFLOW)
            session.parted_at = len(self.record.messages)
            self.write(line)
            self.hang_up(line, told=True, whole=True)

    def _greet(self, wire: Wire, frame: bytes) -> None:
        process, known = wire.process, self.sessions.get(wire.process.identity)
        if process.intruder and known is None:
            self.hang_up(wire, told=True)
            return
        admission = self.link.greet(frame, self._stage.now)
        if admission.member is None:
            self._refuse(wire, known, admission)
            return
        if known is not None and known.owner is not process:
            raise Broken("intruder", f"{process.name} gets in under the identity of {known.owner.name}")
        if known is not None and (line := self._lines.pop(process.identity, None)) is not None:
            if line.process is process and line.number > wire.number:
                raise Broken("stale", f"connection {wire.number} takes the place of {line.number}, which is newer")
            line.member = None
            self.hang_up(line, told=True)
        if admission.ended is not None and admission.ended.identity != process.identity:
            self._crowd_out(admission.ended.identity)
        if admission.is_new:
            if known is not None and process.session is known:
                raise Broken("restart", f"the session of {process.name} is given up, though nothing had happened")
            if known is not None:
                self._end(process.identity, "never met")
            asked = process.cursor is not None and process.session is None
            end = len(self.record.messages)
            start = min(process.cursor, end) if asked and process.cursor is not None else end
            self.sessions[process.identity] = Session(
                process, self.record, start, Spell(self._stage, "the host"), asked=asked
            )
        session = self.sessions.get(process.identity)
        if session is None:
            raise Broken("mixed up", f"{process.name} resumes what the host does not know")
        if has_half(admission.member.peer):
            self._stage.seen["half a message at the host"] += 1
        wire.member, wire.session = admission.member, session
        session.away_since = None
        self._lines[process.identity] = wire
        wire.down.put(wire.seal(1, admission.answer))
        admission.member.peer.say(Ready())
        process.greeted = max(process.greeted, wire.number)
        for lane in LANES:
            self._tell_of_room(process.identity, lane)
        self.check()

    def _refuse(self, wire: Wire, known: Session | None, admission: Admission) -> None:
        process = wire.process
        if known is not None and known.owner is process and wire.number > process.greeted:
            raise Broken("refused", f"{process.name} may not come back")
        if known is not None and known.owner is process:
            self._stage.seen["a hello that was held up"] += 1
        if known is None and (len(self.sessions) < self._members_limit or self._longest_away is not None):
            raise Broken("refused", f"{process.name} may not come, though there is room")
        wire.down.put(wire.seal(1, admission.answer))
        self.hang_up(wire, told=True, whole=True)

    @property
    def _longest_away(self) -> float | None:
        times = (session.away_since for session in self.sessions.values())
        return min((since for since in times if since is not None), default=None)

    def _crowd_out(self, identity: bytes) -> None:
        since = self.sessions[identity].away_since
        if len(self.sessions) < self._members_limit or since is None or since != self._longest_away:
            raise Broken("members", f"{identity!r} had to go for another")
        self._end(identity, "crowded out")

    def _end(self, identity: bytes, why: str) -> None:
        self.sessions.pop(identity).ended = why
        self._stage.seen[why] += 1
        self._stage.note(f"the session of {identity!r} is over: {why}")

    def _on_events(self, wire: Wire, member: Member, session: Session, events: list[Event]) -> None:
        stage = self._stage
        for event in events:
            match event:
                case Item(channel, WireMessage() as content):
                    if stage.history is not None:
                        stage.note(f"the host runs {name(content)} of {session.owner.name}")
                    size = session.arrive(channel, content)
                    stage.delivered += 1
                    self._put(Asked(member, session, channel), size)
                case Beat(number):
                    member.peer.say(Beaten(number))
                case Bye():
                    self.link.forget(member)
                    self._end(member.identity, "goodbye")
                    self.hang_up(wire, told=True)
                case LinkViolation():
                    raise Broken("violation", f"the host says of {session.owner.name}: {event}")
                case _:
                    raise Broken("mixed up", f"a client sent {event}")
        self._look_for_room()

    def _put(self, asked: Asked, size: int) -> None:
        lane = LANE_OF[asked.channel]
        self.kernel.put(asked, size)
        if not asked.member.peer.into[lane].room:
            self._stage.seen["no room at the host"] += 1
            asked.session.spell.add(lane, size)

    def _look_for_room(self) -> None:
        for lane in LANES:
            has_room = self.kernel.has_room(lane)
            if has_room is not self._has_room[lane]:
                self._has_room[lane] = has_room
                for identity in self.sessions:
                    self._tell_of_room(identity, lane)

    def _tell_of_room(self, identity: bytes, lane: Lane) -> None:
        self.link.members[identity].peer.into[lane].room = self._has_room[lane]
        if self._has_room[lane]:
            self.sessions[identity].spell.end(lane)
