"""Both ends of the zmq wire written from the protocol's text with pyzmq alone, so that our two ends cannot agree on a
mistake. Nothing of kernelwire_zmq is used here; the classes only look like the waist's to the kit.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import zmq
import zmq.asyncio

from kernelwire import registry
from kernelwire.channels import (
    ControlChannel,
    HeartbeatChannel,
    IOPubChannel,
    IOPubPublisher,
    ShellChannel,
    StdinChannel,
)
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import MessageTooLarge, NoBeat
from kernelwire.messages import WireMessage
from kernelwire.testing import Harness, Pair
from kernelwire.testing.harness import KEY

Socket = zmq.asyncio.Socket
LINGER = 1000


def url(info: ConnectionInfo, field: str) -> str:
    port = getattr(info, field)
    return f"ipc://{info.ip}-{port}" if info.transport == "ipc" else f"tcp://{info.ip}:{port}"


class RawDuplex(ShellChannel, ControlChannel, StdinChannel):
    """A DEALER, or a ROUTER whose first frame is the peer."""

    def __init__(self, socket: Socket, *, routes: bool, limit: int) -> None:
        self._socket = socket
        self._routes = routes
        self._limit = limit

    async def send(self, message: WireMessage) -> None:
        if message.size > self._limit:
            raise MessageTooLarge(message.size, self._limit)
        routing = [message.peer] if self._routes else []
        await self._socket.send_multipart([*routing, b"<IDS|MSG>", *message.frames])

    async def receive(self) -> WireMessage:
        parts = await self._socket.recv_multipart()
        position = parts.index(b"<IDS|MSG>")
        return WireMessage(parts[position + 1 :], parts[0] if self._routes else b"")

    async def aclose(self) -> None:
        self._socket.close(LINGER)


class RawPublisher(IOPubPublisher):
    """An XPUB that welcomes each subscriber (Jupyter enhancement proposal 65), signed by hand."""

    def __init__(self, socket: Socket, key: bytes) -> None:
        self._socket = socket
        self._key = key
        self._welcoming = asyncio.create_task(self._welcome())

    async def send(self, message: WireMessage) -> None:
        await self._socket.send_multipart([message.peer, b"<IDS|MSG>", *message.frames])

    async def aclose(self) -> None:
        self._welcoming.cancel()
        await asyncio.gather(self._welcoming, return_exceptions=True)
        self._socket.close(LINGER)

    async def _welcome(self) -> None:
        count = 0
        while True:
            event = await self._socket.recv()
            if event[:1] != b"\x01":
                continue
            count += 1
            header = {"msg_id": f"welcome-{count}", "msg_type": "iopub_welcome", "version": "5.3"}
            header |= {"session": "raw", "username": "raw", "date": "2026-01-01T00:00:00Z"}
            parts = [json.dumps(part).encode() for part in (header, {}, {}, {"subscription": ""})]
            signature = hmac.new(self._key, b"".join(parts), hashlib.sha256).hexdigest().encode()
            await self._socket.send_multipart([b"<IDS|MSG>", signature, *parts])


class RawSubscriber(IOPubChannel):
    """A SUB that is ready when its welcome has come."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._first: list[WireMessage] = []

    async def ready(self) -> None:
        if not self._first:
            self._first.append(await self._receive())

    async def receive(self) -> WireMessage:
        return self._first.pop() if self._first else await self._receive()

    async def aclose(self) -> None:
        self._socket.close(0)

    async def _receive(self) -> WireMessage:
        parts = await self._socket.recv_multipart()
        position = parts.index(b"<IDS|MSG>")
        return WireMessage(parts[position + 1 :], parts[0] if position else b"")


