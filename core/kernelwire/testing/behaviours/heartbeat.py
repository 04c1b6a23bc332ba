"""The heartbeat tells whether the other end is there."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from kernelwire.errors import NoBeat, WireError
from kernelwire.testing.harness import Pair
from kernelwire.testing.kit import Group, behaviour


async def _until(beat: Callable[[float], Awaitable[float]], answered: bool) -> None:
    """Beat until it is answered, or not; the kit's watchdog is the time limit. A bridge needs time to find out."""
    while True:
        try:
            seconds = await beat(0.2)
        except NoBeat:
            if not answered:
                return
        except WireError:  # a wire may know more
            if answered:
                raise
            return
        else:
            assert seconds >= 0
            if answered:
                return
            await asyncio.sleep(0.01)


@behaviour(39, Group.HEARTBEAT, "beat")
async def it_beats_while_the_kernel_lets_it(pair: Pair, _: Random) -> None:
    """Beats are answered, several at once too, until the kernel's end stops beating; and again when it goes on."""
    client = await pair.connect()
    beat = client.end.heartbeat.beat
    await _until(beat, answered=True)
    await asyncio.gather(*(_until(beat, answered=True) for _each in range(10)))
    if pair.capabilities.beat == "kernel":
        pair.kernel.end.beating = False
        await _until(beat, answered=False)
        pair.kernel.end.beating = True
        await _until(beat, answered=True)


@behaviour(39, Group.HEARTBEAT, "beat")
async def it_beats_for_nobody_who_is_gone(pair: Pair, _: Random) -> None:
    """Once the kernel's end is closed, no beat is answered; the client's end can be closed as ever."""
    client = await pair.connect()
    await _until(client.end.heartbeat.beat, answered=True)
    await pair.kernel.end.aclose()
    if pair.capabilities.beat == "kernel":
        await _until(client.end.heartbeat.beat, answered=False)
    await client.end.aclose()
