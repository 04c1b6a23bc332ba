"""What may come over one websocket; everything else ends it, and nothing of it is delivered."""

import asyncio
from typing import Any

import msgpack
import pytest
from aiohttp import WSMsgType

from integration._relay_scenes import OpenScene, Scene
from kernelwire.errors import KernelwireError
from kernelwire.link.pipe import Pipe
from kernelwire_socketio import events
from kernelwire_socketio.relay.door import UNKNOWN_LIMIT

OVER = r"closed|lost"


def packed(packet: Any) -> bytes:
    message: bytes = msgpack.packb(packet)
    return message


MALFORMED: dict[str, str | bytes] = {
    "empty text": "",
    "text": "hello",
    "an upgrade": "5",
    "a probe": "2probe",
    "a no-op": "6",
    "base64": "b" + "AAAA" * 10,
    "a text event": '42["d","x"]',
    "an attachment": '451-["d",{"_placeholder":true,"num":0}]',
    "many attachments": '45999999999-["d",{"_placeholder":true,"num":0}]',
    "empty bytes": b"",
    "nonsense": b"\xc1\xc1\xc1",
    "deep": b"\x91" * 5000,
    "a list": packed([1, 2]),
    "a second connect": packed({"type": 0, "data": {}, "nsp": "/"}),
    "another namespace": packed({"type": 0, "data": {}, "nsp": "/admin"}),
    "an event elsewhere": packed({"type": 2, "data": ["d", b"x"], "nsp": "/admin"}),
    "an unknown event": packed({"type": 2, "data": ["z", b"x"], "nsp": "/"}),
    "an event of text": packed({"type": 2, "data": ["d", "x"], "nsp": "/"}),
    "an event with an answer": packed({"type": 2, "data": ["d", b"x"], "nsp": "/", "id": 1}),
    "an acknowledgement": packed({"type": 3, "data": [], "nsp": "/", "id": 1}),
    "an attachment packet": packed({"type": 5, "data": ["d", b"x"], "nsp": "/"}),
    "an unknown packet": packed({"type": 9, "nsp": "/"}),
    "a packet of no type": packed({"type": "2", "data": ["d", b"x"], "nsp": "/"}),
    "true for a type": packed({"type": False, "data": {}, "nsp": "/"}),
    "no data": events.encode(events.DATA),
    "a host's event": events.encode(events.CLOSE, b"\0\0\0\1"),
    "too large": events.encode(events.DATA, b"x" * events.LIMIT),
    "much too large": events.encode(events.DATA, b"x" * 1_000_000),
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_none_of_it_ends_the_connection(scene: Scene, message: str | bytes) -> None:
    listener = await scene.listen()
    stranger = await scene.stranger()
    await stranger.join(scene.info)
    host = await listener.accept()
    if isinstance(message, str):
        await stranger.socket.send_str(message)
    else:
        await stranger.socket.send_bytes(message)
    await stranger.until_closed()
    assert scene.relay.counts.dropped == {"malformed": 1}
    assert scene.relay.counts.frames_out == 0
    with pytest.raises(KernelwireError, match=OVER):
        await host.receive()
    await _still_works(scene)


@pytest.mark.parametrize("message", [message for name, message in MALFORMED.items() if name != "a second connect"])
async def test_nor_before_it_has_joined(scene: Scene, message: str | bytes) -> None:
    stranger = await scene.stranger()
    if isinstance(message, str):
        await stranger.socket.send_str(message)
    else:
        await stranger.socket.send_bytes(message)
    await stranger.until_closed()
    assert scene.relay.counts.dropped == {"malformed" if len(message) < UNKNOWN_LIMIT else "too much to join": 1}


async def test_a_fragment_too_many_ends_it(scene: Scene) -> None:
    await scene.listen()
    stranger = await scene.stranger()
    await stranger.join(scene.info)
    assert await stranger.event() == (events.OPEN, b"")
    writer = stranger.socket._writer  # what it would not do by itself
    for number in range(events.LIMIT // 1000 + 2):
        writer.transport.write(bytes([0x00 if number else 0x02, 0x80 | 126]) + (1000).to_bytes(2, "big") + bytes(1004))
    await stranger.until_closed()
    assert scene.relay.counts.dropped == {"malformed": 1}


async def test_a_goodbye_is_no_mistake(scene: Scene) -> None:
    for goodbye in (packed({"type": 1, "nsp": "/"}), "1", None):
        stranger = await scene.stranger()
        await stranger.join(scene.info)
        if goodbye is None:
            await stranger.socket.close()
        elif isinstance(goodbye, str):
            await stranger.socket.send_str(goodbye)
        else:
            await stranger.socket.send_bytes(goodbye)
        await stranger.until_closed()
    assert scene.relay.counts.dropped == {}


async def test_a_ping_is_answered_and_counted(scene: Scene) -> None:
    stranger = await scene.stranger()
    before = scene.relay.counts.frames_in
    await stranger.socket.ping(b"hello")
    answer = await stranger.socket.receive()
    assert (answer.type, bytes(answer.data)) == (WSMsgType.PONG, b"hello")
    await stranger.socket.send_str("3")
    await _frames(scene, before + 2)
    assert scene.relay.counts.dropped == {}


async def test_nothing_is_compressed(scene: Scene) -> None:
    stranger = await scene.stranger(**{"Sec-WebSocket-Extensions": "permessage-deflate"})
    assert "Sec-WebSocket-Extensions" not in stranger.socket._response.headers


async def test_a_flood_is_read_slowly_and_others_are_not(open_scene: OpenScene) -> None:
    scene = await open_scene(frames=200)
    loop = asyncio.get_running_loop()
    host, _ = await scene.pipes()
    stranger = await scene.stranger()
    await stranger.join(scene.info)
    before, started = scene.relay.counts.frames_in, loop.time()
    for _ in range(300):
        await stranger.socket.ping()
    await _frames(scene, before + 300)
    # The first 200 at once, and 100 more at 200 in a second: no machine is faster than that.
    assert loop.time() - started >= 0.4
    del host


async def test_bytes_may_be_limited_too(open_scene: OpenScene) -> None:
    scene = await open_scene(rate=500_000)
    loop = asyncio.get_running_loop()
    host, client = await scene.pipes()
    started = loop.time()
    await _send(client, b"x" * 740_000)
    await _receive(host, 740_000)
    # Half a megabyte at once, and what is above that at half a megabyte in a second; for the last piece nobody waits.
    assert loop.time() - started >= 0.4


async def test_who_takes_nothing_is_dropped(open_scene: OpenScene) -> None:
    scene = await open_scene(stall=0.2)
    listener = await scene.listen()
    stranger = await scene.stranger()
    await stranger.join(scene.info)
    host = await listener.accept()
    transport: Any = stranger.socket._writer.transport
    transport.pause_reading()
    with pytest.raises(KernelwireError, match=OVER):
        await _trickle(host)
    transport.abort()
    assert set(scene.relay.counts.dropped) <= {"does not read", "reads too slowly"}
    assert scene.relay.counts.dropped.total() == 1


async def _trickle(pipe: Pipe) -> None:
    """Never so much at once as would not be allowed."""
    async with asyncio.timeout(60):
        for _ in range(200):
            await pipe.send(b"x" * 60_000)
            await asyncio.sleep(0.02)


async def _still_works(scene: Scene) -> None:
    client = await scene.dial()
    await client.send(b"hello")


async def _frames(scene: Scene, count: int) -> None:
    async with asyncio.timeout(60):
        while scene.relay.counts.frames_in < count:
            await asyncio.sleep(0.001)


async def _send(pipe: Pipe, data: bytes) -> None:
    for at in range(0, len(data), 60_000):
        await pipe.send(data[at : at + 60_000])


async def _receive(pipe: Pipe, size: int) -> None:
    async with asyncio.timeout(60):
        while size:
            size -= len(await pipe.receive())


@pytest.mark.parametrize("size", [1, 60, 90, 126, 200, 60_000, 65_000, 65_536, 66_000])
async def test_messages_of_any_size_pass_both_ways(scene: Scene, size: int) -> None:
    host, client = await scene.pipes()
    for sender, receiver in ((host, client), (client, host)):
        await sender.send(b"x" * size)
        assert await receiver.receive() == b"x" * size
