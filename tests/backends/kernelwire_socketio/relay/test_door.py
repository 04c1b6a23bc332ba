"""The door: strangers are few, and have little time."""

import asyncio

import aiohttp
import pytest

from integration._relay_scenes import OpenScene, Scene
from kernelwire_socketio.relay.door import UNKNOWN_LIMIT
from kernelwire_socketio.relay.limits import Limits


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other end breaks it off, sooner or later."""
    try:
        async with asyncio.timeout(60):
            return not await reader.read()
    except ConnectionResetError:
        return True


async def test_who_says_nothing_is_sent_away(open_scene: OpenScene) -> None:
    scene = await open_scene(deadline=0.1)
    for first in (b"", b"GET /socket.io/?transport=websocket&EIO=4 HTTP/1.1\r\nHost: x\r\nConne"):
        reader, writer = await connect(scene.url)
        writer.write(first)
        assert await ended(reader)
        writer.close()
    assert {line["reason"] for line in scene.lines("dropped")} == {"too slow to join"}
    assert scene.relay.door.pending == scene.relay.door.sockets == 0


async def test_who_has_a_websocket_must_join_too(open_scene: OpenScene) -> None:
    scene = await open_scene(deadline=0.1)
    stranger = await scene.stranger()
    await stranger.until_closed()
    assert scene.lines("dropped")[0]["reason"] == "too slow to join"


async def test_one_address_has_a_few_at_a_time(open_scene: OpenScene) -> None:
    scene = await open_scene(pending=3)
    crowd = [await connect(scene.url) for _ in range(4)]
    assert await ended(crowd[0][0])
    assert scene.lines("dropped")[0]["reason"] == "too many at once from one address"
    assert scene.relay.door.pending == 3
    await scene.listen()  # for which the next oldest goes
    assert await ended(crowd[1][0])
    for _, writer in crowd:
        writer.close()


async def test_those_who_have_a_partner_do_not_count(open_scene: OpenScene) -> None:
    scene = await open_scene(pending=2)
    await scene.listen()
    for _ in range(5):
        await scene.dial()
    assert scene.relay.door.pending == 0


async def test_there_is_a_last_place(open_scene: OpenScene) -> None:
    scene = await open_scene(sockets=2)
    stranger, writer = await connect(scene.url)
    await scene.listen()
    await scene.dial()  # for which the stranger, who has no partner, goes
    assert await ended(stranger)
    writer.close()
    stranger, writer = await connect(scene.url)
    assert await ended(stranger)
    writer.close()
    assert [line["reason"] for line in scene.lines("dropped")] == ["too many connections"] * 2


async def test_a_source_may_not_try_all_the_time(open_scene: OpenScene) -> None:
    scene = await open_scene(joins=3)
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.ws_connect(f"{scene.url}/socket.io/?transport=websocket&EIO=4"):
                pass
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{scene.url}/socket.io/?transport=websocket&EIO=4")
    assert refused.value.status == 429
    assert scene.relay.counts.refused == {"rate": 1}


async def test_a_proxy_says_where_from(open_scene: OpenScene) -> None:
    scene = await open_scene(behind_proxy=True, pending=1)
    await scene.stranger(**{"X-Forwarded-For": "spoofed, 10.0.0.1"})
    await scene.stranger(**{"X-Forwarded-For": "spoofed, 10.0.0.2"})
    assert {source: len(there) for source, there in scene.relay.door._pending.items()} == {"10.0.0.1": 1, "10.0.0.2": 1}


async def test_nobody_is_asked_without_a_proxy(scene: Scene) -> None:
    await scene.stranger(**{"X-Forwarded-For": "10.0.0.1"})
    assert set(scene.relay.door._pending) == {"127.0.0.1"}


def test_the_usual_limits_are_those_of_the_documentation() -> None:
    assert (Limits().pending, Limits().deadline, Limits().sockets) == (64, 5.0, 10_000)


async def test_who_has_no_partner_may_not_say_much(scene: Scene) -> None:
    reader, writer = await connect(scene.url)
    writer.write(b"POST /socket.io/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * UNKNOWN_LIMIT)
    assert await ended(reader)
    writer.close()
    waiting = await scene.stranger()
    await waiting.join(scene.info)
    await waiting.socket.ping()
    assert (await waiting.socket.receive()).type is aiohttp.WSMsgType.PONG
    for _ in range(UNKNOWN_LIMIT // 100):
        await waiting.socket.ping(b"x" * 100)
    await waiting.until_closed()
    assert scene.relay.counts.dropped == {"too much to join": 2}


async def test_who_has_a_partner_may(scene: Scene) -> None:
    host, client = await scene.pipes()
    for sender, receiver in ((client, host), (host, client)):
        await sender.send(b"x" * 3 * UNKNOWN_LIMIT)
        received = 0
        while received < 3 * UNKNOWN_LIMIT:
            received += len(await receiver.receive())
    assert scene.relay.counts.dropped == {}
