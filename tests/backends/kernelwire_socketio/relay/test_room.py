"""What goes between a host and its clients."""

import asyncio
from random import Random

import pytest

from integration._relay_scenes import OpenScene, Scene, Stranger
from kernelwire.errors import ConnectionLost, EndOfChannel, KernelwireError
from kernelwire.link.pipe import Pipe
from kernelwire_socketio import events
from kernelwire_socketio.relay import room
from kernelwire_socketio.relay.limits import FLOW_LIMIT, ROOM_LIMIT


async def receive(pipe: Pipe, size: int) -> bytes:
    data = b""
    async with asyncio.timeout(60):
        while len(data) < size:
            data += await pipe.receive()
    return data


async def until_closed(pipe: Pipe) -> KernelwireError:
    async with asyncio.timeout(60):
        while True:
            try:
                await pipe.receive()
            except KernelwireError as error:
                return error


async def host_stranger(scene: Scene) -> Stranger:
    host = await scene.stranger()
    await host.join(scene.info, "host")
    return host


async def client_stranger(scene: Scene) -> Stranger:
    client = await scene.stranger()
    await client.join(scene.info)
    return client


async def test_each_client_has_a_pipe_of_its_own(scene: Scene) -> None:
    listener = await scene.listen()
    clients = [await scene.dial() for _ in range(5)]
    hosts = [await listener.accept() for _ in clients]
    for number, client in enumerate(clients):
        await client.send(b"from %d" % number)
    for number, host in enumerate(hosts):
        assert await host.receive() == b"from %d" % number
        await host.send(b"to %d" % number)
    for number, client in enumerate(clients):
        assert await client.receive() == b"to %d" % number


@pytest.mark.parametrize("seed", range(5))
async def test_every_byte_arrives(scene: Scene, seed: int) -> None:
    chance = Random(seed)
    pieces = [chance.randbytes(chance.choice([1, 250, 256, 65_000, 150_000])) for _ in range(10)]
    host, client = await scene.pipes()
    for sender, receiver in ((host, client), (client, host)):
        for piece in pieces:
            await sender.send(piece)
        assert await receive(receiver, sum(map(len, pieces))) == b"".join(pieces)


async def test_a_client_that_goes_is_gone_at_the_host(scene: Scene) -> None:
    host, client = await scene.pipes()
    await client.send(b"last words")
    await client.aclose()
    assert await host.receive() == b"last words"
    assert isinstance(await until_closed(host), EndOfChannel)


async def test_a_pipe_that_the_host_closes_is_closed_at_the_client(scene: Scene) -> None:
    host, client = await scene.pipes()
    await host.send(b"last words")
    await host.aclose()
    assert await client.receive() == b"last words"
    assert isinstance(await until_closed(client), ConnectionLost)


async def test_a_host_s_last_words_reach_all(scene: Scene) -> None:
    listener = await scene.listen()
    clients = [await scene.dial() for _ in range(3)]
    hosts = [await listener.accept() for _ in clients]
    for host in hosts:
        await host.send(b"x" * 500_000)
    for host in hosts:
        await host.aclose()
    await listener.aclose()
    for client in clients:
        assert len(await receive(client, 500_000)) == 500_000
        await until_closed(client)
    assert not scene.relay._board.rooms


async def test_a_client_s_numbers_are_not_its_to_choose(scene: Scene) -> None:
    host = await host_stranger(scene)
    one, other = await client_stranger(scene), await client_stranger(scene)
    assert await host.event() == (events.OPEN, b"\0\0\0\1")
    assert await host.event() == (events.OPEN, b"\0\0\0\2")
    await other.socket.send_bytes(events.encode(events.DATA, b"\0\0\0\1 I am the first"))
    assert await host.event() == (events.DATA, b"\0\0\0\2\0\0\0\1 I am the first")
    await host.socket.send_bytes(events.encode(events.DATA, b"hello", number=1))
    assert await one.event() == (events.OPEN, b"")
    assert await one.event() == (events.DATA, b"hello")


async def test_what_is_for_nobody_is_dropped(scene: Scene) -> None:
    host = await host_stranger(scene)
    client = await client_stranger(scene)
    for number in (0, 2, 2**32 - 1):
        await host.socket.send_bytes(events.encode(events.DATA, b"x", number=number))
        await host.socket.send_bytes(events.encode(events.CLOSE, number=number))
    await host.socket.send_bytes(events.encode(events.DATA, b"for you", number=1))
    assert await client.event() == (events.OPEN, b"")
    assert await client.event() == (events.DATA, b"for you")


@pytest.mark.parametrize("data", [events.encode(events.DATA, b"\0\0\0"), events.encode(events.OPEN, b"\0\0\0\1")])
async def test_a_host_keeps_to_the_rules_too(scene: Scene, data: bytes) -> None:
    host = await host_stranger(scene)
    await host.socket.send_bytes(data)
    await host.until_closed()
    assert scene.relay.counts.dropped == {"malformed": 1}


