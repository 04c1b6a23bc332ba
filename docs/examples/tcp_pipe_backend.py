"""A transport in forty lines: pipes over TCP, of which the link makes reliable, sealed channels."""

import asyncio

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import AddressInUse, EndOfChannel
from kernelwire.link.backend import PipeBackend
from kernelwire.link.pipe import Listener, Pipe


class TcpPipe(Pipe):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        data = await self._reader.read(256 * 1024)
        if not data:
            raise EndOfChannel("the other end closed the connection")
        return data

    async def aclose(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        finally:
            self._writer.transport.abort()  # an end that takes nothing would keep it open for ever


class TcpListener(Listener):
    def __init__(self) -> None:
        self._pipes: asyncio.Queue[TcpPipe] = asyncio.Queue()
        self.server: asyncio.Server

    def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pipes.put_nowait(TcpPipe(reader, writer))

    async def accept(self) -> Pipe:
        return await self._pipes.get()

    async def aclose(self) -> None:
        self.server.close()
        while not self._pipes.empty():
            await self._pipes.get_nowait().aclose()


class TcpPipeBackend(PipeBackend):
    async def open_pipe(self, info: ConnectionInfo) -> Pipe:
        return TcpPipe(*await asyncio.open_connection(info.ip or "127.0.0.1", info.port("shell_port"), limit=2**18))

    async def listen(self, info: ConnectionInfo) -> Listener:
        listener = TcpListener()
        try:
            listener.server = await asyncio.start_server(
                listener.on_connection, info.ip or "127.0.0.1", info.port("shell_port"), limit=2**18
            )
        except OSError as error:
            raise AddressInUse(f"shell_port: {info.shell_port} cannot be served") from error
        return listener

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        if info.shell_port is None:
            info = info.replace(shell_port=_free_port())
        return super().prepare(info)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
