"""Bridges by connection info: what is served, what is refused, when they end."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kernelwire import bridge as module
from kernelwire import registry
from kernelwire.bridging import open_bridge
from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.client import connect
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd
from kernelwire.errors import (
    AddressInUse,
    BridgeLoop,
    ChannelClosed,
    ConnectionLost,
    EndOfChannel,
    InvalidField,
    NotServed,
    UnknownTransport,
)
from kernelwire.heartbeat import HeartbeatMonitor
from kernelwire.messages import Message, WireMessage
from kernelwire.session import Session
from kernelwire.testing import Resources, ScriptedKernel
from kernelwire_inprocess import InProcessBackend

from ._raw_kernel import settle

FAR_KEY = b"the kernel's key"
NEAR_KEY = b"the clients' key"


@pytest.fixture(autouse=True)
async def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    # Beats at once, so that nobody has to wait for the next one.
    monkeypatch.setattr(module, "HeartbeatMonitor", functools.partial(HeartbeatMonitor, interval=0.005))
    yield
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def scripted() -> AsyncIterator[ConnectionInfo]:
    """A scripted kernel, served in this process."""
    backend = InProcessBackend()
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=FAR_KEY))
    async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info)):
        yield info


def near_info(transport: str = "inprocess") -> ConnectionInfo:
    return ConnectionInfo(transport=transport, key=NEAR_KEY)


@pytest.mark.parametrize("transport", ["inprocess", "tcp", "ipc"])
async def test_open_bridge(scripted: ConnectionInfo, transport: str) -> None:
    async with open_bridge(scripted, near_info(transport)) as near:
        assert near.key == NEAR_KEY
        async with connect(near) as client:
            await client.ready()
            assert (await client.execute("bridged")).text == "bridged"
    with suppress(NotServed):  # a wire that queues says nothing
        async with connect(near) as client:
            ready = asyncio.create_task(client.ready())
            await settle()
            assert not ready.done()
            ready.cancel()
            await asyncio.wait([ready])


async def test_a_chain(scripted: ConnectionInfo) -> None:
    async with (
        open_bridge(scripted, near_info("tcp")) as second,
        open_bridge(second, near_info("ipc")) as third,
        open_bridge(third, near_info()) as fourth,
        connect(fourth) as client,
    ):
        await client.ready()
        assert (await client.execute("far away")).text == "far away"


async def test_a_kernel_is_not_bridged_to_itself(scripted: ConnectionInfo) -> None:
    with pytest.raises(BridgeLoop):
        async with open_bridge(scripted, scripted.replace(key=b"another")):
            pass


@pytest.mark.parametrize(
    ("far", "near", "error"),
    [
        pytest.param(ConnectionInfo(transport="pigeon"), near_info(), UnknownTransport, id="far transport"),
        pytest.param(None, near_info("pigeon"), UnknownTransport, id="near transport"),
        pytest.param(ConnectionInfo(ip="127.0.0.1"), near_info(), InvalidField, id="far field"),
        pytest.param(
            ConnectionInfo(transport="inprocess", extra={"name": "nobody"}), near_info(), NotServed, id="not served"
        ),
        pytest.param(None, "taken", AddressInUse, id="near address"),
    ],
)
@pytest.mark.parametrize("with_ipc", [False, True])
async def test_what_cannot_be_opened_is_raised_at_once(
    scripted: ConnectionInfo,
    far: ConnectionInfo | None,
    near: "ConnectionInfo | str",
    error: type[Exception],
    with_ipc: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = InProcessBackend()
    taken = backend.prepare(near_info())
    before = Resources.now()
    async with await backend.serve(taken):
        where = taken if isinstance(near, str) else near
        if with_ipc and where.transport == "inprocess" and far is not None:
            where = near_info("ipc")
        with pytest.raises(error):
            async with open_bridge(far or scripted, where):
                raise AssertionError("opened")
    assert await before.settled() == []
    assert not caplog.records


class Breaking(InProcessBackend):
    """Its clients' iopub breaks when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.breaks = asyncio.Event()

    async def connect(
        self, info: ConnectionInfo, *, identity: bytes, channels: Collection[Channel] = ALL_CHANNELS
    ) -> ClientEnd:
        end = await super().connect(info, identity=identity, channels=channels)

        async def receive() -> WireMessage:
            await self.breaks.wait()
            raise ConnectionLost("the far wire broke")

        setattr(end.iopub, "receive", receive)  # noqa: B010 - a method of one object
        return end


@pytest.fixture
async def breaking(monkeypatch: pytest.MonkeyPatch) -> Breaking:
    breaking = Breaking()
    load: Callable[[str], Any] = registry.load
    monkeypatch.setattr(registry, "load", lambda name: breaking if name == "breaking" else load(name))
    return breaking


