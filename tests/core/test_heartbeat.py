"""The heartbeat monitor, on a channel that beats when the test says so and a clock that the test sets."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from kernelwire.channels import HeartbeatChannel
from kernelwire.errors import ChannelClosed, ConnectionLost, NoBeat, NotSupported, WireDown
from kernelwire.heartbeat import HeartbeatMonitor


class FakeHeartbeat(HeartbeatChannel):
    """Each beat shows in `asked` with its time limit, and ends as the next of `outcomes` says."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self.outcomes: asyncio.Queue[float | Exception] = asyncio.Queue()

    async def beat(self, timeout: float) -> float:
        self.asked.put_nowait(timeout)
        outcome = await self.outcomes.get()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        pass

    async def answer(self, outcome: float | Exception) -> None:
        """End the beat that is under way, or the next one."""
        await self.asked.get()
        self.outcomes.put_nowait(outcome)


class Clock:
    """Stands in for the loop's: it passes when the test says so."""

    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock.time)
    return clock


@pytest.fixture
async def channel() -> FakeHeartbeat:
    return FakeHeartbeat()


Changes = asyncio.Queue[tuple[bool, float]]


@pytest.fixture
async def changes() -> Changes:
    return asyncio.Queue()


@pytest.fixture
async def monitor(clock: Clock, channel: FakeHeartbeat, changes: Changes) -> AsyncIterator[HeartbeatMonitor]:
    monitor = HeartbeatMonitor(
        channel, interval=0, time_to_dead=7, on_change=lambda beating, since: changes.put_nowait((beating, since))
    )
    async with monitor:
        yield monitor


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def test_nothing_is_assumed_before_the_first_beat(
    channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes
) -> None:
    assert await channel.asked.get() == 7
    await settle()
    assert monitor.is_beating is None
    assert monitor.round_trip is None
    assert changes.empty()


async def test_beating_after_a_beat(channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes) -> None:
    await channel.answer(0.25)
    await monitor.wait_beating()
    assert monitor.is_beating is True
    assert monitor.round_trip == 0.25
    assert await changes.get() == (True, 0)


async def test_further_beats_are_no_news(channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes) -> None:
    for round_trip in (1.0, 2.0, 3.0):
        await channel.answer(round_trip)
    await channel.asked.get()
    assert monitor.round_trip == 3
    assert changes.get_nowait() == (True, 0)
    assert changes.empty()


async def test_every_miss_is_told_with_the_seconds_since_the_last_answer(
    channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes, clock: Clock
) -> None:
    clock.now += 5
    await channel.answer(0.5)
    assert await changes.get() == (True, 5)
    for miss in (1, 2, 3):
        await channel.asked.get()
        clock.now += 7
        channel.outcomes.put_nowait(NoBeat("none"))
        assert await changes.get() == (False, 7 * miss)
        assert monitor.is_beating is False
    assert monitor.round_trip == 0.5
    await channel.asked.get()
    clock.now += 1
    channel.outcomes.put_nowait(0.75)
    assert await changes.get() == (True, 22)
    await channel.asked.get()
    clock.now += 7
    channel.outcomes.put_nowait(NoBeat("none"))
    assert await changes.get() == (False, 7)


async def test_without_any_answer_the_seconds_count_from_the_start(
    channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes, clock: Clock
) -> None:
    for miss in (1, 2):
        await channel.asked.get()
        clock.now += 7
        channel.outcomes.put_nowait(NoBeat("none"))
        assert await changes.get() == (False, 7 * miss)


async def test_waits_for_either_state(channel: FakeHeartbeat, monitor: HeartbeatMonitor) -> None:
    for outcome, beating in ((0.5, True), (NoBeat("none"), False), (0.5, True)):
        waiting = [asyncio.create_task(monitor.wait_beating(beating)) for _ in range(3)]
        await settle()
        assert not any(task.done() for task in waiting)
        await channel.answer(outcome)
        await asyncio.gather(*waiting)
        assert monitor.is_beating is beating
        await monitor.wait_beating(beating)


async def test_misses_during_a_pause_do_not_count(
    channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes, clock: Clock
) -> None:
    await channel.answer(0.5)
    await changes.get()
    await channel.asked.get()
    monitor.pause()
    assert monitor.paused
    clock.now += 7
    channel.outcomes.put_nowait(NoBeat("planned"))
    await settle()
    assert channel.asked.empty()
    assert monitor.is_beating is True
    clock.now += 100
    monitor.unpause()
    assert not monitor.paused
    await channel.asked.get()
    clock.now += 7
    channel.outcomes.put_nowait(NoBeat("none"))
    assert await changes.get() == (False, 7)


async def test_an_answer_during_a_pause_changes_nothing(
    channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes
) -> None:
    await channel.asked.get()
    monitor.pause()
    channel.outcomes.put_nowait(0.5)
    await settle()
    assert (monitor.is_beating, monitor.round_trip) == (None, None)
    monitor.unpause()
    await channel.answer(0.75)
    assert await changes.get() == (True, 0)
    assert monitor.round_trip == 0.75


async def test_a_beat_that_spans_a_whole_pause_does_not_count(
    channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes, clock: Clock
) -> None:
    await channel.answer(0.5)
    await changes.get()
    await channel.asked.get()
    monitor.pause()
    monitor.unpause()
    clock.now += 7
    channel.outcomes.put_nowait(NoBeat("asked of the kernel that was stopped"))
    await channel.asked.get()
    assert monitor.is_beating is True
    assert changes.empty()
    clock.now += 7
    channel.outcomes.put_nowait(NoBeat("none"))
    assert await changes.get() == (False, 7)


