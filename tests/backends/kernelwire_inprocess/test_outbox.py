"""From threads to the loop."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kernelwire.errors import ChannelClosed, InvalidMessage
from kernelwire_inprocess.outbox import MERGED, Item, Outbox, call_soon


class Published:
    def __init__(self) -> None:
        self.messages: list[tuple[str, Any]] = []
        self.going = asyncio.Event()
        self.going.set()
        self.error: Exception | None = None

    async def __call__(self, msg_type: str, content: Any, **_: Any) -> None:
        await self.going.wait()
        if self.error is not None and msg_type != "stream":
            raise self.error
        self.messages.append((msg_type, content))


@pytest.fixture
async def outbox() -> AsyncIterator[Outbox]:
    outbox = Outbox(held=10_000)
    running = asyncio.create_task(outbox.run())
    yield outbox
    running.cancel()
    await asyncio.wait([running])


def text(publish: Published, text: str, name: str = "stdout") -> Item:
    return Item(publish, "stream", {"name": name, "text": text}, len(text))


async def test_order_and_merging(outbox: Outbox) -> None:
    published, other = Published(), Published()
    for item in (
        text(published, "a"),
        text(published, "b"),
        text(published, "c", "stderr"),
        Item(published, "display_data", {}),
        text(published, "d"),
        text(other, "e"),
        text(published, "f"),
    ):
        outbox.put(item)
    await outbox.flush()
    assert published.messages == [
        ("stream", {"name": "stdout", "text": "ab"}),
        ("stream", {"name": "stderr", "text": "c"}),
        ("display_data", {}),
        ("stream", {"name": "stdout", "text": "d"}),
        ("stream", {"name": "stdout", "text": "f"}),
    ]
    assert other.messages == [("stream", {"name": "stdout", "text": "e"})]


async def test_a_merged_message_has_a_bound(outbox: Outbox) -> None:
    published = Published()
    for _ in range(3):
        outbox.put(text(published, "x" * MERGED))
    await outbox.flush()
    assert len(published.messages) == 3


async def test_a_thread_waits_for_room(outbox: Outbox) -> None:
    published = Published()
    published.going.clear()

    def work() -> None:
        for _ in range(20):
            outbox.put(text(published, "x" * 4000))

    thread = threading.Thread(target=work)
    thread.start()
    while outbox._room.is_set():
        await asyncio.sleep(0)
    assert outbox._held < 20_000
    published.going.set()
    while thread.is_alive():
        await asyncio.sleep(0.001)
    await outbox.flush()
    assert sum(len(content["text"]) for _, content in published.messages) == 80_000


async def test_what_cannot_be_published_is_said_so(outbox: Outbox) -> None:
    published = Published()
    published.error = InvalidMessage("content: no")
    outbox.put(Item(published, "display_data", {}))
    await outbox.flush()
    ((kind, content),) = published.messages
    assert (kind, content["text"]) == ("stream", "display_data was not published: content: no\n")


async def test_after_the_end_nothing_is_kept(outbox: Outbox) -> None:
    published = Published()
    published.error = ChannelClosed()
    outbox.put(Item(published, "display_data", {}))
    await outbox.flush()
    outbox.put(Item(published, "display_data", {}))
    await outbox.flush()
    assert not outbox._items


async def test_a_loop_that_is_gone() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    assert not call_soon(loop, print)
