"""A relay in the test's own loop, a room at it, and who comes there: ends that behave, and strangers."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Literal

import aiohttp
import msgpack

from integration._relays import PATIENCE
from kernelwire import registry
from kernelwire.connection import ConnectionInfo
from kernelwire.link.backend import PipeBackend
from kernelwire.link.pipe import Listener, Pipe
from kernelwire.ticket import key_of
from kernelwire_socketio import events
from kernelwire_socketio.listener import RelayListener
from kernelwire_socketio.relay.server import Relay
from kernelwire_socketio.role_tokens import mint, new_instance
from kernelwire_socketio.rooms import RoomKey, fingerprint


class Stranger:
    """A websocket at a relay that sends what it likes.

    Attributes:
        socket: aiohttp's.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def show(self, shown: object) -> dict[str, Any]:
        """Send a CONNECT, and return the answer."""
        await self.socket.send_bytes(msgpack.packb({"type": 0, "data": shown, "nsp": "/"}))
        answer = msgpack.unpackb(await self.socket.receive_bytes())
        assert isinstance(answer, dict)
        return answer

    async def join(self, info: ConnectionInfo, role: Literal["host", "client"] = "client", **more: object) -> None:
        """As one who has the room's key."""
        key = RoomKey(key_of(info, "link_secret"))
        more = {"host": fingerprint(key_of(info, "host_key")), "instance": new_instance(), **more}
        token = mint(key, role, **more)  # type: ignore[arg-type]
        assert (await self.show({"v": events.VERSION, "role": role, "token": token}))["type"] == 0

    async def event(self) -> tuple[str, bytes]:
        """The next one."""
        event = events.decode(await self.socket.receive_bytes())
        assert event is not None
        return event[0], bytes(event[1])

    async def until_closed(self) -> None:
        """Wait for that, whatever else comes."""
        async with asyncio.timeout(PATIENCE):
            while not self.socket.closed:
                await self.socket.receive()


class Scene:
    """A relay in this loop, a room at it, and who comes there; all of it closed with the test.

    Attributes:
        url: the relay's address.
        info: of a kernel there, with the host's secrets.
        log: what the relay has logged.
    """

    def __init__(self, relay: Relay, url: str, log: io.StringIO, stack: AsyncExitStack) -> None:
        self.relay = relay
        self.url = url
        backend = registry.load("socketio")
        assert isinstance(backend, PipeBackend)
        self.backend = backend
        self.info = self.backend.prepare(ConnectionInfo(transport="socketio", key=b"k", extra={"relay": url}))
        self._log = log
        self._stack = stack

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._log.getvalue().splitlines()]
        return [line for line in lines if event in (None, line["event"])]

    async def close_all(self) -> None:
        """Let everybody leave."""
        await self._stack.aclose()

    async def listen(self, **fields: Any) -> Listener:
        listener = await self.backend.listen(self.info.replace(**fields))
        assert isinstance(listener, RelayListener)
        self._stack.push_async_callback(_close, listener)
        return listener

    async def dial(self, **fields: Any) -> Pipe:
        pipe = await self.backend.open_pipe(self.backend.for_clients(self.info).replace(**fields))
        self._stack.push_async_callback(pipe.aclose)
        return pipe

    async def stranger(self, **headers: str) -> Stranger:
        """A websocket that has not said yet what it wants."""
        session = aiohttp.ClientSession()
        self._stack.push_async_callback(session.close)
        socket = await session.ws_connect(
            f"{self.url}/socket.io/?transport=websocket&EIO=4", headers=headers, autoping=False, max_msg_size=0
        )
        self._stack.push_async_callback(socket.close)
        assert (await socket.receive_str()).startswith("0")
        return Stranger(socket)

    async def pipes(self) -> tuple[Pipe, Pipe]:
        """A host's and a client's end of a pipe."""
        listener = await self.listen()
        return await self.pipe_to(listener)

    async def pipe_to(self, listener: Listener) -> tuple[Pipe, Pipe]:
        """Likewise, one more."""
        client = await self.dial()
        host = await listener.accept()
        self._stack.push_async_callback(host.aclose)
        return host, client


async def _close(listener: RelayListener) -> None:
    """With the pipes that the test has accepted, which share its connection."""
    for pipe in tuple(listener._pipes.values()):
        await pipe.aclose()
    await listener.aclose()


OpenScene = Callable[..., Awaitable[Scene]]