async def test_a_bridge_that_breaks_says_so_at_once_and_raises_at_the_end(
    scripted: ConnectionInfo, breaking: Breaking, caplog: pytest.LogCaptureFixture
) -> None:
    async def use() -> None:
        async with open_bridge(scripted.replace(transport="breaking"), near_info()) as near:
            async with await InProcessBackend().connect(near, identity=b"a") as client:
                breaking.breaks.set()
                with pytest.raises(EndOfChannel):  # nobody on the near side waits for ever
                    await client.shell.receive()
            (record,) = caplog.records
            assert record.levelno == logging.ERROR
            assert "the far wire broke" in record.getMessage()

    with pytest.raises(ConnectionLost, match="the far wire broke"):
        await use()


async def test_a_users_own_error_is_not_hidden_by_the_bridges(scripted: ConnectionInfo, breaking: Breaking) -> None:
    async def use() -> None:
        async with open_bridge(scripted.replace(transport="breaking"), near_info()):
            breaking.breaks.set()
            await settle()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await use()


async def test_a_far_kernel_that_closes_closes_the_near_side(caplog: pytest.LogCaptureFixture) -> None:
    backend = InProcessBackend()
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=FAR_KEY))
    far = await backend.serve(info)
    async with open_bridge(info, near_info()) as near, connect(near) as client:
        waiting = asyncio.create_task(client.kernel_info())
        await far.shell.receive()
        await far.aclose()
        with pytest.raises(EndOfChannel):
            await waiting
        with pytest.raises(EndOfChannel):
            await client.kernel_info()
    assert not caplog.records  # it is the regular end


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_requests_may_come_before_the_far_kernel(transport: str) -> None:
    backend = registry.load(transport)
    far = backend.prepare(ConnectionInfo(transport=transport, key=FAR_KEY))
    try:
        async with open_bridge(far, near_info()) as near, connect(near) as client:
            early: list[Awaitable[Message]] = [
                asyncio.create_task(request) for request in (client.kernel_info(), client.complete("abc"))
            ]
            interrupt = asyncio.create_task(client.interrupt())
            await settle()
            async with await backend.serve(far) as end, ScriptedKernel(end, Session.of(far)):
                for request in (*early, interrupt):
                    assert (await request).content["status"] == "ok"
    finally:
        backend.release(far)


@pytest.mark.parametrize("transport", ["inprocess", "ipc"])
async def test_a_cancelled_open_bridge_leaves_nothing(
    scripted: ConnectionInfo, transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    async with open_bridge(scripted, near_info(transport)):
        pass  # what a library makes once and keeps is no leak
    await settle()
    before = Resources.now()

    async def open_and_wait() -> None:
        async with open_bridge(scripted, near_info(transport)) as near, connect(near) as client:
            await client.ready()
            await asyncio.get_running_loop().create_future()

    for turns in range(25):
        opening = asyncio.create_task(open_and_wait())
        await settle(turns)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    assert await before.settled() == []
    sockets = [path for path in tmp_path.rglob("*") if path.is_socket()]
    assert sockets == []


async def test_cancelled_by_a_time_limit(scripted: ConnectionInfo) -> None:
    async def use() -> None:
        async with asyncio.timeout(0.01), open_bridge(scripted, near_info()) as near, connect(near):
            await asyncio.Event().wait()

    with pytest.raises((TimeoutError, ChannelClosed)):
        await use()


async def test_a_bridge_without_a_key_must_be_wanted(scripted: ConnectionInfo) -> None:
    with pytest.raises(InvalidField, match="'key': missing on the near side"):
        async with open_bridge(scripted, ConnectionInfo(transport="tcp")):
            pass
    async with open_bridge(scripted, ConnectionInfo(transport="tcp"), allow_unsigned=True) as near:
        assert near.key == b""
        async with connect(near) as client:
            await client.ready(60)


async def test_a_bridge_without_a_key_is_served_where_the_wire_needs_none(
    scripted: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(registry.load("tcp")), "new_key", lambda _: b"")  # as where it is encrypted
    async with open_bridge(scripted, ConnectionInfo(transport="tcp")) as near:
        assert near.key == b""
        async with connect(near) as client:
            await client.ready(60)


async def test_a_bridge_that_is_refused_leaves_the_one_who_is_there_alone(scripted: ConnectionInfo) -> None:
    backend = registry.load("ipc")
    taken = backend.prepare(ConnectionInfo(transport="ipc", key=FAR_KEY))
    try:
        async with await backend.serve(taken) as end, ScriptedKernel(end, Session.of(taken)):
            with pytest.raises(AddressInUse):
                async with open_bridge(scripted, taken):
                    pass
            async with connect(taken) as client:
                await client.ready(60)
    finally:
        backend.release(taken)
