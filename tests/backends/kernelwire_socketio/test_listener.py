"""A host's end: one connection, made again whenever it breaks."""

import asyncio

import pytest

from integration._relay_scenes import OpenScene, Scene
from kernelwire.errors import ConfigurationError, ConnectionLost
from kernelwire_socketio import listener
from kernelwire_socketio.host_tokens import HostKeys, issue, new_key, read_private, read_public
from kernelwire_socketio.listener import RelayListener


async def test_who_never_reaches_the_relay_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "FIRST_TIME", 0.1)
    await scene.relay.close()
    with pytest.raises(ConnectionLost, match=r"^the relay at http://[^ ]+ cannot be reached"):
        await scene.listen()


async def test_it_comes_back_by_itself(scene: Scene) -> None:
    host = await scene.listen()
    client = await scene.dial()
    pipe = await host.accept()
    for socket in tuple(scene.relay.sockets):
        socket.visitor.abort()
    for each in (client, pipe):
        with pytest.raises(ConnectionLost, match="connection to the relay is lost"):
            await each.receive()
    await (await scene.dial()).send(b"hello")
    assert await (await host.accept()).receive() == b"hello"


async def test_what_was_accepted_stays_when_it_is_closed(scene: Scene) -> None:
    host = await scene.listen()
    client = await scene.dial()
    pipe = await host.accept()
    late = await scene.dial()
    await host.aclose()
    with pytest.raises(ConnectionLost, match="closed"):
        await host.accept()
    with pytest.raises(ConnectionLost):
        await late.receive()
    await client.send(b"hello")
    assert await pipe.receive() == b"hello"
    await pipe.send(b"goodbye")
    await pipe.aclose()
    assert await client.receive() == b"goodbye"
    async with asyncio.timeout(60):
        while scene.relay._board.rooms:
            await scene.relay.gone.wait()


async def test_nobody_new_comes_in_then(scene: Scene) -> None:
    host = await scene.listen()
    await scene.dial()
    await host.accept()
    await host.aclose()
    late = await scene.dial()
    with pytest.raises(ConnectionLost):
        await late.receive()


async def test_clients_that_nobody_accepts_are_few(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_BACKLOG", 1)
    await scene.listen()
    first, second = await scene.dial(), await scene.dial()
    with pytest.raises(ConnectionLost):
        await second.receive()
    await first.send(b"hello")


async def test_when_it_may_not_come_back_it_says_so(open_scene: OpenScene) -> None:
    private, public = new_key()
    key = read_private(private, "a file")
    now = 1_800_000_000
    scene = await open_scene(host_keys=HostKeys(read_public(public, "a file")), clock=lambda: now)
    host = await scene.listen(host_token=issue(key, valid=60, now=now))
    now += 1000
    for socket in tuple(scene.relay.sockets):
        socket.visitor.abort()
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="host token cannot be used: it has expired"):
            await host.accept()


async def test_a_wrong_address_is_said_at_once(scene: Scene) -> None:
    with pytest.raises(ConfigurationError, match="no relay answers there"):
        await scene.listen(relay=scene.url + "/elsewhere")


async def test_it_can_be_closed_while_the_relay_is_away(scene: Scene) -> None:
    before = asyncio.all_tasks()
    host = await scene.listen()
    assert isinstance(host, RelayListener)
    await scene.relay.close()
    await host.aclose()
    await host.aclose()
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() <= before