async def test_a_pause_may_end_and_begin_again_at_once(channel: FakeHeartbeat, monitor: HeartbeatMonitor) -> None:
    await channel.asked.get()
    monitor.pause()
    channel.outcomes.put_nowait(0.5)
    await settle()
    monitor.unpause()
    monitor.pause()
    await settle()
    assert channel.asked.empty()


async def test_paused_from_the_start(channel: FakeHeartbeat) -> None:
    monitor = HeartbeatMonitor(channel)
    monitor.pause()
    async with monitor:
        await settle()
        assert channel.asked.empty()
        monitor.unpause()
        await channel.answer(0.5)
        await monitor.wait_beating()


async def test_a_failing_callback_is_logged_and_stops_nothing(
    channel: FakeHeartbeat, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(beating: bool, since: float) -> None:
        raise ValueError("a mistake in the callback")

    async with HeartbeatMonitor(channel, interval=0, on_change=fail) as monitor:
        await channel.answer(0.5)
        await monitor.wait_beating()
        await channel.answer(NoBeat("none"))
        await monitor.wait_beating(False)
    records = [record for record in caplog.records if record.name == "kernelwire.heartbeat"]
    assert [record.levelno for record in records] == [logging.ERROR] * 2
    assert "a mistake in the callback" in caplog.text


class Refusing(FakeHeartbeat):
    refused = 0

    async def beat(self, timeout: float) -> float:
        self.refused += 1
        if self.refused == 1000:  # so that the test fails rather than hangs
            await super().beat(timeout)
        raise NoBeat("at once")


async def test_a_channel_that_refuses_at_once_does_not_keep_the_loop() -> None:
    channel = Refusing()
    async with HeartbeatMonitor(channel) as monitor:
        await monitor.wait_beating(False)
    assert channel.refused < 1000


# A wire that is down


async def test_while_the_wire_is_down_nothing_is_known_and_nothing_told(
    channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes, clock: Clock
) -> None:
    await channel.answer(0.5)
    assert await changes.get() == (True, 0)
    for _ in range(3):
        await channel.asked.get()
        clock.now += 7
        channel.outcomes.put_nowait(WireDown("down"))
    await settle()
    assert monitor.is_beating is None
    assert changes.empty()
    await channel.answer(0.5)
    assert await changes.get() == (True, 0)
    assert monitor.is_beating is True


async def test_the_time_that_the_wire_was_down_is_no_silence_of_the_kernel(
    channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes, clock: Clock
) -> None:
    await channel.answer(0.5)
    assert await changes.get() == (True, 0)
    await channel.asked.get()
    clock.now += 100
    channel.outcomes.put_nowait(WireDown("down"))
    await channel.asked.get()
    clock.now += 7
    channel.outcomes.put_nowait(NoBeat("none"))
    assert await changes.get() == (False, 7)


async def test_who_waits_for_either_state_waits_on_while_the_wire_is_down(
    channel: FakeHeartbeat, monitor: HeartbeatMonitor
) -> None:
    waiting = [asyncio.create_task(monitor.wait_beating(beating)) for beating in (True, False)]
    await channel.answer(WireDown("down"))
    await settle()
    assert not any(task.done() for task in waiting)
    await channel.answer(0.5)
    await waiting[0]
    await channel.answer(NoBeat("none"))
    await waiting[1]


async def test_a_wire_that_is_down_during_a_pause_changes_nothing(
    channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes
) -> None:
    await channel.answer(0.5)
    assert await changes.get() == (True, 0)
    await channel.asked.get()
    monitor.pause()
    channel.outcomes.put_nowait(WireDown("down"))
    await settle()
    assert channel.asked.empty()
    assert monitor.is_beating is True
    monitor.unpause()
    await channel.answer(0.75)
    await channel.asked.get()
    assert changes.empty()


class Down(FakeHeartbeat):
    asks = 0

    async def beat(self, timeout: float) -> float:
        self.asks += 1
        raise WireDown("at once")


async def test_a_channel_that_is_down_at_once_is_not_asked_all_the_time() -> None:
    channel = Down()
    async with HeartbeatMonitor(channel, interval=60) as monitor:
        await settle()
        await asyncio.sleep(0.01)
        assert monitor.is_beating is None
        assert channel.asks == 1


@pytest.mark.parametrize("error", [NotSupported("no heartbeat"), ConnectionLost("broken"), ChannelClosed("closed")])
async def test_a_channel_that_cannot_beat_keeps_nobody_waiting(
    channel: FakeHeartbeat, monitor: HeartbeatMonitor, changes: Changes, error: Exception
) -> None:
    await channel.answer(0.5)
    assert await changes.get() == (True, 0)
    waiting = asyncio.create_task(monitor.wait_beating(False))
    await channel.answer(error)
    with pytest.raises(type(error), match=str(error)):
        await waiting
    with pytest.raises(type(error)):
        await monitor.wait_beating()
    assert monitor.is_beating is None
    assert changes.empty()


async def test_leaving_ends_the_beat_under_way_and_those_who_wait(channel: FakeHeartbeat) -> None:
    async with HeartbeatMonitor(channel) as monitor:
        await channel.asked.get()
        waiting = asyncio.create_task(monitor.wait_beating())
        await settle()
    with pytest.raises(ChannelClosed):
        await waiting
    with pytest.raises(ChannelClosed):
        await monitor.wait_beating()
