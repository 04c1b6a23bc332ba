"""A kernel whose own PUB socket drops output: the client says so, and does not wait for what never comes.

The kernel has plain zmq sockets, as kernels have, with a queue so short that a burst does not fit.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import zmq
import zmq.asyncio

from kernelwire import registry
from kernelwire.client import KernelClient, connect
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import Incomplete
from kernelwire.messages import Message
from kernelwire.session import Session
from kernelwire.testing.scripted import KERNEL_INFO

from ._kernels import PATIENCE, bridged

BURST = 100
CHUNK = "x" * 256 * 1024

Socket = zmq.asyncio.Socket


class DroppingKernel:
    """Runs code by printing a burst and its code, without a pause before its idle status."""

    def __init__(self, info: ConnectionInfo, sockets: dict[str, Socket]) -> None:
        self._session = Session.of(info)
        self._sockets = sockets

    def publish(self, parent: Message, *outputs: tuple[str, object]) -> None:
        """All of them without a pause between, so packed before: a PUB that has time to send does not drop."""
        packed = [
            self._session.pack(self._session.message(msg_type, content, parent=parent))  # type: ignore[arg-type]
            for msg_type, content in outputs
        ]
        # A PUB never says that it is full: it drops. Its send is done at once, so that nothing comes in between.
        socket: zmq.Socket[bytes] = zmq.Socket.shadow(self._sockets["iopub"])
        for frames in packed:
            socket.send_multipart([b"topic", b"<IDS|MSG>", *frames])

    async def serve(self, name: str) -> None:
        socket = self._sockets[name]
        while True:
            peer, _, *frames = await socket.recv_multipart()
            request = self._session.unpack(frames)
            self.publish(request, ("status", {"execution_state": "busy"}))
            output: list[tuple[str, object]] = []
            content = dict(KERNEL_INFO)
            if request.msg_type == "execute_request":
                content = {"status": "ok", "execution_count": 1, "user_expressions": {}}
                output = [("stream", {"name": "stdout", "text": CHUNK})] * BURST
            reply = self._session.message(request.msg_type.replace("_request", "_reply"), content, parent=request)
            self.publish(request, *output, ("status", {"execution_state": "idle"}))
            await socket.send_multipart([peer, b"<IDS|MSG>", *self._session.pack(reply)])

    async def beat(self) -> None:
        while True:
            await self._sockets["hb"].send_multipart(await self._sockets["hb"].recv_multipart())


@asynccontextmanager
async def dropping_kernel(transport: str) -> AsyncIterator[ConnectionInfo]:
    backend = registry.load(transport)
    info = backend.prepare(ConnectionInfo(transport=transport, key=b"a key for these tests"))
    context = zmq.asyncio.Context()
    sockets: dict[str, Socket] = {}
    tasks: list[asyncio.Task[None]] = []
    try:
        for name, kind in {
            "shell": zmq.ROUTER,
            "control": zmq.ROUTER,
            "stdin": zmq.ROUTER,
            "iopub": zmq.PUB,
            "hb": zmq.ROUTER,
        }.items():
            socket = sockets[name] = context.socket(kind)
            socket.setsockopt(zmq.SNDHWM, 10 if name == "iopub" else 1000)
            port = info.port(f"{name}_port")
            socket.bind(f"ipc://{info.ip}-{port}" if transport == "ipc" else f"tcp://{info.ip}:{port}")
        kernel = DroppingKernel(info, sockets)
        tasks = [asyncio.create_task(each) for each in (kernel.serve("shell"), kernel.serve("control"), kernel.beat())]
        yield info
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        context.destroy(linger=0)
        backend.release(info)


@pytest.mark.parametrize("bridges", [(), ("inprocess",)], ids=["at once", "over a bridge"])
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_dropped_output_is_noticed(transport: str, bridges: tuple[str, ...]) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        dropping_kernel(transport) as far,
        bridged(far, bridges) as info,
        connect(info) as client,
    ):
        await client.ready()
        error = await _incomplete(client)
        assert error.result.status == "ok"
        assert len(error.result.outputs) <= BURST
        assert client.pending == 0
        assert (await client.kernel_info()).content["status"] == "ok"


async def _incomplete(client: KernelClient) -> Incomplete:
    """The socket may have room for the idle status by chance, and then nobody can know that anything is missing."""
    while True:
        try:
            result = await client.execute("a burst")
        except Incomplete as error:
            return error
        assert len(result.outputs) <= BURST
