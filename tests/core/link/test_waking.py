"""A bell, a turnstile and patience: no wake-up is lost, whoever is cancelled when."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from kernelwire.link.waking import Bell, Patience, Turnstile

from ._pipes import settle


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


# The bell


async def test_a_bell_wakes_who_waits() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await settle()
    assert not waiting.done()
    bell.ring()
    await waiting


async def test_rung_before_it_need_not_be_waited_for_but_once_only() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    await bell.wait()
    waiting = asyncio.create_task(bell.wait())
    await settle()
    assert not waiting.done()
    bell.ring()
    await waiting


@pytest.mark.parametrize("seconds", [0, 0.001, -1])
async def test_the_time_is_over_and_leaves_nothing_behind(seconds: float) -> None:
    bell = Bell()
    await bell.wait(seconds)
    waiting = asyncio.create_task(bell.wait())
    await settle()
    assert not waiting.done()
    bell.ring()
    await waiting


async def test_the_timer_of_a_wait_that_is_over_does_not_ring() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(0.001))
    await settle(2)
    bell.ring()
    await waiting
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_what_was_rung_for_who_was_cancelled_is_not_lost() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(60))
    await settle()
    bell.ring()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await bell.wait()


async def test_a_wait_is_made_shorter_and_never_longer() -> None:
    bell = Bell()
    bell.hasten(0)  # nobody waits
    waiting = asyncio.create_task(bell.wait(3600))
    await settle()
    assert not waiting.done()
    bell.hasten(7200)
    bell.hasten(0.001)
    bell.hasten(3600)
    await waiting
    waiting = asyncio.create_task(bell.wait())
    await settle()
    bell.hasten(-1)
    await waiting


async def test_a_timer_that_is_left_wakes_nobody() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(0.01))
    await settle()
    bell.ring()
    await waiting
    for seconds in (None, 3600):
        waiting = asyncio.create_task(bell.wait(seconds))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        bell.ring()
        await waiting


async def waiting_with(bell: Bell, at_once: Callable[[], None]) -> "asyncio.Task[None]":
    waiting = asyncio.create_task(bell.wait(at_once=at_once))
    await settle()
    return waiting


async def test_at_once_is_without_the_task_and_once_in_a_turn() -> None:
    bell, calls = Bell(), []
    waiting = await waiting_with(bell, lambda: calls.append("called"))
    for _ in range(2):
        bell.ring_at_once()
        await settle()
    assert calls == ["called", "called"]
    assert not waiting.done()
    for _ in range(3):
        bell.ring_at_once()
    assert len(calls) == 3
    await waiting  # the others are the task's


async def test_at_once_is_a_ring_where_nobody_waits_for_more() -> None:
    bell, calls = Bell(), []
    waiting = asyncio.create_task(bell.wait())
    await settle()
    bell.ring_at_once()
    await waiting
    bell.ring_at_once()
    await bell.wait(at_once=lambda: calls.append("called"))  # it rang before
    waiting = await waiting_with(bell, lambda: calls.append("called"))
    bell.ring()
    bell.ring_at_once()  # the task is awake already
    await waiting
    bell.ring_at_once()
    await bell.wait()
    assert calls == []


async def test_who_is_called_may_ring() -> None:
    bell = Bell()
    waiting = await waiting_with(bell, bell.ring)
    bell.ring_at_once()
    await waiting


# The turnstile


async def test_a_turn_lets_all_go_who_wait_in_their_order() -> None:
    turnstile = Turnstile()
    gone: list[int] = []

    async def wait(number: int) -> None:
        await turnstile.wait()
        gone.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(5)]
    await settle()
    assert (gone, turnstile.turns) == ([], 0)
    turnstile.turn()
    await asyncio.gather(*tasks)
    assert (gone, turnstile.turns) == ([0, 1, 2, 3, 4], 1)


async def test_a_turn_is_for_those_only_who_waited_then() -> None:
    turnstile = Turnstile()
    turnstile.turn()
    waiting = asyncio.create_task(turnstile.wait())
    await settle()
    assert not waiting.done()
    turnstile.turn()
    await waiting


async def test_nobody_waits_for_longer_than_was_said() -> None:
    turnstile = Turnstile()
    await turnstile.wait(0.001)
    assert turnstile.turns == 0


async def test_who_is_cancelled_or_has_waited_long_enough_leaves_nothing_behind() -> None:
    turnstile = Turnstile()
    for _ in range(3):
        await turnstile.wait(0)
        waiting = asyncio.create_task(turnstile.wait())
        await settle()
        waiting.cancel()
        await asyncio.wait([waiting])
    assert not turnstile._waiters
    turnstile.turn()


# Patience


def test_patience_is_over_after_so_long_without_progress() -> None:
    patience = Patience(2, "a", 100)
    assert [patience.is_over("a", now) for now in (100, 100.9, 101, 101.9, 102)] == [False] * 4 + [True]


def test_progress_begins_it_anew() -> None:
    patience = Patience(2, "a", 100)
    assert not patience.is_over("a", 101.5)
    assert not patience.is_over("b", 103)
    assert patience.until == 104
    assert not patience.is_over("b", 104.5)
    assert not patience.is_over("b", 105)
    assert patience.is_over("b", 105.5)


def test_a_loop_that_was_held_up_looks_once_more_before_it_gives_up() -> None:
    patience = Patience(2, "a", 100)
    assert not patience.is_over("a", 1000)
    assert patience.until == 1001
    assert not patience.is_over("b", 1000.5)  # what had come meanwhile
    assert patience.until == 1001.5
