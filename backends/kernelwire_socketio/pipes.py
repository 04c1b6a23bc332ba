"""Pipes through a relay: what has come for one, and how to send on it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from kernelwire.errors import ConnectionLost, WireError
from kernelwire.link.pipe import Pipe
from kernelwire_socketio import events

LIMIT: Final = 2 * 1024 * 1024
"""Bytes that may wait to be received; the link's window is half of that, and it always receives."""


class RelayPipe(Pipe):
    """One pipe.

    Arguments:
        send: sends an event.
        close: called once, by `aclose`.
        number: the pipe's, at a host.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
        number: int | None = None,
    ) -> None:
        self._send = send
        self._close = close
        self._number = number
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._end: WireError | None = None
        self._closed = False
        self._news: asyncio.Future[None] | None = None

    def put(self, data: bytes) -> None:
        """Something has come."""
        if self._end is not None:
            return
        self._held += len(data)
        if self._held > LIMIT:
            self._pieces.clear()
            self.end(ConnectionLost("more came than the other end may send"))
            return
        self._pieces.append(data)
        self._tell()

    def end(self, error: WireError) -> None:
        """Nothing more will come; what has come is still received."""
        if self._end is None:
            self._end = error
            self._tell()

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), events.PIECE):
            if self._end is not None:
                raise self._end.again()
            piece = data if len(data) <= events.PIECE else data[at : at + events.PIECE]
            await self._send(events.encode(events.DATA, piece, self._number))

    async def receive(self) -> bytes:
        while not self._pieces:
            if self._end is not None:
                raise self._end.again()
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        data = self._pieces.popleft()
        self._held -= len(data)
        return data

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self.end(ConnectionLost("this end has closed the pipe"))
            await self._close()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
