"""A TCP proxy with trouble: real sockets that are reset, closed, cut to the byte, held up, starved or left for dead."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Final, NamedTuple

from kernelwire.link.waking import Turnstile

CHUNK: Final = 64 * 1024


class Ending(Enum):
    """How a connection ends."""

    RST = "reset, at both sides"
    FIN = "closed in good order, at both sides"
    BLACK_HOLE = "whole, but nothing passes any more"
    NEVER = "not by the proxy"


class Trouble(NamedTuple):
    """What one connection goes through.

    Attributes:
        ending: how it ends.
        after: bytes that pass before that, both ways together.
        piece: bytes that pass at a time, at the most.
        delay: seconds before each piece.
    """

    ending: Ending = Ending.NEVER
    after: int = 0
    piece: int = CHUNK
    delay: float = 0.0


class FaultProxy:
    """Leads connections to a server; see :func:`proxied`.

    Attributes:
        port: where it listens.
        connections: how many there have been.
        disconnects: how many of them it has ended, or left for dead.
        moving: cleared, nothing passes, and nobody reads what is sent.
    """

    port: int

    def __init__(self, upstream: int, draw: Callable[[], Trouble]) -> None:
        self.connections = self.disconnects = 0
        self.moving = asyncio.Event()
        self.moving.set()
        self._upstream = upstream
        self._draw = draw
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = Turnstile()

    async def until_connected(self, count: int) -> None:
        """Wait until there have been so many connections."""
        while self.connections < count:
            await self._news.wait()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._news.turn()
        task = asyncio.create_task(self._lead(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _lead(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        writers = [near_out]
        try:
            far, far_out = await asyncio.open_connection("127.0.0.1", self._upstream)
            writers.append(far_out)
            for writer in writers:
                writer.transport.set_write_buffer_limits(0)  # drained is sent
            await _Connection(self, self._draw()).carry((near, far_out), (far, near_out))
        except OSError:
            pass
        finally:
            for writer in writers:
                writer.transport.abort()


class _Connection:
    """One that is led."""

    def __init__(self, proxy: FaultProxy, trouble: Trouble) -> None:
        self._proxy = proxy
        self._trouble = trouble
        self._left = trouble.after

    async def carry(self, *ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        tasks = [asyncio.create_task(self._pass(*way)) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not self._is_over:
            return
        self._proxy.disconnects += 1
        match self._trouble.ending:
            case Ending.RST:
                for _, writer in ways:
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            case Ending.FIN:
                for _, writer in ways:
                    writer.close()
            case Ending.BLACK_HOLE:
                client = ways[0][0]
                while await client.read(CHUNK):  # until it gives up
                    pass

    @property
    def _is_over(self) -> bool:
        return self._trouble.ending is not Ending.NEVER and self._left <= 0

    async def _pass(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while True:
            await self._proxy.moving.wait()
            data = await source.read(CHUNK)
            if not data:
                return
            for at in range(0, len(data), self._trouble.piece):
                await asyncio.sleep(self._trouble.delay)
                await self._proxy.moving.wait()
                piece = data[at : at + self._trouble.piece]
                if self._trouble.ending is not Ending.NEVER:
                    piece = piece[: max(self._left, 0)]
                    self._left -= len(piece)
                to.write(piece)
                await to.drain()
                if self._is_over:
                    return


_AT_ONCE: Final = struct.pack("ii", 1, 0)


@asynccontextmanager
async def proxied(upstream: int, draw: Callable[[], Trouble] = Trouble) -> AsyncIterator[FaultProxy]:
    """A proxy for a server on this machine.

    Arguments:
        upstream: the server's port.
        draw: what the next connection goes through.
    """
    proxy = FaultProxy(upstream, draw)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.aclose()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 1)
