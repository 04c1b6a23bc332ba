"""The inbox alone: order, bounds, gaps, waiting senders, and one reader in one loop."""

import asyncio
import random
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernelwire.errors import (
    ChannelBusy,
    ChannelClosed,
    ConnectionLost,
    EndOfChannel,
    GapNotice,
    KernelwireError,
    WrongLoop,
)
from kernelwire.inbox import MESSAGE_OVERHEAD, Inbox
from kernelwire.loop_bound import LoopBound
from kernelwire.messages import WireMessage

SIZE = 1000
COST = MESSAGE_OVERHEAD + SIZE

Mail = Inbox[WireMessage]


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


def message(number: int, size: int = SIZE) -> WireMessage:
    return WireMessage((bytes(size),), str(number).encode())


def number(message: WireMessage) -> int:
    return int(message.peer)


async def settle(turns: int = 8) -> None:
    """Let every task run until it waits for something that only the test can bring."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def drain(inbox: Mail) -> list[int]:
    """All that a closed inbox still has; for a gap, minus the number of messages in it."""
    found = []
    while True:
        try:
            found.append(number(await inbox.receive()))
        except GapNotice as notice:
            found.append(-(notice.count or 0))
        except EndOfChannel:
            return found


# Order and the one reader


async def test_messages_come_in_the_order_in_which_they_were_put() -> None:
    inbox = Mail()
    for i in range(200):
        inbox.put(message(i))
    assert inbox.held == 200 * COST
    assert [number(await inbox.receive()) for _ in range(200)] == list(range(200))
    assert inbox.held == 0


async def test_a_waiting_reader_gets_the_very_message() -> None:
    inbox = Mail()
    reader = asyncio.create_task(inbox.receive())
    await settle()
    sent = message(1)
    inbox.put(sent)
    assert await reader is sent


async def test_a_second_reader_is_refused_and_the_first_is_not_disturbed() -> None:
    inbox = Mail()
    reader = asyncio.create_task(inbox.receive())
    await settle()
    with pytest.raises(ChannelBusy):
        await inbox.receive()
    inbox.put(message(1))
    with pytest.raises(ChannelBusy):  # the first has been woken, and has not run yet
        await inbox.receive()
    assert number(await reader) == 1


async def test_a_second_reader_is_refused_while_the_first_gives_way() -> None:
    inbox = Mail()
    for i in range(200):
        inbox.put(message(i))
    found: list[int] = []
    while not found or found[-1] < 199:
        step = inbox.receive()
        try:
            step.send(None)
        except StopIteration as result:
            found.append(number(result.value))
            continue
        with pytest.raises(ChannelBusy):
            await inbox.receive()
        step.close()  # which cancels it where it gives way
    assert found == list(range(200))


async def _giving_way(inbox: Mail) -> "asyncio.Task[WireMessage]":
    """A reader that lets others run, although there is something to read."""
    while True:
        reader = asyncio.create_task(inbox.receive())
        await asyncio.sleep(0)
        if not reader.done():
            return reader
        await reader


async def test_a_reader_that_gives_way_meets_the_end_of_its_channel() -> None:
    inbox = Mail()
    for i in range(200):
        inbox.put(message(i))
    reader = await _giving_way(inbox)
    inbox.discard()
    with pytest.raises(ChannelClosed):
        await reader


async def test_a_reader_that_gives_way_meets_a_gap() -> None:
    inbox = Mail(limit=200 * COST, drops=True)
    for i in range(200):
        inbox.put(message(i))
    reader = await _giving_way(inbox)
    for i in range(200, 400):
        inbox.put(message(i))
    with pytest.raises(GapNotice):
        await reader
    assert number(await inbox.receive()) == 200


async def test_a_reader_of_a_long_queue_lets_others_run() -> None:
    inbox = Mail()
    for i in range(1000):
        inbox.put(message(i))
    others = asyncio.Event()
    asyncio.get_running_loop().call_soon(others.set)
    read = 0
    while not others.is_set() and read < 1000:
        await inbox.receive()
        read += 1
    assert read < 1000


async def test_cancelled_receives_lose_nothing() -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    inbox = Mail()
    found: list[int] = []
    sent = cancels = 0
    while cancels < 2000:
        reader = asyncio.create_task(inbox.receive())
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
            # Now and then a long queue, in which a reader gives way.
            for _ in range(chance.choice((0, 0, 1, 1, 2, 150 if not inbox.held else 0))):
                inbox.put(message(sent, 10))
                sent += 1
        reader.cancel()
        try:
            found.append(number(await reader))
        except asyncio.CancelledError:
            cancels += 1
    inbox.close()
    found += await drain(inbox)
    assert found == list(range(sent)), f"seed {seed}"


async def test_a_time_limit_loses_nothing() -> None:
    inbox = Mail()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await inbox.receive()
    inbox.put(message(1))
    assert number(await inbox.receive()) == 1


# The end


async def test_after_close_comes_what_is_held_and_then_the_end_again_and_again() -> None:
    inbox = Mail()
    inbox.put(message(1))
    inbox.put(message(2))
    inbox.close()
    inbox.put(message(3))
    assert [number(await inbox.receive()) for _ in range(2)] == [1, 2]
    errors = []
    for _ in range(3):
        with pytest.raises(EndOfChannel) as caught:
            await inbox.receive()
        errors.append(caught.value)
    assert len(set(map(id, errors))) == 3  # one instance would gather tracebacks
    with pytest.raises(EndOfChannel):
        inbox.check_open()


async def test_close_wakes_a_waiting_reader() -> None:
    inbox = Mail()
    reader = asyncio.create_task(inbox.receive())
    await settle()
    inbox.close()
    with pytest.raises(EndOfChannel):
        await reader


async def test_the_first_end_counts_and_keeps_its_cause() -> None:
    inbox = Mail()
    lost = ConnectionLost("broken")
    lost.__cause__ = OSError("pipe")
    inbox.close(lost)
    inbox.close()
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="broken") as caught:
            await inbox.receive()
        assert caught.value is not lost
        assert caught.value.__cause__ is lost.__cause__


@pytest.mark.parametrize("ended", [False, True])
async def test_discard_drops_what_is_held(ended: bool) -> None:
    inbox = Mail(limit=0, drops=True)
    inbox.put(message(1))
    inbox.put(message(2))
    if ended:
        inbox.close()
    inbox.discard()
    inbox.discard()
    inbox.put(message(3))
    inbox.close()
    assert inbox.held == 0
    for _ in range(2):
        with pytest.raises(ChannelClosed):
            await inbox.receive()
    with pytest.raises(ChannelClosed):
        inbox.check_open()


async def test_discard_wakes_a_waiting_reader() -> None:
    inbox = Mail()
    reader = asyncio.create_task(inbox.receive())
    await settle()
    inbox.discard()
    with pytest.raises(ChannelClosed):
        await reader


async def test_discard_meets_a_reader_that_was_just_woken() -> None:
    inbox = Mail()
    reader = asyncio.create_task(inbox.receive())
    await settle()
    inbox.put(message(1))
    inbox.discard()
    with pytest.raises(ChannelClosed):
        await reader


# A bound that drops


async def test_one_gap_notice_says_exactly_what_is_missing_where() -> None:
    inbox = Mail(limit=3 * COST, drops=True)
    inbox.put(message(0))
    assert number(await inbox.receive()) == 0
    for i in range(1, 11):
        inbox.put(message(i))
    assert not inbox.full
    assert inbox.held == 3 * COST
    with pytest.raises(GapNotice) as caught:
        await inbox.receive()
    assert (caught.value.count, caught.value.size) == (7, 7 * SIZE)
    assert [number(await inbox.receive()) for _ in range(3)] == [8, 9, 10]
    inbox.put(message(11))
    assert number(await inbox.receive()) == 11


async def test_a_gap_is_told_even_after_the_end() -> None:
    inbox = Mail(limit=2 * COST, drops=True)
    for i in range(5):
        inbox.put(message(i))
    inbox.close()
    assert await drain(inbox) == [-3, 3, 4]


async def test_a_gap_is_told_to_a_reader_that_was_woken_for_what_is_now_missing() -> None:
    inbox = Mail(limit=COST, drops=True)
    reader = asyncio.create_task(inbox.receive())
    await settle()
    inbox.put(message(1))
    inbox.put(message(2))
    with pytest.raises(GapNotice) as caught:
        await reader
    assert caught.value.count == 1
    assert number(await inbox.receive()) == 2


@pytest.mark.parametrize("drops", [False, True])
async def test_one_message_is_always_held(drops: bool) -> None:
    inbox = Mail(limit=COST, drops=drops)
    inbox.put(message(1, 100 * COST))
    assert number(await inbox.receive()) == 1
    assert inbox.held == 0
    assert not inbox.full


async def test_the_newest_is_kept_however_large() -> None:
    inbox = Mail(limit=3 * COST, drops=True)
    inbox.put(message(1))
    inbox.put(message(2, 100 * COST))
    inbox.close()
    assert await drain(inbox) == [-1, 2]


# Gaps that the wire tells of


def gap(count: int | None, size: int | None = None) -> GapNotice:
    return GapNotice(count, size, "the wire says so")


async def test_a_gap_is_raised_in_its_place_and_again_for_nobody() -> None:
    inbox = Mail()
    inbox.put(message(1))
    notice = gap(3, 30)
    inbox.put_gap(notice)
    inbox.put(message(2))
    assert number(await inbox.receive()) == 1
    with pytest.raises(GapNotice, match="the wire says so") as caught:
        await inbox.receive()
    assert (caught.value.count, caught.value.size) == (3, 30)
    assert caught.value is not notice  # one instance would gather tracebacks
    assert number(await inbox.receive()) == 2
    assert inbox.held == 0


async def test_a_gap_wakes_a_waiting_reader() -> None:
    inbox = Mail()
    reader = asyncio.create_task(inbox.receive())
    await settle()
    inbox.put_gap(gap(None))
    with pytest.raises(GapNotice):
        await reader


@pytest.mark.parametrize("drops", [False, True])
async def test_gaps_that_nobody_reads_are_bounded_too(drops: bool) -> None:
    inbox = Mail(limit=10 * MESSAGE_OVERHEAD, drops=drops)
    for _ in range(11):
        inbox.put_gap(gap(1, 5))
    if not drops:
        assert inbox.full
        return
    assert inbox.held == 10 * MESSAGE_OVERHEAD
    inbox.close()
    assert await drain(inbox) == [-1] * 11


@pytest.mark.parametrize(
    ("count", "size", "told"), [(4, 40, (6, 40 + 2 * SIZE)), (4, None, (6, None)), (None, None, (None, None))]
)
async def test_a_gap_that_goes_with_messages_around_it_becomes_one_with_theirs(
    count: int | None, size: int | None, told: tuple[int | None, int | None]
) -> None:
    inbox = Mail(limit=2 * COST, drops=True)
    inbox.put(message(1))
    inbox.put_gap(gap(count, size))
    for i in range(2, 5):
        inbox.put(message(i))
    with pytest.raises(GapNotice) as caught:
        await inbox.receive()
    assert (caught.value.count, caught.value.size) == told
    assert [number(await inbox.receive()) for _ in range(2)] == [3, 4]


@pytest.mark.parametrize("end", ["close", "discard"])
async def test_after_the_end_a_gap_is_no_news(end: str) -> None:
    inbox = Mail()
    getattr(inbox, end)()
    inbox.put_gap(gap(1))
    with pytest.raises(EndOfChannel if end == "close" else ChannelClosed):
        await inbox.receive()


# A bound that makes senders wait


async def test_full_until_half_empty_again() -> None:
    room = []
    inbox = Mail(limit=4 * COST, on_room=lambda: room.append(inbox.held))
    for i in range(5):
        assert not inbox.full
        inbox.put(message(i))
    assert inbox.full
    for _ in range(2):
        await inbox.receive()
        assert inbox.full
        assert not room
    await inbox.receive()
    assert not inbox.full
    assert room == [2 * COST]
    assert [number(await inbox.receive()) for _ in range(2)] == [3, 4]
    assert room == [2 * COST]


async def test_an_inbox_that_never_was_full_makes_no_room() -> None:
    room: list[None] = []
    inbox = Mail(limit=4 * COST, on_room=lambda: room.append(None))
    for i in range(4):
        inbox.put(message(i))
    for _ in range(4):
        await inbox.receive()
    assert not room


async def _full(limit: int = 1) -> Mail:
    inbox = Mail(limit=limit * COST)
    for i in range(limit + 1):
        await inbox.put_when_room(message(i))
    assert inbox.full
    return inbox


async def test_waiting_senders_go_in_the_order_of_their_calls() -> None:
    inbox = await _full()
    senders = [asyncio.create_task(inbox.put_when_room(message(i))) for i in range(2, 20)]
    await settle()
    assert not any(sender.done() for sender in senders)
    assert inbox.held == 2 * COST
    found: list[int] = []
    while len(found) < 20:
        found.append(number(await inbox.receive()))
        assert inbox.held <= 2 * COST
    assert found == list(range(20))
    await asyncio.gather(*senders)


async def test_a_newcomer_does_not_overtake_a_sender_that_may_go() -> None:
    inbox = await _full()
    first = asyncio.create_task(inbox.put_when_room(message(2)))
    await settle()
    assert [number(await inbox.receive()) for _ in range(2)] == [0, 1]
    assert not inbox.full
    await inbox.put_when_room(message(3))
    await first
    inbox.close()
    assert await drain(inbox) == [2, 3]


@pytest.mark.parametrize("admitted", [False, True])
async def test_a_cancelled_waiting_sender_leaves_no_trace(admitted: bool) -> None:
    inbox = await _full()
    senders = [asyncio.create_task(inbox.put_when_room(message(i))) for i in (2, 3, 4)]
    await settle()
    found = []
    if admitted:  # the first was told to go, and is cancelled before it does
        found = [number(await inbox.receive()) for _ in range(2)]
    senders[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await senders[0]
    inbox_reads = 4 - len(found)
    found += [number(await inbox.receive()) for _ in range(inbox_reads)]
    assert found == [0, 1, 3, 4]
    await asyncio.gather(*senders[1:])
    assert inbox.held == 0


async def test_cancelled_senders_among_others_lose_and_repeat_nothing() -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    inbox = Mail(limit=4 * COST)
    senders: list[asyncio.Task[None]] = []
    found: list[int] = []
    for i in range(500):
        senders.append(asyncio.create_task(inbox.put_when_room(message(i))))
        if chance.random() < 0.3:
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            chance.choice(senders).cancel()
        while inbox.held and chance.random() < 0.5:
            found.append(number(await inbox.receive()))
    while not all(sender.done() for sender in senders) or inbox.held:
        found.append(number(await inbox.receive()))
        await settle(2)
    assert found == [i for i, sender in enumerate(senders) if not sender.cancelled()], f"seed {seed}"


async def test_discarding_what_filled_it_makes_room_on_a_wire_that_others_share() -> None:
    room: list[int] = []
    inbox = Mail(limit=COST, on_room=lambda: room.append(inbox.held))
    inbox.discard()
    assert not room
    other = Mail(limit=COST, on_room=lambda: room.append(other.held))
    for i in range(2):
        other.put(message(i))
    other.discard()
    other.discard()
    assert room == [0]


@pytest.mark.parametrize("end", ["close", "discard"])
async def test_the_end_wakes_waiting_senders(end: str) -> None:
    inbox = await _full()
    senders = [asyncio.create_task(inbox.put_when_room(message(i))) for i in range(10)]
    await settle()
    getattr(inbox, end)()
    for sender in senders:
        with pytest.raises(EndOfChannel):
            await sender


@pytest.mark.parametrize("end", ["close", "discard"])
async def test_nobody_waits_for_room_after_the_end(end: str) -> None:
    inbox = await _full()
    getattr(inbox, end)()
    with pytest.raises(EndOfChannel):
        await inbox.put_when_room(message(3))


# The loop


async def test_another_loop_is_refused_and_nothing_changes() -> None:
    inbox = Mail()
    inbox.put(message(1))

    def elsewhere() -> None:
        for _ in range(2):
            with pytest.raises(WrongLoop, match="another event loop"):
                asyncio.run(inbox.receive())
        with pytest.raises(WrongLoop):  # and no loop at all
            inbox.receive().send(None)
        with pytest.raises(WrongLoop):
            inbox.check_open()

    await asyncio.to_thread(elsewhere)
    assert number(await inbox.receive()) == 1


def test_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError):
        LoopBound()


_FORK = """
import asyncio, os, sys
from kernelwire.errors import WrongLoop
from kernelwire.inbox import Inbox

