"""What is carried from one channel to another comes once and in order, at once where nobody has to wait."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from kernelwire.carrying import Carrier, Witnessed
from kernelwire.channels import Receiver
from kernelwire.errors import EndOfChannel, GapNotice, MessageTooLarge, PeerGone
from kernelwire.inbox import Inbox
from kernelwire.messages import WireMessage


class Source(Receiver):
    """A channel of whatever is put into its inbox."""

    def __init__(self, *, intercepts: bool) -> None:
        self.inbox = Inbox[WireMessage]()
        self._intercepts = intercepts

    async def receive(self) -> WireMessage:
        return await self.inbox.receive()

    def intercept(self, offer: Callable[[WireMessage], bool]) -> bool:
        if self._intercepts:
            self.inbox.intercept(offer)
        return self._intercepts

    async def aclose(self) -> None:
        self.inbox.discard()


class Sink:
    """Takes what is carried.

    Attributes:
        now: what came without a wait.
        waited: what came with one.
        ready: whether it takes anything without one.
        error: raised instead, by both ways.
        go: set while nobody has to wait for long.
        translated: what was to be translated; what says ``drop`` is dropped.
    """

    def __init__(self) -> None:
        self.now: list[bytes] = []
        self.waited: list[bytes] = []
        self.all: list[bytes] = []
        self.ready = True
        self.error: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()
        self.translated: list[bytes] = []

    def translate(self, message: WireMessage) -> WireMessage | None:
        self.translated.append(text(message))
        return None if text(message) == b"drop" else WireMessage([text(message).upper()])

    async def send(self, message: WireMessage) -> None:
        await self.go.wait()
        if self.error is not None:
            raise self.error
        self.waited.append(text(message))
        self.all.append(text(message))

    def send_now(self, message: WireMessage) -> bool:
        if self.error is not None:
            raise self.error
        if self.ready:
            self.now.append(text(message))
            self.all.append(text(message))
        return self.ready


def text(message: WireMessage) -> bytes:
    return bytes(message.frames[0])


@asynccontextmanager
async def carrying(*, intercepts: bool = True) -> AsyncIterator[tuple[Callable[[bytes], None], Sink, Source]]:
    source, sink = Source(intercepts=intercepts), Sink()
    carrier = Carrier(source, translate=sink.translate, send=sink.send, send_now=sink.send_now)
    running = asyncio.create_task(carrier.run())
    await turns()
    yield lambda content: source.inbox.put(WireMessage([content])), sink, source
    running.cancel()
    await asyncio.wait([running])


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_it_carries_at_once() -> None:
    async with carrying() as (put, sink, _):
        for content in (b"one", b"drop", b"two"):
            put(content)
        assert sink.now == [b"ONE", b"TWO"]  # no turn of a task later
        assert sink.waited == []


async def test_who_must_wait_is_waited_for_and_nobody_overtakes() -> None:
    async with carrying() as (put, sink, _):
        sink.ready = False
        sink.go.clear()
        put(b"one")
        sink.ready = True
        put(b"two")
        await turns()
        put(b"three")
        assert sink.all == []
        sink.go.set()
        await turns()
        put(b"four")
        assert sink.all == [b"ONE", b"TWO", b"THREE", b"FOUR"]
        assert sink.now == [b"FOUR"]
        assert sink.translated == [b"one", b"two", b"three", b"four"]  # each once: signatures are accepted once


async def test_a_channel_that_offers_nothing() -> None:
    async with carrying(intercepts=False) as (put, sink, _):
        for content in (b"one", b"drop", b"two"):
            put(content)
        await turns()
        assert sink.waited == [b"ONE", b"TWO"]


@pytest.mark.parametrize("intercepts", [True, False])
async def test_what_is_too_large_is_reported_and_the_next_is_carried(
    intercepts: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with carrying(intercepts=intercepts) as (put, sink, _):
        with caplog.at_level(logging.WARNING, "kernelwire"):
            sink.error = MessageTooLarge(10, 1)
            put(b"one")
            await turns()
        assert len(caplog.records) == 1
        sink.error = None
        put(b"two")
        await turns()
        assert sink.all == [b"TWO"]


async def test_a_gap_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async with carrying() as (put, sink, source):
        with caplog.at_level(logging.WARNING, "kernelwire"):
            source.inbox.put_gap(GapNotice(2, None, "the other end was started anew"))
            await turns()
        assert len(caplog.records) == 1
        put(b"one")
        assert sink.all == [b"ONE"]


@pytest.mark.parametrize("error", [PeerGone("gone"), None])
async def test_it_ends_with_what_ends_it(error: Exception | None) -> None:
    source, sink = Source(intercepts=True), Sink()
    running = asyncio.create_task(
        Carrier(source, translate=sink.translate, send=sink.send, send_now=sink.send_now).run()
    )
    await turns()
    sink.error = error
    if error is None:
        source.inbox.close()
    else:
        source.inbox.put(WireMessage([b"one"]))
    with pytest.raises(EndOfChannel if error is None else PeerGone):
        await running


# The witness


def test_each_message_is_shown_once_and_again_only_if_that_failed() -> None:
    seen: list[WireMessage] = []
    failures: list[Exception] = [OSError("full"), OSError("full")]

    def see(message: WireMessage) -> None:
        if failures:
            raise failures.pop()
        seen.append(message)

    witnessed = Witnessed(see)
    first, second = (WireMessage([b"", b"header", b"{}", b"{}", bytes([number])]) for number in range(2))
    second.frames[1] = bytearray(b"header")  # type: ignore[index] # equal, and another
    assert not witnessed.now(first)
    with pytest.raises(OSError, match="full"):
        witnessed.once(first)
    assert witnessed.now(first)
    witnessed.once(first)
    witnessed.once(second)
    assert witnessed.now(second)
    assert seen == [first, second]


def test_without_a_witness_all_is_well() -> None:
    witnessed = Witnessed(None)
    assert witnessed.now(WireMessage([b""]))
    witnessed.once(WireMessage([b""]))
