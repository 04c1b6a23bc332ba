"""Several readers of one channel: each gets what it asked for, and leaves nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.broadcast import Broadcast, Subscription, selecting
from kernelwire.errors import ChannelBusy, ConnectionLost, EndOfChannel, GapNotice, KernelwireError
from kernelwire.inbox import GAP_LIMIT, Inbox
from kernelwire.messages import Message, WireMessage

from ._raw_kernel import settle

TYPES = ("stream", "status", "error")


def message(msg_type: str, parent_id: str = "", number: int = 0) -> Message:
    parent = {"msg_id": parent_id} if parent_id else {}
    return Message({"msg_type": msg_type, "msg_id": str(number)}, parent, content={"number": number})


class Source:
    """A channel that the test fills."""

    def __init__(self) -> None:
        self.inbox = Inbox[WireMessage]()
        self.messages: dict[bytes, Message | KernelwireError] = {}

    def put(self, item: Message | KernelwireError, size: int = 10) -> None:
        key = str(len(self.messages)).encode().rjust(size, b"0")
        self.messages[key] = item
        self.inbox.put(WireMessage([key]))

    async def receive(self) -> tuple[Message, WireMessage]:
        wire = await self.inbox.receive()
        item = self.messages[bytes(wire.frames[0])]
        if isinstance(item, Message):
            return item, wire
        raise item


@pytest.fixture
async def source() -> Source:
    return Source()


@pytest.fixture
async def broadcast(source: Source) -> AsyncIterator[Broadcast]:
    yield Broadcast(source.receive)
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


ANY = selecting(None, None)


async def numbers(subscription: Subscription) -> list[int]:
    return [each.content["number"] async for each in subscription]


# What is wanted


@given(
    st.sampled_from(TYPES),
    st.sampled_from(["", "a", "b"]),
    st.none() | st.sampled_from(TYPES) | st.frozensets(st.sampled_from(TYPES)),
    st.none() | st.sampled_from(["a", "b"]),
)
def test_what_is_wanted(msg_type: str, parent_id: str, types: str | frozenset[str] | None, parent: str | None) -> None:
    request = None if parent is None else Message({"msg_type": "execute_request", "msg_id": parent})
    wanted = selecting(types, request)(message(msg_type, parent_id))
    of_type = types is None or msg_type == types or (not isinstance(types, str) and msg_type in types)
    assert wanted == (of_type and parent in (None, parent_id))


def test_a_message_without_an_id_has_no_children() -> None:
    assert not selecting(None, Message({"msg_type": "odd"}))(message("stream"))


@given(
    st.lists(st.sampled_from(TYPES), max_size=200),
    st.lists(st.none() | st.frozensets(st.sampled_from(TYPES)), min_size=1, max_size=5),
)
def test_each_gets_what_it_wants_in_order(types: list[str], wishes: list[frozenset[str] | None]) -> None:
    async def run() -> None:
        source = Source()
        broadcast = Broadcast(source.receive)
        async with AsyncExitStack() as stack:
            subscriptions = [
                await stack.enter_async_context(broadcast.subscribe(selecting(wish, None), GAP_LIMIT))
                for wish in wishes
            ]
            for number, msg_type in enumerate(types):
                source.put(message(msg_type, number=number))
            source.inbox.close()
            got = await asyncio.gather(*map(numbers, subscriptions))
        for wish, have in zip(wishes, got, strict=True):
            assert have == [n for n, each in enumerate(types) if wish is None or each in wish]

    asyncio.run(run())


# Coming and going


async def test_what_nobody_reads_stays_in_the_channel(source: Source, broadcast: Broadcast) -> None:
    source.put(message("stream", number=1))
    await settle()
    async with broadcast.subscribe(ANY, GAP_LIMIT) as first:
        assert (await first.receive()).content["number"] == 1
    source.put(message("stream", number=2))
    async with broadcast.subscribe(ANY, GAP_LIMIT) as second:
        assert (await second.receive()).content["number"] == 2


async def test_when_the_last_has_left_the_channel_is_free_at_once(source: Source, broadcast: Broadcast) -> None:
    async with broadcast.subscribe(ANY, GAP_LIMIT):
        async with broadcast.subscribe(ANY, GAP_LIMIT):
            await settle()
        with pytest.raises(ChannelBusy):
            await source.receive()
    source.put(message("stream", number=1))
    assert (await source.receive())[0].content["number"] == 1


async def test_somebody_comes_while_the_last_one_leaves(source: Source, broadcast: Broadcast) -> None:
    leave = asyncio.Event()

    async def first() -> None:
        async with broadcast.subscribe(ANY, GAP_LIMIT):
            await leave.wait()

    leaving = asyncio.create_task(first())
    await settle()
    leave.set()
    await asyncio.sleep(0)  # on its way out
    async with broadcast.subscribe(ANY, GAP_LIMIT) as second:
        source.put(message("stream", number=1))
        assert (await second.receive()).content["number"] == 1
    await leaving


async def test_a_cancelled_subscriber_leaves_the_others(source: Source, broadcast: Broadcast) -> None:
    async def read() -> None:
        async with broadcast.subscribe(ANY, GAP_LIMIT) as subscription:
            await numbers(subscription)

    async with broadcast.subscribe(ANY, GAP_LIMIT) as other:
        reading = asyncio.create_task(read())
        await settle()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        source.put(message("stream", number=1))
        assert (await other.receive()).content["number"] == 1


async def test_a_cancelled_receive_loses_nothing(source: Source, broadcast: Broadcast) -> None:
    async with broadcast.subscribe(ANY, GAP_LIMIT) as subscription:
        receiving = asyncio.create_task(subscription.receive())
        await settle()
        receiving.cancel()
        source.put(message("stream", number=1))
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert (await subscription.receive()).content["number"] == 1


async def test_a_subscription_has_one_reader(broadcast: Broadcast) -> None:
    async with broadcast.subscribe(ANY, GAP_LIMIT) as subscription:
        reading = asyncio.create_task(subscription.receive())
        await settle()
        with pytest.raises(ChannelBusy):
            await subscription.receive()
        reading.cancel()
        await asyncio.wait([reading])


# Ends and gaps


async def test_the_end_comes_to_all_after_what_was_there(source: Source, broadcast: Broadcast) -> None:
    async with broadcast.subscribe(ANY, GAP_LIMIT) as first, broadcast.subscribe(ANY, GAP_LIMIT) as second:
        source.put(message("stream", number=1))
        source.inbox.close()
        assert await numbers(first) == await numbers(second) == [1]
        with pytest.raises(EndOfChannel):
            await first.receive()
    async with broadcast.subscribe(ANY, GAP_LIMIT) as late:
        with pytest.raises(EndOfChannel):
            await late.receive()


async def test_so_does_a_wire_that_breaks(source: Source, broadcast: Broadcast) -> None:
    async with broadcast.subscribe(ANY, GAP_LIMIT) as first, broadcast.subscribe(ANY, GAP_LIMIT) as second:
        source.inbox.close(ConnectionLost("a test"))
        for subscription in (first, second):
            with pytest.raises(ConnectionLost, match="a test"):
                await numbers(subscription)


async def test_a_channel_that_somebody_reads(source: Source, broadcast: Broadcast) -> None:
    reading = asyncio.create_task(source.receive())
    await settle()
    async with broadcast.subscribe(ANY, GAP_LIMIT) as refused:
        with pytest.raises(ChannelBusy):
            await refused.receive()
        source.put(message("stream", number=1))
        assert (await reading)[0].content["number"] == 1
        async with broadcast.subscribe(ANY, GAP_LIMIT) as taken:
            source.put(message("stream", number=2))
            assert (await taken.receive()).content["number"] == 2


async def test_a_gap_of_the_channel_comes_to_all_where_it_was(source: Source, broadcast: Broadcast) -> None:
    async with (
        broadcast.subscribe(ANY, GAP_LIMIT) as first,
        broadcast.subscribe(selecting("nothing", None), GAP_LIMIT) as second,
    ):
        source.put(message("stream", number=1))
        source.put(GapNotice(3, 30, "a test"))
        source.put(message("stream", number=2))
        source.inbox.close()
        assert (await first.receive()).content["number"] == 1
        for subscription in (first, second):
            with pytest.raises(GapNotice, match="3 messages are missing here: a test"):
                await subscription.receive()
        assert await numbers(first) == [2]
        assert await numbers(second) == []


async def test_who_falls_behind_is_told_and_holds_up_nobody(source: Source, broadcast: Broadcast) -> None:
    async with broadcast.subscribe(ANY, 10_000) as slow, broadcast.subscribe(ANY, GAP_LIMIT) as fast:
        for number in range(20):
            source.put(message("stream", number=number), size=1000)
        source.inbox.close()
        assert await numbers(fast) == list(range(20))
        with pytest.raises(GapNotice) as caught:
            await slow.receive()
        assert caught.value.count
        assert caught.value.size == 1000 * caught.value.count
        assert await numbers(slow) == list(range(caught.value.count, 20))


async def test_a_fast_channel_does_not_keep_the_loop_for_itself(source: Source, broadcast: Broadcast) -> None:
    for number in range(1000):
        source.put(message("stream", number=number))
    async with broadcast.subscribe(ANY, GAP_LIMIT) as subscription:
        await subscription.receive()
        assert source.inbox.held, "it was all read in one go"
