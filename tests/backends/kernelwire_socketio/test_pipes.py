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
        self.pipe = RelayPipe(self.send, self.close, number)

    async def send(self, message: bytes) -> None:
        self.sent.append(message)

    async def close(self) -> None:
        self.closed += 1


async def test_what_comes_is_received_in_order() -> None:
    pipe = Wire().pipe
    receiving = asyncio.create_task(pipe.receive())
    await asyncio.sleep(0)
    pipe.put(b"a")
    pipe.put(b"b")
    assert (await receiving, await pipe.receive()) == (b"a", b"b")


async def test_what_came_before_the_end_is_received() -> None:
    pipe = Wire().pipe
    pipe.put(b"a")
    pipe.end(EndOfChannel("the end"))
    pipe.end(ConnectionLost("again"))
    pipe.put(b"late")
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
    pipe.put(b"a")
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    assert await pipe.receive() == b"a"


async def test_it_is_sent_in_pieces_that_fit() -> None:
    wire = Wire(7)
    data = bytes(range(256)) * 1000
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
        pipe.put(b"x" * 65_536)
    pipe.put(b"x")
    with pytest.raises(ConnectionLost, match="more came"):
        await pipe.receive()