async def main():
    inbox = Inbox()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    refused = 0
    for use in (lambda: inbox.receive().send(None), lambda: asyncio.run(inbox.receive()), inbox.check_open):
        try:
            use()
        except WrongLoop as error:
            refused += "fork" in str(error)
    os._exit(42 if refused == 3 else 1)

sys.exit(asyncio.run(main()))
"""


def test_a_forked_child_is_refused() -> None:
    assert subprocess.run([sys.executable, "-c", _FORK], timeout=60).returncode == 42


# Everything at once, against a plain model


def both(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


class AgainstAModel(RuleBasedStateMachine):
    """One reader, many senders. After each step all tasks run until they wait."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.counter = 0
        self.held: deque[tuple[int, int] | GapNotice] = deque()  # number, size
        self.missing: tuple[int | None, int | None] = (0, 0)
        self.full = False
        self.rooms = self.rooms_expected = 0
        self.end: type[KernelwireError] | None = None
        self.reader: asyncio.Task[WireMessage] | None = None
        self.senders: list[tuple[asyncio.Task[None], int, int]] = []

    @initialize(limit=st.integers(0, 6), drops=st.booleans())
    def make(self, limit: int, drops: bool) -> None:
        self.limit, self.drops = limit * COST, drops

        def on_room() -> None:
            self.rooms += 1

        async def make() -> None:
            self.inbox = Mail(limit=self.limit, drops=drops, on_room=on_room)

        self.runner.run(make())

    @property
    def cost(self) -> int:
        return sum(MESSAGE_OVERHEAD + (0 if isinstance(each, GapNotice) else each[1]) for each in self.held)

    def next_message(self, size: int) -> WireMessage:
        self.counter += 1
        return message(self.counter, size)

    def hold(self, number: int, size: int) -> None:
        self.hold_this((number, size))

    def hold_this(self, item: tuple[int, int] | GapNotice) -> None:
        self.held.append(item)
        if self.cost > self.limit:
            self.full = not self.drops
            while self.drops and self.cost > self.limit and len(self.held) > 1:
                oldest = self.held.popleft()
                count, size = (oldest.count, oldest.size) if isinstance(oldest, GapNotice) else (1, oldest[1])
                self.missing = (both(self.missing[0], count), both(self.missing[1], size))

    def take(self) -> object:
        """What a receive must bring now; None if it must wait."""
        if self.missing[0] != 0:
            missing, self.missing = self.missing, (0, 0)
            return missing
        if not self.held:
            return self.end
        item = self.held.popleft()
        if self.full and self.cost <= self.limit // 2:
            self.full = False
            self.rooms_expected += 1
        return (item.count, item.size) if isinstance(item, GapNotice) else item[0]

    def settled(self) -> None:
        """Run everything, do the same in the model, compare."""
        self.runner.run(settle(2 * len(self.senders) + 6))
        if self.reader is not None:
            expected = self.take()
            assert self.reader.done() is (expected is not None)
            if self.reader.done():
                assert self.outcome(self.reader) == expected
                self.reader = None
        while self.senders and (self.end or not self.full):
            sender, number, size = self.senders.pop(0)
            if self.end:
                assert isinstance(sender.exception(), EndOfChannel)
            else:
                assert sender.result() is None
                self.hold(number, size)
        assert not any(sender.done() for sender, _, _ in self.senders)

    def outcome(self, reader: "asyncio.Task[WireMessage]") -> object:
        error = reader.exception()
        if isinstance(error, GapNotice):
            return error.count, error.size
        return type(error) if error else number(reader.result())

    @rule(size=st.integers(0, 2 * SIZE))
    def put(self, size: int) -> None:
        sent = self.next_message(size)
        self.inbox.put(sent)
        if not self.end:
            self.hold(number(sent), size)
        self.settled()

    @rule(count=st.none() | st.integers(1, 9), size=st.none() | st.integers(0, 9))
    def put_gap(self, count: int | None, size: int | None) -> None:
        notice = gap(count, size)
        self.inbox.put_gap(notice)
        if not self.end:
            self.hold_this(notice)
        self.settled()

    @rule(size=st.integers(0, 2 * SIZE))
    def put_when_room(self, size: int) -> None:
        sent = self.next_message(size)
        sender = self.runner.get_loop().create_task(self.inbox.put_when_room(sent))
        if self.reader is not None and not self.end and not self.full and not self.senders:
            # It goes through, and so the reader gets it: in the model, before the reader is asked.
            self.hold(number(sent), size)
            self.settled()
            assert sender.result() is None
        else:
            self.senders.append((sender, number(sent), size))
            self.settled()

    @precondition(lambda self: self.senders)
    @rule(data=st.data())
    def cancel_a_sender(self, data: st.DataObject) -> None:
        sender, _, _ = self.senders.pop(data.draw(st.integers(0, len(self.senders) - 1)))
        sender.cancel()
        self.settled()
        assert sender.cancelled()

    @precondition(lambda self: self.reader is None)
    @rule()
    def receive(self) -> None:
        self.reader = self.runner.get_loop().create_task(self.inbox.receive())
        self.settled()

    @precondition(lambda self: self.reader is not None)
    @rule()
    def receive_twice(self) -> None:
        with pytest.raises(ChannelBusy):
            self.runner.run(self.inbox.receive())

    @precondition(lambda self: self.reader is not None)
    @rule()
    def cancel_the_reader(self) -> None:
        reader, self.reader = self.reader, None
        assert reader is not None
        reader.cancel()
        self.settled()
        assert reader.cancelled()

    @rule()
    def close(self) -> None:
        self.inbox.close()
        self.end = self.end or EndOfChannel
        self.settled()

    @rule()
    def discard(self) -> None:
        self.inbox.discard()
        self.held.clear()
        self.rooms_expected += self.full
        self.missing, self.full, self.end = (0, 0), False, ChannelClosed
        self.settled()

    @invariant()
    def accounts_agree(self) -> None:
        if self.counter:
            assert (self.inbox.held, self.inbox.full, self.rooms) == (self.cost, self.full, self.rooms_expected)

    def teardown(self) -> None:
        if self.reader is not None:
            self.reader.cancel()
        for sender, _, _ in self.senders:
            sender.cancel()
        self.runner.run(settle())
        assert not asyncio.all_tasks(self.runner.get_loop())
        self.runner.close()


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_pouring_gives_what_is_held_and_then_all_that_comes() -> None:
    poured: list[WireMessage | KernelwireError] = []
    inbox = Mail(limit=2 * COST, drops=True)
    first, second, third, fourth = (message(number) for number in range(4))
    for each in (first, second, third):
        inbox.put(each)
    inbox.pour(poured.append)
    assert inbox.held == 0
    inbox.put(fourth)
    inbox.put_gap(GapNotice(3, 30, "on the way"))
    inbox.close(ConnectionLost("cut"))
    inbox.put(first)
    gap, *rest = poured
    assert isinstance(gap, GapNotice)
    assert gap.count == 1
    assert rest[:3] == [second, third, fourth]
    assert [type(each) for each in rest[3:]] == [GapNotice, ConnectionLost]


