"""The backends of transports ``tcp`` and ``ipc``."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import zmq

from kernelwire.backend import Backend, Capabilities, check_identity
from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.inbox import GAP_LIMIT, HIGH_WATER
from kernelwire.session import Session
from kernelwire_zmq import addresses, curve
from kernelwire_zmq.channels import Control, Duplex, Heartbeat, IOPub, Shell, Stdin
from kernelwire_zmq.connected import CONNECTED, GONE, Connected
from kernelwire_zmq.contexts import SharedContext
from kernelwire_zmq.echo import Echo
from kernelwire_zmq.publisher import Publisher
from kernelwire_zmq.readiness import Readiness
from kernelwire_zmq.sockets import Sockets

MAX_MESSAGE_BYTES: Final = 1024 * 1024 * 1024

D = TypeVar("D", bound=Duplex)


@dataclass(frozen=True, kw_only=True)
class ZmqSettings:
    """What may be tuned.

    Attributes:
        held: bound in bytes for what an end holds unread on each of shell, control and stdin.
        iopub_held: the same for a client's iopub, beyond which the oldest go, with a gap notice.
        queue: messages that zmq itself may queue for one peer, in each direction. A client's iopub has no such bound:
            it is always drained, and what it holds is bounded by `iopub_held`.
        reconnect: milliseconds between attempts to reach a kernel that is not there, at first and at the most.
    """

    held: int = HIGH_WATER
    iopub_held: int = GAP_LIMIT
    queue: int = 1000
    reconnect: tuple[int, int] = (20, 500)


class ZmqBackend(Backend):
    """Both transports; they differ in addresses only.

    Arguments:
        settings: what may be tuned.
    """

    capabilities = Capabilities(beat="kernel", max_message_bytes=MAX_MESSAGE_BYTES)

    def __init__(self, settings: ZmqSettings | None = None) -> None:
        self._settings = settings or ZmqSettings()
        self._contexts = SharedContext()

    async def connect(
        self, info: ConnectionInfo, *, identity: bytes, channels: Collection[Channel] = ALL_CHANNELS
    ) -> ClientEnd:
        check_identity(identity)
        info = addresses.to_connect(info)
        settings = self._settings
        first, most = settings.reconnect
        pace = {"RECONNECT_IVL": first, "RECONNECT_IVL_MAX": most}
        bounds = {"SNDHWM": settings.queue, "RCVHWM": settings.queue}
        options: dict[Channel, dict[str, Any]] = {
            Channel.SHELL: {"ROUTING_ID": identity, **bounds},
            Channel.CONTROL: {"ROUTING_ID": identity, **bounds},
            Channel.STDIN: {"ROUTING_ID": identity, **bounds},
            # Subscribed before connected, so that the subscription is the first thing the kernel hears.
            Channel.IOPUB: {"SUBSCRIBE": b"", "RCVHWM": 0},
            Channel.HEARTBEAT: bounds,
        }
        sockets = Sockets(self._contexts, info)
        opened: dict[Channel, zmq.Socket[bytes]] = {}
        watched = {Channel.IOPUB, Channel.STDIN}
        monitors: dict[Channel, zmq.Socket[bytes]] = {}
        try:
            for name in (name for name in Channel if name in channels):
                kind = zmq.SUB if name is Channel.IOPUB else zmq.DEALER
                field, wishes = f"{name}_port", options[name] | pace
                if name in watched:
                    opened[name], monitors[name] = sockets.connect_watched(kind, field, CONNECTED | GONE, **wishes)
                else:
                    opened[name] = sockets.connect(kind, field, **wishes)
        except BaseException:
            await sockets.release()
            raise

        def request(kind: type[D], name: Channel) -> D | None:
            if name not in opened:
                return None
            return kind(opened[name], routes=False, max_bytes=MAX_MESSAGE_BYTES, held=settings.held)

        def nudges() -> list[zmq.Socket[bytes]]:
            fields = [f for f in ("control_port", "shell_port") if getattr(info, f) is not None]
            return [sockets.connect(zmq.DEALER, field, **pace) for field in fields]

        stdin = request(Stdin, Channel.STDIN)
        if stdin is not None:
            stdin.connected = Connected(opened[Channel.STDIN], monitors[Channel.STDIN])
        iopub = heartbeat = None
        if Channel.IOPUB in opened:
            sub = opened[Channel.IOPUB]
            readiness = Readiness(sub, monitors[Channel.IOPUB], Session.of(info), nudges)
            iopub = IOPub(sub, readiness, held=settings.iopub_held)
        if Channel.HEARTBEAT in opened:
            heartbeat = Heartbeat(opened[Channel.HEARTBEAT])
        return ClientEnd(
            shell=request(Shell, Channel.SHELL),
            control=request(Control, Channel.CONTROL),
            stdin=stdin,
            iopub=iopub,
            heartbeat=heartbeat,
            on_close=sockets.release,
        )

    async def serve(self, info: ConnectionInfo) -> KernelEnd:
        settings = self._settings
        bounds = {"SNDHWM": settings.queue, "RCVHWM": settings.queue, "MAXMSGSIZE": MAX_MESSAGE_BYTES}
        # A client that reconnects under its identity takes the place of its dead connection; a reply to a client that
        # is gone is an error here, not a silent loss.
        routing = {"ROUTER_HANDOVER": 1, "ROUTER_MANDATORY": 1}
        sockets = Sockets(self._contexts, info)
        try:
            xpub = sockets.bind(zmq.XPUB, "iopub_port", XPUB_VERBOSER=1, XPUB_NODROP=1, **bounds)
            shell, control, stdin, hb = (
                sockets.bind(zmq.ROUTER, f"{name}_port", **routing, **bounds)
                for name in (Channel.SHELL, Channel.CONTROL, Channel.STDIN, Channel.HEARTBEAT)
            )
        except BaseException:
            await sockets.release()
            raise

        def request(kind: type[D], socket: "zmq.Socket[bytes]") -> D:
            return kind(socket, routes=True, max_bytes=MAX_MESSAGE_BYTES, held=settings.held)

        async def on_close() -> None:
            echo.close()
            await sockets.release()

        publisher = Publisher(xpub, Session.of(info), max_bytes=MAX_MESSAGE_BYTES)
        echo = Echo(hb)
        end = KernelEnd(
            shell=request(Shell, shell),
            control=request(Control, control),
            stdin=request(Stdin, stdin),
            iopub=publisher,
            on_close=on_close,
        )
        publisher.end = echo.end = end
        return end

    def encrypt(self, info: ConnectionInfo) -> ConnectionInfo:
        return curve.with_keys(info)


class TcpBackend(ZmqBackend):
    """The backend of transport ``tcp``."""

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        return addresses.prepare_tcp(info)


class IpcBackend(ZmqBackend):
    """The backend of transport ``ipc``."""

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        return addresses.prepare_ipc(info)

    def release(self, info: ConnectionInfo) -> None:
        addresses.release_ipc(info)
