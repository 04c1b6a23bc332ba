"""The heartbeat tells whether the other end is there."""

import asyncio
from random import Random

from kernelwire.errors import NoBeat
from kernelwire.testing.harness import Pair
from kernelwire.testing.kit import Group, behaviour

ENOUGH = 30.0


@behaviour(39, Group.HEARTBEAT, "beat")
async def it_beats_while_the_kernel_lets_it(pair: Pair, _: Random) -> None:
    """Beats are answered, several at once too, until the kernel's end stops beating; and again when it goes on."""
    client = await pair.connect()
    beat = client.end.heartbeat.beat
    assert 0 <= await beat(ENOUGH) < ENOUGH
    for seconds in await asyncio.gather(*(beat(ENOUGH) for _ in range(10))):
        assert seconds >= 0
    if pair.capabilities.beat == "kernel":
        pair.kernel.end.beating = False
        for _ in range(200):  # a bridge on the way may still be finding out
            try:
                await beat(0.05)
            except NoBeat:
                break
        else:
            raise AssertionError("the heartbeat is answered although the kernel's end does not beat")
        pair.kernel.end.beating = True
        for _ in range(200):
            try:
                await beat(1.0)
                break
            except NoBeat:
                continue
        else:
            raise AssertionError("the heartbeat is not answered although the kernel's end beats again")
