"""A link over real sockets that break in every way: nothing is lost, and nothing held beyond its bound."""

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from random import Random

import pytest

from kernelwire.errors import GapNotice, PeerGone
from kernelwire.link.peer import DEAD_AFTER, PING_AFTER, USUAL
from kernelwire.messages import WireMessage

from ._fault_proxy import Ending, Trouble
from ._link_load import REQUESTS, Link, Load, collect, disconnect, number_of, numbered
from .test_large import Peak, needs_proc

MEGABYTE = 1_000_000


def test_disconnects_cost_nothing(record_property: Callable[[str, object], None]) -> None:
    """``make soak`` runs five times as many, over five times as many messages."""
    seed = int.from_bytes(os.urandom(4), "big")
    seen = asyncio.run(disconnect(20_000, 200, seed))
    print(f"seed {seed}: {seen}")
    record_property("seen", seen)


def first(trouble: Trouble) -> Callable[[], Trouble]:
    """The first connection has it, the others have none."""
    troubles: Iterator[Trouble] = itertools.chain([trouble], itertools.repeat(Trouble()))
    return lambda: next(troubles)


@pytest.mark.parametrize(
    ("ending", "after"),
    [
        *itertools.product([Ending.RST, Ending.FIN], [1, 16, 17, 30, 70, 140, 200, 300, 500, 5_000, 50_000]),
        *itertools.product([Ending.BLACK_HOLE], [300, 500, 5_000, 50_000]),  # a handshake takes its usual time
    ],
)
async def test_an_end_after_so_many_bytes(ending: Ending, after: int) -> None:
    async with Link.open() as link:
        client, proxy = await link.client("client", first(Trouble(ending, after)))
        load = Load(link, [client], Random(0))
        while not proxy.disconnects:
            await load.run(20)
        await load.run(20)


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(Trouble(piece=1), id="byte by byte"),
        pytest.param(Trouble(delay=0.002), id="late"),
        pytest.param(Trouble(piece=500, delay=0.001), id="slow"),
    ],
)
async def test_a_wire_that_is_only_bad(trouble: Trouble) -> None:
    async with Link.open() as link:
        client, _ = await link.client("client", lambda: trouble)
        await Load(link, [client], Random(0)).run(3)


async def test_what_is_sent_just_before_closing_arrives_over_a_slow_wire() -> None:
    async with Link.open(timing=USUAL) as link:
        link.largest = 201_000
        client, _ = await link.client("client", lambda: Trouble(piece=2000, delay=0.01))
        await client.end.shell.send(numbered(0, 200_000))
        await client.end.aclose()
        assert number_of(await link.server.end.shell.receive()) == 0


async def test_a_reader_that_is_stalled_costs_no_more_than_its_bound() -> None:
    """And gets an exact notice when it returns, while another one misses nothing."""
    count, size = 8_000, 1000
    async with Link.open(log_limit=MEGABYTE) as link:
        reader, _ = await link.client("reader")
        stalled, proxy = await link.client("stalled")
        proxy.moving.clear()
        reading = asyncio.create_task(collect(reader.end.iopub, count - 1))
        for number in range(count):
            await link.server.end.iopub.send(numbered(number, size))
        assert await reading == (list(range(count)), [])
        proxy.moving.set()
        numbers, gaps = await collect(stalled.end.iopub, count - 1)
    (gap,) = gaps
    assert gap.count == count - len(numbers)
    assert gap.size == gap.count * (size + 8)
    assert link.most["log"] > MEGABYTE - 2 * size, "the bound was never reached"
    # What it did not miss is what was on its way, and what the log still had.
    assert len(numbers) * size < 3 * MEGABYTE


async def test_one_for_whom_too_much_waits_is_given_up() -> None:
    """Its replies would not fit any more. It is told when it returns, and may begin anew."""
    async with Link.open() as link:
        link.largest = 2 * MEGABYTE
        kernel = link.server.end
        stalled, proxy = await link.client("stalled")
        await stalled.end.shell.send(numbered(0, 0))
        peer = (await kernel.shell.receive()).peer
        proxy.moving.clear()
        with pytest.raises(PeerGone, match="given up"):  # noqa: PT012 - which of them is not the matter
            for number in range(30):
                await kernel.shell.send(numbered(number, MEGABYTE, peer))
                link.check()
        assert link.most["replies"] > 15 * MEGABYTE, "it was given up too early"
        proxy.moving.set()
        for name in (*REQUESTS, "iopub"):
            with pytest.raises(GapNotice) as caught:  # noqa: PT012
                while True:
                    await getattr(stalled.end, name).receive()
            assert caught.value.count is None
        await Load(link, [stalled], Random(0)).run(5)


@pytest.mark.parametrize("asleep", [("client",), ("host",), ("client", "host")], ids="+".join)
async def test_a_clock_that_jumps_by_8_hours(asleep: tuple[str, ...]) -> None:
    """A machine was asleep, and its wire is dead: the session goes on."""
    async with Link.open() as link:
        client, proxy = await link.client("client")
        load = Load(link, [client], Random(0))
        await load.run(20)
        proxy.moving.clear()
        running = asyncio.create_task(load.run(20))
        for name in asleep:
            link.clocks[name] += 8 * 3600
        await proxy.until_connected(2)
        assert not running.done()
        proxy.moving.set()
        await running
        await load.run(20)
        assert client.connects >= 2


def test_a_dead_wire_is_noticed_within_20_seconds() -> None:
    assert (USUAL.ping_after, USUAL.dead_after) == (PING_AFTER, DEAD_AFTER)
    assert PING_AFTER < DEAD_AFTER / 2, "an answer would hardly be in time"
    assert DEAD_AFTER <= 20


@needs_proc
@pytest.mark.parametrize("direction", ["to the kernel", "to the client"])
async def test_control_overtakes_100_megabytes(direction: str, record_property: Callable[[str, object], None]) -> None:
    """And the large message is held once at each end, and no more."""
    size = 100 * MEGABYTE
    large = WireMessage([(0).to_bytes(8, "big"), bytes(size)])
    async with Link.open(timing=USUAL) as link:
        link.largest = size + 1000
        kernel = link.server.end
        client, _ = await link.client("client")
        load = Load(link, [client], Random(0))
        await load.run(1)
        peer = load.peers.pop()
        peak = Peak(os.getpid())
        if direction == "to the kernel":
            sending, receiving = client.end.shell.send(large), kernel.shell.receive()
        else:
            sending, receiving = kernel.shell.send(WireMessage(large.frames, peer)), client.end.shell.receive()
        arriving = asyncio.create_task(receiving)
        await sending
        answers = 0
        while not arriving.done():
            await client.end.control.send(numbered(answers, 10))
            await kernel.control.send(await kernel.control.receive())
            assert number_of(await client.end.control.receive()) == answers
            answers += 1
        growth = peak.growth()
        assert number_of(arriving.result()) == 0
    record_property("control round trips meanwhile", answers)
    record_property("growth in MB", growth // MEGABYTE)
    print(f"{answers} round trips, {growth / MEGABYTE:.0f} MB")
    assert answers >= 20
    assert growth <= 130 * MEGABYTE
