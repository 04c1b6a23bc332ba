"""A client's way into its room."""

import asyncio

import pytest

from integration._relay_scenes import Scene
from kernelwire.errors import ConnectionLost
from kernelwire_socketio import client_pipe


async def test_no_host_is_there(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_pipe, "HOST_TIME", 0.05)
    with pytest.raises(ConnectionLost, match=r"^the kernel's host is not at the relay at http://[^ ]+ just now$"):
        await scene.dial()
    async with asyncio.timeout(60):
        while scene.relay.sockets:
            await scene.relay.gone.wait()


async def test_who_is_cancelled_leaves_nothing(scene: Scene) -> None:
    await (await scene.listen()).aclose()  # so that the relay has all the tasks that it ever has
    before = asyncio.all_tasks()
    dialling = asyncio.create_task(scene.dial())
    async with asyncio.timeout(60):
        while len(scene.lines("joined")) < 2:
            await asyncio.sleep(0.001)
    dialling.cancel()
    await asyncio.gather(dialling, return_exceptions=True)
    async with asyncio.timeout(60):
        while scene.relay.sockets:
            await scene.relay.gone.wait()
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() <= before


async def test_a_relay_that_ends_meanwhile(scene: Scene) -> None:
    dialling = asyncio.create_task(scene.dial())
    async with asyncio.timeout(60):
        while not scene.lines("joined"):
            await asyncio.sleep(0.001)
    await scene.relay.close()
    with pytest.raises(ConnectionLost, match="being restarted"):
        await dialling


async def test_bytes_go_both_ways(scene: Scene) -> None:
    host, client = await scene.pipes()
    for sender, receiver in ((client, host), (host, client)):
        await sender.send(b"x" * 200_000)
        received = 0
        while received < 200_000:
            received += len(await receiver.receive())
