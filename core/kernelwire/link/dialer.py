"""A client's end of a link on asyncio: dials, and dials again whenever the pipe breaks, until it is closed."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from kernelwire.channels import Channel
from kernelwire.demultiplexer import ClientDemultiplexer
from kernelwire.ends import ClientEnd
from kernelwire.errors import ConfigurationError, ConnectionLost, GapNotice, KernelwireError, Undelivered
from kernelwire.link.beating import LinkHeartbeat
from kernelwire.link.client import ClientLink, Joined
from kernelwire.link.envelope import CHANNELS, LANE_OF, MESSAGE_LIMIT, Item
from kernelwire.link.framing import WrongVersion
from kernelwire.link.peer import USUAL, Timing
from kernelwire.link.pipe import Listener, Pipe
from kernelwire.link.pump import Clock, boot_time, is_cancelled, pump
from kernelwire.link.records import Beat, Beaten, Bye, Lane, Lost, Ping, Ready, Reason
from kernelwire.link.resume import Outcome
from kernelwire.link.sealed import SealedPipe, Secrets
from kernelwire.link.waking import Bell, Patience, Turnstile
from kernelwire.loop_bound import LoopBound
from kernelwire.messages import WireMessage

_log = logging.getLogger(__name__)

QUEUE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes that may wait to be sent on each lane before senders wait; one message may be larger."""

LINGER: Final = 10.0
"""Seconds that closing waits for what was sent to arrive, as long as something moves."""

WIRE_PATIENCE: Final = 2.0
"""Seconds without that, after which closing waits no more: a wire may be slow."""

PATIENCE: Final = 0.5
"""Likewise without a connection: seconds without progress to one."""

DIALLING_TIME: Final = 15.0
"""Seconds that opening a pipe may take."""

CLOSING_TIME: Final = 1.0
"""Seconds that closing one may."""

