"""Publishing to clients that read, and to those that do not."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import zmq

from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import KernelEnd
from kernelwire.errors import ChannelClosed
from kernelwire.messages import WireMessage
from kernelwire.session import Session
from kernelwire_zmq import IpcBackend, TcpBackend, ZmqBackend, ZmqSettings, publisher
from kernelwire_zmq.addresses import address

FRAMES = [b"signature", b"{}", b"{}", b"{}"]

RawContext = zmq.Context[zmq.Socket[bytes]]


def message(content: bytes) -> WireMessage:
    return WireMessage([*FRAMES, content], b"topic")


@pytest.fixture
def backend(transport: str) -> ZmqBackend:
    """A kernel that holds little for a client that does not read."""
    return (IpcBackend if transport == "ipc" else TcpBackend)(ZmqSettings(queue=4))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "PATIENCE", 0.05)


def deaf(context: RawContext, info: ConnectionInfo, topic: bytes = b"") -> "zmq.Socket[bytes]":
    """A subscriber that holds next to nothing, and is not going to read."""
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RCVHWM, 1)
    socket.setsockopt(zmq.RCVBUF, 4096)
    socket.setsockopt(zmq.SUBSCRIBE, topic)
    socket.connect(address(info, "iopub_port"))
    return socket


async def subscribed(kernel: KernelEnd, count: int) -> None:
    while kernel.iopub._subscriptions.total() < count:  # type: ignore[attr-defined]
        await asyncio.sleep(0.001)


async def publish(kernel: KernelEnd, count: int) -> list[bytes]:
    """Numbered, large enough to fill the network's buffers soon."""
    contents = [b"%d " % number + b"." * 100_000 for number in range(count)]
    for content in contents:
        await kernel.iopub.send(message(content))
    return contents


class Reader:
    """A client of ours that reads all the time."""

    def __init__(self, backend: ZmqBackend, info: ConnectionInfo, identity: bytes) -> None:
        self._opening = backend.connect(info, identity=identity)
        self.got: list[bytes] = []
        self._came = asyncio.Event()

    async def __aenter__(self) -> "Reader":
        self._end = await self._opening
        await self._end.iopub.ready()
        self._reading = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        async for message in self._end.iopub:
            if message.peer == b"topic":
                self.got.append(bytes(message.frames[4]))
                self._came.set()

    async def until(self, count: int) -> list[bytes]:
        while len(self.got) < count:
            self._came.clear()
            await self._came.wait()
        return self.got

    async def __aexit__(self, *_: object) -> None:
        await self._end.aclose()
        with pytest.raises(ChannelClosed):
            await self._reading


@pytest.fixture
async def reader(backend: ZmqBackend, info: ConnectionInfo, kernel: KernelEnd) -> AsyncIterator[Reader]:
    assert kernel
    async with Reader(backend, info, b"reader") as reader:
        yield reader


async def test_fan_out(backend: ZmqBackend, info: ConnectionInfo, kernel: KernelEnd, reader: Reader) -> None:
    async with Reader(backend, info, b"second") as second, Reader(backend, info, b"third") as third:
        sent = await publish(kernel, 100)
        for client in (reader, second, third):
            assert await client.until(100) == sent
        assert kernel.dropped == 0


async def test_nobody_listens(kernel: KernelEnd) -> None:
    await publish(kernel, 100)
    assert kernel.dropped == 0


async def test_one_that_does_not_read_does_not_stop_the_others(
    kernel: KernelEnd, reader: Reader, info: ConnectionInfo, context: RawContext
) -> None:
    slow = deaf(context, info)
    await subscribed(kernel, 2)
    sent = await publish(kernel, 300)
    assert await reader.until(300) == sent
    slow.setsockopt(zmq.RCVTIMEO, 500)
    got = -1  # the welcome
    while True:
        try:
            slow.recv_multipart()
        except zmq.Again:
            break
        got += 1
    # An upper bound, and not merely the first few of what is missing.
    assert kernel.dropped >= 300 - got > 0
    assert kernel.dropped <= 300


async def test_the_count_ends_when_all_have_left(
    backend: ZmqBackend, info: ConnectionInfo, kernel: KernelEnd, context: RawContext
) -> None:
    slow = deaf(context, info)
    async with Reader(backend, info, b"reader") as reader:
        await subscribed(kernel, 2)
        await publish(kernel, 300)
        await reader.until(300)
    slow.close(0)
    while kernel.iopub._subscriptions:  # type: ignore[attr-defined]
        await asyncio.sleep(0.001)
    dropped = kernel.dropped
    async with Reader(backend, info, b"next") as following:
        sent = await publish(kernel, 50)
        assert await following.until(50) == sent
    assert kernel.dropped == dropped


