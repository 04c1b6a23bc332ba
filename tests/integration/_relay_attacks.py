"""What strangers, and ends that have gone wrong, may do to a relay; and what it costs the relay and the others."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import aiohttp
import msgpack

from integration._relay_scenes import Stranger
from integration._relays import PATIENCE, RelayProcess
from kernelwire import registry
from kernelwire.connection import ConnectionInfo
from kernelwire.link.backend import PipeBackend
from kernelwire.messages import WireMessage
from kernelwire_socketio import events

MEGABYTE: Final = 1024 * 1024

MALFORMED: Final[tuple[str | bytes, ...]] = (
    "",
    "hello",
    "5",
    '451-["d",{"_placeholder":true,"num":0}]',
    "bAAAA",
    b"",
    b"\xc1",
    b"\x91" * 5000,
    msgpack.packb({"type": 5, "data": ["d", b"x"], "nsp": "/"}),
    msgpack.packb({"type": 2, "data": ["d", b"x"], "nsp": "/admin"}),
    events.encode(events.DATA, b"before I have joined"),
    events.encode(events.CLOSE, b"\0\0\0\1"),
    events.encode(events.DATA, b"x" * 20_000),
)


class Growth:
    """How much a relay has grown at the most, while a context lasts.

    Attributes:
        megabytes: see above.
    """

    def __init__(self, relay: RelayProcess) -> None:
        self.megabytes = 0.0
        self._relay = relay
        self._before = relay.memory()
        self._task: asyncio.Task[None]

    def look(self) -> None:
        """Look now."""
        self.megabytes = max(self.megabytes, (self._relay.memory() - self._before) / MEGABYTE)

    async def __aenter__(self) -> "Growth":
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.look()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(0.02)


def room_at(relay: RelayProcess) -> tuple[PipeBackend, ConnectionInfo]:
    """A new room."""
    backend = registry.load("socketio")
    assert isinstance(backend, PipeBackend)
    return backend, backend.prepare(ConnectionInfo(transport="socketio", key=b"k", extra={"relay": relay.url}))


@asynccontextmanager
async def strangers(relay: RelayProcess) -> AsyncIterator[Callable[[], "asyncio.Future[Stranger]"]]:
    """Opens websockets that have not said yet what they want."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

        async def open_one() -> Stranger:
            socket = await session.ws_connect(
                f"{relay.url}/socket.io/?transport=websocket&EIO=4",
                max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=0.1),
            )
            stack.push_async_callback(socket.close)
            assert (await socket.receive_str()).startswith("0")
            return Stranger(socket)

        yield lambda: asyncio.ensure_future(open_one())