FIRST_DELAYS: Final = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Seconds before the first attempts to connect again; each is stretched at random by up to a half."""

DELAY: Final = 0.6
"""Seconds before each later one, likewise: who can be reached again is reached within a second."""

SWIFT_ATTEMPTS: Final = 800
"""How many are made at that pace, which takes ten minutes, before they become rarer."""

LONGEST_DELAY: Final = 15.0
"""Seconds before an attempt at the most, as long as nobody sends anything: who does is not made to wait for that."""

LASTING: Final = 5.0
"""Seconds that a connection must last, unless it brings a message on, for the next attempts to be the first again."""

_DOUBLED_AFTER: Final = 100

DOUBTFUL: Final = 3
"""Handshakes in a row that fail, before there was a connection, after which it is said that the keys may be wrong."""

_JOINED: Final = 3

_CLOSED_BEFORE: Final = "the other end closed before it could send them"

_OF_LANE: Final = {
    lane: tuple(name for name, on in LANE_OF.items() if on is lane and name is not Channel.IOPUB) for lane in Lane
}


def delay(attempt: int) -> float:
    """Seconds before an attempt to connect again, by how many have failed in a row."""
    if attempt < len(FIRST_DELAYS):
        return FIRST_DELAYS[attempt]
    if attempt <= SWIFT_ATTEMPTS:
        return DELAY
    return min(DELAY * 2 ** min((attempt - SWIFT_ATTEMPTS) / _DOUBLED_AFTER, 16), LONGEST_DELAY)


class Dialer(LoopBound):
    """Opened by its making, in the running loop.

    Arguments:
        open_pipe: dials.
        secrets: for the seal.
        identity: this client's.
        max_message_bytes: bytes of a message at the most.
        iopub_held: bytes held unread on iopub, beyond which the oldest go with a gap notice.
        cursor: where in the host's log to begin; from now on if None.
        timing: when to ask the host, and when to give up a connection.
        clock: tells the time, also of sleep.

    Attributes:
        end: the channels.
        connects: how often a connection was greeted.
    """

    def __init__(
        self,
        open_pipe: Callable[[], Awaitable[Pipe]],
        secrets: Secrets,
        identity: bytes,
        *,
        max_message_bytes: int,
        iopub_held: int,
        cursor: int | None = None,
        timing: Timing = USUAL,
        clock: Clock = boot_time,
    ) -> None:
        super().__init__()
        self.connects = 0
        self._open_pipe = open_pipe
        self._secrets = secrets
        self._clock = clock
        self._link = ClientLink(identity, max_message_bytes=MESSAGE_LIMIT, cursor=cursor, timing=timing)
        self._bell = Bell()
        self._wanted = Bell()
        self._ready = asyncio.Event()
        self._sent = Turnstile()
        self._senders = {lane: asyncio.Lock() for lane in Lane}
        self._stage = 0  # 1 with a pipe, 2 with a seal, _JOINED with a host
        self._heartbeat = LinkHeartbeat(self._ask)
        self._closing = False
        self._failure: KernelwireError | None = None
        self._strange = 0  # handshakes in a row that have failed
        self._demultiplexer = ClientDemultiplexer(
            self._transmit,
            self._heartbeat,
            max_message_bytes=max_message_bytes,
            iopub_held=iopub_held,
            audible=self._wait_ready,
            on_room=self._make_room,
            on_close=self._close,
            transmit_now=self._transmit_now,
            is_audible=self._ready.is_set,
            pours=True,
        )
        self.end: ClientEnd = self._demultiplexer.end
        self._task = asyncio.create_task(self._run(), name="kernelwire link client")

    async def _transmit(self, channel: Channel, message: WireMessage) -> None:
        lane = LANE_OF[channel]
        queue = self._link.queues[lane]
        async with self._senders[lane]:  # nobody overtakes who waits
            while queue.held > QUEUE_LIMIT and self._failure is None:
                await self._sent.wait()
            if self._failure is not None:
                raise self._failure.again()
            self._queue(channel, message)

    def _transmit_now(self, channel: Channel, message: WireMessage) -> bool:
        lane = LANE_OF[channel]
        if self._failure is not None or self._senders[lane].locked() or self._link.queues[lane].held > QUEUE_LIMIT:
            return False
        self._queue(channel, message)
        return True

    def _queue(self, channel: Channel, message: WireMessage) -> None:
        self._link.send(channel, message)
        self._bell.ring_at_once()
        self._wanted.ring()

    async def _wait_ready(self) -> None:
        await self._ready.wait()

    def _ask(self, number: int) -> None:
        for question in (Beat(number), Ping(number)):
            self._link.peer.say(question)
        self._bell.ring()

    async def _run(self) -> None:
        attempt = 0
        while self._failure is None and not self._closing:
            reached, started, connects = self._reached(), self._clock(), self.connects
            error = await self._attempt()
            # Who is greeted and gets nowhere, again and again, must not ask again at once.
            got_on = self._reached() != reached or self._clock() - started >= LASTING
            attempt = 0 if got_on and self.connects > connects else attempt + 1
            self._note(error, attempt)
            if self._failure is None and not self._closing:
                await self._pause(attempt)

    async def _pause(self, attempt: int) -> None:
        stretch = random.uniform(1, 1.5)  # noqa: S311 - so that not all come at once
        seconds = delay(attempt) * stretch
        at_least = min(seconds, DELAY * stretch)
        await asyncio.sleep(at_least)
        if seconds > at_least:  # nobody could be reached for long; but perhaps somebody wants to go on just now
            await self._wanted.wait(seconds - at_least)

    def _reached(self) -> object:
        """Where both directions stand, without a connection."""
        return self._link.peer.positions, self._link.peer.progress

    async def _attempt(self) -> Exception | Bye:
        """One connection, from dialling to its end; return why it ended."""
        try:
            async with asyncio.timeout(DIALLING_TIME):
                pipe = await self._open_pipe()
            return await self._connect(pipe)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            return ConnectionLost("the pipe gave up")  # somebody inside it: that is not our own end
        except ConfigurationError as unusable:  # no other attempt could do better
            self._fail(unusable)
            return unusable
        except Exception as broken:  # noqa: BLE001 - a pipe may raise what it likes; that means that it broke
            return broken

    async def _connect(self, pipe: Pipe) -> Exception | Bye:
        try:
            self._stage = 1
            self._strange += 1
            sealed = await SealedPipe.dial(pipe, self._secrets)
            self._strange = 0
            self._stage = 2
            self._link.open(self._clock())
            return await pump(
                sealed,
                self._link,
                self._on_events,
                bell=self._bell,
                clock=self._clock,
                on_sent=self._sent.turn,
            )
        finally:
            self._stage = 0
            self._link.close()
            self._heartbeat.look_again()
            await close(pipe)

    def _on_events(self, events: Sequence[Any]) -> None:
        for event in events:
            match event:
                case Item(channel, content):
                    self._demultiplexer.put(channel, content)
                case Joined(outcome):
                    self.connects += 1
                    self._stage = _JOINED
                    if outcome is Outcome.RESTART:
                        self._ready.clear()  # the new host says so itself
                    self._heartbeat.host_left = False
                    self._heartbeat.look_again()
                case Ready():
                    self._ready.set()
                case Beaten(number):
                    self._heartbeat.on_beaten(number)
        self._heartbeat.on_pong(self._link.peer.pong)
        self._look_for_room()
        self._sent.turn()

    def _look_for_room(self) -> None:
        for lane, names in _OF_LANE.items():
            self._link.peer.into[lane].room = not any(map(self._demultiplexer.is_full, names))

    def _make_room(self) -> None:
        self._look_for_room()
        self._bell.ring()

    def _note(self, why: Exception | Bye, attempt: int) -> None:
        """What the end of a connection means for the next."""
        match why:
            # Anybody on the way can say so: who was there before is not given up for a word of that.
            case WrongVersion() if not self.connects or attempt >= len(FIRST_DELAYS):
                self._fail(ConnectionLost(str(why)))
            case Bye(Reason.CONFLICT):
                self._fail(ConnectionLost("another client has this identity"))
            case Bye(Reason.CLOSED, lost):
                for number, count, size in lost:
                    self._demultiplexer.put(CHANNELS[number], GapNotice(count, size, _CLOSED_BEFORE))
                self._heartbeat.host_left = True
                self._heartbeat.look_again()
            case _ if self._strange == DOUBTFUL and not self.connects:
                _log.warning("the other end breaks off each handshake; is the connection file its own? trying again")
            case _:
                _log.debug("the pipe broke: %s", type(why).__name__)

    def _fail(self, error: KernelwireError) -> None:
        self._failure = self._heartbeat.failure = error
        self._demultiplexer.close(error)
        self._sent.turn()
        self._ready.set()
        self._heartbeat.look_again()

    async def _close(self) -> None:
        """What was sent arrives, if that is possible at all; then the host is told.

        Raises:
            Undelivered: not all of it is known to have arrived.
        """
        lost: Sequence[Lost] = ()
        try:
            if self._failure is None:
                lost = await self._linger()
        finally:
            self._closing = True
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if lost:
            raise Undelivered(sum(each.messages or 0 for each in lost), sum(each.size or 0 for each in lost))

    async def _linger(self) -> Sequence[Lost]:
        """Wait, and say goodbye; return what may not have arrived."""
        loop = asyncio.get_running_loop()
        peer = self._link.peer
        until, stage = loop.time() + LINGER, self._stage
        patience = self._patience(stage)
        self._hurry()
        while self._unsent() and not self._task.done():
            now = loop.time()
            if self._stage > stage:  # on the way to a connection
                stage = self._stage
                patience = self._patience(stage)
            if now >= until or patience.is_over(peer.movement, now):
                break
            await self._sent.wait(min(until, patience.until) - now)
        lost = peer.take_unhandled()
        if peer.up:
            self._closing = True
            peer.leave(Reason.CLOSED)
            self._bell.ring()
            # The host hangs up when it has read that. To be first could take from it what it has not read yet.
            await asyncio.wait([self._task], timeout=PATIENCE)
        return lost

    def _patience(self, stage: int) -> Patience:
        now = asyncio.get_running_loop().time()
        return Patience(WIRE_PATIENCE if stage == _JOINED else PATIENCE, self._link.peer.movement, now)

    def _hurry(self) -> None:
        """The host answers a ping at once, and says with it what it has handled."""
        self._link.peer.say(Ping(0))
        self._bell.ring()
        self._wanted.ring()

    def _unsent(self) -> bool:
        return any(self._link.queues) or self._link.peer.has_unhandled


async def close(pipe: Pipe | Listener) -> None:
    """Close a pipe that may be broken."""
    try:
        async with asyncio.timeout(CLOSING_TIME):
            await pipe.aclose()
    except asyncio.CancelledError:
        if is_cancelled():
            raise
    except Exception as error:  # noqa: BLE001 - a broken pipe may fail at this too
        _log.debug("closing a pipe failed: %s", type(error).__name__)