async def test_what_one_alone_loses_is_counted_at_least(
    kernel: KernelEnd, info: ConnectionInfo, context: RawContext
) -> None:
    slow = deaf(context, info)
    await subscribed(kernel, 1)
    await publish(kernel, 200)
    slow.setsockopt(zmq.RCVTIMEO, 500)
    got = -1  # the welcome is not counted
    while True:
        try:
            await asyncio.to_thread(slow.recv_multipart)
        except zmq.Again:
            break
        got += 1
    assert 0 < 200 - got <= kernel.dropped
    # It reads again: nothing is lost from here on.
    await kernel.iopub.send(message(b"again"))
    assert (await asyncio.to_thread(slow.recv_multipart))[-1] == b"again"


async def test_what_strangers_claim_costs_nobody_a_message(
    kernel: KernelEnd, backend: ZmqBackend, info: ConnectionInfo, context: RawContext
) -> None:
    stranger = context.socket(zmq.XSUB)
    stranger.connect(address(info, "iopub_port"))
    stranger.send(b"\x01known")
    await subscribed(kernel, 1)
    for number in range(50):
        stranger.send(b"\x00never%d" % number)
        stranger.send(b"\x00")
    stranger.send(b"\x01" + b"x" * 5000)  # too long to be a topic
    stranger.send(b"\x01last")
    await subscribed(kernel, 2)
    assert set(kernel.iopub._subscriptions) == {b"known", b"last"}  # type: ignore[attr-defined]
    deaf(context, info)
    async with await backend.connect(info, identity=b"reader", channels={Channel.IOPUB}) as end:
        await end.iopub.ready()
        publishing = asyncio.create_task(publish(kernel, 200))
        received: list[bytes] = []
        while len(received) < 200:
            frames = (await end.iopub.receive()).frames
            if b"iopub_welcome" not in bytes(frames[1]):
                received.append(bytes(frames[-1]))
        assert received == await publishing


async def test_patience_is_enough_for_one_that_reads_late(
    kernel: KernelEnd, info: ConnectionInfo, context: RawContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "PATIENCE", 60.0)
    late = deaf(context, info)
    late.setsockopt(zmq.RCVTIMEO, 10_000)
    await subscribed(kernel, 1)
    publishing = asyncio.create_task(publish(kernel, 200))
    while not kernel.iopub._wire._waiting:  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    await asyncio.to_thread(late.recv_multipart)  # the welcome
    got = [(await asyncio.to_thread(late.recv_multipart))[-1] for _ in range(200)]
    assert got == await publishing
    assert kernel.dropped == 0


async def test_senders_keep_their_order_while_one_waits(
    kernel: KernelEnd, info: ConnectionInfo, context: RawContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "PATIENCE", 60.0)
    late = deaf(context, info)
    late.setsockopt(zmq.RCVTIMEO, 10_000)
    await subscribed(kernel, 1)
    tasks = []
    for number in range(200):
        tasks.append(asyncio.create_task(kernel.iopub.send(message(b"%d" % number + b" " * 100_000))))
        await asyncio.sleep(0)
    cancelled = tasks.pop()
    cancelled.cancel()
    await asyncio.to_thread(late.recv_multipart)
    got = [int((await asyncio.to_thread(late.recv_multipart))[-1]) for _ in range(199)]
    assert got == list(range(199))
    await asyncio.gather(*tasks)


async def test_close_while_waiting(
    backend: ZmqBackend, info: ConnectionInfo, context: RawContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "PATIENCE", 60.0)
    monkeypatch.setattr(publisher, "LINGER", 0)
    kernel = await backend.serve(info)
    deaf(context, info)
    await subscribed(kernel, 1)
    publishing = [asyncio.create_task(publish(kernel, 500)) for _ in range(2)]
    while not kernel.iopub._wire._waiting:  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    await kernel.aclose()
    for task in publishing:
        with pytest.raises(ChannelClosed):
            await task


async def test_every_subscriber_is_welcomed(kernel: KernelEnd, info: ConnectionInfo, context: RawContext) -> None:
    assert kernel
    session = Session.of(info)
    for topic in (b"", b"", b"some.topic", b"\xff"):
        socket = deaf(context, info, topic)
        socket.setsockopt(zmq.RCVTIMEO, 10_000)
        parts = await asyncio.to_thread(socket.recv_multipart)
        start = parts.index(b"<IDS|MSG>")
        assert parts[:start] == ([topic] if topic else [])
        welcome = session.unpack(parts[start + 1 :])
        assert welcome.msg_type == "iopub_welcome"
        assert welcome.content == {"subscription": topic.decode("utf-8", "replace")}
        assert not json.loads(bytes(parts[start + 3]))


async def test_what_is_no_subscription_is_ignored(
    kernel: KernelEnd, reader: Reader, info: ConnectionInfo, context: RawContext
) -> None:
    loud = context.socket(zmq.XSUB)
    loud.setsockopt(zmq.RCVTIMEO, 10_000)
    loud.connect(address(info, "iopub_port"))
    for junk in (b"\x02what", b"hello", b""):
        loud.send(junk)
    loud.send(b"\1")
    await asyncio.to_thread(loud.recv_multipart)  # the welcome
    assert await publish(kernel, 3) == await reader.until(3)
