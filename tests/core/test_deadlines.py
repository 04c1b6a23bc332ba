"""Many time limits on one timer."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.deadlines import Deadlines


@pytest.fixture
async def deadlines() -> AsyncIterator[Deadlines]:
    deadlines = Deadlines()
    yield deadlines
    deadlines.close()


async def test_each_comes_when_it_is_due_and_once(deadlines: Deadlines) -> None:
    came: list[str] = []
    last = asyncio.Event()
    deadlines.set("late", 0.03, last.set)
    deadlines.set("early", 0.01, lambda: came.append("early"))
    deadlines.set("middle", 0.02, lambda: came.append("middle"))
    assert len(deadlines) == 3
    await last.wait()
    assert came == ["early", "middle"]
    assert len(deadlines) == 0


async def test_one_that_is_dropped_does_not_come(deadlines: Deadlines) -> None:
    later = asyncio.Event()
    deadlines.set("dropped", 0.001, pytest.fail)
    deadlines.set("later", 0.002, later.set)
    deadlines.drop("dropped")
    deadlines.drop("never set")
    await later.wait()


async def test_a_name_has_one_at_a_time(deadlines: Deadlines) -> None:
    newer = asyncio.Event()
    deadlines.set("name", 0.001, pytest.fail)
    deadlines.set("name", 0.002, newer.set)
    assert len(deadlines) == 1
    await newer.wait()


async def test_what_comes_may_set_and_drop_others(deadlines: Deadlines) -> None:
    again = asyncio.Event()

    def first() -> None:
        deadlines.drop("second")
        deadlines.set("third", 0.001, again.set)

    deadlines.set("first", 0.001, first)
    deadlines.set("second", 0.001, pytest.fail)
    await again.wait()


async def test_after_close_none_comes() -> None:
    deadlines = Deadlines()
    deadlines.set("name", 0.0, pytest.fail)
    deadlines.close()
    assert len(deadlines) == 0
    for _ in range(3):
        await asyncio.sleep(0)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 0.005), st.booleans()), max_size=30))
def test_exactly_those_come_that_stay(steps: list[tuple[str, float, bool]]) -> None:
    async def check() -> None:
        deadlines = Deadlines()
        came: list[tuple[str, int]] = []
        expected: dict[str, int] = {}
        for number, (name, seconds, drops) in enumerate(steps):
            if drops:
                deadlines.drop(name)
                expected.pop(name, None)
            else:
                deadlines.set(name, seconds, lambda name=name, number=number: came.append((name, number)))  # type: ignore[misc]
                expected[name] = number
        over = asyncio.Event()
        deadlines.set("the last", 0.006, over.set)
        await over.wait()
        deadlines.close()
        assert sorted(came) == sorted(expected.items())

    asyncio.run(check())