async def test_who_sends_without_regard_for_the_window_is_dropped(scene: Scene) -> None:
    host = await host_stranger(scene)
    flooding, other = await client_stranger(scene), await client_stranger(scene)
    transport = host.socket._writer.transport
    assert transport is not None
    transport.pause_reading()
    message = events.encode(events.DATA, b"x" * 65_000)
    for _ in range(FLOW_LIMIT // 65_000 + 200):  # what the system itself takes on the way is not small
        if flooding.socket.closed:
            break
        try:
            await flooding.socket.send_bytes(message)
        except ConnectionError:
            break
    await flooding.until_closed()
    assert scene.relay.counts.dropped == {"flood": 1}
    transport.resume_reading()
    await other.socket.send_bytes(events.encode(events.DATA, b"here"))
    async with asyncio.timeout(60):
        while (await host.event()) != (events.DATA, b"\0\0\0\2here"):
            pass


async def test_a_client_that_reads_nothing_costs_its_host_nothing(scene: Scene) -> None:
    host = await host_stranger(scene)
    stalled, other = await client_stranger(scene), await client_stranger(scene)
    transport = stalled.socket._writer.transport
    assert transport is not None
    transport.pause_reading()
    message = events.encode(events.DATA, b"x" * 65_000, number=1)
    while not scene.relay.counts.dropped:
        await host.socket.send_bytes(message)
    assert scene.relay.counts.dropped == {"reads too slowly": 1}
    await host.socket.send_bytes(events.encode(events.DATA, b"still here", number=2))
    assert await other.event() == (events.OPEN, b"")
    assert await other.event() == (events.DATA, b"still here")
    transport.abort()


async def test_clients_of_a_slow_host_are_read_slowly(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "HOST_PAUSE", 200_000)
    host = await host_stranger(scene)
    clients = [await client_stranger(scene) for _ in range(3)]
    transport = host.socket._writer.transport
    assert transport is not None
    transport.pause_reading()

    async def flood(client: Stranger) -> None:
        for _ in range(150):
            await client.socket.send_bytes(events.encode(events.DATA, b"x" * 60_000))

    sending = [asyncio.create_task(flood(client)) for client in clients]
    async with asyncio.timeout(60):
        while (held := max(socket.outbox.held for socket in scene.relay.sockets)) < 200_000:
            await asyncio.sleep(0.001)
    assert held <= 200_000 + 3 * 61_000
    transport.resume_reading()
    received = 0
    async with asyncio.timeout(60):
        while received < 3 * 150:
            received += (await host.event())[0] == events.DATA
    await asyncio.gather(*sending)
    assert not scene.relay.counts.dropped


async def test_a_flow_needs_a_client_that_was_let_in(open_scene: OpenScene) -> None:
    scene = await open_scene()
    waiting = await client_stranger(scene)
    await waiting.socket.send_bytes(events.encode(events.DATA, b"to nobody"))
    await waiting.until_closed()
    assert scene.relay.counts.dropped == {"malformed": 1}


async def test_what_a_parting_client_holds_is_not_taken_from_others(scene: Scene) -> None:
    host = await host_stranger(scene)
    clients = [await client_stranger(scene) for _ in range(3)]
    the_room = next(iter(scene.relay._board.rooms.values()))
    message = b"x" * 65_000
    for number, client in enumerate(clients, 1):
        dropped = scene.relay.counts.dropped.total()
        transport = client.socket._writer.transport
        assert transport is not None
        transport.pause_reading()
        while the_room.surplus.held < ROOM_LIMIT - 1_000_000:
            await host.socket.send_bytes(events.encode(events.DATA, message, number=number))
            await asyncio.sleep(0)
        assert scene.relay.counts.dropped.total() == dropped
        await host.socket.send_bytes(events.encode(events.CLOSE, number=number))
        async with asyncio.timeout(60):
            while the_room.surplus.held:
                await asyncio.sleep(0.001)
    assert scene.relay.counts.dropped == {"reads too slowly": 2}  # one may take its time
    assert 0 < the_room.parting.held <= ROOM_LIMIT
    for client in clients:
        transport = client.socket._writer.transport
        if transport is not None:
            transport.abort()
    async with asyncio.timeout(60):
        while the_room.parting.held:
            await asyncio.sleep(0.001)


async def test_each_message_is_counted_once(scene: Scene) -> None:
    host, client = await scene.pipes()
    await client.send(b"first")
    assert await host.receive() == b"first"
    before = scene.relay.counts.frames_in
    for number in range(200):
        await client.send(b"%d" % number)
    assert await receive(host, 490) == b"".join(b"%d" % number for number in range(200))
    assert scene.relay.counts.frames_in - before == 200
