"""The clients of one kernel: opened, kept, told of its end, over the in-process transport."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from kernelwire import kernel_clients
from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.client import KernelClient
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ChannelClosed, KernelDied, KernelRestarted, LocalError, NotServed
from kernelwire.kernel_clients import KernelClients
from kernelwire.session import Session
from kernelwire.testing import Resources, Run, ScriptedKernel
from kernelwire_inprocess import InProcessBackend


@pytest.fixture(autouse=True)
async def _nothing_is_left() -> AsyncIterator[None]:
    before = Resources.now()
    yield
    assert await before.settled() == []


@pytest.fixture
async def info(_nothing_is_left: None) -> AsyncIterator[ConnectionInfo]:
    """A kernel that prints its code, unless that is ``wait``: then it does nothing for ever."""

    async def script(run: Run) -> None:
        if run.code == "wait":
            await asyncio.get_running_loop().create_future()
        await run.stream(run.code)

    backend = InProcessBackend()
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=b"a key for these tests"))
    async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info), script):
        yield info


async def test_one_that_stays(info: ConnectionInfo) -> None:
    clients = KernelClients()
    assert clients.running is None
    client = await clients.start(info, time_to_dead=7)
    assert clients.running is client
    assert (await client.execute("1")).text == "1"
    assert await clients.start(info, time_to_dead=7) is client
    with pytest.raises(LocalError, match=r"other options: call stop_channels\(\) first"):
        await clients.start(info)
    await clients.stop()
    await clients.stop()
    assert clients.running is None
    with pytest.raises(ChannelClosed):
        await client.kernel_info()
    other = await clients.start(info)
    assert other is not client
    assert (await other.execute("2")).text == "2"
    await clients.stop()


async def test_tasks_that_start_at_once_get_the_same(info: ConnectionInfo) -> None:
    clients = KernelClients()
    assert len(set(await asyncio.gather(*(clients.start(info) for _ in range(5))))) == 1
    await asyncio.gather(*(clients.stop() for _ in range(2)))


async def test_one_that_cannot_be_opened() -> None:
    clients = KernelClients()
    with pytest.raises(NotServed):
        await clients.start(ConnectionInfo(transport="inprocess", extra={"name": "nobody"}))
    assert clients.running is None
    await clients.stop()


async def test_one_whose_kernel_is_gone_makes_way(info: ConnectionInfo) -> None:
    clients = KernelClients()
    old = await clients.start(info)
    clients.on_kernel_end(KernelDied("gone"), for_good=True)
    assert clients.running is None
    new = await clients.start(info)
    assert clients.running is new is not old
    with pytest.raises(ChannelClosed):
        await old.kernel_info()
    assert (await new.execute("1")).text == "1"
    await clients.stop()


async def test_all_are_told(info: ConnectionInfo) -> None:
    clients = KernelClients()
    async with clients.open(info) as one, clients.open(info) as other:
        kept = await clients.start(info)
        running = [asyncio.ensure_future(_text(client, "wait")) for client in (one, other, kept)]
        await asyncio.sleep(0)
        clients.on_kernel_end(KernelRestarted("on purpose"))
        for each in running:
            with pytest.raises(KernelRestarted, match="on purpose"):
                await each
    clients.on_kernel_end(KernelDied("later"), for_good=True)
    assert isinstance(one.broken, ChannelClosed)
    await clients.stop()


async def test_replies_are_waited_for_but_not_long(info: ConnectionInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = KernelClients()
    await clients.settled()
    async with clients.open(info) as client:
        await clients.settled()
        asking = asyncio.create_task(client.kernel_info())
        await asyncio.sleep(0)
        assert client.pending
        monkeypatch.setattr(kernel_clients, "_REPLIES", 60.0)
        await clients.settled()
        assert not client.pending
        await asking
        monkeypatch.setattr(kernel_clients, "_REPLIES", 0.05)
        waiting = asyncio.ensure_future(anext(aiter(client.execute("wait"))))
        await asyncio.sleep(0)
        await clients.settled()
        assert client.pending
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_last_words(info: ConnectionInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_clients, "_LOOK", 0)
    clients = KernelClients()
    await clients.last_words()
    client = await clients.start(info)
    await clients.last_words()
    running = asyncio.ensure_future(_text(client, "wait"))
    while not client.pending:
        await asyncio.sleep(0)
    clients.on_kernel_end(KernelDied("gone"), for_good=True)
    await clients.last_words()
    assert not client.pending
    with pytest.raises(KernelDied):
        await running
    await clients.stop()


async def test_heartbeats_rest(info: ConnectionInfo) -> None:
    clients = KernelClients()
    async with clients.open(info) as one, clients.open(info, channels=ALL_CHANNELS - {Channel.HEARTBEAT}):
        with clients.heartbeats_paused():
            assert one.heartbeat.paused
        assert not one.heartbeat.paused


async def _text(client: KernelClient, code: str) -> str:
    return (await client.execute(code)).text
