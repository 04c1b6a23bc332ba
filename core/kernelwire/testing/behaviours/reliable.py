"""Breaks of the wire cost nothing; and where something had to go, the client learns exactly what."""

import asyncio
from collections.abc import Iterable
from random import Random

from kernelwire.errors import GapNotice
from kernelwire.messages import WireMessage
from kernelwire.testing.faults import Direction, Passing
from kernelwire.testing.harness import Client, Pair
from kernelwire.testing.kit import Group, behaviour
from kernelwire.testing.traffic import Traffic

LARGE = 150_000
"""Bytes of a message that fills several frames."""

GREETING = 10
"""Pieces of a connection that are more telling than those that follow."""

OVERFLOW = 96
"""Messages, of 512 KiB each, that no transport is expected to keep for somebody who is away."""


def _script(chance: Random) -> list[int]:
    """40 mixed messages; two of them fill several frames, one each way."""
    sizes = [chance.choice([0, 1, 100, 3000]) for _ in range(40)]
    sizes[0] = sizes[1] = LARGE
    return sizes


def _telling(sizes: list[int], chance: Random) -> set[int]:
    """Where to cut a stream of pieces of these sizes: around each boundary, and in the middle of things."""
    offsets: set[int] = set()
    start = 0
    for index, size in enumerate(sizes):
        inside = {1, 3, 4, size // 2, size - 1, size}
        chosen = inside if index < GREETING else chance.sample(sorted(inside), 1)
        offsets |= {start + each for each in chosen if 0 < each <= size}
        start += size
    return offsets


@behaviour(41, Group.RELIABLE, "resume")
async def a_cut_anywhere_costs_nothing(pair: Pair, chance: Random) -> None:
    """40 mixed messages, cut at each kind of byte, and just after an acknowledgement: all arrive once and in order."""
    middle = pair.middle
    client = await pair.connect()
    traffic = await Traffic.open(pair, client)
    script = _script(chance)
    middle.record = True
    middle.cut()
    await traffic.exchange(script)
    middle.record = False
    sizes = [len(passing.data) for passing in middle.passed]
    offsets = _telling(sizes, chance) | {chance.randrange(1, sum(sizes)) for _ in range(20)}
    for offset in sorted(offsets):
        middle.cut()
        middle.cut_after(offset)
        await traffic.exchange(script)
    for stream in traffic.streams:
        await _cut_after_the_answer(pair, [stream.send([1]), stream.receive(1)])
    await traffic.exchange(script)


async def _cut_after_the_answer(pair: Pair, work: Iterable[object]) -> None:
    """Cut when both directions have had something to say after a message: an acknowledgement, at the least."""
    middle = pair.middle
    awaited = set(Direction)

    def look(passing: Passing) -> list[bytes]:
        awaited.discard(passing.direction)
        if not awaited:
            middle.cut_after(1)  # of what follows
        return [passing.data]

    cuts = middle.cuts
    middle.tamper = look
    for each in work:
        await each  # type: ignore[misc]
    while middle.cuts == cuts:
        await asyncio.sleep(0.01)
    middle.tamper = None