async def half_handshakes(relay: RelayProcess, count: int) -> float:
    """Connections that stop at some point before they have joined; seconds that a good client needs meanwhile."""
    backend, info = room_at(relay)
    listener = await backend.listen(info)
    host, port = relay.url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    writers = []
    async with strangers(relay) as stranger:
        for number in range(count):
            if number % 3 == 2:
                await stranger()
                continue
            _, writer = await asyncio.open_connection(host, int(port))
            writers.append(writer)
            if number % 3:
                writer.write(b"GET /socket.io/?transport=websocket&EIO=4 HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        started = loop.time()
        client = await backend.open_pipe(backend.for_clients(info))
        pipe = await listener.accept()
        await client.send(b"hello")
        assert await pipe.receive() == b"hello"
        took = loop.time() - started
        for writer in writers:
            writer.close()
        for each in (client, pipe, listener):
            await each.aclose()
    return took


async def malformed_frames(relay: RelayProcess, count: int, *, at_once: int = 20) -> int:
    """Frames that break the rules, each on a connection of its own; how many events passed because of them."""
    passed = relay.metrics()["passed_frames_total"]
    dropped = relay.metrics().get('dropped_total{reason="malformed"}', 0)
    frames = iter(range(count))

    async def send_some(stranger: Callable[[], "asyncio.Future[Stranger]"]) -> None:
        for number in frames:
            each = await stranger()
            message = MALFORMED[number % len(MALFORMED)]
            with suppress(ConnectionError):
                await (each.socket.send_str(message) if isinstance(message, str) else each.socket.send_bytes(message))
            await each.until_closed()

    async with strangers(relay) as stranger:
        await asyncio.gather(*(send_some(stranger) for _ in range(at_once)))
    assert relay.metrics()['dropped_total{reason="malformed"}'] - dropped == count
    return int(relay.metrics()["passed_frames_total"] - passed)


async def stalled_readers(relay: RelayProcess, count: int) -> Growth:
    """Clients that stop reading, while their host sends each of them more than it may."""
    _, info = room_at(relay)
    growth = Growth(relay)
    async with growth, strangers(relay) as stranger:
        host = await stranger()
        await host.join(info, "host")
        clients = [await stranger() for _ in range(count)]
        for client in clients:
            await client.join(info)
            _pause(client)
        message = b"x" * 65_000
        wanted = relay.metrics().get('dropped_total{reason="reads too slowly"}', 0) + count
        while relay.metrics().get('dropped_total{reason="reads too slowly"}', 0) < wanted:
            for number in range(1, count + 1):
                await host.socket.send_bytes(events.encode(events.DATA, message, number=number))
        for client in clients:
            _abort(client)
    return growth


async def flooding_senders(relay: RelayProcess, count: int) -> Growth:
    """Clients that send without end to a host that does not read."""
    _, info = room_at(relay)
    growth = Growth(relay)
    async with growth, strangers(relay) as stranger:
        host = await stranger()
        await host.join(info, "host")
        _pause(host)
        clients = [await stranger() for _ in range(count)]
        for client in clients:
            await client.join(info)
        message = events.encode(events.DATA, b"x" * 65_000)

        async def flood(client: Stranger) -> None:
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(2):  # then it was not read any more, which is as good
                    while not client.socket.closed:
                        await client.socket.send_bytes(message)

        await asyncio.gather(*map(flood, clients))
        for each in (host, *clients):
            _abort(each)
    return growth


async def attachment_bomb(relay: RelayProcess, count: int) -> Growth:
    """Attachments announced by the million, and a megabyte of each sent."""
    _, info = room_at(relay)
    growth = Growth(relay)
    async with growth, strangers(relay) as stranger:
        for number in range(count):
            each = await stranger()
            if number % 2:
                await each.join(info)
            with suppress(ConnectionError):
                await each.socket.send_str('45999999999-["d",{"_placeholder":true,"num":0}]')
                await each.socket.send_bytes(b"x" * MEGABYTE)
            await each.until_closed()
    return growth


async def half_messages(relay: RelayProcess, count: int) -> Growth:
    """Messages without an end, all but the last byte of the largest there is, from ends that have no partner."""
    growth = Growth(relay)
    dropped = relay.metrics().get('dropped_total{reason="too much to join"}', 0)
    half = b"\x82\xff" + (events.LIMIT - 1).to_bytes(8, "big") + bytes(4) + bytes(events.LIMIT - 2)
    async with growth, strangers(relay) as stranger:
        everybody = []
        for number in range(count):
            everybody.append(each := await stranger())
            if number % 2:  # who has joined, and waits for a host, is no better known
                await each.join(room_at(relay)[1])
            transport = each.socket._writer.transport
            assert transport is not None
            transport.write(half)
        for each in everybody:
            await each.until_closed()
    assert relay.metrics()['dropped_total{reason="too much to join"}'] - dropped == count
    return growth


async def large_outputs(relay: RelayProcess, clients: int, size: int) -> tuple[Growth, float]:
    """A kernel publishes a buffer to so many clients; how much the relay grows, and megabytes per second to each."""
    backend, info = room_at(relay)
    buffer = secrets.token_bytes(MEGABYTE) * (size // MEGABYTE)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        kernel = await stack.enter_async_context(await backend.serve(info))
        ends = [
            await stack.enter_async_context(await backend.connect(backend.for_clients(info), identity=b"c%d" % number))
            for number in range(clients)
        ]
        for end in ends:
            await end.iopub.ready()
        growth = Growth(relay)
        async with growth:
            started = loop.time()
            message = WireMessage([b"", b"{}", b"{}", b"{}", b"{}", buffer])
            publishing = asyncio.create_task(kernel.iopub.send(message))
            async with asyncio.timeout(10 * PATIENCE):
                for received in await asyncio.gather(*(end.iopub.receive() for end in ends)):
                    assert bytes(received.frames[5]) == buffer
            await publishing
            took = loop.time() - started
    return growth, size / MEGABYTE / took


async def idle_connections(relay: RelayProcess, count: int, per_room: int = 32) -> float:
    """Hosts and clients that say nothing; KiB of the relay for each of them."""
    before = relay.memory()
    async with strangers(relay) as stranger:
        for number in range(count):
            if number % per_room == 0:
                _, info = room_at(relay)
            each = await stranger()
            await each.join(info, "client" if number % per_room else "host")
        await asyncio.sleep(0.5)
        return (relay.memory() - before) / 1024 / count


def _pause(stranger: Stranger) -> None:
    transport = stranger.socket._writer.transport
    assert transport is not None
    transport.pause_reading()


def _abort(stranger: Stranger) -> None:
    transport = stranger.socket._writer.transport
    # One that the relay has closed already cannot be aborted as well.
    if transport is not None and transport.get_extra_info("socket").fileno() >= 0:
        transport.abort()
