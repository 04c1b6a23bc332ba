"""The waist's channels on zmq sockets."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Final

import zmq

from kernelwire.channels import (
    ControlChannel,
    HeartbeatChannel,
    IOPubChannel,
    Receiver,
    Sender,
    ShellChannel,
    Sink,
    StdinChannel,
)
from kernelwire.errors import ChannelClosed, MessageTooLarge, NoBeat, PeerGone
from kernelwire.inbox import Inbox
from kernelwire.messages import WireMessage
from kernelwire_zmq import framing
from kernelwire_zmq.connected import Connected
from kernelwire_zmq.framing import DELIMITER
from kernelwire_zmq.patient_wire import PatientWire
from kernelwire_zmq.readiness import Readiness
from kernelwire_zmq.wire import Wire

_ARRIVAL: Final = 0.5
"""Seconds that a client's stdin may take to connect, after its shell has."""

_ARRIVAL_STEP: Final = 0.005

LINGER: Final = 1000
"""Milliseconds that zmq may go on sending what it has taken, after a channel was closed."""


class Duplex(Sender, Receiver):
    """A DEALER at a client's end, or a ROUTER at a kernel's.

    Arguments:
        socket: connected or bound.
        routes: whether it is a kernel's end, so that messages have peers.
        max_bytes: bound on a message.
        held: bound in bytes for what is held unread; beyond it the senders wait.
    """

    def __init__(self, socket: "zmq.Socket[bytes]", *, routes: bool, max_bytes: int, held: int) -> None:
        self._routes = routes
        self._max_bytes = max_bytes
        self._inbox = Inbox[WireMessage](limit=held, on_room=lambda: self._wire.resume())
        self._wire = Wire(socket, self._take)

    async def send(self, message: WireMessage) -> None:
        size = message.size
        if size > self._max_bytes:
            raise MessageTooLarge(size, self._max_bytes)
        if self._routes:
            await self._wire.send(framing.routed(message), message.peer)
        else:
            await self._wire.send([DELIMITER, *message.frames])

    def send_now(self, message: WireMessage) -> bool:
        size = message.size
        if size > self._max_bytes:
            raise MessageTooLarge(size, self._max_bytes)
        return self._wire.send_now(framing.routed(message) if self._routes else [DELIMITER, *message.frames])

    # A plain method that hands on a coroutine: one frame less on every message.
    def receive(self) -> Coroutine[Any, Any, WireMessage]:
        return self._inbox.receive()

    def pour(self, sink: Sink) -> bool:
        self._inbox.pour(sink)
        return True

    def intercept(self, offer: Callable[[WireMessage], bool]) -> bool:
        self._inbox.intercept(offer)
        return True

    def hand_on(self) -> None:
        self._wire.hand_on()

    async def aclose(self) -> None:
        self._inbox.check_loop()
        self._wire.close(LINGER)
        self._inbox.discard()

    def _take(self) -> None:
        if self._routes:
            self._inbox.put(framing.receive(self._wire.socket, self._max_bytes))
        else:
            for message in framing.receive_plain(self._wire.socket, self._max_bytes, topics=False):
                self._inbox.put(message)
        if self._inbox.full:
            self._wire.pause()


class Shell(Duplex, ShellChannel):
    """The shell channel."""


class Control(Duplex, ControlChannel):
    """The control channel."""


class Stdin(Duplex, StdinChannel):
    """The stdin channel.

    Attributes:
        connected: knows whether the kernel can reach us; None at a kernel's end.
    """

    connected: Connected | None = None

    async def send(self, message: WireMessage) -> None:
        # A client's channels connect each for itself: its request may be here before its stdin is.
        deadline = self._wire.loop.time() + (_ARRIVAL if self._routes else 0)
        while True:
            try:
                return await super().send(message)
            except PeerGone:
                if self._wire.loop.time() >= deadline:
                    raise
            await asyncio.sleep(_ARRIVAL_STEP)

    async def ready(self) -> None:
        self._inbox.check_open()
        if self.connected is not None:
            await self.connected.wait()

    async def aclose(self) -> None:
        self._inbox.check_loop()
        if self.connected is not None:
            self.connected.close()  # before the socket that it watches
        await super().aclose()


class IOPub(IOPubChannel):
    """A SUB that is always drained, so that the publisher never has to drop for us.

    Arguments:
        socket: connected, subscribed to everything.
        readiness: knows whether the subscription has reached the kernel.
        held: bound in bytes for what is held unread; beyond it the oldest go, with a gap notice.
    """

    def __init__(self, socket: "zmq.Socket[bytes]", readiness: Readiness, *, held: int) -> None:
        self._readiness = readiness
        self._inbox = Inbox[WireMessage](limit=held, drops=True)
        self._urgent = True
        self._wire = PatientWire(socket, self._take, self._may_wait)
        readiness.drain = self._wire.drain

    @property
    def urgent(self) -> bool:
        return self._urgent

    @urgent.setter
    def urgent(self, urgent: bool) -> None:
        self._urgent = urgent
        if urgent:
            self._wire.hurry()

    def receive(self) -> Coroutine[Any, Any, WireMessage]:
        return self._inbox.receive()

    def pour(self, sink: Sink) -> bool:
        self._inbox.pour(sink)
        return True

    def intercept(self, offer: Callable[[WireMessage], bool]) -> bool:
        self._inbox.intercept(offer)
        return True

    @property
    def is_ready(self) -> bool:
        return self._readiness.is_known

    async def ready(self) -> None:
        self._inbox.check_open()
        self._wire.hurry()
        await self._readiness.wait()

    async def aclose(self) -> None:
        self._inbox.check_loop()
        self._readiness.close()
        self._wire.close(0)
        self._inbox.discard()

    def _may_wait(self) -> bool:
        return not self._urgent and self._readiness.is_set

    def _take(self) -> None:
        # What a kernel publishes is not bounded here: to refuse it would be to lose it.
        messages = framing.receive_plain(self._wire.socket, 1 << 62, topics=True)
        self._readiness.seen()
        for message in messages:
            self._inbox.put(message)


class Heartbeat(HeartbeatChannel):
    """Pings on a DEALER: unlike a REQ it survives a ping that nobody answered.

    The empty first frame is the envelope that a REP at the other end insists on, and that a ROUTER echoes.
    """

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._wire = Wire(socket, self._take)
        self._pings = itertools.count(1)
        self._waiting: dict[bytes, asyncio.Future[bool]] = {}

    async def beat(self, timeout: float) -> float:
        loop = self._wire.loop
        self._wire.check_loop()
        started = loop.time()
        ping = next(self._pings).to_bytes(8, "big")
        pong = self._waiting[ping] = loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._wire.send([b"", ping])
                if not await pong:
                    raise ChannelClosed("the channel was closed by this end")
        except TimeoutError:
            # A loop that was held up finds the answer and the time limit at once; the answer counts.
            if pong.done() and not pong.cancelled() and pong.result():
                return loop.time() - started
            raise NoBeat(f"the kernel's heartbeat did not answer within {timeout:g} s") from None
        finally:
            del self._waiting[ping]
        return loop.time() - started

    async def aclose(self) -> None:
        self._wire.check_loop()
        self._wire.close(0)
        for pong in self._waiting.values():
            if not pong.done():
                pong.set_result(False)

    def _take(self) -> None:
        pong = self._waiting.get(self._wire.socket.recv_multipart(zmq.NOBLOCK)[-1])
        if pong is not None and not pong.done():
            pong.set_result(True)
