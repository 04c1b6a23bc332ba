"""The heartbeat over a link: what an answer, a refusal, silence and a break each mean.

On a host that does what the test says; with real links see the dialer's tests.
"""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from kernelwire.errors import ChannelClosed, ConnectionLost, NoBeat, WireDown, WrongLoop
from kernelwire.link.beating import LinkHeartbeat

from ._pipes import settle


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Host:
    """Is asked, and answers when the test says so."""

    def __init__(self) -> None:
        self.up = True
        self.asked: list[int] = []
        self.heartbeat = LinkHeartbeat(self.ask)

    def ask(self, number: int) -> None:
        if self.up:
            self.asked.append(number)

    def answer(self, number: int) -> None:
        """The kernel is alive."""
        self.decline(number)
        self.heartbeat.on_beaten(number)

    def decline(self, number: int) -> None:
        """The host is there."""
        self.heartbeat.on_pong(number)


@pytest.fixture
async def host() -> Host:
    return Host()


def beating(host: Host, timeout: float = 60) -> "asyncio.Task[float]":
    return asyncio.create_task(host.heartbeat.beat(timeout))


def is_mere_miss(error: object) -> bool:
    return isinstance(error, NoBeat) and not isinstance(error, WireDown)


async def test_an_answer_ends_a_beat_with_the_time_it_took(host: Host) -> None:
    beat = beating(host)
    await settle()
    assert host.asked == [1]
    host.answer(1)
    assert await beat >= 0


async def test_several_at_once_are_told_apart(host: Host) -> None:
    beats = [beating(host) for _ in range(3)]
    await settle()
    assert host.asked == [1, 2, 3]
    host.answer(2)
    await settle()
    assert [beat.done() for beat in beats] == [False, True, False]
    host.answer(3)
    host.answer(1)
    await asyncio.gather(*beats)


async def test_a_late_answer_is_not_the_next_ones(host: Host) -> None:
    with pytest.raises(NoBeat):
        await host.heartbeat.beat(0)
    beat = beating(host)
    await settle()
    host.answer(1)
    await settle()
    assert not beat.done()
    host.answer(2)
    await beat


async def test_a_host_that_is_there_and_does_not_answer_for_its_kernel(host: Host) -> None:
    beat = beating(host, 0.1)
    await settle()
    host.decline(1)
    with pytest.raises(NoBeat, match=r"within 0\.1 s") as caught:
        await beat
    assert is_mere_miss(caught.value)


@pytest.mark.parametrize("earlier", [0.001, -0.001])
async def test_an_answer_in_the_nick_of_time_counts(host: Host, earlier: float) -> None:
    """The time is over and the answer is there, both in one turn of the loop, whichever comes first."""
    loop = asyncio.get_running_loop()
    beat = beating(host, 0.1)
    await asyncio.sleep(0)
    due = loop.time() + 0.1
    loop.call_at(due - 0.05, time.sleep, 0.1)
    loop.call_at(due - earlier, host.answer, 1)
    assert await beat >= 0


async def test_its_answer_to_a_ping_goes_for_those_before_it_too(host: Host) -> None:
    beats = [beating(host, 0.1) for _ in range(3)]
    await settle()
    host.decline(2)
    outcomes = await asyncio.gather(*beats, return_exceptions=True)
    assert [is_mere_miss(each) for each in outcomes] == [True, True, False]
    assert not host.heartbeat._heard


async def test_silence_says_nothing_about_the_kernel(host: Host) -> None:
    """The wire may be broken, and nobody know yet."""
    with pytest.raises(WireDown):
        await host.heartbeat.beat(0.01)
    assert host.asked == [1]


async def test_without_a_connection_nothing_can_be_said(host: Host) -> None:
    host.up = False
    with pytest.raises(WireDown):
        await host.heartbeat.beat(0.01)


async def test_a_beat_goes_on_over_a_break(host: Host) -> None:
    host.up = False
    beat = beating(host)
    await settle()
    assert host.asked == []
    host.up = True
    host.heartbeat.look_again()
    await settle()
    host.answer(host.asked[-1])
    await beat


async def test_a_connection_that_breaks_takes_its_refusal_along(host: Host) -> None:
    beat = beating(host, 0.02)
    await settle()
    host.decline(1)
    host.up = False
    host.heartbeat.look_again()
    with pytest.raises(WireDown):
        await beat


async def test_an_answer_to_what_was_asked_before_the_break_counts_no_more(host: Host) -> None:
    beat = beating(host)
    await settle()
    host.heartbeat.look_again()
    await settle()
    assert host.asked == [1, 2]
    host.answer(1)
    await settle()
    assert not beat.done()
    host.answer(2)
    await beat


async def test_a_host_that_said_goodbye_answers_for_nobody(host: Host) -> None:
    host.up = False
    host.heartbeat.host_left = True
    with pytest.raises(NoBeat) as caught:
        await host.heartbeat.beat(0.01)
    assert is_mere_miss(caught.value)


async def test_no_hope_ends_beats_at_once(host: Host) -> None:
    beats = [beating(host), beating(host)]
    await settle()
    host.heartbeat.failure = ConnectionLost("another client has this identity")
    host.heartbeat.look_again()
    for beat in (*beats, beating(host)):
        with pytest.raises(ConnectionLost, match="identity"):
            await beat


async def test_closing_ends_beats_at_once(host: Host) -> None:
    beats = [beating(host), beating(host)]
    await settle()
    await host.heartbeat.aclose()
    await host.heartbeat.aclose()
    for beat in (*beats, beating(host)):
        with pytest.raises(ChannelClosed):
            await beat


@pytest.mark.parametrize("seconds", [0, -1])
async def test_no_time_at_all(host: Host, seconds: float) -> None:
    with pytest.raises(NoBeat):
        await host.heartbeat.beat(seconds)


async def test_a_cancelled_beat_leaves_nothing(host: Host) -> None:
    first, second = beating(host), beating(host)
    await settle()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    host.answer(1)
    host.answer(2)
    await second
    for left in (host.heartbeat._waiting, host.heartbeat._heard, host.heartbeat._beaten):
        assert not left


async def test_another_loop_is_refused(host: Host) -> None:
    def elsewhere() -> None:
        for use in (host.heartbeat.aclose, lambda: host.heartbeat.beat(1)):
            with pytest.raises(WrongLoop):
                asyncio.run(use())

    await asyncio.to_thread(elsewhere)
    assert host.asked == []
