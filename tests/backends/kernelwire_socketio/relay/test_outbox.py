"""The outbox: a queue as engine.io wants it, that knows what it holds."""

import asyncio
from typing import Any

import pytest

from kernelwire_socketio.relay.limits import FLOW_LIMIT
from kernelwire_socketio.relay.outbox import Flow, Outbox, Parcel


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
    assert flow.put(b"12345")
    assert flow.put(b"678")
    parcels = await poll(outbox)
    assert (outbox.held, flow.held) == (8, 8)
    turned = asyncio.create_task(outbox.room.wait())
    await asyncio.sleep(0)
    assert parcels[0].encode() == parcels[0].encode() == b"12345"
    assert (outbox.held, flow.held) == (3, 3)
    await turned


async def test_a_flow_has_a_bound_and_others_do_not_count() -> None:
    outbox = Outbox()
    flow, other = Flow(outbox), Flow(outbox)
    assert flow.put(b"x" * FLOW_LIMIT)
    assert not flow.put(b"x")
    assert other.put(b"x")
    assert outbox.held == FLOW_LIMIT + 1


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

    def write(message: bytes) -> bool:
        if takes:
            written.append(message)
        return takes

    flow = Flow(outbox)
    assert flow.put(b"before there is a wire")
    outbox.write = write
    assert flow.put(b"before anybody asks")
    parcels = await poll(outbox)
    asking = asyncio.create_task(poll(outbox))
    await asyncio.sleep(0)
    assert flow.put(b"now")
    assert written == [b"now"]
    takes = False
    assert flow.put(b"full")
    takes = True
    assert flow.put(b"not before the other")  # which its writer is about to take
    parcels += await asking
    assert [parcel.encode() for parcel in parcels] == [
        b"before there is a wire",
        b"before anybody asks",
        b"full",
        b"not before the other",
    ]
    assert (written, outbox.held, flow.held) == ([b"now"], 0, 0)
