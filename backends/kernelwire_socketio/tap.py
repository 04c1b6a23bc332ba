"""What comes on a websocket, handed on in the moment in which it comes rather than when a task gets to it.

aiohttp's parser fills a queue, and who wants a message waits for it. A tap stands between: what may be taken at once is
taken while somebody waits, who need not be woken for it. All else, and everything while nobody waits, goes the usual
way; so whoever is at work on a message is never overtaken, and can hold up those behind it.
"""

# ruff: noqa: SLF001 - aiohttp has no public way to this
import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import aiohttp

IN_A_ROW: Final = 64
"""Messages of one connection that are handed on before others get their turn, here and by who waits."""

Take = Callable[[aiohttp.WSMessage], bool]


def tap_into(protocol: Any, socket: Any, take: Take) -> bool:
    """Put a tap between the parser and the reader of a websocket that has just been opened.

    Arguments:
        protocol: the connection's.
        socket: a client's websocket or a server's.
        take: see :class:`Tap`.

    Returns:
        Whether it is there. It is not where the connection is over already, nor where aiohttp has become another
        inside; then all goes the usual way.
    """
    parser, queue = getattr(protocol, "_payload_parser", None), getattr(socket, "_reader", None)
    if parser is None or not isinstance(getattr(queue, "_buffer", None), deque):
        return False
    socket._reader = tap = Tap(queue, take)
    protocol._payload_parser = _Parser(parser, tap)
    return True


class Tap:
    """Takes the place of aiohttp's queue.

    Arguments:
        queue: that one.
        take: takes a message, or leaves it to who waits. What it raises, who waits is told, and the loop's handler.
    """

    def __init__(self, queue: Any, take: Take) -> None:
        self._queue = queue
        self._waiting: deque[tuple[aiohttp.WSMessage, int]] = queue._buffer
        self._take = take
        self._reader: asyncio.Future[None] | None = None

    def flow(self) -> None:
        """Something has come."""
        reader, self._reader = self._reader, None  # what comes while something is being taken has to wait
        if reader is None:
            return
        for _ in range(IN_A_ROW):
            if not self._waiting or not self._hand_on(self._waiting[0][0]):
                break
            self._next()
        self._reader = reader
        self._wake()

    async def read(self) -> aiohttp.WSMessage:
        """As aiohttp's."""
        while not self._waiting and not self._queue.is_eof():
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._next()

    def feed_data(self, message: aiohttp.WSMessage, size: int = 0) -> None:
        """Likewise, for what does not come from the other end."""
        self._queue.feed_data(message, size)
        self._wake()

    def set_exception(self, *error: Any) -> None:
        """Likewise."""
        self._queue.set_exception(*error)
        self._wake()

    def _hand_on(self, message: aiohttp.WSMessage) -> bool:
        try:
            return self._take(message)
        except Exception as error:  # noqa: BLE001 - it must not get into aiohttp, and the message not be taken again
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "a websocket's message could not be taken", "exception": error})
            self._queue.set_exception(error)
            return True

    def _wake(self) -> None:
        if (self._waiting or self._queue.is_eof()) and self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _next(self) -> aiohttp.WSMessage:
        """What is there. Nothing is waited for, so that the first step of reading is also the last."""
        try:
            self._queue.read().send(None)
        except StopIteration as done:
            message: aiohttp.WSMessage = done.value
            return message
        raise AssertionError("it was there")


class _Parser:
    """Takes the place of aiohttp's, for a connection that feeds it."""

    def __init__(self, parser: Any, tap: Tap) -> None:
        self._feed = parser.feed_data
        self._feed_eof = parser.feed_eof
        self._tap = tap

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        fed: tuple[bool, bytes] = self._feed(data)
        self._tap.flow()
        return fed

    def feed_eof(self) -> None:
        self._feed_eof()
        self._tap.flow()
