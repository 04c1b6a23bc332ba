"""What our zmq channels cost beside raw blocking pyzmq, against a kernel that costs nothing.

Both sides carry the same frames to the same process, in turns within one run, so that what else the machine does
hits both alike. Compare ratios, not times.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import zmq

from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd
from kernelwire.messages import WireMessage
from kernelwire_zmq import IpcBackend, TcpBackend, ZmqBackend

if TYPE_CHECKING:
    from benchmarks import _command, _kernel
else:
    import _command  # beside this script, from wherever it is run
    import _kernel

T = TypeVar("T")
BACKENDS: dict[str, type[ZmqBackend]] = {"tcp": TcpBackend, "ipc": IpcBackend}
ROUND_TRIP_TARGET = 1.35
DRAIN_TARGET = 0.7
STALLED = 60_000
"""Milliseconds after which a raw socket gives up: a benchmark that hangs is no use."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        transport: tcp or ipc.
        measure: what was measured; `unit` says in what.
        ours, raw: medians over all rounds.
        ours_p90, raw_p90: nine of ten are better; for rates, the worst tenth's bound.
        ratio: median of the ratios of neighbouring rounds.
        target: what the ratio is to reach.
        met: whether it does.
    """

    transport: str
    measure: str
    unit: str
    ours: float
    ours_p90: float
    raw: float
    raw_p90: float
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


FULL = Size(rounds=20, trips=500, drains=5, messages=50_000)
QUICK = Size(rounds=2, trips=50, drains=1, messages=2_000)


async def compare(transport: str, size: Size) -> list[Row]:
    """All rows of one transport."""
    with _kernel.running(transport) as info:
        async with await connect(info) as ours:
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            try:
                return [await round_trips(ours, context, info, size), await drains(ours, context, info, size)]
            finally:
                context.destroy(0)


async def connect(info: ConnectionInfo) -> ClientEnd:
    """Our end, with what the measurements need."""
    channels = {Channel.SHELL, Channel.CONTROL, Channel.IOPUB}
    return await BACKENDS[info.transport]().connect(info, identity=b"ours", channels=channels)


def raw_socket(
    context: "zmq.Context[zmq.Socket[bytes]]", kind: int, info: ConnectionInfo, field: str
) -> "zmq.Socket[bytes]":
    """A raw socket connected to the kernel."""
    socket = context.socket(kind)
    socket.setsockopt(zmq.RCVTIMEO, STALLED)
    if kind == zmq.SUB:
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
    port = info.port(field)
    socket.connect(f"ipc://{info.ip}-{port}" if info.transport == "ipc" else f"tcp://{info.ip}:{port}")
    return socket


async def round_trips(
    ours: ClientEnd, context: "zmq.Context[zmq.Socket[bytes]]", info: ConnectionInfo, size: Size
) -> Row:
    """A request of the size of kernel_info and its echo, one after the other."""
    frames = _kernel.kernel_info_frames()
    parts = [_kernel.DELIMITER, *frames]
    raw = raw_socket(context, zmq.DEALER, info, "shell_port")
    shell = ours.shell

    async def trips_ours() -> list[float]:
        message = WireMessage(frames)
        times = []
        for _ in range(size.trips):
            start = time.perf_counter()
            await shell.send(message)
            reply = await shell.receive()
            times.append(time.perf_counter() - start)
            assert len(reply.frames) == len(frames)
        return times

    async def trips_raw() -> list[float]:
        times = []
        for _ in range(size.trips):
            start = time.perf_counter()
            raw.send_multipart(parts)
            reply = raw.recv_multipart()
            times.append(time.perf_counter() - start)
            assert len(reply) == len(parts)
        return times

    a, b = await in_turns(size.rounds, trips_ours, trips_raw)
    ratio = statistics.median(statistics.median(x) / statistics.median(y) for x, y in zip(a, b, strict=True))
    ours_us = [t * 1e6 for times in a for t in times]
    raw_us = [t * 1e6 for times in b for t in times]
    return row(info, "round trip", "us", ours_us, raw_us, ratio, ROUND_TRIP_TARGET, at_most=True)


async def drains(ours: ClientEnd, context: "zmq.Context[zmq.Socket[bytes]]", info: ConnectionInfo, size: Size) -> Row:
    """Receive a burst that the kernel has published: nobody reads before that, or the kernel's own speed is what is
    measured. It has one subscriber at a time.
    """
    control = raw_socket(context, zmq.DEALER, info, "control_port")
    request = b"%d" % size.messages
    await ours.aclose()

    async def drain_ours() -> float:
        async with await connect(info) as end:
            iopub = end.iopub
            await iopub.ready()
            await settle(iopub.receive)
            control.send(request)
            control.recv()  # blocks the loop, so that nothing is taken meanwhile
            start = time.perf_counter()
            for _ in range(size.messages):
                await iopub.receive()
            return size.messages / (time.perf_counter() - start)

    async def drain_raw() -> float:
        iopub = raw_socket(context, zmq.SUB, info, "iopub_port")
        while not iopub.poll(50):  # subscribed once something published arrives
            control.send_multipart([b"", b"nudge"])
            control.recv_multipart()
        while iopub.poll(50):
            iopub.recv_multipart()
        control.send(request)
        control.recv()
        start = time.perf_counter()
        for _ in range(size.messages):
            iopub.recv_multipart()
        seconds = time.perf_counter() - start
        iopub.close(0)
        return size.messages / seconds

    a, b = await in_turns(size.drains, drain_ours, drain_raw)
    ratio = statistics.median(x / y for x, y in zip(a, b, strict=True))
    return row(info, "iopub drain", "messages/s", a, b, ratio, DRAIN_TARGET, at_most=False)


async def settle(receive: Callable[[], Awaitable[WireMessage]]) -> None:
    """Take what nudges made the kernel publish."""
    while True:
        try:
            async with asyncio.timeout(0.05):
                await receive()
        except TimeoutError:
            return


async def in_turns(
    rounds: int, ours: Callable[[], Awaitable[T]], raw: Callable[[], Awaitable[T]]
) -> tuple[list[T], list[T]]:
    """Both, `rounds` times each, after one round to warm up that does not count."""
    a, b = [], []
    for _ in range(rounds + 1):
        a.append(await ours())
        b.append(await raw())
    return a[1:], b[1:]


def row(
    info: ConnectionInfo,
    measure: str,
    unit: str,
    ours: list[float],
    raw: list[float],
    ratio: float,
    target: float,
    *,
    at_most: bool,
) -> Row:
    """Put one comparison together."""
    met = ratio <= target if at_most else ratio >= target
    return Row(
        info.transport,
        measure,
        unit,
        statistics.median(ours),
        p90(ours, at_most),
        statistics.median(raw),
        p90(raw, at_most),
        ratio,
        f"{'<=' if at_most else '>='} {target}",
        met,
    )


def p90(values: list[float], lower_is_better: bool) -> float:
    """What nine of ten values are at least as good as."""
    ordered = sorted(values, reverse=not lower_is_better)
    return ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)]


def table(rows: list[Row]) -> str:
    """For people."""
    lines = [f"{'':18}{'unit':>12}{'ours':>10}{'p90':>10}{'raw':>10}{'p90':>10}{'ratio':>8}  target"]
    for r in rows:
        numbers = "".join(f"{value:10,.0f}" for value in (r.ours, r.ours_p90, r.raw, r.raw_p90))
        verdict = r.target if r.met else f"{r.target}  missed"
        lines.append(f"{f'{r.transport} {r.measure}':18}{r.unit:>12}{numbers}{r.ratio:8.2f}  {verdict}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""

    def measure(quick: bool) -> list[Row]:
        size = QUICK if quick else FULL
        return [row for transport in BACKENDS for row in asyncio.run(compare(transport, size))]

    _command.run(__doc__, measure, table)


if __name__ == "__main__":
    main()
