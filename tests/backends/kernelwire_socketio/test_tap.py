"""A tap: nothing is lost, said twice or overtaken, whoever takes it; with aiohttp's own parser and queue."""

import asyncio
import contextlib
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

from kernelwire_socketio import tap
from kernelwire_socketio.tap import tap_into

LIMIT = 4096
"""Bytes; aiohttp's queue lets twice that wait."""


def binary(data: bytes) -> bytes:
    """A frame, as a server sends it."""
    assert len(data) < 65536
    return b"\x82" + (bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")) + data


class Protocol:
    """What is above a transport."""

    def __init__(self) -> None:
        self._reading_paused = False
        self._payload_parser: Any = None

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self, *_: object) -> None:
        self._reading_paused = False


class End:
    """A websocket's end.

    Attributes:
        taken: what the tap has handed on.
        refuses: what it leaves to who reads.
    """

    def __init__(self, take: Callable[[bytes], bool] | None = None) -> None:
        self.protocol = Protocol()
        queue = WebSocketDataQueue(self.protocol, LIMIT, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
        self.parser = WebSocketReader(queue, 1 << 20, compress=False, decode_text=True)
        self.protocol._payload_parser = self.parser
        self._reader: Any = queue
        self.taken: list[bytes] = []
        self.refuses: set[bytes] = set()
        self._take = take
        assert tap_into(self.protocol, self, self.take)

    def take(self, message: aiohttp.WSMessage) -> bool:
        if message.data in self.refuses:
            return False
        self.taken.append(message.data)
        return self._take is None or self._take(message.data)

    def feed(self, data: bytes) -> None:
        self.protocol._payload_parser.feed_data(data)

    @property
    def reader(self) -> Any:
        return self._reader


async def reading(end: End) -> "asyncio.Task[aiohttp.WSMessage]":
    task = asyncio.create_task(end.reader.read())
    await asyncio.sleep(0)
    return task


async def test_what_comes_while_somebody_waits_is_taken_at_once() -> None:
    end = End()
    waiting = await reading(end)
    end.feed(binary(b"a") + binary(b"b")[:1])
    assert end.taken == [b"a"]
    end.feed(binary(b"b")[1:])
    assert end.taken == [b"a", b"b"]
    await asyncio.sleep(0)
    assert not waiting.done()
    end.refuses.add(b"c")
    end.feed(binary(b"c") + binary(b"d"))
    assert (await waiting).data == b"c"
    assert end.taken == [b"a", b"b"]
    assert (await end.reader.read()).data == b"d"


async def test_nobody_is_overtaken() -> None:
    end = End()
    end.feed(binary(b"a"))  # nobody waits
    end.feed(binary(b"b"))
    assert end.taken == []
    assert [(await end.reader.read()).data for _ in range(2)] == [b"a", b"b"]


async def test_others_get_their_turn() -> None:
    end = End()
    waiting = await reading(end)
    end.feed(b"".join(binary(b"%d" % number) for number in range(70)))
    assert len(end.taken) == tap.IN_A_ROW == 64
    assert (await waiting).data == b"64"
    assert [(await end.reader.read()).data for _ in range(5)] == [b"%d" % number for number in range(65, 70)]


async def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    end = End()
    end.refuses.add(b"a")
    waiting = await reading(end)
    waiting.cancel()
    end.feed(binary(b"a"))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    waiting = await reading(End())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await end.reader.read()).data == b"a"
    waiting = await reading(end)
    end.feed(binary(b"a"))
    waiting.cancel()  # woken, and cancelled before it gets there
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await end.reader.read()).data == b"a"


async def test_what_the_end_itself_has_to_say_wakes_who_waits() -> None:
    end = End()
    waiting = await reading(end)
    closing = aiohttp.WSMessage(WSMsgType.CLOSING, None, None)
    end.reader.feed_data(closing, 0)
    assert await waiting == closing
    waiting = await reading(end)
    end.reader.set_exception(ConnectionError("gone"))
    with pytest.raises(ConnectionError, match="gone"):
        await waiting


