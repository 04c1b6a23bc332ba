"""The middle: what it does to bytes, to the byte; and what it hides."""

import asyncio
import gc
from collections import deque
from collections.abc import AsyncIterator, Sequence

import pytest

from kernelwire.errors import ConnectionLost, EndOfChannel
from kernelwire.link.framing import PREAMBLE, frame
from kernelwire.link.pipe import Pipe
from kernelwire.testing import Resources
from kernelwire.testing.faults import Direction, Middle, Passing

UP, DOWN = Direction.TO_HOST, Direction.TO_CLIENT


class Wire(Pipe):
    """A pipe whose other end is a test."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False
        self._arrived: deque[bytes] = deque()
        self._news = asyncio.Event()

    def arrive(self, *pieces: bytes) -> None:
        self._arrived.extend(pieces)
        self._news.set()

    async def send(self, data: bytes) -> None:
        self.sent.append(data)

    async def receive(self) -> bytes:
        while not self._arrived:
            if self.closed:
                raise EndOfChannel("closed")
            self._news.clear()
            await self._news.wait()
        return self._arrived.popleft()

    async def aclose(self) -> None:
        self.closed = True
        self._news.set()


class World:
    """A middle and pipes through it."""

    def __init__(self) -> None:
        self.middle = Middle()
        self.wires: list[Wire] = []

    async def open(self) -> tuple[Pipe, Wire]:
        await self.middle.dial()
        wire = Wire()
        self.wires.append(wire)
        return self.middle.wrap(wire), wire


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    before = Resources.now()
    yield world
    await world.middle.aclose()
    assert await before.settled() == []


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def greeting(*frames: bytes) -> bytes:
    return PREAMBLE + b"".join(map(frame, frames))


# In peace


async def test_bytes_pass_as_they_are(world: World) -> None:
    pipe, wire = await world.open()
    await pipe.send(b"up")
    wire.arrive(b"down", b"and more")
    assert wire.sent == [b"up"]
    assert [await pipe.receive(), await pipe.receive()] == [b"down", b"and more"]
    await pipe.aclose()
    assert wire.closed
    assert (world.middle.dialled, world.middle.opened, world.middle.cuts) == (1, 1, 0)


async def test_what_the_wire_raises_is_raised(world: World) -> None:
    pipe, wire = await world.open()
    await wire.aclose()
    with pytest.raises(EndOfChannel):
        await pipe.receive()
    await pipe.aclose()


async def test_a_cancelled_receive_ends(world: World) -> None:
    pipe, _ = await world.open()
    receiving = asyncio.create_task(pipe.receive())
    await turns()
    receiving.cancel()
    await asyncio.wait([receiving])
    assert receiving.cancelled()
    await pipe.aclose()


async def test_nobody_complains_of_what_fails_while_it_is_cancelled(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    pipe, wire = await world.open()
    for turns_before in range(6):
        wire.closed = False
        receiving = asyncio.create_task(pipe.receive())
        await turns()
        await wire.aclose()
        await turns(turns_before)
        receiving.cancel()
        await asyncio.wait([receiving])
        del receiving
        gc.collect()
    await pipe.aclose()
    assert not caplog.records


# Pieces


@pytest.mark.parametrize("size", [1, 3, 17, 1000])
async def test_a_link_s_stream_passes_frame_by_frame(world: World, size: int) -> None:
    world.middle.record = True
    pipe, wire = await world.open()
    stream = greeting(b"handshake", b"", b"x" * 500)
    for at in range(0, len(stream), size):
        await pipe.send(stream[at : at + size])
    assert wire.sent == [PREAMBLE, frame(b"handshake"), frame(b""), frame(b"x" * 500)]
    assert [passing.place for passing in world.middle.passed] == [0, 1, 2, 3]
    assert {(passing.pipe, passing.direction) for passing in world.middle.passed} == {(1, UP)}
    await pipe.aclose()


async def test_each_pipe_and_each_direction_has_its_own_places(world: World) -> None:
    world.middle.record = True
    for _ in range(2):
        pipe, wire = await world.open()
        await pipe.send(greeting(b"one"))
        wire.arrive(greeting(b"two"))
        assert [await pipe.receive(), await pipe.receive()] == [PREAMBLE, frame(b"two")]
        await pipe.aclose()
    assert [(each.pipe, each.direction, each.place) for each in world.middle.passed] == [
        (pipe, direction, place) for pipe in (1, 2) for direction in (UP, DOWN) for place in (0, 1)
    ]


async def test_any_other_stream_passes_as_it_comes(world: World) -> None:
    pipe, wire = await world.open()
    for piece in (b"k", b"nothing of ours", b"\0\0\0\x05"):
        await pipe.send(piece)
    assert b"".join(wire.sent) == b"knothing of ours\0\0\0\x05"
    await pipe.aclose()


async def test_slices(world: World) -> None:
    world.middle.slice = 2
    pipe, wire = await world.open()
    await pipe.send(b"12345")
    wire.arrive(b"67")
    wire.arrive(b"8")
    assert wire.sent == [b"12", b"34", b"5"]
    assert [await pipe.receive(), await pipe.receive()] == [b"67", b"8"]
    await pipe.aclose()


# Tampering


async def test_what_becomes_of_a_piece(world: World) -> None:
    def tamper(passing: Passing) -> Sequence[bytes]:
        if passing.direction is DOWN:
            return [passing.data, passing.data]
        return [] if passing.data == b"gone" else [passing.data.upper(), b""]

    world.middle.tamper = tamper
    world.middle.record = True
    pipe, wire = await world.open()
    for piece in (b"one", b"gone", b"two"):
        await pipe.send(piece)
    wire.arrive(b"three")
    assert [await pipe.receive(), await pipe.receive()] == [b"three", b"three"]
    assert wire.sent == [b"ONE", b"TWO"]
    assert [passing.data for passing in world.middle.passed] == [b"one", b"gone", b"two", b"three"]
    await pipe.aclose()


# Cuts


async def test_a_cut_breaks_all_pipes_and_no_new_one(world: World) -> None:
    pipes = [(await world.open())[0] for _ in range(2)]
    receiving = [asyncio.create_task(pipe.receive()) for pipe in pipes]
    await turns()
    world.middle.cut()
    for each in await asyncio.gather(*receiving, return_exceptions=True):
        assert isinstance(each, ConnectionLost)
    for pipe in pipes:
        with pytest.raises(ConnectionLost):
            await pipe.send(b"too late")
        await pipe.aclose()
    assert all(wire.closed and not wire.sent for wire in world.wires)
    assert world.middle.cuts == 2
    pipe, wire = await world.open()
    await pipe.send(b"new")
    assert wire.sent == [b"new"]
    await pipe.aclose()


@pytest.mark.parametrize("allowed", range(1, 11))
async def test_a_cut_to_the_byte_upwards(world: World, allowed: int) -> None:
    pipe, wire = await world.open()
    world.middle.cut_after(allowed)
    with pytest.raises(ConnectionLost):  # noqa: PT012 - which of them, is the matter
        for piece in (b"123", b"456", b"7890", b"and more", b"."):
            await pipe.send(piece)
    assert b"".join(wire.sent) == b"1234567890"[:allowed]
    await pipe.aclose()
    assert world.middle.cuts == 1


@pytest.mark.parametrize("allowed", range(1, 11))
async def test_a_cut_to_the_byte_downwards(world: World, allowed: int) -> None:
    pipe, wire = await world.open()
    world.middle.cut_after(allowed)
    wire.arrive(b"123", b"456", b"7890", b"and more")
    got = b""
    with pytest.raises(ConnectionLost):  # noqa: PT012
        while True:
            got += await pipe.receive()
            await turns()
    assert got == b"1234567890"[:allowed]
    await pipe.aclose()


async def test_a_cut_in_a_frame(world: World) -> None:
    pipe, wire = await world.open()
    world.middle.cut_after(len(PREAMBLE) + 6)
    with pytest.raises(ConnectionLost):  # noqa: PT012
        await pipe.send(greeting(b"handshake"))
        await pipe.send(frame(b"next"))
    assert b"".join(wire.sent) == greeting(b"handshake")[: len(PREAMBLE) + 6]
    await pipe.aclose()


async def test_cuts_one_after_the_other(world: World) -> None:
    world.middle.cut_after(3, 2, 4)
    arrived = []
    for _ in range(4):
        pipe, wire = await world.open()
        wire.arrive(b"down", b"and")
        with pytest.raises(ConnectionLost):  # noqa: PT012
            while world.middle.cuts < 3:
                await pipe.send(b"x")
            raise ConnectionLost("enough")
        arrived.append(len(wire.sent))
        await pipe.aclose()
    assert arrived == [3, 2, 4, 0]


async def test_a_broken_pipe_uses_up_nothing(world: World) -> None:
    world.middle.cut_after(1, 100)
    pipe, wire = await world.open()
    wire.arrive(*[b"x" * 1000] * 5)
    with pytest.raises(ConnectionLost):  # noqa: PT012
        await pipe.send(b"1")
        await pipe.send(b"2")
    await turns()
    other, _ = await world.open()
    await other.send(b"x" * 99)
    assert world.middle.cuts == 1
    for each in (pipe, other):
        await each.aclose()


# Down and up


async def test_down_and_up(world: World) -> None:
    pipe, _ = await world.open()
    world.middle.down()
    with pytest.raises(ConnectionLost):
        await pipe.receive()
    with pytest.raises(ConnectionLost, match="down"):
        await world.open()
    late = world.middle.wrap(Wire())  # one that was being opened
    with pytest.raises(ConnectionLost):
        await late.send(b"data")
    world.middle.up()
    new, wire = await world.open()
    await new.send(b"data")
    assert wire.sent == [b"data"]
    for each in (pipe, late, new):
        await each.aclose()


# Frozen


async def test_nothing_passes_while_frozen(world: World) -> None:
    pipe, wire = await world.open()
    world.middle.freeze()
    sending, receiving = asyncio.create_task(pipe.send(b"up")), asyncio.create_task(pipe.receive())
    opening = asyncio.create_task(world.open())
    wire.arrive(b"down")
    await turns()
    assert not any(each.done() for each in (sending, receiving, opening))
    world.middle.thaw()
    await asyncio.gather(sending, receiving, return_exceptions=True)
    for again in (pipe.send(b"up"), pipe.receive()):
        with pytest.raises(ConnectionLost):
            await again
    assert wire.sent == []
    new, wire = await opening
    await new.send(b"up")
    assert wire.sent == [b"up"]
    for each in (pipe, new):
        await each.aclose()


async def test_no_end_is_seen_while_frozen(world: World) -> None:
    mine, mine_wire = await world.open()
    theirs, their_wire = await world.open()
    world.middle.freeze()
    await mine.aclose()
    await their_wire.aclose()
    receiving = asyncio.create_task(theirs.receive())
    await turns()
    assert not mine_wire.closed
    assert not receiving.done()
    world.middle.thaw()
    with pytest.raises((ConnectionLost, EndOfChannel)):
        await receiving
    await turns()
    assert mine_wire.closed
    await theirs.aclose()


async def test_what_is_frozen_goes_with_the_middle(world: World) -> None:
    pipe, wire = await world.open()
    world.middle.freeze()
    await pipe.aclose()
    await world.middle.aclose()
    assert wire.closed


# Waiting for it


async def test_waiting_for_pipes(world: World) -> None:
    dialled = asyncio.create_task(world.middle.until_dialled(2))
    opened = asyncio.create_task(world.middle.until_opened(1))
    pipe, _ = await world.open()
    await opened
    assert not dialled.done()
    world.middle.down()
    with pytest.raises(ConnectionLost):
        await world.open()
    await dialled
    await world.middle.until_opened(1)
    await pipe.aclose()
