"""What is measured of each client: in this process, against one free kernel."""

import asyncio
import gc
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks import _free_kernel as free
    from benchmarks._contestant import Contestant, Info, OnLoop
    from benchmarks._jupyter import JupyterAsync, JupyterBlocking
    from benchmarks._ours import Async, Blocking
    from benchmarks._raw import Raw
    from benchmarks._rows import NAMES, RowSpec, Target
else:
    import _free_kernel as free  # beside this script, from wherever it is run
    from _contestant import Contestant, Info, OnLoop
    from _jupyter import JupyterAsync, JupyterBlocking
    from _ours import Async, Blocking
    from _raw import Raw
    from _rows import NAMES, RowSpec, Target

CONTESTANTS: dict[str, type[Contestant]] = {
    each.name: each for each in (Raw, JupyterBlocking, JupyterAsync, Blocking, Async)
}


@dataclass(frozen=True)
class Size:
    """How much to measure.

    Attributes:
        warm_up: whether a first round does not count.
        rounds: of requests one after the other.
        trips: requests in each.
        bursts: rounds of bursts.
        messages: in each burst.
        few: rounds of what takes long.
        flight: requests in flight.
        crowd: clients at once.
        large: bytes of the large buffer.
    """

    warm_up: bool
    rounds: int
    trips: int
    bursts: int
    messages: int
    few: int
    flight: int
    crowd: int
    large: int


FULL = Size(True, rounds=11, trips=300, bursts=5, messages=20_000, few=5, flight=2000, crowd=50, large=100_000_000)
QUICK = Size(False, rounds=1, trips=20, bursts=1, messages=500, few=1, flight=50, crowd=3, large=5_000_000)


@dataclass(frozen=True)
class World:
    """Where it is measured.

    Attributes:
        info: the kernel's.
        commands: the benchmark's way to it.
        size: how much.
    """

    info: Info
    commands: free.Commands
    size: Size


@dataclass(frozen=True)
class Measure:
    """One thing to measure of all contestants in turn; it may fill several rows.

    Attributes:
        name: for ``--only``.
        take: one round of one contestant: a value for each row.
        rows: the rows.
        rounds: how many.
        contestants: who can.
    """

    name: str
    take: Callable[[World, str], Mapping[str, float]]
    rows: tuple[RowSpec, ...]
    rounds: Callable[[Size], int]
    contestants: tuple[str, ...] = NAMES


def kernel_info_alone(world: World, name: str) -> Mapping[str, float]:
    """kernel_info against a kernel that publishes nothing for it: the bare round trip."""
    with opened(world, name) as contestant:
        world.commands.status(False)
        try:
            return {"kernel_info, no status": _trips(contestant.kernel_info, world.size.trips)}
        finally:
            world.commands.status(True)


def kernel_info(world: World, name: str) -> Mapping[str, float]:
    """kernel_info with busy and idle, as kernels do. Theirs leave them unread; ours reads whatever is published."""
    with opened(world, name) as contestant:
        return {"kernel_info": _trips(contestant.kernel_info, world.size.trips)}


def execute(world: World, name: str) -> Mapping[str, float]:
    """execute, until both reply and idle are here; the kernel publishes busy, execute_input and idle."""
    with opened(world, name) as contestant:
        return {"execute to idle": _trips(contestant.execute, world.size.trips)}


def drain(world: World, name: str) -> Mapping[str, float]:
    """A burst that was published while nobody read. CPU from before it, so with what zmq's thread does to take it."""
    return _drained(world, name, "iopub drain", "CPU per 10,000", wait=True)


def live(world: World, name: str) -> Mapping[str, float]:
    """A burst that is read while it is published, which the kernel does as fast as it can."""
    return _drained(world, name, "iopub live", "CPU per 10,000, live", wait=False)


