"""From a kernel's threads to its event loop: what they publish, in order, as it comes."""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kernelwire.errors import InvalidMessage, KernelwireError, MessageTooLarge

HELD: Final = 16 * 1024 * 1024
"""Bytes that wait at the most; beyond that, whoever publishes waits."""

MERGED: Final = 64 * 1024
"""Characters of one stream message that is made of several writes."""

_OVERHEAD: Final = 512
_PATIENCE: Final = 0.1
"""Seconds between two looks whether there is room; an interrupt takes effect at each."""

Publish = Callable[..., Awaitable[None]]
"""Takes a message's type and content, and by name its metadata and buffers."""


class Item(NamedTuple):
    """A message to be.

    Attributes:
        publish: sends it.
        msg_type: its type.
        content: its content.
        size: about how many bytes it holds.
        metadata: its metadata.
        buffers: its buffers.
    """

    publish: Publish
    msg_type: str
    content: Mapping[str, Any]
    size: int = 0
    metadata: Mapping[str, Any] | None = None
    buffers: Sequence[Any] = ()


class Outbox:
    """A queue into the event loop in which it is made.

    Arguments:
        held: see :data:`HELD`.
    """

    def __init__(self, *, held: int = HELD) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = held
        self._items: deque[Item] = deque()
        self._held = 0
        self._room = threading.Event()
        self._room.set()
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._scheduled = False
        self._closed = False

    def put(self, item: Item) -> None:
        """Take a message, from any thread. Waits while there is no room, unless in the loop's own thread."""
        if self._closed:
            return
        while not self._room.is_set() and not _in(self._loop):
            self._room.wait(_PATIENCE)
        self._held += item.size + _OVERHEAD
        if self._held > self._limit:
            self._room.clear()
        self._items.append(item)
        if not self._scheduled:
            self._scheduled = True
            call_soon(self._loop, self._wake)

    async def run(self) -> None:
        """Publish what comes, until this is cancelled."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                # First, so that what is put from now on wakes us again.
                self._scheduled = False
                while self._items:
                    await self._publish(self._next())
                    if self._held <= self._limit // 2:
                        self._room.set()
                self._held = 0  # an interrupt may have come between the count and the item
                self._room.set()
                self._empty.set()
        finally:
            self._closed = True
            self._items.clear()
            self._room.set()
            self._empty.set()

    async def flush(self) -> None:
        """Wait until everything is published that was put before."""
        if self._items and not self._closed:
            self._wake()
        await self._empty.wait()

    def _wake(self) -> None:
        if not self._closed:
            self._empty.clear()
            self._arrived.set()

    def _next(self) -> Item:
        item = self._items.popleft()
        self._held -= item.size + _OVERHEAD
        if item.msg_type != "stream":
            return item
        texts = [item.content["text"]]
        length = len(texts[0])
        while self._items and length < MERGED:
            following = self._items[0]
            if following.msg_type != "stream" or following.publish != item.publish:
                break
            if following.content["name"] != item.content["name"]:
                break
            self._items.popleft()
            self._held -= following.size + _OVERHEAD
            texts.append(following.content["text"])
            length += len(texts[-1])
        return item if len(texts) == 1 else item._replace(content={**item.content, "text": "".join(texts)})

    async def _publish(self, item: Item) -> None:
        try:
            await item.publish(item.msg_type, item.content, metadata=item.metadata, buffers=item.buffers)
        except (InvalidMessage, MessageTooLarge) as error:
            text = f"{item.msg_type} was not published: {error}\n"
            await item.publish("stream", {"name": "stderr", "text": text})
        except KernelwireError:
            self._closed = True  # nobody is served any more


def call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: object) -> bool:
    """Call something in a loop, without the context of whoever wants it; whether the loop was open."""
    try:
        loop.call_soon_threadsafe(callback, *arguments, context=contextvars.Context())
    except RuntimeError:
        return False
    return True


def _in(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
