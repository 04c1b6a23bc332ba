"""A pipe's own rules, without a relay."""

import asyncio

import pytest

from kernelwire.errors import ConnectionLost, EndOfChannel
from kernelwire_socketio import events
from kernelwire_socketio.pipes import LIMIT, RelayPipe


class Wire:
    def __init__(self, number: int | None = None) -> None:
        self.sent: list[bytes] = []
        self.closed = 0
        self.is_full = False
        self.pipe = RelayPipe(self.send, self.send_now, self.close, number)

    async def send(self, message: bytes) -> None:
        self.sent.append(message)

    def send_now(self, message: bytes) -> bool:
        if not self.is_full:
            self.sent.append(message)
        return not self.is_full

    async def close(self) -> None:
        self.closed += 1


async def test_what_comes_is_received_in_order() -> None:
    pipe = Wire().pipe
    receiving = asyncio.create_task(pipe.receive())
    await asyncio.sleep(0)
    pipe.put(memoryview(b"a"))
    pipe.put(memoryview(b"b"))
    assert (await receiving, await pipe.receive()) == (b"a", b"b")


async def test_what_came_before_the_end_is_received() -> None:
    pipe = Wire().pipe
    pipe.put(memoryview(b"a"))
    pipe.end(EndOfChannel("the end"))
    pipe.end(ConnectionLost("again"))
    pipe.put(memoryview(b"late"))
    assert await pipe.receive() == b"a"
    for _ in range(2):
        with pytest.raises(EndOfChannel, match="the end"):
            await pipe.receive()
    with pytest.raises(EndOfChannel):
        await pipe.send(b"x")


async def test_a_cancelled_receive_loses_nothing() -> None:
    pipe = Wire().pipe
    receiving = asyncio.create_task(pipe.receive())
    await asyncio.sleep(0)
    pipe.put(memoryview(b"a"))
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    assert await pipe.receive() == b"a"


async def test_it_is_sent_in_pieces_that_fit() -> None:
    wire = Wire(7)
    data = bytes(range(256)) * 3000
    await wire.pipe.send(data)
    await wire.pipe.send(b"x")
    assert all(len(message) <= events.LIMIT for message in wire.sent)
    received = []
    for message in wire.sent:
        event = events.decode(message)
        assert event is not None
        assert event[0] == events.DATA
        assert events.number_of(event[1]) == 7
        received.append(bytes(event[1][4:]))
    assert b"".join(received) == data + b"x"


async def test_it_is_closed_once() -> None:
    wire = Wire()
    receiving = asyncio.create_task(wire.pipe.receive())
    await asyncio.sleep(0)
    await wire.pipe.aclose()
    await wire.pipe.aclose()
    assert wire.closed == 1
    with pytest.raises(ConnectionLost, match="this end"):
        await receiving


async def test_a_relay_that_sends_too_much_breaks_it() -> None:
    pipe = Wire().pipe
    for _ in range(LIMIT // 65_536):
        pipe.put(memoryview(b"x" * 65_536))
    pipe.put(memoryview(b"x"))
    with pytest.raises(ConnectionLost, match="more came"):
        await pipe.receive()


async def test_what_comes_is_poured() -> None:
    pipe = Wire().pipe
    pipe.put(memoryview(b"a"))
    pipe.put(memoryview(b"b"))
    taken: list[bytes] = []
    assert pipe.pour(lambda data: taken.append(bytes(data)))
    for _ in range(2 * LIMIT // 65_536):
        pipe.put(memoryview(b"x" * 65_536))
    assert taken == [b"a", b"b", *[b"x" * 65_536] * (2 * LIMIT // 65_536)]
    pipe.end(EndOfChannel("the end"))
    pipe.put(memoryview(b"late"))
    with pytest.raises(EndOfChannel, match="the end"):
        await pipe.receive()
    assert b"late" not in taken


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("poured", ["before", "after"])
async def test_what_a_sink_raises_is_the_end(poured: str, *, ended: bool) -> None:
    pipe = Wire().pipe
    taken: list[bytes] = []

    def sink(data: bytes | memoryview) -> None:
        taken.append(bytes(data))
        if len(taken) == 2:
            raise LookupError("enough")

    if poured == "before":
        pipe.pour(sink)
    for data in (b"a", b"b", b"c"):
        pipe.put(memoryview(data))
    if ended:
        pipe.end(ConnectionLost("lost"))
    if poured == "after":
        pipe.pour(sink)
    with pytest.raises(LookupError, match="enough"):
        await pipe.receive()
    assert taken == [b"a", b"b"]


async def test_pieces_are_sent_at_once_as_one() -> None:
    wire = Wire(7)
    assert wire.pipe.send_now([b"a", b"bc"])
    assert wire.sent == [events.encode(events.DATA, b"abc", number=7)]
    wire.is_full = True
    assert not wire.pipe.send_now([b"d"])
    wire.is_full = False
    assert not wire.pipe.send_now([b"x" * events.PIECE, b"x"])
    assert wire.pipe.send_now([b"x" * (events.PIECE - 1), b"x"])
    await wire.pipe.aclose()
    assert not wire.pipe.send_now([b"d"])
    assert len(wire.sent) == 2
