"""What comes on a websocket, handed on in the moment in which it comes rather than when a task gets to it.

aiohttp's parser fills a queue, and who wants a message waits for it. A tap stands between: what may be taken at once is
taken while somebody waits, who need not be woken for it. All else, and everything while nobody waits, goes the usual
way; so whoever is at work on a message is never overtaken, and can hold up those behind it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Self

import aiohttp

_IN_A_ROW: Final = 64
"""Messages that are handed on before others get their turn."""

Take = Callable[[aiohttp.WSMessage], bool]


class Tap:
    """Takes the place of aiohttp's queue.

    Arguments:
        queue: that one.
        take: takes a message, or leaves it to who waits; must not raise.
    """

    def __init__(self, queue: Any, take: Take) -> None:
        self._queue = queue
        self._waiting = queue._buffer
        self._take = take
        self._reader: asyncio.Future[None] | None = None

    @classmethod
    def into(cls, protocol: Any, queue: Any, take: Take) -> Self:
        """Put one behind the parser of a connection that has become a websocket."""
        tap = cls(queue, take)
        protocol._payload_parser = _Parser(protocol._payload_parser, tap)
        return tap

    def flow(self) -> None:
        """Something has come."""
        if self._reader is None:
            return
        for _ in range(_IN_A_ROW):
            if not self._waiting or not self._take(self._waiting[0][0]):
                break
            self._next()
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

    def feed_data(self, message: aiohttp.WSMessage, size: int) -> None:
        """Likewise, for what does not come from the other end."""
        self._queue.feed_data(message, size)
        self._wake()

    def set_exception(self, *error: Any) -> None:
        """Likewise."""
        self._queue.set_exception(*error)
        self._wake()

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
