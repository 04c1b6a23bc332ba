"""Heartbeats that tell of something else than the kernel's life, and the behaviour that kills them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kernelwire.errors import ChannelBusy, NoBeat
from kernelwire.testing import Hanging

from ._mutants import Mutant, Spoil, assert_killed

Beat = Callable[[float], Awaitable[float]]


def spoil_beat(spoil: Callable[[Beat], Beat]) -> Spoil:
    def change(end: Any) -> None:
        end.heartbeat.beat = spoil(end.heartbeat.beat)

    return change


def always(_beat: Beat) -> Beat:
    """The wire answers for a kernel that does not."""

    async def spoilt(_timeout: float) -> float:
        return 0.0

    return spoilt


def never(_beat: Beat) -> Beat:
    async def spoilt(timeout: float) -> float:
        await asyncio.sleep(timeout)
        raise NoBeat("never")

    return spoilt


def once_dead_always_dead(beat: Beat) -> Beat:
    missed: list[NoBeat] = []

    async def spoilt(timeout: float) -> float:
        if missed:
            await asyncio.sleep(timeout)
            raise missed[0].again()
        try:
            return await beat(timeout)
        except NoBeat as error:
            missed.append(error)
            raise

    return spoilt


@pytest.mark.parametrize("spoil", [always, never, once_dead_always_dead])
def test_a_heart_that_does_not_follow_the_kernels(spoil: Callable[[Beat], Beat]) -> None:
    assert_killed(Mutant(client=spoil_beat(spoil)), "it_beats_while_the_kernel_lets_it", Hanging, watchdog=0.5)


def test_a_beat_that_takes_no_time_at_all() -> None:
    def spoil(beat: Beat) -> Beat:
        async def spoilt(timeout: float) -> float:
            return await beat(timeout) - 1

        return spoilt

    assert_killed(Mutant(client=spoil_beat(spoil)), "it_beats_while_the_kernel_lets_it")


def test_one_beat_at_a_time() -> None:
    def spoil(beat: Beat) -> Beat:
        beating: list[bool] = []

        async def spoilt(timeout: float) -> float:
            if beating:
                raise ChannelBusy("another beat is under way")
            beating.append(True)
            try:
                return await beat(timeout)
            finally:
                beating.clear()

        return spoilt

    assert_killed(Mutant(client=spoil_beat(spoil)), "it_beats_while_the_kernel_lets_it", ChannelBusy)
