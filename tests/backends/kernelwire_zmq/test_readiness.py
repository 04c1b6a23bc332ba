"""Whether iopub is ready: by a welcome, or by a nudge."""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import zmq

from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import ChannelClosed, ConnectionLost
from kernelwire.messages import WireMessage
from kernelwire.session import Session
from kernelwire_zmq import ZmqBackend, readiness
from kernelwire_zmq.addresses import address

RawContext = zmq.Context[zmq.Socket[bytes]]


class StockKernel:
    """A kernel that does not welcome: a PUB, and what answers kernel_info by publishing its status."""

    def __init__(self, info: ConnectionInfo, answers: tuple[str, ...]) -> None:
        self._session = Session.of(info)
        self._context: RawContext = zmq.Context()
        self._iopub = self._bound(zmq.PUB, info, "iopub_port")
        self._requests = {field: self._bound(zmq.ROUTER, info, field) for field in ("shell_port", "control_port")}
        self._answers = answers
        self.asked: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _bound(self, kind: int, info: ConnectionInfo, field: str) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        socket.bind(address(info, field))
        return socket

    def _serve(self) -> None:
        poller = zmq.Poller()
        fields = {socket: field for field, socket in self._requests.items()}
        for socket in fields:
            poller.register(socket, zmq.POLLIN)
        while not self._stop.is_set():
            for socket, _ in poller.poll(20):
                parts = socket.recv_multipart()
                request = self._session.unpack(parts[2:])  # signed, or this raises
                assert request.msg_type == "kernel_info_request"
                self.asked.append(fields[socket])
                if fields[socket] in self._answers:
                    status = self._session.message("status", {"execution_state": "busy"})
                    self._iopub.send_multipart([b"topic", b"<IDS|MSG>", *map(bytes, self._session.pack(status))])
                    socket.send_multipart(parts)
        self._context.destroy(0)

    async def __aenter__(self) -> "StockKernel":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join)


@pytest.fixture
async def listening(backend: ZmqBackend, info: ConnectionInfo) -> AsyncIterator[ClientEnd]:
    """A client that has opened nothing but iopub."""
    async with await backend.connect(info, identity=b"me", channels={Channel.IOPUB}) as end:
        yield end


async def test_by_welcome(listening: ClientEnd, kernel: KernelEnd) -> None:
    await listening.iopub.ready()
    await kernel.iopub.send(WireMessage([b"s", b"{}", b"{}", b"{}", b"first"], b"topic"))
    welcome = await listening.iopub.receive()
    assert b"iopub_welcome" in bytes(welcome.frames[1])
    assert (await listening.iopub.receive()).frames[-1] == b"first"
    await listening.iopub.ready()


async def test_takes_no_message(listening: ClientEnd, kernel: KernelEnd) -> None:
    assert kernel
    await asyncio.gather(*(listening.iopub.ready() for _ in range(5)))
    assert len(listening.iopub._inbox._messages) == 1  # type: ignore[attr-defined]


async def test_by_nudge_on_control(listening: ClientEnd, info: ConnectionInfo) -> None:
    async with StockKernel(info, ("control_port", "shell_port")) as kernel:
        await listening.iopub.ready()
        assert set(kernel.asked) == {"control_port"}
        assert b"status" in bytes((await listening.iopub.receive()).frames[1])


