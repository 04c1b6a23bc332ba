"""Bugs, planted one at a time, which the simulator must find before anybody believes what it does not find.

Each is what somebody could have written. Where it says *once*, somebody had: it stood in the link or in a draft of it.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from msgspec.structs import replace

from kernelwire.channels import Channel
from kernelwire.link import client as client_module
from kernelwire.link import log as log_module
from kernelwire.link import peer as peer_module
from kernelwire.link import resume as resume_module
from kernelwire.link.allowance import Allowance
from kernelwire.link.chunk import Assembly
from kernelwire.link.client import ClientLink
from kernelwire.link.envelope import CHANNELS, Payload, pack_gap
from kernelwire.link.glance import Glance
from kernelwire.link.host import Admission, HostLink, Member
from kernelwire.link.log import Feed, Log
from kernelwire.link.peer import Peer
from kernelwire.link.queue import Queue
from kernelwire.link.records import Control, Hello, Position, Status
from kernelwire.link.resume import Chunk, InLane, OutLane
from kernelwire.link.schedule import fill
from kernelwire.link.throttle import Throttle

MUTANTS: Final[dict[str, list[tuple[Any, str, Any]]]] = {}
"""For each bug what is replaced: the owner, the name, and the wrong one."""


def bug(name: str, owner: Any, attribute: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorated function is the wrong one."""

    def plant(wrong: Callable[..., Any]) -> Callable[..., Any]:
        MUTANTS.setdefault(name, []).append((owner, attribute, wrong))
        return wrong

    return plant


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The link with a bug."""
    patches = MUTANTS[name]
    before = [vars(owner)[attribute] for owner, attribute, _ in patches]
    for owner, attribute, wrong in patches:
        setattr(owner, attribute, wrong)
    try:
        yield
    finally:
        for (owner, attribute, _), right in zip(patches, before, strict=True):
            setattr(owner, attribute, right)


@contextmanager
def nothing_planted() -> Iterator[None]:
    """The link as it is."""
    yield


_out_resume, _next_chunk = OutLane.resume, OutLane.next_chunk
_in_resume, _status, _wants_status = InLane.resume, InLane.status, InLane.wants_status
_open, _greet, _host_init, _pull = Peer.open, HostLink.greet, HostLink.__init__, Feed.pull
_in_the_way, _forget = HostLink.in_the_way, HostLink.forget


# What is sent again.


@bug("new messages go before those that are sent again", OutLane, "resume")
def _(lane: OutLane, position: Position) -> None:
    _out_resume(lane, position)
    if not position.offset and (payload := lane._source.pull()) is not None:
        lane._items.appendleft(payload)
        lane.kept += payload.size


@bug("the client does not wait for the welcome", ClientLink, "close")
def _(link: ClientLink) -> None:
    link._hello = link._greeting_since = None


@bug("the client does not wait for the welcome", ClientLink, "has_frame")
def _(link: ClientLink, now: float) -> bool:
    return link._hello is not None or link.peer.has_frame(now)


@bug("the client does not wait for the welcome", ClientLink, "next_frame")
def _(link: ClientLink, now: float) -> bytes:
    if link._hello is not None:
        hello, link._hello = link._hello, None
        return hello.encode()
    return link.peer.next_frame(now)


@bug("one message too many is acknowledged", InLane, "status")
def _(lane: InLane) -> Status:
    status = _status(lane)
    return Status(status.lane, status.handled + bool(lane._assembly.size), status.granted)


@bug("what was sent counts as handled", OutLane, "next_chunk")
def _(lane: OutLane, limit: int) -> Chunk | None:
    chunk = _next_chunk(lane, limit)
    if chunk is not None and chunk.final:
        lane._forget(chunk.seq)
    return chunk


@bug("what was handled last is sent again", OutLane, "resume")
def _(lane: OutLane, position: Position) -> None:
    last = position.received - lane._first
    payload = lane._items[last] if 0 <= last < len(lane._items) else None
    _out_resume(lane, position)
    if payload is not None and not position.offset:
        lane._items.appendleft(payload)
        lane.kept += payload.size


@bug("the sender forgets where in a message it was", OutLane, "resume")
def _(lane: OutLane, position: Position) -> None:
    _out_resume(lane, position)
    lane._offset = 0


@bug("the receiver forgets the half of a message", InLane, "resume")
def _(lane: InLane) -> None:
    _in_resume(lane)
    lane._assembly.clear()


@bug("half a message survives a restart", Assembly, "clear")
def _(assembly: Assembly) -> None:
    pass


@bug("what was handled is kept", OutLane, "_forget")
def _(lane: OutLane, handled: int) -> None:
    pass


# Credit and bounds.


@bug("credit of the connection before counts on this one", OutLane, "resume")
def _(lane: OutLane, position: Position) -> None:
    granted = lane._granted
    _out_resume(lane, position)
    lane._granted = granted


@bug("bytes of the connection before count on this one", InLane, "resume")
def _(lane: InLane) -> None:
    accepted = lane._accepted
    _in_resume(lane)
    lane._accepted = accepted


@bug("a connection begins with credit, room or not (once)", OutLane, "resume")
def _(lane: OutLane, position: Position) -> None:
    _out_resume(lane, position)
    lane._granted = resume_module.WINDOW[lane.number]


@bug("a connection begins with credit, room or not (once)", InLane, "resume")
def _(lane: InLane) -> None:
    _in_resume(lane)
    lane._granted = resume_module.WINDOW[lane._lane]


@bug("room does not matter", InLane, "status")
def _(lane: InLane) -> Status:
    room, lane.room = lane.room, True
    status = _status(lane)
    lane.room = room
    return status


@bug("credit is granted when there is none left", InLane, "wants_status")
def _(lane: InLane) -> bool:
    return lane.room and lane._granted < lane._accepted


@bug("a status is wanted, and there is no news (once)", InLane, "wants_status")
def _(lane: InLane) -> bool:
    return lane._heavy >= resume_module._SPARSE_BYTES or _wants_status(lane)


@bug("who has no connection keeps its part of what all share", Throttle, "begin")
def _(throttle: Throttle) -> None:
    throttle.is_swift, throttle._since = False, None


@bug("who has ended keeps its part of what all share (once)", HostLink, "forget")
def _(host: HostLink, member: Member) -> None:
    _forget(host, member)
    vars(member)["close"] = lambda _: None


@bug("nothing bounds what is kept", OutLane, "_may_begin")
def _(lane: OutLane) -> bool:
    return True


MUTANTS["news of little weight is never told"] = [(peer_module, "STATUS_AFTER", 1e9)]


@bug("what was sent still counts as waiting", Queue, "pull")
def _(queue: Queue) -> Payload | None:
    return queue._payloads.popleft() if queue._payloads else None


# Publishers who wait.


@bug("publishers wait for whoever gets on (once)", Allowance, "spend")
def _(allowance: Allowance, seconds: float) -> bool:
    return True


@bug("publishers wait for nobody", HostLink, "in_the_way")
def _(host: HostLink, size: int) -> list[Member]:
    return []


@bug("a publisher forgets the head of its message (once)", HostLink, "in_the_way")
def _(host: HostLink, size: int) -> list[Member]:
    return _in_the_way(host, size - 16)


# Order.


@bug("replies go before what was published before them", Feed, "pull")
def _(feed: Feed) -> Payload | None:
    if feed._replies:
        feed._replies[0] = replace(feed._replies[0], number=feed.cursor)
    return _pull(feed)


@bug("lane D goes before lane C", peer_module, "fill")
def _(controls: list[Control], lanes: tuple[OutLane, OutLane], limit: int) -> bytes:
    return fill(controls, lanes[::-1], limit)


# Gaps.


@bug("a gap counts one too few", log_module, "pack_gap")
def _(channel: Channel, count: int, size: int | None, reason: str) -> Payload:
    return pack_gap(channel, max(count - 1, 1), size, reason)


@bug("a gap forgets its bytes", log_module, "pack_gap")
def _(channel: Channel, count: int, size: int | None, reason: str) -> Payload:
    return pack_gap(channel, count, 0, reason)


@bug("a gap stands behind what it should stand before", Feed, "pull")
def _(feed: Feed) -> Payload | None:
    if (owed := vars(feed).pop("_owed", None)) is not None:
        return cast("Payload", owed)
    payload = _pull(feed)
    if payload is None or len(payload.pieces) > 1 or (behind := _pull(feed)) is None:
        return payload
    vars(feed)["_owed"] = payload
    return behind


@bug("messages go without a gap", Feed, "pull")
def _(feed: Feed) -> Payload | None:
    payload = _pull(feed)
    while payload is not None and len(payload.pieces) == 1:
        payload = _pull(feed)
    return payload


@bug("pinned messages go like all others", log_module, "look")
def _(_payload: Payload) -> Glance:
    return Glance(is_pinned=False, can_wait=False)


@bug("the log drops nothing", Log, "_evict")
def _(log: Log) -> None:
    log._oldest += 1


MUTANTS["a restart is not told on iopub"] = [(client_module, "CHANNELS", CHANNELS[:3])]


# Sessions.


@bug("a restart keeps what waits", Queue, "clear")
def _(queue: Queue) -> None:
    pass


@bug("a restart keeps what was sent", OutLane, "begin")
def _(lane: OutLane) -> None:
    lane._first, lane._reached = 1, (1, 0)
    lane.resume(Position(0, 0))


@bug("anybody may resume", Member, "is_newly")
def _(member: Member, hello: Hello) -> bool:
    return hello.attempt > member.attempt


@bug("a hello that was held up on the way is taken (once)", Member, "is_newly")
def _(member: Member, hello: Hello) -> bool:
    return member._resume_secret == hello.resume_secret


@bug("all sessions of a host have one epoch (once)", HostLink, "__init__")
def _(host: HostLink, **arguments: Any) -> None:
    _host_init(host, **arguments)
    host._epochs = itertools.repeat(next(host._epochs))  # type: ignore[assignment]


@bug("who is connected expires too", HostLink, "_is_expired")
def _(host: HostLink, member: Member, now: float) -> bool:
    return now >= (member.since or 0.0) + host._resume_window


@bug("nobody expires", HostLink, "_is_expired")
def _(host: HostLink, member: Member, now: float) -> bool:
    return False


@bug("who comes back still counts as away", HostLink, "greet")
def _(host: HostLink, plaintext: bytes, now: float) -> Admission:
    away = {identity: member.since for identity, member in host.members.items()}
    admission = _greet(host, plaintext, now)
    if admission.member is not None and not admission.is_new:
        admission.member.since = away[admission.member.identity]
    return admission


@bug("somebody who is connected must make room", HostLink, "_longest_away")
def _(host: HostLink) -> Member | None:
    return None if len(host.members) < host._members_limit else next(iter(host.members.values()))


@bug("who says goodbye is kept", HostLink, "forget")
def _(host: HostLink, member: Member) -> None:
    pass


@bug("a goodbye forgets what has not even begun", OutLane, "_take_source")
def _(lane: OutLane) -> Iterator[Payload]:
    return iter(())


@bug("a goodbye forgets what was sent in part", OutLane, "take_unsent")
def _(lane: OutLane) -> Iterator[Payload]:
    return lane._take_source()


# Silence.


@bug("silence is not noticed", Peer, "is_dead")
def _(peer: Peer, now: float) -> bool:
    return False


@bug("nobody asks whether the other is there", Peer, "open")
def _(peer: Peer, theirs: tuple[Position, Position], now: float) -> None:
    _open(peer, theirs, now)
    peer._timing = peer_module.Timing(ping_after=1e9)
