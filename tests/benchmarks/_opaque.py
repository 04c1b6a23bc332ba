"""A relay of opaque bytes, and a host at it that speaks zmq: as little as can be done. Run as ``_opaque.py relay``, or
as ``_opaque.py host URL CONNECTION_FILE``.

Each message of the kernel is one websocket message: the channel, and its frames, each behind its length. Nobody signs,
seals, counts, acknowledges or bounds anything.
"""

import asyncio
import json
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import zmq
from aiohttp import web

SHELL, IOPUB = b"s", b"i"
_LENGTH = struct.Struct("<I")


def packed(channel: bytes, frames: Sequence[Any]) -> bytes:
    """A message as bytes."""
    return b"".join((channel, *(part for frame in frames for part in (_LENGTH.pack(len(frame)), frame))))


def unpacked(data: bytes) -> tuple[bytes, list[memoryview]]:
    """The channel, and the frames."""
    view, at, frames = memoryview(data), 1, []
    while at < len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        frames.append(view[at : at + size])
        at += size
    return data[:1], frames


async def run_relay() -> None:
    """Pass on what comes from one end to the other, if it is there."""
    ends: dict[str, web.WebSocketResponse] = {}
    other = {"/host": "/client", "/client": "/host"}

    async def on_request(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0, compress=False)
        await socket.prepare(request)
        ends[request.path] = socket
        async for message in socket:
            if (end := ends.get(other[request.path])) is not None:
                with suppress(ConnectionError):
                    await end.send_bytes(message.data)
        if ends.get(request.path) is socket:
            del ends[request.path]
        return socket

    server = await asyncio.get_running_loop().create_server(web.Server(on_request), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def run_host(url: str, file: str) -> None:
    """Between the relay and a kernel."""
    info = json.loads(Path(file).read_text(encoding="utf-8"))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    shell, iopub = context.socket(zmq.DEALER), context.socket(zmq.SUB)
    for socket, name in ((shell, "shell_port"), (iopub, "iopub_port")):
        socket.set(zmq.RCVHWM, 0)
        socket.connect(f"tcp://{info['ip']}:{info[name]}")
    iopub.subscribe(b"")
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/host", max_msg_size=0) as websocket:
        news = asyncio.Event()
        for socket in (shell, iopub):
            loop.add_reader(socket.fileno(), news.set)
        print("here", flush=True)

        async def from_kernel() -> None:
            while True:
                news.clear()
                for socket, channel in ((shell, SHELL), (iopub, IOPUB)):
                    while socket.get(zmq.EVENTS) & zmq.POLLIN:  # type: ignore[operator, arg-type]
                        frames = socket.recv_multipart(copy=False)
                        await websocket.send_bytes(packed(channel, [frame.buffer for frame in frames]))
                await news.wait()

        task = asyncio.create_task(from_kernel())
        async for message in websocket:
            shell.send_multipart(unpacked(message.data)[1])
            news.set()  # sending may have swallowed the news that something came
        task.cancel()


if __name__ == "__main__":
    asyncio.run(run_relay() if sys.argv[1] == "relay" else run_host(*sys.argv[2:]))
