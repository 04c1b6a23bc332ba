"""The relay as a whole: its pages, its beginning and its end, and that nothing is left of who was there."""

import asyncio
import socket as sockets

import aiohttp
import pytest

from integration._relay_scenes import OpenScene, Scene
from kernelwire.errors import ConnectionLost
from kernelwire_socketio import events, listener
from kernelwire_socketio.relay import server
from kernelwire_socketio.relay.outbox import Outbox


async def get(scene: Scene, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.request(method, scene.url + path, headers=headers) as answer:
        return answer.status, await answer.text()


async def handshake(scene: Scene, query: str = "transport=websocket&EIO=4", **headers: str) -> tuple[int, str]:
    wanted = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    return await get(scene, f"{server.PATH}?{query}", **{**wanted, **headers})


async def test_it_says_that_it_is_well(scene: Scene) -> None:
    assert await get(scene, "/healthz") == (200, "ok")


async def test_prometheus_may_ask(scene: Scene) -> None:
    await scene.pipes()
    status, text = await get(scene, "/metrics")
    assert status == 200
    lines = text.splitlines()
    assert 'kernelwire_relay_joined_total{role="host"} 1.0' in lines
    assert "kernelwire_relay_rooms 1.0" in lines
    assert "kernelwire_relay_waiting_bytes 0.0" in lines
    assert "kernelwire_relay_sockets 3.0" in lines


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404),
        ("/socket.io", "GET", 404),
        ("/other/socket.io/", "GET", 404),
        ("/socket.io/", "POST", 405),
        ("/socket.io/", "OPTIONS", 405),
        ("/socket.io/?transport=polling&EIO=4", "GET", 426),
        ("/socket.io/?transport=websocket&EIO=4", "GET", 426),
    ],
)
async def test_other_requests_get_an_answer(scene: Scene, path: str, method: str, status: int) -> None:
    assert (await get(scene, path, method))[0] == status
    assert not scene.relay._sio.eio.sockets


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("transport=polling&EIO=4", {}, 400),
        ("transport=websocket&EIO=3", {}, 400),
        ("transport=websocket", {}, 400),
        ("transport=websocket&EIO=4&sid=unknown", {}, 400),
        ("transport=websocket&EIO=4&j=x", {}, 400),
        ("transport=websocket&EIO=4", {"Sec-WebSocket-Version": "12"}, 426),
        ("transport=websocket&EIO=4", {"Sec-WebSocket-Key": "short"}, 426),
        ("transport=websocket&EIO=4", {"Connection": "no-upgrade"}, 426),
        ("transport=websocket&EIO=4", {"Upgrade": " websocket"}, None),
        ("transport=websocket&EIO=4", {"Upgrade": "websocket, other"}, 426),
        ("transport=websocket&EIO=4", {"Origin": "https://somewhere.example"}, 403),
        ("transport=websocket&EIO=4", {"Origin": "null"}, 403),
    ],
)
async def test_other_handshakes_too(scene: Scene, query: str, headers: dict[str, str], status: int | None) -> None:
    answered, _ = await handshake(scene, query, **headers)
    assert status in (answered, None)
    async with asyncio.timeout(60):
        while scene.relay._sio.eio.sockets:
            await asyncio.sleep(0.001)


async def test_metrics_need_not_be_there(scene: Scene) -> None:
    scene.relay._metrics = None
    assert (await get(scene, "/metrics"))[0] == 404


async def test_nothing_is_left_of_who_was_there(scene: Scene) -> None:
    for _ in range(5):
        host, client = await scene.pipes()
        stranger = await scene.stranger()
        await stranger.socket.send_str("nonsense")
        await scene.close_all()
    async with asyncio.timeout(60):
        while scene.relay.door.sockets:
            await asyncio.sleep(0.001)
    sio = scene.relay._sio
    assert not sio.eio.sockets
    assert not sio.environ
    assert not scene.relay._joined
    assert all(owner is sio.eio for owner in scene.relay.tasks)
    assert not scene.relay.sockets
    assert not scene.relay._board.rooms
    assert not list(sio.manager.get_namespaces()) or not any(sio.manager.rooms["/"].values())
    del host, client


async def test_a_port_that_is_taken_is_an_error(scene: Scene) -> None:
    from io import StringIO

    from kernelwire_socketio.relay.limits import Limits

    other = server.Relay(Limits(), StringIO())
    with pytest.raises(OSError, match="in use"):
        await other.start("127.0.0.1", int(scene.url.rsplit(":", 1)[1]))


async def test_it_says_that_it_will_be_restarted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_DELAYS", (60.0,))
    host, client = await scene.pipes()
    stranger = await scene.stranger()
    await stranger.join(scene.info)
    assert await stranger.event() == (events.OPEN, b"")
    await client.send(b"last words")
    assert await host.receive() == b"last words"
    closing = asyncio.create_task(scene.relay.close())
    assert await stranger.event() == (events.RESTART, b"")
    await stranger.until_closed()
    for pipe in (host, client):
        with pytest.raises(ConnectionLost, match="being restarted"):
            await pipe.receive()
    await closing
    with pytest.raises(OSError, match=r"refused|failed"):
        sockets.create_connection(("127.0.0.1", int(scene.url.rsplit(":", 1)[1])), 1)


async def test_who_does_not_leave_is_left(open_scene: OpenScene) -> None:
    scene = await open_scene(deadline=0.2)
    await scene.listen()
    stranger = await scene.stranger()
    await stranger.join(scene.info)
    transport = stranger.socket._writer.transport
    assert transport is not None
    transport.pause_reading()
    async with asyncio.timeout(60):
        await scene.relay.close()
    transport.abort()


async def test_engine_io_gives_up_who_does_not_answer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    eio = scene.relay._sio.eio
    monkeypatch.setattr(eio, "ping_interval", 0.05)
    monkeypatch.setattr(eio, "ping_timeout", 0.05)
    stranger = await scene.stranger()
    await stranger.join(scene.info)
    await stranger.until_closed()


async def test_the_libraries_have_what_is_replaced(scene: Scene) -> None:
    """python-engineio has no door for these two; a release that changes them must fail here and nowhere else."""
    eio = scene.relay._sio.eio
    assert eio.create_queue is Outbox
    assert type(eio).start_background_task is not None
    assert set(eio._async) == {"asyncio", "create_route", "translate_request", "make_response", "websocket"}
    stranger = await scene.stranger()
    assert len(scene.relay.sockets) == 1
    (socket,) = eio.sockets.values()
    assert isinstance(socket.queue, Outbox)
    await stranger.socket.close()