async def test_pouring_lets_waiting_senders_go() -> None:
    poured: list[WireMessage | KernelwireError] = []
    room: list[None] = []
    inbox = Mail(limit=COST, on_room=lambda: room.append(None))
    inbox.put(message(0))
    inbox.put(message(1))
    waiting = asyncio.create_task(inbox.put_when_room(message(2)))
    await asyncio.sleep(0)
    inbox.pour(poured.append)
    await waiting
    assert len(poured) == 3
    assert room == [None]


async def test_pouring_ends_with_the_readers_own_close_too() -> None:
    poured: list[WireMessage | KernelwireError] = []
    inbox = Mail()
    inbox.pour(poured.append)
    inbox.discard()
    inbox.discard()
    assert [type(each) for each in poured] == [ChannelClosed]


async def test_pouring_an_inbox_that_has_ended_gives_its_end() -> None:
    poured: list[WireMessage | KernelwireError] = []
    inbox = Mail()
    inbox.close()
    inbox.pour(poured.append)
    assert [type(each) for each in poured] == [EndOfChannel]


async def test_what_is_poured_has_no_other_reader() -> None:
    inbox = Mail()
    reading = asyncio.create_task(inbox.receive())
    await asyncio.sleep(0)
    with pytest.raises(ChannelBusy):
        inbox.pour(print)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    inbox.pour(print)
    with pytest.raises(ChannelBusy):
        await inbox.receive()
    with pytest.raises(ChannelBusy):
        inbox.pour(print)


