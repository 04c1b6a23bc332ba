"""A host's end of a link on asyncio: accepts pipes, and keeps its clients over their breaks."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from kernelwire.channels import Channel
from kernelwire.demultiplexer import KernelDemultiplexer
from kernelwire.ends import KernelEnd
from kernelwire.errors import ConnectionLost, EndOfChannel, GapNotice, PeerGone
from kernelwire.link.allowance import PATIENCE
from kernelwire.link.dialer import LINGER, QUEUE_LIMIT, WIRE_PATIENCE, close
from kernelwire.link.envelope import LANE_OF, MESSAGE_LIMIT, Item, Payload, pack, pack_gap
from kernelwire.link.glance import is_half_an_end
from kernelwire.link.host import REPLIES_LIMIT, HostLink, Member
from kernelwire.link.line import Line
from kernelwire.link.log import Log
from kernelwire.link.peer import USUAL, Timing
from kernelwire.link.pipe import Listener, Pipe
from kernelwire.link.pump import Clock, boot_time, is_cancelled, pump
from kernelwire.link.records import Beat, Beaten, Bye, Lane, Ping, Ready, Reason
from kernelwire.link.sealed import SealedPipe, Secrets
from kernelwire.link.waking import Company, Patience, Turnstile
from kernelwire.messages import WireMessage

_log = logging.getLogger(__name__)

STRANGERS_LIMIT: Final = 64
"""Pipes at a time whose client has not shown yet who it is; one more, and the oldest of them goes."""

GREETING_TIME: Final = 5.0
"""Seconds that a client has for its hello, after the handshake."""

REPLY_PATIENCE: Final = 10.0
"""Seconds for which a client that makes progress may hold up who has something for it alone. It is kept then."""

ACCEPT_AGAIN: Final = 1.0
"""Seconds after which a listener that could not accept is asked again."""

COMPANY: Final = 0.003
"""Seconds for which what can wait does, so that it goes into one frame with what comes next: each frame by itself wakes
up the relay and the client.
"""

_EXPIRY_CHECK: Final = 60.0


class Server:
    """Opened by its making, in the running loop; closed by its end.

    Arguments:
        listener: where pipes come from; the server's to close.
        secrets: for the seal.
        max_message_bytes: bytes of a message at the most.
        log: what is published; a new one if None.
        timing: when to ask a client, and when to give up its connection.
        clock: tells the time, also of sleep.

    Attributes:
        end: the channels.
    """

    def __init__(
        self,
        listener: Listener,
        secrets: Secrets,
        *,
        max_message_bytes: int,
        log: Log | None = None,
        timing: Timing = USUAL,
        clock: Clock = boot_time,
    ) -> None:
        self._listener = listener
        self._secrets = secrets
        self._clock = clock
        self._link = HostLink(max_message_bytes=MESSAGE_LIMIT, log=log, timing=timing, patience=PATIENCE)
        self._lines: dict[bytes, Line] = {}
        self._strangers: dict[asyncio.Task[None], None] = {}
        self._unserved: dict[asyncio.Task[None], Pipe] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._progress = Turnstile()
        self._publishing = asyncio.Lock()
        self._closing = False
        self._company = Company(COMPANY, self._ring)
        self._demultiplexer = KernelDemultiplexer(
            max_message_bytes=max_message_bytes,
            publish=self._publish,
            publish_now=self._publish_now,
            tell_gap=self._tell_gap,
            on_room=self._make_room,
            on_close=self._close,
        )
        self.end: KernelEnd = self._demultiplexer.end
        self.end.connected = 0
        self._accepting = [
            asyncio.create_task(self._accept(), name="kernelwire link host"),
            asyncio.create_task(self._tidy(), name="kernelwire link host"),
        ]

    async def _accept(self) -> None:
        while True:
            try:
                pipe = await self._listener.accept()
            except (ConnectionLost, EndOfChannel) as error:
                _log.warning("no more clients can come: %s", error)
                return
            except (Exception, asyncio.CancelledError) as error:  # as for pipes, but it may be better next time
                if is_cancelled():
                    raise
                _log.warning("no client can come just now: %s: %s", type(error).__name__, error)
                await asyncio.sleep(ACCEPT_AGAIN)
                continue
            task = asyncio.create_task(self._serve(pipe), name="kernelwire link host")
            self._unserved[task] = pipe
            self._tasks.add(task)
            self._strangers[task] = None
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda task: self._strangers.pop(task, None))
            await asyncio.sleep(0)  # what is cancelled before it has begun would not close its pipe
            if len(self._strangers) > STRANGERS_LIMIT:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                oldest.cancel()

    async def _serve(self, pipe: Pipe) -> None:
        task = asyncio.current_task()
        assert task is not None
        del self._unserved[task]
        try:
            sealed = await SealedPipe.answer(pipe, self._secrets)
            async with asyncio.timeout(GREETING_TIME):
                hello = await sealed.receive()
            await self._greet(task, sealed, hello)
        except Exception as error:  # noqa: BLE001 - whatever a pipe raises; and a stranger's mistakes are no news
            _log.debug("a pipe ended: %s", type(error).__name__)
        finally:
            await close(pipe)

    async def _greet(self, task: "asyncio.Task[None]", sealed: SealedPipe, hello: bytes) -> None:
        if self._closing:
            raise ConnectionLost("this end is closing")
        admission = self._link.greet(hello, self._clock())
        self._strangers.pop(task, None)
        if admission.ended is not None:
            self._detach(admission.ended)
        member = admission.member
        if member is None:
            async with asyncio.timeout(GREETING_TIME):
                await sealed.send(admission.answer)
            return
        line = Line(member, task, admission.answer)
        if (replaced := self._lines.get(member.identity)) is not None:
            replaced.replace()
            if replaced.member is not member:  # it was given up, and has no connection to say so any more
                replaced.member.close(self._clock())
        self._lines[member.identity] = line
        self.end.connected = len(self._lines)
        if admission.is_new:
            wire = _Wire(self, member)
            self._demultiplexer.attach(member.identity, wire, transmit_now=wire.now)
        self._look_for_room(line)  # there may be some since it was here last
        readying = asyncio.create_task(self._tell_when_audible(line), name="kernelwire link host")
        self._tasks.add(readying)
        readying.add_done_callback(self._tasks.discard)
        try:
            why = await pump(
                sealed,
                line,
                lambda events: self._on_events(line, events),
                bell=line.bell,
                clock=self._clock,
                on_sent=self._progress.turn,
            )
            if isinstance(why, Bye) and line.is_current:
                self._link.forget(member)
                self._detach(member)
        finally:
            readying.cancel()
            if line.is_current:
                del self._lines[member.identity]
                self.end.connected = len(self._lines)
                member.close(self._clock())
                self._progress.turn()

    async def _tell_when_audible(self, line: Line) -> None:
        await self.end.wait_audible()
        line.member.peer.say(Ready())
        line.bell.ring()

    def _on_events(self, line: Line, events: Sequence[Any]) -> None:
        for event in events:
            match event:
                case Item(channel, WireMessage() as message) if channel is not Channel.IOPUB:
                    self._demultiplexer.put(line.member.identity, channel, message)
                case Beat(number):
                    if self.end.beating:
                        line.member.peer.say(Beaten(number))
        self._look_for_room(line)
        self._progress.turn()

    def _look_for_room(self, line: Line) -> None:
        for lane, names in _OF_LANE.items():
            line.member.peer.into[lane].room = not any(map(self._demultiplexer.is_full, names))

    def _make_room(self) -> None:
        for line in self._lines.values():
            self._look_for_room(line)
            line.bell.ring()

    async def send(self, member: Member, channel: Channel, message: WireMessage) -> None:
        """Send to one client; waits while it makes progress and too much waits for it on this lane already."""
        lane = LANE_OF[channel]
        await self._wait_while(
            lambda: [member] if self._has(member) and member.held_on(lane) > QUEUE_LIMIT else [],
            REPLY_PATIENCE,
            PATIENCE,
        )
        if not self._has(member):
            raise PeerGone("this client has left")
        if member.held > REPLIES_LIMIT:
            # It has been away for too long, or takes nothing: what is for it cannot be kept for ever.
            self._drop(member)
            raise PeerGone("so much waited for this client that it had to be given up")
        self._put(member, channel, message)

    def send_now(self, member: Member, channel: Channel, message: WireMessage) -> bool:
        """As `send`, if that needs no wait and raises nothing; whether it was so."""
        if not self._has(member) or member.held_on(LANE_OF[channel]) > QUEUE_LIMIT or member.held > REPLIES_LIMIT:
            return False
        self._put(member, channel, message)
        return True

    def _put(self, member: Member, channel: Channel, message: WireMessage) -> None:
        member.send(channel, message)
        if (line := self._lines.get(member.identity)) is not None:
            if is_half_an_end(message):
                line.bell.ring()  # both go into one frame
            else:
                line.bell.ring_at_once()

    def _has(self, member: Member) -> bool:
        return self._link.members.get(member.identity) is member

    async def _publish(self, _channel: Channel, message: WireMessage) -> None:
        loop, payload = asyncio.get_running_loop(), pack(Channel.IOPUB, message)
        async with self._publishing:
            while members := self._link.in_the_way(payload.size):
                seconds, started = self._link.patience_with(members), loop.time()
                await self._progress.wait(seconds)
                self._link.waited(members, min(loop.time() - started, seconds))
            self._log(payload)

    def _publish_now(self, _channel: Channel, message: WireMessage) -> bool:
        payload = pack(Channel.IOPUB, message)
        if self._publishing.locked() or self._link.in_the_way(payload.size):
            return False
        self._log(payload)
        return True

    def _log(self, payload: Payload) -> None:
        if self._link.log.append(payload).can_wait:
            self._company.expect()
        else:
            self._ring()

    def _ring(self) -> None:
        self._company.has_come()
        for line in self._lines.values():
            line.bell.ring()

    async def _tell_gap(self, channel: Channel, notice: GapNotice, peer: bytes) -> None:
        payload = pack_gap(channel, notice.count, notice.size, notice.reason)
        if channel is Channel.IOPUB:
            async with self._publishing:
                self._log(payload)
            return
        if (member := self._link.members.get(peer)) is None:
            raise PeerGone("this client has left")
        member.put(LANE_OF[channel], payload)
        if (line := self._lines.get(peer)) is not None:
            line.bell.ring()

    async def _wait_while(self, in_the_way: Callable[[], Sequence[Member]], seconds: float, patience: float) -> None:
        """Until nobody is in the way any more but for whom nothing moves for so long, or the time is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        seen: dict[Member, Patience] = {}
        while members := [member for member in in_the_way() if not member.is_stuck]:
            now = loop.time()
            if now >= until:
                return
            for member in members:
                if seen.setdefault(member, Patience(patience, None, now)).is_over(member.peer.movement, now):
                    member.give_up()
            waiting = [seen[member].until for member in members if not member.is_stuck]
            if waiting:
                await self._progress.wait(max(min(until, *waiting) - now, 0))

    def _drop(self, member: Member) -> None:
        self._link.forget(member)
        self._detach(member)
        if (line := self._lines.get(member.identity)) is not None:
            member.peer.leave(Reason.OVERFLOW)
            line.bell.ring()
            asyncio.get_running_loop().call_later(PATIENCE, line.task.cancel)  # if it does not even take that

    def _detach(self, member: Member) -> None:
        self._demultiplexer.detach(member.identity, _Wire(self, member))

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_CHECK)
            for member in self._link.expired(self._clock()):
                self._detach(member)

    async def _close(self) -> None:
        """What was sent arrives where there is a connection; then the clients are told."""
        self._closing = True
        try:
            for task in self._accepting:
                task.cancel()
            self._ring()
            await self._linger()
        finally:
            self._demultiplexer.close()
            tasks = (*self._accepting, *self._tasks)
            for task in tasks:
                task.cancel()
            try:
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                await asyncio.gather(close(self._listener), *map(close, self._unserved.values()))

    async def _linger(self) -> None:
        def unserved() -> list[Member]:
            return [line.member for line in self._lines.values() if line.member.peer.has_unhandled]

        for line in self._lines.values():
            line.member.peer.say(Ping(0))  # the answer says what was handled
            line.bell.ring()
        await self._wait_while(unserved, LINGER, WIRE_PATIENCE)
        for line in self._lines.values():
            line.member.peer.leave(Reason.CLOSED)
            line.bell.ring()
        if lines := [line.task for line in self._lines.values()]:
            # Clients hang up when they have read that. To be first could take from them what they have not read yet.
            await asyncio.wait(lines, timeout=PATIENCE)


class _Wire:
    """Sends to one member; equal to every other one of it, as :meth:`KernelDemultiplexer.detach` wants."""

    def __init__(self, server: Server, member: Member) -> None:
        self._server = server
        self._member = member
        self._senders = {lane: asyncio.Lock() for lane in Lane}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Wire) and other._member is self._member

    def __hash__(self) -> int:
        return hash(id(self._member))

    async def __call__(self, channel: Channel, message: WireMessage) -> None:
        async with self._senders[LANE_OF[channel]]:  # nobody overtakes who waits
            await self._server.send(self._member, channel, message)

    def now(self, channel: Channel, message: WireMessage) -> bool:
        return not self._senders[LANE_OF[channel]].locked() and self._server.send_now(self._member, channel, message)


_OF_LANE: Final = {Lane.C: (Channel.CONTROL, Channel.STDIN), Lane.D: (Channel.SHELL,)}
