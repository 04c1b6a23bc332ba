"""What a bridge costs: the same client and the same kernel, over tcp and through a bridge process from tcp to tcp.

The bridge has a key of its own on its near side, so it verifies and signs each message. Both ways are measured in turns
within one run, against a kernel that costs nothing. Round trips are of kernel_info: with the busy and idle that every
kernel of Jupyter's publishes for it, and without them. Compare ratios, not times.
"""

import asyncio
import functools
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import kernelwire
from kernelwire.client import KernelClient

if TYPE_CHECKING:
    from benchmarks import _bridge, _command, _free_kernel, raw_channels
else:
    import _bridge  # beside this script, from wherever it is run
    import _command
    import _free_kernel
    import raw_channels

Measure = Callable[[KernelClient], Awaitable[float]]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        measure: what was measured; `unit` says in what.
        direct, bridged: medians over all rounds.
        ratio: median of the ratios of neighbouring rounds, of what `target` speaks of.
        target: what is to be reached.
        met: whether it is.
    """

    measure: str
    unit: str
    direct: float
    bridged: float
    ratio: float
    target: str
    met: bool


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    rounds: int
    trips: int
    drains: int
    messages: int


FULL = Size(rounds=15, trips=300, drains=7, messages=20_000)
QUICK = Size(rounds=1, trips=20, drains=1, messages=500)


async def compare(size: Size) -> list[Row]:
    """All rows."""
    async with AsyncExitStack() as stack:
        info = stack.enter_context(_free_kernel.running("tcp"))
        commands = _free_kernel.Commands(info)
        stack.callback(commands.close)
        direct_file = str(info["connection_file"])
        bridged_file = stack.enter_context(_bridge.running(direct_file, "tcp"))
        rows = []
        for measure, unit, published, rounds in (
            ("round trip", "us", True, size.rounds),
            ("without busy and idle", "us", False, size.rounds),
            ("iopub drain", "messages/s", True, size.drains),
        ):
            commands.status(published)
            taken: Measure = _trips(size.trips) if unit == "us" else _drain(commands, size.messages)
            ways = (functools.partial(_fresh, file, taken) for file in (direct_file, bridged_file))
            rows.append(_row(measure, unit, *await raw_channels.in_turns(rounds, *ways)))
        return rows


async def _fresh(file: str, measure: Measure) -> float:
    """By a client of its own, so that only one of the two is connected."""
    async with kernelwire.connect(file) as client:
        await client.ready(timeout=60)
        return await measure(client)


def _trips(count: int) -> Measure:
    async def measure(client: KernelClient) -> float:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            await client.kernel_info()
            times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e6

    return measure


def _drain(commands: _free_kernel.Commands, messages: int) -> Measure:
    """From the moment that the kernel begins to publish until the client has all of it."""

    async def measure(client: KernelClient) -> float:
        outputs = aiter(client.execute("hold"))
        assert (await anext(outputs)).msg_type == "execute_input"
        start = time.perf_counter()
        commands.burst(messages, wait=False)
        count = 0
        async for message in outputs:
            count += message.msg_type == "stream"
        seconds = time.perf_counter() - start
        commands.done()
        assert count == messages
        return messages / seconds

    return measure


def _row(measure: str, unit: str, *ways: list[float]) -> Row:
    direct, bridged = map(statistics.median, ways)
    pairs = list(zip(*ways, strict=True))
    if unit == "us":  # what it adds
        ratio = statistics.median((b - a) / a for a, b in pairs)
        return Row(measure, unit, direct, bridged, ratio, "adds <= 0.8", ratio <= 0.8)
    ratio = statistics.median(b / a for a, b in pairs)
    return Row(measure, unit, direct, bridged, ratio, "sustains >= 0.5", ratio >= 0.5)


def table(rows: list[Row]) -> str:
    """For people."""
    lines = [f"{'':26}{'unit':>12}{'direct':>10}{'bridged':>10}{'ratio':>8}  target"]
    for r in rows:
        verdict = r.target if r.met else f"{r.target}: missed"
        lines.append(f"{r.measure:26}{r.unit:>12}{r.direct:10,.0f}{r.bridged:10,.0f}{r.ratio:8.2f}  {verdict}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    _command.run(__doc__, lambda quick: asyncio.run(compare(QUICK if quick else FULL)), table)


if __name__ == "__main__":
    main()