class RawHeartbeat(HeartbeatChannel):
    """A REQ that is thrown away after each beat, as jupyter_client does after a miss."""

    def __init__(self, context: zmq.asyncio.Context, address: str) -> None:
        self._context = context
        self._address = address

    async def beat(self, timeout: float) -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with self._context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.connect(self._address)
            try:
                async with asyncio.timeout(timeout):
                    await socket.send(b"ping")
                    assert await socket.recv() == b"ping"
            except TimeoutError:
                raise NoBeat("no pong") from None
        return loop.time() - started

    async def aclose(self) -> None:
        pass


class RawKernelEnd(KernelEnd):
    """A kernel's end by hand, with a REP for the heartbeat."""

    def __init__(self, info: ConnectionInfo, limit: int) -> None:
        self._context = zmq.asyncio.Context()

        def bound(kind: int, field: str, **options: int) -> Socket:
            socket = self._context.socket(kind)
            for name, value in options.items():
                socket.setsockopt(getattr(zmq, name), value)
            socket.bind(url(info, field))
            return socket

        def duplex(field: str) -> RawDuplex:
            return RawDuplex(bound(zmq.ROUTER, field, ROUTER_HANDOVER=1), routes=True, limit=limit)

        self._heartbeat = bound(zmq.REP, "hb_port")
        self._echoing = asyncio.create_task(self._echo())
        super().__init__(
            shell=duplex("shell_port"),
            control=duplex("control_port"),
            stdin=duplex("stdin_port"),
            # No high-water mark: what a fast PUB would drop is not what is tested here.
            iopub=RawPublisher(bound(zmq.XPUB, "iopub_port", XPUB_VERBOSE=1, SNDHWM=0), info.key),
            on_close=self._close,
        )

    async def _echo(self) -> None:
        while True:
            ping = await self._heartbeat.recv()
            await self.wait_beating()
            await self._heartbeat.send(ping)

    async def _close(self) -> None:
        self._echoing.cancel()
        await asyncio.gather(self._echoing, return_exceptions=True)
        self._heartbeat.close(0)
        self._context.term()


def raw_client(info: ConnectionInfo, identity: bytes, limit: int) -> ClientEnd:
    """A client's end by hand."""
    context = zmq.asyncio.Context()

    def connected(kind: int, field: str, options: Sequence[tuple[int, Any]]) -> Socket:
        socket = context.socket(kind)
        for option, value in options:
            socket.setsockopt(option, value)
        socket.connect(url(info, field))
        return socket

    def duplex(field: str) -> RawDuplex:
        return RawDuplex(connected(zmq.DEALER, field, [(zmq.IDENTITY, identity)]), routes=False, limit=limit)

    async def close() -> None:
        context.term()

    return ClientEnd(
        shell=duplex("shell_port"),
        control=duplex("control_port"),
        stdin=duplex("stdin_port"),
        iopub=RawSubscriber(connected(zmq.SUB, "iopub_port", [(zmq.SUBSCRIBE, b""), (zmq.RCVHWM, 0)])),
        heartbeat=RawHeartbeat(context, url(info, "hb_port")),
        on_close=close,
    )


class RawHarness(Harness):
    """One end of ours, the other by hand.

    Arguments:
        transport: tcp or ipc.
        raw_end: which end is by hand, "kernel" or "client".
    """

    def __init__(self, transport: str, raw_end: str) -> None:
        self.name = f"{transport} raw {raw_end}"
        self._transport = transport
        self._raw_end = raw_end
        self._backend = registry.load(transport)
        self.capabilities = self._backend.capabilities

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pair]:
        info = self._backend.prepare(ConnectionInfo(transport=self._transport, key=KEY))
        limit = self.capabilities.max_message_bytes

        async def open_client(identity: bytes) -> ClientEnd:
            if self._raw_end == "client":
                return raw_client(info, identity, limit)
            return await self._backend.connect(info, identity=identity)

        kernel = RawKernelEnd(info, limit) if self._raw_end == "kernel" else await self._backend.serve(info)
        try:
            pair = Pair(kernel, open_client, kernel_info=info, client_info=info, capabilities=self.capabilities)
            try:
                yield pair
            finally:
                await pair.aclose()
        finally:
            self._backend.release(info)
