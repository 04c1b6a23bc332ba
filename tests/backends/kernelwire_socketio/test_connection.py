"""A connection to a relay: that it ends well, whatever the other end does."""

import asyncio
import gc
import logging
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from engineio import base_client

from integration._certificates import Certificates
from integration._relay_scenes import Scene
from kernelwire.errors import ConnectionLost
from kernelwire_socketio import connection, events
from kernelwire_socketio.address import Address
from kernelwire_socketio.connection import Connection
from kernelwire_socketio.refusals import Refused

OPEN = '0{"sid":"x","upgrades":[],"pingTimeout":20000,"pingInterval":25000,"maxPayload":1000}'


class Ends:
    """What a connection says."""

    def __init__(self) -> None:
        self.events: list[tuple[str, bytes]] = []
        self.ended = 0
        self.over = asyncio.Event()

    def on_event(self, name: str, data: memoryview) -> None:
        self.events.append((name, bytes(data)))

    def on_end(self) -> None:
        self.ended += 1
        self.over.set()

    def connection(self, url: str) -> Connection:
        return Connection(Address(url, "socket.io"), self.on_event, self.on_end)


@asynccontextmanager
async def relay_that(does: Any, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A websocket server that does something with each websocket."""

    async def answer(request: web.BaseRequest) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=0.1)
        await socket.prepare(request)
        await does(socket)
        return socket

    server = web.Server(answer)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await server.shutdown(0.1)
        await listening.wait_closed()


async def accept(socket: web.WebSocketResponse) -> None:
    await socket.send_str(OPEN)
    await socket.receive()
    await socket.send_bytes(b"\x83\xa4type\x00\xa4data\x81\xa3sid\xa1x\xa3nsp\xa1/")


async def test_nothing_is_left_when_it_is_closed(scene: Scene) -> None:
    await (await scene.listen()).aclose()  # so that the relay has all the tasks that it ever has
    before = asyncio.all_tasks()
    ends = Ends()
    made = ends.connection(scene.url)
    with pytest.raises(Refused) as refused:
        await made.open({"v": 99})
    assert refused.value.code == "version"
    await made.aclose()
    await made.aclose()
    assert made.is_over
    assert ends.ended == 1
    assert not base_client.connected_clients
    async with asyncio.timeout(60):
        while scene.relay.sockets:
            await scene.relay.gone.wait()
    assert asyncio.all_tasks() <= before


async def test_what_comes_with_the_yes_is_not_missed() -> None:
    async def does(socket: web.WebSocketResponse) -> None:
        await accept(socket)
        for number in range(200):
            await socket.send_bytes(events.encode(events.DATA, b"%d" % number))
        await socket.close()

    ends = Ends()
    async with relay_that(does) as url:
        made = ends.connection(url)
        await made.open({})
        await ends.over.wait()
        await made.aclose()
    assert ends.events == [(events.DATA, b"%d" % number) for number in range(200)]
    assert ends.ended == 1


async def test_a_notice_is_kept_for_the_end() -> None:
    async def does(socket: web.WebSocketResponse) -> None:
        await accept(socket)
        await socket.send_bytes(events.encode(events.RESTART))

    ends = Ends()
    async with relay_that(does) as url:
        made = ends.connection(url)
        await made.open({})
        await ends.over.wait()
        with pytest.raises(ConnectionLost, match="being restarted"):
            await made.send(b"x")
        await made.aclose()
    assert ends.events == []


async def nothing(_: web.WebSocketResponse) -> None:
    return


async def silence(socket: web.WebSocketResponse) -> None:
    await socket.receive()


async def nonsense(socket: web.WebSocketResponse) -> None:
    await socket.send_str("nonsense")
    await socket.receive()


async def half(socket: web.WebSocketResponse) -> None:
    await socket.send_str(OPEN)
    await socket.receive()
    await socket.receive()


async def an_empty_open(socket: web.WebSocketResponse) -> None:
    await socket.send_str("0{}")
    await socket.receive()


async def goodbye(socket: web.WebSocketResponse) -> None:
    await socket.send_str(OPEN)
    await socket.receive()
    await socket.send_str("1")
    await socket.receive()


async def a_bad_packet(socket: web.WebSocketResponse) -> None:
    await socket.send_str(OPEN)
    await socket.receive()
    await socket.send_bytes(b"\xc1\xc1")
    await socket.receive()


@pytest.mark.parametrize("does", [nothing, silence, nonsense, half, an_empty_open, goodbye, a_bad_packet])
async def test_a_relay_that_is_none_costs_a_moment(does: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "OPENING_TIME", 0.3)
    monkeypatch.setattr(connection, "_ANSWER_TIME", 0.2)
    before = asyncio.all_tasks()
    ends = Ends()
    async with relay_that(does) as url:
        made = ends.connection(url)
        with pytest.raises(ConnectionLost):
            await made.open({})
        await made.aclose()
        assert not base_client.connected_clients
        assert ends.ended == 1
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() <= before


async def test_one_that_stops_answering_can_be_left() -> None:
    async def does(socket: web.WebSocketResponse) -> None:
        await accept(socket)
        await asyncio.sleep(60)

    ends = Ends()
    async with relay_that(does) as url:
        made = ends.connection(url)
        await made.open({})
        async with asyncio.timeout(30):
            await made.aclose()
        with pytest.raises(ConnectionLost):
            await made.send(events.encode(events.DATA, b"x"))


async def test_sending_waits_while_the_wire_is_full() -> None:
    go_on = asyncio.Event()

    async def does(socket: web.WebSocketResponse) -> None:
        await accept(socket)
        await go_on.wait()
        while not socket.closed:
            await socket.receive()

    async with relay_that(does) as url:
        made = Ends().connection(url)
        await made.open({})

        async def fill() -> None:
            for _ in range(2000):
                await made.send(events.encode(events.DATA, b"x" * 65_000))

        filling = asyncio.create_task(fill())
        done, _ = await asyncio.wait([filling], timeout=1)
        assert not done
        go_on.set()
        async with asyncio.timeout(60):
            await filling
        await made.aclose()


async def test_interrupts_stay_whose_they_were(scene: Scene) -> None:
    before = signal.getsignal(signal.SIGINT)
    await scene.pipes()
    assert signal.getsignal(signal.SIGINT) is before


async def test_the_libraries_do_not_write_to_the_log(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    host, client = await scene.pipes()
    await client.send(b"hello")
    await host.receive()
    await scene.close_all()
    assert not [record for record in caplog.records if "io" in record.name.split(".")[0] and record.name != "asyncio"]


class Wire:
    """A connection to a server that reads when it is told to, and counts what comes."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.reads = asyncio.Event()
        self.came: list[bytes] = []
        self.made: Connection

    async def open(self, tls: tuple[ssl.SSLContext, str] | None = None) -> None:
        async def does(socket: web.WebSocketResponse) -> None:
            await accept(socket)
            await self.reads.wait()
            async for message in socket:
                self.came.append(message.data)

        url = await self._stack.enter_async_context(relay_that(does, tls[0] if tls else None))
        ends = Ends()
        self.made = Connection(Address(url, "socket.io", tls[1] if tls else None), ends.on_event, ends.on_end)
        self._stack.push_async_callback(self.made.aclose)
        await self.made.open({})

    @property
    def transport(self) -> Any:
        return self.made._sio.eio.ws._writer.transport

    async def all_of(self, count: int) -> list[bytes]:
        self.reads.set()
        async with asyncio.timeout(60):
            while len(self.came) < count:
                await asyncio.sleep(0.001)
        return self.came


@pytest.fixture(params=["plain", "TLS"])
async def wire(request: pytest.FixtureRequest, certificates: Certificates) -> AsyncIterator[Wire]:
    async with AsyncExitStack() as stack:
        wire = Wire(stack)
        await wire.open((certificates.context(), str(certificates.authority)) if request.param == "TLS" else None)
        yield wire
        wire.reads.set()


@pytest.mark.parametrize("size", [100, 5_000, 200_000])
async def test_what_a_full_wire_does_not_take_at_once_is_waited_for(wire: Wire, size: int) -> None:
    """Whoever sends as a pipe does is held up, however small the pieces are; and nothing is lost or said twice."""
    sent: list[bytes] = []
    most = 0

    async def send() -> None:
        nonlocal most
        while len(sent) * size < 30_000_000:
            message = (b"%d " % len(sent)).ljust(size, b"x")
            sent.append(message)
            if not wire.made.send_now(message):
                await wire.made.send(message)
            most = max(most, wire.transport.get_write_buffer_size())

    sending = asyncio.create_task(send())
    async with asyncio.timeout(60):
        before = -1
        while before != len(sent):  # it is held up
            before = len(sent)
            await asyncio.sleep(0.1)
    assert not sending.done()
    assert most < 1024 * 1024  # what the system lets wait, half of that with TLS, and a few pieces
    count = len(sent)
    sending.cancel()  # while it waits
    await asyncio.gather(sending, return_exceptions=True)
    came = await wire.all_of(count - 1)
    assert came == sent[: len(came)]
    async with asyncio.timeout(60):
        while not wire.made.send_now(b"last"):
            await asyncio.sleep(0.001)
        while wire.came[-1] != b"last":
            await asyncio.sleep(0.001)
    assert wire.came[:-1] in (sent, sent[:-1])


async def test_a_full_wire_that_breaks_is_told_to_who_sends_next_alone(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    while wire.made.send_now(b"x" * 50_000):
        pass
    waiting = [asyncio.create_task(wire.made.send(b"x")) for _ in range(2)]
    await asyncio.sleep(0)
    wire.transport.abort()
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, ConnectionLost)
    with pytest.raises(ConnectionLost):
        wire.made.send_now(b"x")
    await wire.made.aclose()
    gc.collect()
    await asyncio.sleep(0)
    assert "never retrieved" not in caplog.text