def in_flight(world: World, name: str) -> Mapping[str, float]:
    """Many requests at once on one client, beside one at a time. A blocking client of ours has one for each thread."""
    count = world.size.flight
    with opened(world, name) as contestant:
        alone = _cost(lambda: contestant.kernel_info(count // 4), count // 4)
        together = _cost(lambda: contestant.in_flight(count), count)
    return {
        "one at a time": alone[0],
        "CPU, one at a time": alone[1],
        "many in flight": together[0],
        "CPU, many in flight": together[1],
    }


def crowd(world: World, name: str) -> Mapping[str, float]:
    """Many clients at once, beside one; the blocking ones with a thread each, where Python's lock costs even the floor
    most. No status is published: each client would get that of all others.
    """
    clients, each = world.size.crowd, 20
    with gathered(world.info, name, 1) as asks:
        world.commands.status(False)
        alone = _cost(lambda: asks(clients * each), clients * each)
        world.commands.status(True)
    with gathered(world.info, name, clients) as asks:
        world.commands.status(False)
        asks(1)
        together = _cost(lambda: asks(each), clients * each)
        world.commands.status(True)
    return {
        "one client": alone[0],
        "CPU, one client": alone[1],
        "many clients": together[0],
        "CPU, many clients": together[1],
    }


def request_bytes(world: World, name: str) -> Mapping[str, float]:
    """What a request weighs."""
    with opened(world, name) as contestant:
        contestant.kernel_info(1)
        info = world.commands.request_bytes()
        contestant.execute(1)
        return {"kernel_info request": info, "execute request": world.commands.request_bytes()}


@contextmanager
def opened(world: World, name: str) -> Iterator[Contestant]:
    """A contestant that is connected for one round: the others' output must not be its to read."""
    contestant = CONTESTANTS[name]()
    contestant.open(world.info)
    try:
        gc.collect()
        yield contestant
    finally:
        contestant.close()


@contextmanager
def gathered(info: Info, name: str, count: int) -> Iterator[Callable[[int], object]]:
    """Many clients of one kind, in one loop or in a thread each. Yields what has each of them ask so many times."""
    kind = CONTESTANTS[name]
    with ExitStack() as stack:
        if issubclass(kind, OnLoop):
            runner = stack.enter_context(asyncio.Runner())
            on_loop = [kind(runner) for _ in range(count)]

            async def all_at_once(work: Callable[[OnLoop], Coroutine[Any, Any, object]]) -> None:
                await asyncio.gather(*map(work, on_loop))

            runner.run(all_at_once(lambda each: each.connect(info)))
            stack.callback(lambda: runner.run(all_at_once(lambda each: each.disconnect())))
            gc.collect()
            yield lambda times: runner.run(all_at_once(lambda each: each.ask(times)))
        else:
            threads = stack.enter_context(ThreadPoolExecutor(count))
            members = [kind() for _ in range(count)]
            list(threads.map(lambda each: each.open(info), members))
            stack.callback(lambda: [each.close() for each in members])
            gc.collect()
            yield lambda times: list(threads.map(lambda each: each.kernel_info(times), members))


def _cost(work: Callable[[], object], count: int) -> tuple[float, float]:
    """Microseconds for each of so many, by the clock and of this process."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) / count * 1e6, (time.process_time() - cpu) / count * 1e6


def _trips(request: Callable[[int], list[float]], count: int) -> float:
    request(count // 10)
    return statistics.median(request(count)) * 1e6


def _drained(world: World, name: str, rate: str, cpu: str, *, wait: bool) -> Mapping[str, float]:
    with opened(world, name) as contestant:
        drained = contestant.drain(lambda: world.commands.burst(world.size.messages, wait=wait))
        if not wait:
            world.commands.done()
        assert drained.messages >= world.size.messages
        return {rate: drained.messages / drained.seconds, cpu: drained.cpu / drained.messages * 1e7}


def both(like_async: float, like_blocking: float, *, at_most: bool = True) -> tuple[Target, ...]:
    """Targets of like beside like."""
    return (
        Target("async", "jc async", like_async, at_most),
        Target("blocking", "jc blocking", like_blocking, at_most),
    )


_ITSELF = (Target("async", "async", 1.3),)

MEASURES = (
    Measure(
        "kernel_info_alone",
        kernel_info_alone,
        (RowSpec("kernel_info, no status", "us", both(0.75, 0.9)),),
        lambda size: size.rounds,
    ),
    Measure("kernel_info", kernel_info, (RowSpec("kernel_info", "us", both(0.75, 0.9)),), lambda size: size.rounds),
    Measure("execute", execute, (RowSpec("execute to idle", "us", both(0.85, 0.85)),), lambda size: size.rounds),
    Measure(
        "drain",
        drain,
        (
            RowSpec("iopub drain", "messages/s", both(4, 2.5, at_most=False)),
            RowSpec("CPU per 10,000", "ms", both(0.45, 0.45)),
        ),
        lambda size: size.bursts,
    ),
    Measure(
        "live",
        live,
        (
            RowSpec("iopub live", "messages/s"),
            RowSpec("CPU per 10,000, live", "ms", both(0.45, 0.45)),
        ),
        lambda size: size.bursts,
    ),
    Measure(
        "in_flight",
        in_flight,
        (
            RowSpec("one at a time", "us"),
            RowSpec("many in flight", "us each", _ITSELF, beside="one at a time"),
            RowSpec("CPU, one at a time", "us"),
            RowSpec("CPU, many in flight", "us each", _ITSELF, beside="CPU, one at a time"),
        ),
        lambda size: size.few,
        tuple(name for name in NAMES if name != "blocking"),
    ),
    Measure(
        "crowd",
        crowd,
        (
            RowSpec("one client", "us"),
            RowSpec("many clients", "us each", _ITSELF, beside="one client"),
            RowSpec("CPU, one client", "us"),
            RowSpec("CPU, many clients", "us each", _ITSELF, beside="CPU, one client"),
        ),
        lambda size: size.few,
    ),
    Measure(
        "bytes",
        request_bytes,
        (RowSpec("kernel_info request", "bytes"), RowSpec("execute request", "bytes")),
        lambda size: 1,
    ),
)