async def test_by_nudge_on_shell_if_control_is_silent(
    listening: ClientEnd, info: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_CONTROL_TIME", 0.1)
    async with StockKernel(info, ("shell_port",)) as kernel:
        await listening.iopub.ready()
        assert kernel.asked[0] == "control_port"
        assert "shell_port" in kernel.asked


async def test_a_kernel_that_comes_later(listening: ClientEnd, info: ConnectionInfo) -> None:
    waiting = asyncio.create_task(listening.iopub.ready())
    await asyncio.sleep(0)
    async with StockKernel(info, ("control_port",)):
        await waiting


async def test_a_kernel_that_is_replaced_before_it_answers(
    listening: ClientEnd, info: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_CONTROL_TIME", 0.1)
    waiting = asyncio.create_task(listening.iopub.ready())
    async with StockKernel(info, ()) as silent:
        while set(silent.asked) != {"control_port", "shell_port"}:
            await asyncio.sleep(0.001)
        assert not waiting.done()
    # The questions went with it, and must be asked again.
    async with StockKernel(info, ("control_port",)):
        await waiting


async def test_a_busy_kernel_is_not_flooded(
    listening: ClientEnd, info: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_CONTROL_TIME", 0.02)
    waiting = asyncio.create_task(listening.iopub.ready())
    async with StockKernel(info, ()) as silent:
        while len(silent.asked) < 9:
            await asyncio.sleep(0.001)
        # Nine questions on two sockets: the fifth time round, after 1 + 2 + 4 + 8 times the first patience.
        assert silent.asked.count("control_port") <= 6
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_one_waiter_cancelled(listening: ClientEnd, info: ConnectionInfo) -> None:
    waiting = [asyncio.create_task(listening.iopub.ready()) for _ in range(3)]
    await asyncio.sleep(0.05)  # so that nudging is under way
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    async with StockKernel(info, ("control_port",)):
        await asyncio.gather(*waiting[1:])


async def test_nobody_waits_nobody_nudges(listening: ClientEnd) -> None:
    waiting = asyncio.create_task(listening.iopub.ready())
    await asyncio.sleep(0)
    nudging = listening.iopub._readiness._nudging  # type: ignore[attr-defined]
    waiting.cancel()
    await asyncio.wait([waiting, nudging])
    assert nudging.cancelled()


async def test_close_while_waiting(backend: ZmqBackend, info: ConnectionInfo) -> None:
    client = await backend.connect(info, identity=b"me")
    waiting = [asyncio.create_task(client.iopub.ready()) for _ in range(2)]
    await asyncio.sleep(0.05)
    await client.aclose()
    for task in waiting:
        with pytest.raises(ChannelClosed):
            await task


async def test_no_room_for_sockets_to_nudge_on(listening: ClientEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise ConnectionLost("no room") from zmq.ZMQError(errno.EMFILE)

    watch = listening.iopub._readiness  # type: ignore[attr-defined]
    monkeypatch.setattr(watch, "_open_nudges", refuse)
    watch._connected.set()  # as if there were a kernel, and one that welcomes nobody
    for _ in range(2):
        results = await asyncio.gather(*(listening.iopub.ready() for _ in range(2)), return_exceptions=True)
        assert [type(result) for result in results] == [ConnectionLost] * 2


async def test_what_the_last_kernel_published_proves_nothing(
    listening: ClientEnd, backend: ZmqBackend, info: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = listening.iopub._readiness  # type: ignore[attr-defined]
    wire = listening.iopub._wire  # type: ignore[attr-defined]
    drained: list[int] = []
    drain: Callable[[], None] = watch.drain

    def watched() -> None:
        held = len(listening.iopub._inbox._messages)  # type: ignore[attr-defined]
        drain()
        drained.append(len(listening.iopub._inbox._messages) - held)  # type: ignore[attr-defined]

    async with await backend.serve(info) as kernel:
        await listening.iopub.ready()
        wire.pause()  # as if the loop were busy: the last words stay in zmq
        for _ in range(10):
            await kernel.iopub.send(WireMessage([b"s", b"{}", b"{}", b"{}", b"last"], b"topic"))
        monkeypatch.setattr(watch, "drain", watched)
    while not drained:
        await asyncio.sleep(0.001)
    assert drained == [10]
    assert not watch._ready.is_set()
    wire.resume()
    await asyncio.sleep(0)
    assert not watch._ready.is_set()


async def test_nobody_is_asked_before_there_is_a_kernel(
    listening: ClientEnd, backend: ZmqBackend, info: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = listening.iopub._readiness  # type: ignore[attr-defined]
    opened: list[bool] = []
    open_nudges = watch._open_nudges

    def noted() -> Any:
        opened.append(watch._connected.is_set())
        return open_nudges()

    monkeypatch.setattr(watch, "_open_nudges", noted)
    ready = asyncio.create_task(listening.iopub.ready())
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not opened
    async with await backend.serve(info):
        await ready
    assert opened in ([], [True])  # unless its welcome came first
