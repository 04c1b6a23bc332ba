"""Pipes through a relay: what has come for one, and how to send on it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from kernelwire.errors import ConnectionLost, WireError
from kernelwire.link.pipe import Pipe, Sink
from kernelwire_socketio import events

LIMIT: Final = 2 * 1024 * 1024
"""Bytes that may wait to be received: twice what a link's end sends before it has seen the other take something, and
from then on that one lets all be poured."""


class RelayPipe(Pipe):
    """One pipe.

    Arguments:
        send: sends an event.
        send_now: likewise, if that need not wait; whether it was so.
        close: called once, by `aclose`.
        number: the pipe's, at a host.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        send_now: Callable[[bytes], bool],
        close: Callable[[], Awaitable[None]],
        number: int | None = None,
    ) -> None:
        self._send = send
        self._send_now = send_now
        self._close = close
        self._number = number
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._sink: Sink | None = None
        self._end: Exception | None = None
        self._closed = False
        self._news: asyncio.Future[None] | None = None

    def put(self, data: memoryview) -> None:
        """Something has come, which stays what it is."""
        if self._end is not None:
            return
        if self._sink is not None:
            self._hand(self._sink, data)
            return
        self._held += len(data)
        if self._held > LIMIT:
            self._pieces.clear()
            self.end(ConnectionLost("more came than the other end may send"))
            return
        self._pieces.append(bytes(data))
        self._tell()

    def end(self, error: Exception) -> None:
        """Nothing more will come; what has come is still received."""
        if self._end is None:
            self._end = error
            self._tell()

    def pour(self, sink: Sink) -> bool:
        self._sink = sink
        self._held = 0
        while self._pieces:
            self._hand(sink, self._pieces.popleft())
        return True

    def send_now(self, pieces: Sequence[bytes]) -> bool:
        if self._end is not None or sum(map(len, pieces)) > events.PIECE:
            return False
        return self._send_now(events.encode(events.DATA, *pieces, number=self._number))

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), events.PIECE):
            self._check()
            piece = data if len(data) <= events.PIECE else data[at : at + events.PIECE]
            await self._send(events.encode(events.DATA, piece, number=self._number))

    async def receive(self) -> bytes:
        while not self._pieces:
            self._check()
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

    def _check(self) -> None:
        if self._end is not None:
            raise self._end.again() if isinstance(self._end, WireError) else self._end

    def _hand(self, sink: Sink, data: bytes | memoryview) -> None:
        try:
            sink(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, who receives is told, and nothing that came later
            self._pieces.clear()
            self._end = error
            self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
