"""A connection to a relay: that it ends well, whatever the other end does."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from engineio import base_client

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
async def relay_that(does: Any) -> AsyncIterator[str]:
    """A websocket server that does something with each websocket."""

    async def answer(request: web.BaseRequest) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=0.1)
        await socket.prepare(request)
        await does(socket)
        return socket

    server = web.Server(answer)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
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
