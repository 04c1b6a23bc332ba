"""A client's end of a link on asyncio: dials, and dials again whenever the pipe breaks, until it is closed."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from kernelwire.channels import Channel
from kernelwire.demultiplexer import ClientDemultiplexer
from kernelwire.ends import ClientEnd
from kernelwire.errors import ConfigurationError, ConnectionLost, KernelwireError
from kernelwire.link.beating import LinkHeartbeat
from kernelwire.link.client import ClientLink, Joined
from kernelwire.link.envelope import LANE_OF, MESSAGE_LIMIT, Item
from kernelwire.link.framing import WrongVersion
from kernelwire.link.peer import USUAL, Timing
from kernelwire.link.pipe import Listener, Pipe
from kernelwire.link.pump import Clock, boot_time, is_cancelled, pump
from kernelwire.link.records import Beat, Beaten, Bye, Lane, Ping, Ready, Reason
from kernelwire.link.resume import Outcome
from kernelwire.link.sealed import SealedPipe, Secrets
from kernelwire.link.waking import Bell, Patience, Turnstile
from kernelwire.loop_bound import LoopBound
from kernelwire.messages import WireMessage

_log = logging.getLogger(__name__)

QUEUE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes that may wait to be sent on each lane before senders wait; one message may be larger."""

LINGER: Final = 5.0
"""Seconds that closing waits for what was sent to arrive, as long as there is progress."""

PATIENCE: Final = 0.5
"""Seconds without progress, be it to a connection, after which closing waits no more."""

DIALLING_TIME: Final = 15.0
"""Seconds that opening a pipe may take."""

CLOSING_TIME: Final = 1.0
"""Seconds that closing one may."""

FIRST_DELAYS: Final = (0.0, 0.05, 0.1, 0.2)
"""Seconds before the first attempts to connect again; each is stretched at random by up to a half."""

DELAY: Final = 0.5
"""Seconds before each later one."""

LASTING: Final = 5.0
"""Seconds that a connection must last, unless it brings a message on, for the next attempts to be the first again."""

_OF_LANE: Final = {
    lane: tuple(name for name, on in LANE_OF.items() if on is lane and name is not Channel.IOPUB) for lane in Lane
}


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
        self._ready = asyncio.Event()
        self._sent = Turnstile()
        self._senders = {lane: asyncio.Lock() for lane in Lane}
        self._stage = 0  # 1 with a pipe, 2 with a seal, 3 with a host
        self._heartbeat = LinkHeartbeat(self._ask)
        self._closing = False
        self._failure: KernelwireError | None = None
        self._demultiplexer = ClientDemultiplexer(
            self._transmit,
            self._heartbeat,
            max_message_bytes=max_message_bytes,
            iopub_held=iopub_held,
            audible=self._wait_ready,
            on_room=self._make_room,
            on_close=self._close,
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
            self._link.send(channel, message)
        self._bell.ring()

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
                delay = FIRST_DELAYS[attempt] if attempt < len(FIRST_DELAYS) else DELAY
                await asyncio.sleep(delay * random.uniform(1, 1.5))  # noqa: S311 - so that not all come at once

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
            sealed = await SealedPipe.dial(pipe, self._secrets)
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
                    self._stage = 3
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
            case Bye(Reason.CLOSED):
                self._heartbeat.host_left = True
                self._heartbeat.look_again()
            case _:
                _log.debug("the pipe broke: %s", type(why).__name__)

    def _fail(self, error: KernelwireError) -> None:
        self._failure = self._heartbeat.failure = error
        self._demultiplexer.close(error)
        self._sent.turn()
        self._ready.set()
        self._heartbeat.look_again()

    async def _close(self) -> None:
        """What was sent arrives, if that is possible at all; then the host is told."""
        try:
            if self._failure is None:
                await self._linger()
        finally:
            self._closing = True
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _linger(self) -> None:
        loop = asyncio.get_running_loop()
        peer = self._link.peer
        until, stage = loop.time() + LINGER, self._stage
        patience = Patience(PATIENCE, (peer.progress, stage), loop.time())
        self._hurry()
        while self._unsent() and not self._task.done():
            now, stage = loop.time(), max(stage, self._stage)
            if now >= until or patience.is_over((peer.progress, stage), now):
                break
            await self._sent.wait(min(until, patience.until) - now)
        if not peer.up:
            return
        self._closing = True
        peer.say(Bye(Reason.CLOSED))
        self._bell.ring()
        # The host hangs up when it has read that. To be first could take from it what it has not read yet.
        await asyncio.wait([self._task], timeout=PATIENCE)

    def _hurry(self) -> None:
        """The host answers a ping at once, and says with it what it has handled."""
        self._link.peer.say(Ping(0))
        self._bell.ring()

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
