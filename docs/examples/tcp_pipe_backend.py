"""A transport of one's own, in fifty lines: pipes over TCP, of which the link makes reliable, sealed channels."""

import asyncio
import socket

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
        await self._writer.drain()  # waits while the wire is full

    async def receive(self) -> bytes:
        data = await self._reader.read(256 * 1024)
        if not data:
            raise EndOfChannel("the other end closed the connection")
        return data

    async def aclose(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except asyncio.CancelledError:  # it took too long: the other end takes nothing any more
            self._writer.transport.abort()
            raise


class TcpListener(Listener):
    def __init__(self) -> None:
        self.server: asyncio.Server
        self._pipes: asyncio.Queue[TcpPipe] = asyncio.Queue()
        self._closed = False

    def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:
            writer.close()
        else:
            self._pipes.put_nowait(TcpPipe(reader, writer))

    async def accept(self) -> Pipe:
        return await self._pipes.get()

    async def aclose(self) -> None:
        self._closed = True
        self.server.close()
        while not self._pipes.empty():
            await self._pipes.get_nowait().aclose()


class TcpPipeBackend(PipeBackend):
    async def open_pipe(self, info: ConnectionInfo) -> Pipe:
        return TcpPipe(*await asyncio.open_connection(info.ip or "127.0.0.1", info.port("shell_port")))

    async def listen(self, info: ConnectionInfo) -> Listener:
        listener = TcpListener()
        address = info.ip or "127.0.0.1", info.port("shell_port")
        try:
            listener.server = await asyncio.start_server(listener.on_connection, *address)
        except OSError as error:
            raise AddressInUse(f"shell_port: nobody can serve there ({error.strerror})") from error
        return listener

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        if info.shell_port is None:
            with socket.create_server((info.ip or "127.0.0.1", 0)) as free:
                info = info.replace(shell_port=free.getsockname()[1])
        return super().prepare(info)
