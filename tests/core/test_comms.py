"""Comms, opened from either side, over the in-process transport."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from kernelwire.client import KernelClient
from kernelwire.comms import Comm
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ChannelClosed, EndOfChannel, KernelDied
from kernelwire.session import Session
from kernelwire_inprocess import InProcessBackend

from ._raw_kernel import RawKernel, settle


@pytest.fixture
def backend() -> InProcessBackend:
    return InProcessBackend({})


@pytest.fixture
def info(backend: InProcessBackend) -> ConnectionInfo:
    return backend.prepare(ConnectionInfo(transport="inprocess", key=b"a key for these tests"))


@pytest.fixture
async def kernel(backend: InProcessBackend, info: ConnectionInfo) -> AsyncIterator[RawKernel]:
    async with await backend.serve(info) as end:
        yield RawKernel(end, info)


@pytest.fixture
async def client(backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel) -> AsyncIterator[KernelClient]:
    session = Session.of(info)
    end = await backend.connect(info, identity=session.session_id.encode())
    async with KernelClient(end, session, time_to_dead=60) as client:
        yield client


async def test_a_comm_that_we_open(client: KernelClient, kernel: RawKernel) -> None:
    async with await client.open_comm("widgets", {"a": 1}, buffers=[b"zero", bytearray(b"one")]) as comm:
        opened = await kernel.asked("comm_open")
        assert opened.content == {"comm_id": comm.comm_id, "target_name": "widgets", "data": {"a": 1}}
        assert [bytes(buffer) for buffer in opened.buffers] == [b"zero", b"one"]
        await comm.send({"b": 2}, [b"two"])
        sent = await kernel.asked("comm_msg")
        assert sent.content == {"comm_id": comm.comm_id, "data": {"b": 2}}
        assert sent.buffers == (b"two",)
        await kernel.publish(sent, "comm_msg", comm_id=comm.comm_id, data={"c": 3})
        assert (await comm.receive()).content["data"] == {"c": 3}
    closed = await kernel.asked("comm_close")
    assert closed.content == {"comm_id": comm.comm_id, "data": {}}
    await comm.close()
    with pytest.raises(ChannelClosed):
        await comm.send({})
    with pytest.raises(ChannelClosed):
        await comm.receive()


async def test_the_kernel_closes_a_comm_after_its_last_message(client: KernelClient, kernel: RawKernel) -> None:
    comm = await client.open_comm("widgets")
    opened = await kernel.asked("comm_open")
    for number in range(3):
        await kernel.publish(opened, "comm_msg", comm_id=comm.comm_id, data={"number": number})
    await kernel.publish(opened, "comm_close", comm_id=comm.comm_id, data={})
    assert [message.content["data"]["number"] async for message in comm] == [0, 1, 2]
    with pytest.raises(EndOfChannel):
        await comm.receive()
    with pytest.raises(ChannelClosed):
        await comm.send({})


async def test_a_comm_that_the_kernel_opens(client: KernelClient, kernel: RawKernel) -> None:
    comms: asyncio.Queue[Comm] = asyncio.Queue()
    client.on_comm("plots", comms.put_nowait)
    asking = asyncio.create_task(client.kernel_info())
    request = await kernel.asked()
    for comm_id, target in (("1", "plots"), ("2", "other"), ("1", "plots")):
        await kernel.publish(request, "comm_open", comm_id=comm_id, target_name=target, data={"id": comm_id})
    await kernel.publish(request, "comm_msg", comm_id="1", data={"x": 1})
    await kernel.publish(request, "comm_msg", comm_id="2", data={"x": 2})
    comm = await comms.get()
    assert (comm.comm_id, comm.target_name, comm.data) == ("1", "plots", {"id": "1"})
    assert (await comm.receive()).content["data"] == {"x": 1}
    assert comms.empty()
    client.on_comm("plots", None)
    await kernel.publish(request, "comm_open", comm_id="3", target_name="plots", data={})
    await kernel.reply(request)
    await asking
    await settle()
    assert comms.empty()


async def test_a_handler_that_fails_stops_nothing(
    client: KernelClient, kernel: RawKernel, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Comm) -> None:
        raise ZeroDivisionError

    client.on_comm("plots", fail)
    running = client.execute("1")
    result = asyncio.ensure_future(_await(running))
    request = await kernel.asked("execute_request")
    await kernel.publish(request, "comm_open", comm_id="1", target_name="plots", data={})
    await kernel.publish(request, "stream", name="stdout", text="after")
    await kernel.reply(request)
    await kernel.idle(request)
    assert await result == "after"
    assert "handler of a comm failed" in caplog.text


@pytest.mark.parametrize("ends", ["by itself", "with the kernel", "by a mistake", "with the client"])
async def test_a_handler_that_waits(
    client: KernelClient, kernel: RawKernel, caplog: pytest.LogCaptureFixture, ends: str
) -> None:
    caplog.set_level(logging.DEBUG, "kernelwire.comms")
    got: list[object] = []
    ended = asyncio.Event()

    async def handle(comm: Comm) -> None:
        try:
            async for message in comm:
                got.append(message.content["data"])
                if ends == "by a mistake":
                    raise ZeroDivisionError
        finally:
            ended.set()

    client.on_comm("plots", handle)
    asking = asyncio.create_task(client.complete(""))
    request = await kernel.asked()
    await kernel.publish(request, "comm_open", comm_id="1", target_name="plots", data={})
    await kernel.publish(request, "comm_msg", comm_id="1", data={"x": 1})
    if ends == "by itself":
        await kernel.publish(request, "comm_close", comm_id="1", data={})
    await kernel.reply(request)
    await asking
    if ends == "with the kernel":
        client.on_kernel_end(KernelDied("it died"))
    if ends == "with the client":
        await settle()
        await client.__aexit__(None, None, None)
    async with asyncio.timeout(60):
        await ended.wait()
    await settle()
    assert got == [{"x": 1}]
    assert ("the handler of a comm failed" in caplog.text) is (ends == "by a mistake")
    assert ("the handler of a comm ended: it died" in caplog.text) is (ends == "with the kernel")


async def _await(execution: object) -> str:
    result = await execution  # type: ignore[misc] # an Execution
    return str(result.text)


async def test_the_end_of_the_connection_is_the_end_of_its_comms(client: KernelClient, kernel: RawKernel) -> None:
    comm = await client.open_comm("widgets")
    receiving = asyncio.create_task(comm.receive())
    await settle()
    await kernel.end.aclose()
    with pytest.raises(EndOfChannel):
        await receiving
