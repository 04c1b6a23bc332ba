"""Clients of kernels behind websockets: a Jupyter Server's, and the floor's. They do as little as can be done."""

import asyncio
import hmac
import itertools
import json
import socket
import struct
import time
import uuid
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, ClassVar

import aiohttp

if TYPE_CHECKING:
    from benchmarks import _free_kernel as free
    from benchmarks import _opaque as opaque
    from benchmarks._contestant import Burst, Drained, Info, OnLoop
    from benchmarks._middles import TOKEN
else:
    import _free_kernel as free  # beside this script, from wherever it is run
    import _opaque as opaque
    from _contestant import Burst, Drained, Info, OnLoop
    from _middles import TOKEN

Parts = Sequence[bytes | memoryview]
"""Header, parent_header, metadata, content, buffers."""


class OnWebSocket(OnLoop):
    """A client that asks, and waits for what has its request for a parent."""

    headers: ClassVar[dict[str, str]] = {}
    protocols: ClassVar[tuple[str, ...]] = ()
    quick: ClassVar[bool] = True

    @abstractmethod
    def pack(self, parts: list[bytes]) -> bytes:
        """A request on shell, from header to content."""

    @abstractmethod
    def unpack(self, data: bytes) -> tuple[str, Parts]:
        """The channel, and the parts."""

    def address(self, info: Info) -> str:
        """Where to connect."""
        return str(info["url"])

    async def connect(self, info: Info) -> None:
        self._session = uuid.uuid4().hex
        self._stack = AsyncExitStack()
        session = await self._stack.enter_async_context(aiohttp.ClientSession(headers=self.headers))
        self._socket = await self._stack.enter_async_context(
            session.ws_connect(self.address(info), max_msg_size=0, protocols=self.protocols)
        )
        while True:
            try:
                async with asyncio.timeout(1):
                    await self._ask("kernel_info_request", "iopub")
                return
            except TimeoutError:
                continue

    async def disconnect(self) -> None:
        await self._stack.aclose()

    def execute(self, count: int) -> list[float]:
        return self.run(self._execute(count))

    def drain(self, burst: Burst) -> Drained:
        return self.run(self._drain(burst))

    def in_flight(self, count: int) -> None:
        raise NotImplementedError

    def large(self, size: int) -> float:
        return self.outputs(size, 1)

    def outputs(self, size: int, count: int) -> float:
        """Seconds from a request for so many outputs, each with a buffer of so many bytes, until all are here."""
        return self.run(self._outputs(size, count))

    async def ask(self, count: int) -> list[float]:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            await self._ask("kernel_info_request", "shell")
            times.append(time.perf_counter() - start)
        return times

    async def _execute(self, count: int) -> list[float]:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            msg_id = await self._send("execute_request", "pass")
            await self._end(msg_id)
            times.append(time.perf_counter() - start)
        return times

    async def _drain(self, burst: Burst) -> Drained:
        msg_id = await self._send("execute_request", "hold")
        while json.loads(bytes((await self._next("iopub", msg_id))[0]))["msg_type"] != "execute_input":
            pass
        cpu = time.process_time()
        burst()
        start = time.perf_counter()
        count = await self._end(msg_id)
        return Drained(count, time.perf_counter() - start, time.process_time() - cpu)

    async def _outputs(self, size: int, count: int) -> float:
        start = seconds = time.perf_counter()

        def take(parts: Parts) -> None:
            nonlocal count, seconds
            if len(parts) > 4:
                assert len(parts[4]) == size
                count -= 1
                seconds = time.perf_counter() - start

        await self._end(await self._send("execute_request", f"large {size} {count}"), take)
        assert not count
        return seconds

    async def _ask(self, msg_type: str, channel: str) -> None:
        await self._next(channel, await self._send(msg_type))

    async def _send(self, msg_type: str, code: str = "") -> str:
        msg_id = uuid.uuid4().hex
        header = {"msg_id": msg_id, "msg_type": msg_type, "username": "raw", "session": self._session,
                  "date": "2026-01-02T03:04:05.678901Z", "version": "5.4"}  # fmt: skip
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False} if code else {}
        await self._socket.send_bytes(self.pack([json.dumps(part).encode() for part in (header, {}, {}, content)]))
        return msg_id

    async def _receive(self) -> tuple[str, Parts]:
        while True:
            message = await self._socket.receive()
            if self.quick and (tcp := self._socket.get_extra_info("socket")) is not None:
                tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # the system forgets it again and again
            if message.type is aiohttp.WSMsgType.BINARY:
                return self.unpack(message.data)
            assert message.type is aiohttp.WSMsgType.TEXT, message

    async def _next(self, channel: str, msg_id: str) -> Parts:
        while True:
            came, parts = await self._receive()
            if came == channel and json.loads(bytes(parts[1])).get("msg_id") == msg_id:
                return parts

    async def _end(self, msg_id: str, take: Callable[[Parts], None] = lambda parts: None) -> int:
        """Until reply and idle are here; how many messages of this request were published."""
        count = 0
        missing = {"shell", "iopub"}
        while missing:
            channel, parts = await self._receive()
            if json.loads(bytes(parts[1])).get("msg_id") != msg_id:
                continue
            if channel == "shell":
                missing.discard("shell")
                continue
            count += 1
            take(parts)
            content = json.loads(bytes(parts[3]))
            if content.get("execution_state") == "idle":
                missing.discard("iopub")
        return count


class JupyterServer(OnWebSocket):
    """A client of a Jupyter Server's channels, in the protocol that it prefers."""

    name = "jupyter_server"
    headers: ClassVar = {"Authorization": f"token {TOKEN}"}
    protocols: ClassVar = ("v1.kernel.websocket.jupyter.org",)

    def address(self, info: Info) -> str:
        return f"{info['url']}?session_id={self._session}"

    def pack(self, parts: list[bytes]) -> bytes:
        pieces = [b"shell", *parts]
        at = 8 * (len(pieces) + 2)
        offsets = [len(pieces) + 1, at]
        for piece in pieces:
            at += len(piece)
            offsets.append(at)
        return b"".join([struct.pack(f"<{len(offsets)}Q", *offsets), *pieces])

    def unpack(self, data: bytes) -> tuple[str, Parts]:
        (count,) = struct.unpack_from("<Q", data)
        offsets = struct.unpack_from(f"<{count}Q", data, 8)
        view = memoryview(data)
        parts = [view[start:end] for start, end in itertools.pairwise(offsets[1:])]
        return data[offsets[0] : offsets[1]].decode(), parts


class JupyterServerAsShipped(JupyterServer):
    """Likewise, as most clients are: acknowledgements may wait, and then the server does."""

    name = "js as shipped"
    quick: ClassVar = False


class Opaque(OnWebSocket):
    """A client of the floor, which signs for the kernel and looks at no signature."""

    name = "opaque"

    def address(self, info: Info) -> str:
        return f"{info['url']}/client"

    def pack(self, parts: list[bytes]) -> bytes:
        signature = hmac.new(free.KEY, b"".join(parts), "sha256").hexdigest().encode()
        return opaque.packed(opaque.SHELL, [free.DELIMITER, signature, *parts])

    def unpack(self, data: bytes) -> tuple[str, Parts]:
        channel, frames = opaque.unpacked(data)
        if channel == opaque.SHELL:
            return "shell", frames[2:]
        return "iopub", frames[3:]
