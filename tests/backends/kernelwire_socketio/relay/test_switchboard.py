"""Who comes into which room, and when."""

import asyncio

import pytest

from integration._relay_scenes import OpenScene, Scene
from kernelwire.errors import AddressInUse, ConfigurationError, ConnectionLost
from kernelwire.link import seal
from kernelwire.ticket import key_text
from kernelwire_socketio import events, listener
from kernelwire_socketio.host_tokens import HostKeys, issue, new_key, read_private, read_public
from kernelwire_socketio.role_tokens import new_instance

PRIVATE, PUBLIC = new_key()
OPERATOR = read_private(PRIVATE, "a file")
KEYS = HostKeys(read_public(PUBLIC, "a file"))


def another_host() -> dict[str, str]:
    private = seal.new_private_key()
    return {"host_private_key": key_text(private), "host_key": key_text(seal.public_key(private))}


def another_room() -> dict[str, str]:
    return {"link_secret": key_text(seal.new_secret())}


async def test_a_client_waits_for_its_host(scene: Scene) -> None:
    dialling_client = asyncio.create_task(scene.dial())
    async with asyncio.timeout(60):
        while not scene.lines("joined"):
            await asyncio.sleep(0.001)
    assert not dialling_client.done()
    host = await scene.listen()
    client = await dialling_client
    await client.send(b"hello")
    assert await (await host.accept()).receive() == b"hello"


async def test_it_does_not_wait_for_ever(open_scene: OpenScene) -> None:
    scene = await open_scene(patience=0.1)
    with pytest.raises(ConnectionLost):
        await scene.dial()
    assert scene.lines("dropped")[0]["reason"] == "no host came"


async def test_rooms_do_not_touch(scene: Scene) -> None:
    one, other = await scene.listen(), await scene.listen(**(fields := another_room()))
    await (await scene.dial()).send(b"one")
    await (await scene.dial(**fields)).send(b"other")
    assert await (await one.accept()).receive() == b"one"
    assert await (await other.accept()).receive() == b"other"
    assert len(scene.relay._board.rooms) == 2


async def test_rooms_end_with_the_last_who_leaves(scene: Scene) -> None:
    host = await scene.listen()
    client = await scene.dial()
    await host.aclose()
    await client.aclose()
    async with asyncio.timeout(60):
        while scene.relay.sockets:
            await scene.relay.gone.wait()
    assert not scene.relay._board.rooms


async def test_another_host_does_not_come_in(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CONFLICT_TIME", 0.1)
    await scene.listen()
    with pytest.raises(AddressInUse, match="another host"):
        await scene.listen(**another_host())
    assert {line["code"] for line in scene.lines("refused")} == {"conflict"}
    await scene.dial()


async def test_nor_does_a_second_process_of_the_same_while_the_first_lives(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "CONFLICT_TIME", 0.5)
    scene = await open_scene(probe=0.2)
    first = await scene.listen()
    with pytest.raises(AddressInUse, match="another host"):
        await scene.listen()
    await scene.dial()
    await first.accept()


async def test_one_that_is_dead_makes_room(open_scene: OpenScene) -> None:
    scene = await open_scene(probe=0.05)
    dead = await scene.stranger()
    await dead.join(scene.info, "host")  # and answers nothing
    second = await scene.listen()
    await scene.dial()
    await second.accept()
    assert scene.relay.counts.dropped == {"not there any more": 1}


async def test_one_that_answers_does_not(open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CONFLICT_TIME", 0.5)
    scene = await open_scene(probe=0.2)
    first = await scene.stranger()
    await first.join(scene.info, "host")

    async def answer() -> None:
        while True:
            if await first.event() == (events.PROBE, b""):
                await first.socket.send_bytes(events.encode(events.PROBE))

    answering = asyncio.create_task(answer())
    with pytest.raises(AddressInUse):
        await scene.listen()
    answering.cancel()


async def test_a_host_that_comes_again_takes_its_own_place(scene: Scene) -> None:
    instance = new_instance()
    first = await scene.stranger()
    await first.join(scene.info, "host", instance=instance)
    client = await scene.stranger()
    await client.join(scene.info)
    again = await scene.stranger()
    await again.join(scene.info, "host", instance=instance)
    await first.until_closed()
    await client.until_closed()
    await scene.dial()
    assert await again.event() == (events.OPEN, b"\0\0\0\1")


async def test_a_room_has_a_last_place(open_scene: OpenScene) -> None:
    scene = await open_scene(clients=2)
    await scene.listen()
    clients = [await scene.dial() for _ in range(2)]
    with pytest.raises(ConnectionLost, match="has 2 clients, and no place for more"):
        await scene.dial()
    await clients[0].aclose()
    async with asyncio.timeout(60):
        while len(scene.relay.sockets) > 2:
            await scene.relay.gone.wait()
    await scene.dial()


async def test_a_host_token_has_its_limits(open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "FIRST_TIME", 0.1)
    scene = await open_scene(host_keys=KEYS, rooms=2)
    token = issue(OPERATOR, valid=60, clients=1, rooms=100)
    one = await scene.listen(host_token=token)
    await scene.dial()
    with pytest.raises(ConnectionLost, match="has 1 clients"):
        await scene.dial()
    await scene.listen(host_token=token, **another_room())
    with pytest.raises(ConnectionLost, match="for 2 rooms at a time"):
        await scene.listen(host_token=token, **another_room())
    await scene.listen(host_token=issue(OPERATOR, valid=60), **another_room())
    await one.aclose()


async def test_a_host_token_ends_while_it_is_used(open_scene: OpenScene) -> None:
    now = 1_800_000_000
    scene = await open_scene(host_keys=KEYS, clock=lambda: now)
    token = issue(OPERATOR, valid=60, now=now - 69)
    host = await scene.listen(host_token=token)
    await scene.dial()
    await host.accept()
    now += 5
    with pytest.raises(ConnectionLost, match="host token cannot be used: it has expired"):
        async with asyncio.timeout(60):
            await host.accept()
    assert scene.relay.counts.dropped == {"its host token has expired": 1}


async def test_without_a_host_token_it_ends_at_once(open_scene: OpenScene) -> None:
    scene = await open_scene(host_keys=KEYS)
    with pytest.raises(ConfigurationError, match=r"'host_token': the relay at .* refuses it: a host token is needed"):
        await scene.listen()
