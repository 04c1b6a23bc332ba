"""The relay itself: aiohttp below, python-socketio in the middle, the switchboard above."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Any, Final, TextIO

import socketio
from aiohttp import web

from kernelwire.link.waking import Turnstile
from kernelwire_socketio import events
from kernelwire_socketio.host_tokens import HostKeys
from kernelwire_socketio.packets import Packet
from kernelwire_socketio.refusals import Refused
from kernelwire_socketio.relay.admission import Admission
from kernelwire_socketio.relay.door import Door, Visitor
from kernelwire_socketio.relay.limits import Limits
from kernelwire_socketio.relay.log import Log
from kernelwire_socketio.relay.metrics import CONTENT_TYPE, Counts, Metrics
from kernelwire_socketio.relay.outbox import Outbox, Parcel
from kernelwire_socketio.relay.switchboard import Switchboard
from kernelwire_socketio.relay.websocket import KEY, WebSocket

PATH: Final = "/socket.io/"

_PING_INTERVAL: Final = 25
_PING_TIMEOUT: Final = 20
_BACKLOG: Final = 1024
_SHUTDOWN: Final = 0.1
_ROUNDS: Final = 1.0
_REFUSED: Final = 1.0
"""Seconds that somebody who was refused has to leave."""

_quiet = logging.getLogger("kernelwire_socketio.quiet")
_quiet.setLevel(logging.CRITICAL + 1)  # the libraries' own words show what came, and can be called up by strangers


class Relay:
    """Made in the running loop; to be started, and closed.

    Arguments:
        limits: what is allowed.
        log: where the log goes.
        host_keys: whose word hosts need; None if they need none.
        behind_proxy: whether connections come from a proxy.
        origins: of web pages that may connect; none by default.
        metrics: whether ``/metrics`` is there.
        clock: seconds since the epoch.

    Attributes:
        limits, door, counts, log: shared by the parts.
        sockets: all that are open.
        gone: turns whenever one has been closed.
        tasks: what engine.io does beside, by whose it is.
    """

    def __init__(
        self,
        limits: Limits,
        log: TextIO,
        *,
        host_keys: HostKeys | None = None,
        behind_proxy: bool = False,
        origins: Collection[str] = (),
        metrics: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits
        self.counts = Counts()
        self.log = Log(log, clock)
        self.door = Door(limits, behind_proxy=behind_proxy, log=self.log, counts=self.counts)
        self._board = Switchboard(limits, self.door, self.log, self.counts, clock)
        self._admission = Admission(limits, host_keys, clock)
        self._origins = frozenset(origins)
        self.sockets: set[WebSocket] = set()
        self.gone = Turnstile()
        self.tasks: dict[object, asyncio.Task[Any]] = {}
        self._joined: dict[str, WebSocket] = {}
        self._sio = self._socketio()
        self._metrics = Metrics(self.counts, self._gauges()) if metrics else None
        self._loop = asyncio.get_running_loop()
        self._http = web.Server(self._on_request)
        self._listening: asyncio.Server | None = None
        self._rounds: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None = None) -> int:
        """Listen; returns the port.

        Raises:
            OSError: that is not possible.
        """
        self._listening = await self._loop.create_server(
            lambda: Visitor(
                self.door, self._http, loop=self._loop, access_log=None, logger=_quiet, keepalive_timeout=5.0
            ),
            host,
            port,
            ssl=ssl_context,
            ssl_handshake_timeout=None if ssl_context is None else self.limits.deadline,
            backlog=_BACKLOG,
        )
        self._rounds = asyncio.create_task(self._make_rounds(), name="kernelwire relay")
        bound: int = self._listening.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Say that a restart is near, send what waits, and end. Once more changes nothing."""
        if self._listening is None or self._rounds is None:
            return
        self._listening.close()
        for socket in self.sockets:
            socket.outbox.put_nowait(Parcel(events.encode(events.RESTART)))
            socket.finish()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.deadline):
                while self.sockets:
                    await self.gone.wait()
        self._rounds.cancel()
        await asyncio.gather(self._rounds, return_exceptions=True)
        await self._sio.shutdown()
        await self._http.shutdown(_SHUTDOWN)
        await self._listening.wait_closed()
        self._listening = None

    def _socketio(self) -> Any:
        sio = socketio.AsyncServer(
            async_mode="aiohttp",
            serializer=Packet,
            async_handlers=False,
            transports=["websocket"],  # polling loses messages without a word
            allow_upgrades=False,
            cors_allowed_origins=[],  # decided before
            max_http_buffer_size=events.LIMIT,
            http_compression=False,
            ping_interval=_PING_INTERVAL,
            ping_timeout=_PING_TIMEOUT,
            namespaces=["/"],
            logger=_quiet,
            engineio_logger=_quiet,
        )
        sio.on("connect", self._on_connect)
        sio.on("disconnect", self._on_disconnect)
        sio.eio.create_queue = Outbox
        sio.eio.start_background_task = self._start_task
        sio.eio._async = {**sio.eio._async, "websocket": partial(WebSocket, self)}  # noqa: SLF001 - the only place
        return sio

    async def _on_request(self, request: web.BaseRequest) -> web.StreamResponse:
        visitor = request.protocol
        assert isinstance(visitor, Visitor)
        self.door.name(visitor, request.headers.get("X-Forwarded-For"))
        if request.method != "GET":
            return _answer(405, "only GET")
        if request.path == "/healthz":
            return _answer(200, "ok")
        if request.path == "/metrics" and self._metrics is not None:
            return _answer(200, self._metrics.render(), CONTENT_TYPE)
        if request.path != PATH:
            return _answer(404, "no such page; this is a relay of kernelwire")
        if (origin := request.headers.get("Origin")) is not None and origin not in self._origins:
            return _answer(403, "no web page of this origin may connect")
        if not _wants_websocket(request):
            return _answer(426, "this is a relay of kernelwire, which speaks websocket only")
        if not self.door.may_try(visitor):
            return _answer(429, "too many attempts from this address; wait a minute")
        response = await self._sio.handle_request(request)
        if not isinstance(response, web.StreamResponse):
            return _answer(400, "no request that a relay answers")
        if not isinstance(response, web.WebSocketResponse):
            response.force_close()
        return response

    def _on_connect(self, sid: str, environ: dict[str, Any], shown: object) -> None:
        socket: WebSocket = environ[KEY]
        source = socket.visitor.source
        try:
            claims, grant = self._admission.admit(shown)
            self._board.join(socket, claims, grant)
        except Refused as refused:
            self.counts.refused[refused.code] += 1
            self.log("refused", source=source, code=refused.code, reason=refused.text)
            socket.visitor.give(_REFUSED, "refused")
            raise socketio.exceptions.ConnectionRefusedError(refused.text, refused.to_data()) from None
        self._joined[sid] = socket
        # After the answer, which is on its way by then.
        self._loop.call_soon(self._board.begin, socket)

    def _on_disconnect(self, sid: str, reason: str) -> None:
        socket = self._joined.pop(sid, None)
        if socket is not None and reason == self._sio.reason.PING_TIMEOUT:
            socket.drop("does not answer")  # engine.io would keep what waits for it, for as long as TCP does

    def _start_task(self, target: Any, *arguments: Any) -> "asyncio.Task[Any]":
        """For engine.io, which would let a socket's next ping wait for its time, after the socket itself has gone."""
        task: asyncio.Task[Any] = asyncio.ensure_future(target(*arguments))
        owner = getattr(target, "__self__", None)
        self.tasks[owner] = task
        task.add_done_callback(lambda done: self.tasks.pop(owner, None) if self.tasks.get(owner) is done else None)
        return task

    async def _make_rounds(self) -> None:
        while True:
            await asyncio.sleep(_ROUNDS)
            late = self._loop.time() - self.limits.stall
            for socket in tuple(self.sockets):
                if 0 < socket.sending_since < late:
                    socket.drop("does not read")

    def _gauges(self) -> dict[str, tuple[str, Callable[[], float]]]:
        return {
            "sockets": ("Connections.", lambda: self.door.sockets),
            "pending": ("Connections that have no partner yet.", lambda: self.door.pending),
            "rooms": ("Rooms.", lambda: len(self._board.rooms)),
            "waiting_bytes": ("Bytes that wait to be taken.", lambda: sum(s.outbox.held for s in self.sockets)),
        }


def _wants_websocket(request: web.BaseRequest) -> bool:
    """Whether both engine.io and aiohttp will see it so; they do not look in the same way."""
    connection = {word.strip() for word in request.headers.get("Connection", "").lower().split(",")}
    return "upgrade" in connection and web.WebSocketResponse().can_prepare(request).ok


def _answer(status: int, body: str | bytes, content_type: str = "text/plain; charset=utf-8") -> web.Response:
    data = body.encode() if isinstance(body, str) else body
    response = web.Response(status=status, body=data, headers={"Content-Type": content_type})
    response.force_close()
    return response
