"""The outbox: a queue as engine.io wants it, that knows what it holds."""

import asyncio
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire_socketio.events import Data
from kernelwire_socketio.relay.limits import AROUND, FLOW_LIMIT, FLOW_SHARE, ROOM_LIMIT
from kernelwire_socketio.relay.outbox import Flow, Outbox, Parcel, Surplus


def put(flow: Flow, *pieces: bytes) -> bool:
    return flow.put(pieces, sum(map(len, pieces)))


def put_much(flow: Flow, size: int) -> bool:
    """A message that counts for so much."""
    return put(flow, bytes(size - AROUND))


async def poll(outbox: Outbox) -> list[Any]:
    """As engine.io's writer takes packets."""
    items = [await asyncio.wait_for(outbox.get(), 60)]
    while True:
        try:
            items.append(outbox.get_nowait())
        except asyncio.QueueEmpty:
            return items


async def test_what_goes_in_comes_out_in_order() -> None:
    outbox = Outbox()
    for item in "abc":
        outbox.put_nowait(item)
    assert await poll(outbox) == ["a", "b", "c"]


async def test_who_waits_is_woken() -> None:
    outbox = Outbox()
    waiting = asyncio.create_task(poll(outbox))
    await asyncio.sleep(0)
    await outbox.put("a")
    outbox.put_nowait("b")
    assert await waiting == ["a", "b"]


async def test_who_has_given_up_takes_nothing() -> None:
    outbox = Outbox()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(outbox.get(), 0.001)
    outbox.put_nowait("a")
    assert await poll(outbox) == ["a"]


async def test_a_flow_is_held_until_it_is_its_turn() -> None:
    outbox = Outbox()
    flow = Flow(outbox)
    assert put(flow, b"12", b"345")
    assert put(flow, b"678")
    parcels = await poll(outbox)
    assert outbox.held == flow.held == 8 + 2 * AROUND
    turned = asyncio.create_task(outbox.room.wait())
    await asyncio.sleep(0)
    assert parcels[0].encode() == parcels[0].encode() == b"12345"
    assert outbox.held == flow.held == 3 + AROUND
    await turned


async def test_a_flow_has_a_bound_and_others_do_not_count() -> None:
    outbox = Outbox()
    flow, other = Flow(outbox), Flow(outbox)
    assert put_much(flow, FLOW_LIMIT)
    assert not put(flow, b"")
    assert put(other, b"")
    assert outbox.held == FLOW_LIMIT + AROUND


def test_what_counts_is_what_it_takes() -> None:
    """However small messages are: they wait in memory, and not on the wire."""
    outbox = Outbox()
    flow = Flow(outbox)
    tracemalloc.start()
    try:
        while put(flow, b"%d" % flow.held):
            pass
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert flow.held > FLOW_LIMIT - 1000
    assert held < FLOW_LIMIT


async def test_what_the_relay_says_itself_is_no_flow_s() -> None:
    outbox = Outbox()
    outbox.put_nowait(Parcel(b"said"))
    assert (await poll(outbox))[0].encode() == b"said"
    assert outbox.held == 0
    outbox.task_done()
    await outbox.join()


async def test_what_the_wire_takes_at_once_does_not_wait() -> None:
    outbox, written = Outbox(), list[bytes]()
    takes = True

    def write(pieces: Sequence[Data], size: int) -> bool:
        if takes:
            written.append(b"".join(pieces))
            assert len(written[-1]) == size
        return takes

    flow = Flow(outbox)
    assert put(flow, b"before there is a wire")
    outbox.write = write
    assert put(flow, b"before anybody asks")
    parcels = await poll(outbox)
    asking = asyncio.create_task(poll(outbox))
    await asyncio.sleep(0)
    assert put(flow, b"now")
    assert written == [b"now"]
    takes = False
    assert put(flow, b"full")
    takes = True
    assert put(flow, b"not before ", b"the other")  # which its writer is about to take
    parcels += await asking
    assert [parcel.encode() for parcel in parcels] == [
        b"before there is a wire",
        b"before anybody asks",
        b"full",
        b"not before the other",
    ]
    assert (written, outbox.held, flow.held) == ([b"now"], 0, 0)


def test_what_flows_hold_beyond_their_share_is_bounded_together() -> None:
    surplus = Surplus()
    one, two, three = (Flow(Outbox(), surplus) for _ in range(3))
    assert put_much(one, FLOW_SHARE)
    assert surplus.held == 0
    assert put_much(one, FLOW_LIMIT - FLOW_SHARE - 1000)
    assert put_much(two, FLOW_SHARE)
    left = ROOM_LIMIT - surplus.held
    assert put_much(two, left)
    assert not put(two, b"")
    assert two.held == FLOW_SHARE + left
    assert put_much(three, FLOW_SHARE)
    assert not put(three, b"")
    one.took(AROUND)
    assert put(three, b"")
    one.clear()
    two.clear()
    assert surplus.held == AROUND
    three.took(FLOW_SHARE)
    assert (surplus.held, three.held) == (0, AROUND)


def test_what_is_taken_after_the_end_is_given_back_once() -> None:
    surplus = Surplus()
    gone, here = (Flow(Outbox(), surplus) for _ in range(2))
    size = FLOW_SHARE + 100
    assert put_much(gone, size)
    assert put_much(here, size)
    gone.clear()
    gone.clear()
    gone.took(size)
    assert surplus.held == 100


def test_who_parts_takes_its_surplus_along() -> None:
    here, parting = Surplus(), Surplus()
    flow = Flow(Outbox(), here)
    assert put_much(flow, FLOW_SHARE + 100)
    parting.held = ROOM_LIMIT - 99
    assert not flow.count_in(parting)
    assert (here.held, parting.held) == (100, ROOM_LIMIT - 99)
    parting.held = 0
    assert flow.count_in(parting)
    assert (here.held, parting.held) == (0, 100)
    flow.took(50)
    assert (here.held, parting.held) == (0, 50)
    flow.clear()
    assert (here.held, parting.held) == (0, 0)
    assert Flow(Outbox()).count_in(here)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["put", "take", "clear", "part"]), st.integers(1, 1200))))
def test_a_surplus_does_not_drift(steps: list[tuple[int, str, int]]) -> None:
    here, parting = Surplus(), Surplus()
    flows = [Flow(Outbox(), here) for _ in range(4)]
    waiting = [list[int]() for _ in flows]
    at = [here] * 4
    dead = set[int]()
    for number, what, size in steps:
        flow, size = flows[number], size * 1024
        if what == "put" and number not in dead:
            if put_much(flow, size):
                waiting[number].append(size)
        elif what == "take" and waiting[number]:
            flow.took(waiting[number].pop(0))
        elif what == "clear":
            flow.clear()
            dead.add(number)
        elif what == "part" and number not in dead and flow.count_in(parting):
            at[number] = parting
        for surplus in (here, parting):
            held = [sum(waiting[each]) for each in range(4) if each not in dead and at[each] is surplus]
            assert surplus.held == sum(max(0, each - FLOW_SHARE) for each in held) <= ROOM_LIMIT
