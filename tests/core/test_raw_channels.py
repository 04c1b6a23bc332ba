"""Raw channels: opened by a connection, with a session that they share; on tcp, ipc and in one process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kernelwire import registry
from kernelwire.channels import Channel
from kernelwire.client import connect
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile
from kernelwire.errors import ChannelClosed, ConnectionFileNotFound, InvalidField, NotSupported
from kernelwire.heartbeat import HeartbeatMonitor
from kernelwire.message_channel import MessageChannel
from kernelwire.raw_channels import RawChannels, open_channels
from kernelwire.session import Session
from kernelwire.testing import Run, ScriptedKernel


async def script(run: Run) -> Mapping[str, Any] | None:
    """``ask``, else three lines of the code."""
    if run.code == "ask":
        await run.stream(await run.input("name? "))
    else:
        for number in range(3):
            await run.stream(f"{run.code} {number}")
    return None


@pytest.fixture(params=["tcp", "ipc", "inprocess"])
async def info(request: pytest.FixtureRequest) -> AsyncIterator[ConnectionInfo]:
    backend = registry.load(request.param)
    info = backend.prepare(ConnectionInfo(transport=request.param, key=b"a key for these tests"))
    async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info), script):
        yield info
    backend.release(info)


@pytest.fixture
async def kernel(info: ConnectionInfo) -> AsyncIterator[RawChannels]:
    async with open_channels(info) as kernel:
        await kernel.ready()
        yield kernel


async def test_two_requests_at_once(kernel: RawChannels) -> None:
    requests = [kernel.session.message("execute_request", {"code": code}) for code in ("a", "b")]
    async with (
        kernel.iopub.subscribe(msg_type="stream", parent=requests[0]) as first,
        kernel.iopub.subscribe(msg_type="stream", parent=requests[1]) as second,
        kernel.iopub.subscribe(msg_type="status") as status,
        kernel.shell.subscribe() as replies,
    ):
        for request in requests:
            await kernel.shell.send(request)
        for code, subscription in (("b", second), ("a", first)):
            for number in range(3):
                assert (await subscription.receive()).content["text"] == f"{code} {number}"
        assert [(await replies.receive()).parent_id for _ in requests] == [request.msg_id for request in requests]
        states = [(await status.receive()).content["execution_state"] for _ in range(4)]
        assert states == ["busy", "idle"] * 2


async def test_without_subscriptions(kernel: RawChannels) -> None:
    request = kernel.session.message("interrupt_request")
    await kernel.control.send(request)
    assert (await anext(kernel.control.messages(parent=request))).msg_type == "interrupt_reply"
    async for status in kernel.iopub.messages(msg_type="status", parent=request):
        if status.content["execution_state"] == "idle":
            break


async def test_a_question(kernel: RawChannels) -> None:
    await kernel.shell.send(kernel.session.message("execute_request", {"code": "ask", "allow_stdin": True}))
    question = await kernel.stdin.receive()
    assert question.content["prompt"] == "name? "
    await kernel.stdin.send(kernel.session.message("input_reply", {"value": "Ada"}, parent=question))
    assert (await anext(kernel.iopub.messages(msg_type="stream"))).content["text"] == "Ada"


async def test_some_channels_only(info: ConnectionInfo) -> None:
    async with open_channels(info, channels={Channel.CONTROL, Channel.HEARTBEAT}) as kernel:
        await kernel.ready()
        for name in ("shell", "stdin", "iopub"):
            with pytest.raises(NotSupported, match=name):
                getattr(kernel, name)
        assert isinstance(kernel.control, MessageChannel)
        assert kernel.control is kernel.control
        async with HeartbeatMonitor(kernel.end.heartbeat) as monitor:
            await monitor.wait_beating()


async def test_beside_a_client(info: ConnectionInfo) -> None:
    async with open_channels(info, channels={Channel.IOPUB}) as kernel, connect(info) as client:
        await kernel.ready()
        async with kernel.iopub.subscribe(msg_type="stream") as streams:
            assert (await client.execute("x")).status == "ok"
            assert (await streams.receive()).content["text"] == "x 0"


async def test_closed_channels(info: ConnectionInfo) -> None:
    async with open_channels(info) as kernel:
        pass
    with pytest.raises(ChannelClosed):
        await kernel.shell.receive()
    async with kernel.iopub.subscribe() as messages:
        with pytest.raises(ChannelClosed):
            await messages.receive()


async def test_a_subscription_is_told_that_the_channels_are_closed(info: ConnectionInfo) -> None:
    async with open_channels(info) as kernel, kernel.control.subscribe() as messages:
        receiving = asyncio.create_task(messages.receive())
        await asyncio.sleep(0)
        await kernel.end.aclose()
        with pytest.raises(ChannelClosed):
            await receiving


async def test_by_connection_file(info: ConnectionInfo, tmp_path: Path) -> None:
    with ConnectionFile.write(info, tmp_path / "kernel.json") as file:
        async with open_channels(file.path, channels={Channel.SHELL}) as kernel:
            await kernel.shell.send(kernel.session.message("kernel_info_request"))
            assert (await kernel.shell.receive()).content["implementation"] == "scripted"


async def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFileNotFound):
        async with open_channels(tmp_path / "none.json"):
            pass
    with pytest.raises(InvalidField, match="shell_port"):
        async with open_channels(ConnectionInfo(transport="tcp")):
            pass
