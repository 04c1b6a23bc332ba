"""Pipes inside one process, without message boundaries, and with little room: what the link must cope with."""

import asyncio
import uuid
from collections.abc import Callable

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import AddressInUse, ConnectionLost, EndOfChannel, InvalidField
from kernelwire.link.backend import PipeBackend
from kernelwire.link.pipe import Listener, Pipe

ROOM = 10_000
"""Bytes on the way in one direction; much less than a frame, so that senders wait in the middle of one."""


class Flow:
    """Bytes on the way in one direction."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._ended = False
        self._changed = asyncio.Condition()

    async def put(self, data: bytes) -> None:
        while data:
            async with self._changed:
                await self._changed.wait_for(lambda: self._ended or len(self._data) < ROOM)
                if self._ended:
                    raise ConnectionLost("the pipe is closed")
                room = ROOM - len(self._data)
                self._data += data[:room]
                data = data[room:]
                self._changed.notify_all()

    async def get(self) -> bytes:
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended or self._data)
            if not self._data:
                raise EndOfChannel("the pipe is closed")
            data = bytes(self._data)
            self._data.clear()
            self._changed.notify_all()
            return data

    async def end(self) -> None:
        async with self._changed:
            self._ended = True
            self._changed.notify_all()


class MemoryPipe(Pipe):
    def __init__(self, out: Flow, into: Flow) -> None:
        self._out = out
        self._into = into

    async def send(self, data: bytes) -> None:
        await self._out.put(data)

    async def receive(self) -> bytes:
        return await self._into.get()

    async def aclose(self) -> None:
        await self._out.end()
        await self._into.end()


class MemoryListener(Listener):
    def __init__(self, on_close: Callable[[], object]) -> None:
        self.pipes: asyncio.Queue[MemoryPipe] = asyncio.Queue()
        self._on_close = on_close

    async def accept(self) -> Pipe:
        return await self.pipes.get()

    async def aclose(self) -> None:
        self._on_close()
        while not self.pipes.empty():
            await self.pipes.get_nowait().aclose()


class MemoryPipeBackend(PipeBackend):
    """Serves under a ``name``, which is its room as well."""

    async def open_pipe(self, info: ConnectionInfo) -> Pipe:
        listener = _listeners.get(_name(info))
        if listener is None:
            raise ConnectionLost("nobody listens there")
        up, down = Flow(), Flow()
        listener.pipes.put_nowait(MemoryPipe(down, up))
        return MemoryPipe(up, down)

    async def listen(self, info: ConnectionInfo) -> Listener:
        name = _name(info)
        if name in _listeners:
            raise AddressInUse(f"name: somebody listens as {name!r} already")
        listener = _listeners[name] = MemoryListener(lambda: _listeners.pop(name, None))
        return listener

    def room(self, info: ConnectionInfo) -> bytes:
        return _name(info).encode()

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        return super().prepare(info if "name" in info.extra else info.replace(name=uuid.uuid4().hex))


_listeners: dict[str, MemoryListener] = {}


def _name(info: ConnectionInfo) -> str:
    name = info.extra.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidField("name", "text is needed: what the kernel is served as")
    return name