async def test_a_protocol_error_comes_after_what_was_well() -> None:
    end = End()
    end.refuses.add(b"b")
    waiting = await reading(end)
    end.feed(binary(b"a") + binary(b"b") + b"\xff\xff")
    assert end.taken == [b"a"]
    assert (await waiting).data == b"b"
    with pytest.raises(aiohttp.WebSocketError):
        await end.reader.read()


async def test_the_end_of_the_connection_ends_the_wait() -> None:
    end = End()
    waiting = await reading(end)
    end.protocol._payload_parser.feed_eof()
    with pytest.raises(Exception) as error:  # noqa: PT011 - aiohttp's own, which is not public
        await waiting
    assert type(error.value).__name__ == "EofStream"
    end = End()
    end.feed(binary(b"a"))
    end.protocol._payload_parser.feed_eof()
    assert (await end.reader.read()).data == b"a"


async def test_a_mistake_in_taking_ends_it_and_is_told() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def take(_: bytes) -> bool:
        raise LookupError("a mistake")

    end = End(take)
    waiting = await reading(end)
    end.feed(binary(b"a") + binary(b"b"))
    with contextlib.suppress(LookupError):
        assert (await waiting).data == b"b"
        with pytest.raises(LookupError, match="a mistake"):
            await end.reader.read()
    assert end.taken[0] == b"a"
    assert end.taken.count(b"a") == 1
    assert [str(context["exception"]) for context in told][:1] == ["a mistake"]


async def test_what_comes_while_something_is_taken_comes_after_it() -> None:
    more = [binary(b"c")]

    def take(_: bytes) -> bool:
        if more:
            end.feed(more.pop())
        return True

    end = End(take)
    waiting = await reading(end)
    end.feed(binary(b"a") + binary(b"b"))
    assert end.taken == [b"a", b"b", b"c"]
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize("seed", range(12))
async def test_all_of_it_comes_in_order(seed: int) -> None:
    """With more than the queue lets wait, so that the parser stops and the transport is paused meanwhile."""
    chance = Random(seed)
    messages = [b"%d " % number + b"x" * chance.choice([0, 10, 300, 3000]) for number in range(400)]
    refused = chance.choice([0, 0.02, 0.5, 1])
    end = End()
    end.refuses = {message for message in messages if chance.random() < refused}
    got = end.taken

    async def read() -> None:
        while len(got) < len(messages):
            got.append((await end.reader.read()).data)
            for _ in range(chance.choice([0, 0, 1, 3])):
                await asyncio.sleep(0)

    task = asyncio.create_task(read())
    wire = b"".join(map(binary, messages))
    at = paused = 0
    while at < len(wire):
        if end.protocol._reading_paused:
            paused += 1
        else:
            size = chance.choice([1, 100, 5000, 60_000])
            end.feed(wire[at : at + size])
            at += size
        if task.done() or chance.random() < 0.7:
            await asyncio.sleep(0)
    async with asyncio.timeout(60):
        while len(got) < len(messages):
            await asyncio.sleep(0)
    assert got == messages
    assert not end.protocol._reading_paused
    assert paused or refused < 0.5
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_where_aiohttp_is_another_inside_nothing_is_changed() -> None:
    parser = object()
    for protocol, socket in (
        (None, SimpleNamespace(_reader=None)),
        (SimpleNamespace(_payload_parser=None), SimpleNamespace(_reader=SimpleNamespace(_buffer=[]))),
        (SimpleNamespace(_payload_parser=parser), SimpleNamespace(_reader=SimpleNamespace())),
        (SimpleNamespace(_payload_parser=parser), SimpleNamespace(_reader=SimpleNamespace(_buffer=[]))),
        (SimpleNamespace(_parser=parser), SimpleNamespace(_stream=None)),
    ):
        before = repr((protocol, socket))
        assert not tap_into(protocol, socket, lambda _: True)
        assert repr((protocol, socket)) == before