async def test_an_offer_is_made_while_a_reader_waits_for_the_next() -> None:
    offered: list[WireMessage] = []

    def offer(message: WireMessage) -> bool:
        offered.append(message)
        return len(offered) != 3

    inbox = Mail()
    inbox.intercept(offer)
    inbox.put(message(0))  # nobody waits
    assert await inbox.receive() == message(0)
    receiving = asyncio.create_task(inbox.receive())
    await asyncio.sleep(0)
    for number in range(1, 6):
        inbox.put(message(number))
    assert offered == [message(1), message(2), message(3)]  # 4 stands behind 3, which was declined
    received = [await receiving]
    received += [await inbox.receive() for _ in range(2)]
    assert received == [message(3), message(4), message(5)]
    assert inbox.held == 0


async def test_nothing_is_offered_before_what_is_missing() -> None:
    offered: list[WireMessage] = []

    def decline(message: WireMessage) -> bool:
        offered.append(message)
        return False

    inbox = Mail(limit=COST, drops=True)
    inbox.intercept(decline)
    receiving = asyncio.create_task(inbox.receive())
    await asyncio.sleep(0)
    inbox.put(message(1))
    inbox.put(message(2))
    with pytest.raises(GapNotice):
        await receiving
    assert offered == [message(1)]
    assert await inbox.receive() == message(2)
