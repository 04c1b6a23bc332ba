"""One websocket of a relay: takes the place of engine.io's own, between it and aiohttp.

What an end may say is so little that all else is stopped here, before any parser of a library sees it: one CONNECT, the
events of :mod:`kernelwire_socketio.events`, engine.io's pongs and its goodbye. Events go to the partner from here, in
the order in which they came; everything else goes up to engine.io.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import aiohttp
from aiohttp import WebSocketError, WSMsgType, web

from kernelwire.link.waking import Turnstile
from kernelwire_socketio import events
from kernelwire_socketio.relay.door import Door, Visitor
from kernelwire_socketio.relay.limits import Bucket, Limits
from kernelwire_socketio.relay.log import Log
from kernelwire_socketio.relay.metrics import Counts
from kernelwire_socketio.relay.outbox import Outbox
from kernelwire_socketio.tap import IN_A_ROW, tap_into

KEY: Final = "kernelwire.websocket"
"""Where it stands in the environment that engine.io passes along."""

_PONG, _GOODBYE = "3", "1"
_CONNECT, _DISCONNECT = 0, 1
_BINARY: Final = 0x82
_U16, _U64 = struct.Struct(">BBH"), struct.Struct(">BBQ")
_LARGE: Final = 16 * 1024


class Partner(Protocol):
    """What the switchboard knows of a connection that has joined."""

    def on_event(self, name: str, data: memoryview) -> bool:
        """Take an event; False if it is none that may come."""

    def until_room(self) -> Turnstile | None:
        """What turns when there may be room for the next message; None if there is."""

    def left(self) -> None:
        """The connection is over."""

    @property
    def described(self) -> dict[str, str | None]:
        """Who it is, for the log."""


class Shared(Protocol):
    """What a websocket needs of its relay."""

    limits: Limits
    counts: Counts
    door: Door
    log: Log
    sockets: "set[WebSocket]"
    gone: Turnstile
    tasks: "dict[object, asyncio.Task[Any]]"


class WebSocket:
    """Made by engine.io for each request.

    Arguments:
        relay: whose it is.
        handler: engine.io's.
        server: engine.io's.

    Attributes:
        outbox: what waits to be sent.
        partner: who has joined; None before.
        visitor: the connection below.
        sending_since: since when one message is being sent; 0 if none is.
        received, sent: bytes of messages.
    """

    def __init__(self, relay: Shared, handler: Callable[["WebSocket"], Awaitable[None]], server: object) -> None:
        self._relay = relay
        self._handler = handler
        self._socket = web.WebSocketResponse(
            max_msg_size=events.LIMIT + 1, compress=False, autoping=False, timeout=relay.limits.deadline
        )
        self._engine: Any = handler.__self__  # type: ignore[attr-defined] # engine.io's side of this
        self.outbox: Outbox = self._engine.queue
        self.partner: Partner | None = None
        self.sending_since = 0.0
        self.received = self.sent = 0
        self._connected = False
        self._not_before = 0.0  # to be read again
        self._closing = self._dropped = False
        limits, now = relay.limits, asyncio.get_running_loop().time()
        self._frames = Bucket(limits.frames, limits.frames, now)
        self._bytes = Bucket(limits.rate, limits.rate, now) if limits.rate else None
        self.visitor: Visitor

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        """Serve the request, which asks for a websocket, to its end."""
        request: web.BaseRequest = environ["aiohttp.request"]
        assert isinstance(request.protocol, Visitor)
        self.visitor = request.protocol
        environ[KEY] = self
        self._relay.sockets.add(self)
        try:
            await self._socket.prepare(request)
            tap_into(request.protocol, self._socket, self._take_now)
            self.outbox.write = self._write
            await self._handler(self)
        finally:
            self._closing = True
            self.outbox.write = None
            self._engine.closed = True  # whatever went wrong: engine.io forgets only those that are
            if (task := self._relay.tasks.pop(self._engine, None)) is not None:
                task.cancel()
            self._relay.sockets.discard(self)
            self._relay.gone.turn()
            if self.partner is not None:
                self.partner.left()
                self._relay.log("left", **self.partner.described, received=self.received, sent=self.sent)
        return self._socket

    async def wait(self) -> str | bytes | None:
        """The next message for engine.io; None at the end."""
        receive = self._socket.receive
        loop = asyncio.get_running_loop()
        row = 0
        while True:
            message = await receive()
            row += 1
            if (pause := self._not_before - loop.time()) > 0 or row % IN_A_ROW == 0:
                await asyncio.sleep(pause)
            while self.partner is not None and (room := self.partner.until_room()) is not None:
                await room.wait()
            data = message.data
            self._count(message)
            if message.type is WSMsgType.BINARY:
                if not self._take(data):
                    return data if self._is_for_engine(data) else None
            elif message.type is WSMsgType.TEXT:
                if data == _PONG:
                    return str(data)
                self._end(malformed=data != _GOODBYE)
                return None
            elif message.type is WSMsgType.PING:
                await self._socket.pong(data)
            elif message.type is not WSMsgType.PONG:
                self._end(malformed=isinstance(data, WebSocketError))
                return None

    async def send(self, message: str | bytes) -> None:
        """For engine.io, which waits for this before it takes the next from the outbox."""
        self.sending_since = asyncio.get_running_loop().time()
        if isinstance(message, bytes):
            await self._socket.send_bytes(message)
        else:
            await self._socket.send_str(message)
        self.sending_since = 0.0
        self.sent += len(message)

    def _write(self, pieces: Sequence[events.Data], size: int) -> bool:
        """As `send`, for one that need not wait: with a frame's head, which aiohttp writes by itself."""
        transport = self.visitor.transport
        if self._closing or self.visitor.is_full or transport is None or transport.is_closing():
            return False
        if size < _LARGE:
            transport.write(b"".join((_head(size), *pieces)))
        else:  # without a copy
            transport.writelines((_head(size), *pieces))
        self.sent += size
        return True

    async def close(self) -> None:
        """For engine.io."""
        self._closing = True
        await self._socket.close()

    def finish(self) -> None:
        """Send what waits, and close."""
        if not self._closing:
            self._closing = True
            self.outbox.put_nowait(None)
            self.visitor.give(self._relay.limits.stall, "too slow to leave")

    def drop(self, why: str) -> None:
        """Break it off."""
        if self._dropped:
            return
        self._closing = self._dropped = True
        self._relay.door.expel(self.visitor, why)

    def _take_now(self, message: aiohttp.WSMessage) -> bool:
        """As `wait`, if it is an event that need not wait; whether it was so."""
        if (
            message.type is not WSMsgType.BINARY
            or self.partner is None
            or self.partner.until_room() is not None
            or asyncio.get_running_loop().time() < self._not_before
            or not self._take(message.data)
        ):
            return False
        self._count(message)
        return True

    def _count(self, message: aiohttp.WSMessage) -> None:
        counts, now = self._relay.counts, asyncio.get_running_loop().time()
        counts.frames_in += 1
        pause = self._frames.spend(1, now)
        if message.type is WSMsgType.BINARY:
            size = len(message.data)
            counts.bytes_in += size
            self.received += size
            if self._bytes is not None:
                pause = max(pause, self._bytes.spend(size, now))
        self._not_before = now + pause

    def _take(self, data: bytes) -> bool:
        """Whether it was an event; if so it is on its way."""
        event = events.decode(data)
        if event is None:
            return False
        if self._closing:
            return True
        if self.partner is None or not self.partner.on_event(*event):
            self._end(malformed=True)
        return True

    def _is_for_engine(self, data: bytes) -> bool:
        """Whether it is the one CONNECT; a DISCONNECT is the end, and anything else should not have come."""
        try:
            packet = events.unpack(data)
        except ValueError:
            packet = None
        kind = packet.get("type") if isinstance(packet, dict) and packet.get("nsp") == "/" else None
        if kind == _CONNECT and type(kind) is int and not self._connected:
            self._connected = True
            return True
        self._end(malformed=kind != _DISCONNECT)
        return False

    def _end(self, *, malformed: bool) -> None:
        if malformed and not self._closing:
            self.drop("malformed")


def _head(size: int) -> bytes:
    """Of a binary message in one frame, from a server (RFC 6455, section 5.2)."""
    if size < 126:
        return bytes((_BINARY, size))
    if size < 0x10000:
        return _U16.pack(_BINARY, 126, size)
    return _U64.pack(_BINARY, 127, size)
