"""A kernel behind a relay, beside a Jupyter Server and a bare relay of opaque bytes, all in one run on like kernels.

The kernels cost next to nothing, and each way has one of its own: who listens to a kernel hears all that it publishes,
and would take the processors from whose turn it is. Ours are a relay and a host, each a process, with everything sealed
from client to host; a Jupyter Server stands beside its kernel, seals nothing, and has its limit to output taken off.
All take turns, so that what else the machine does hits all alike. Compare ratios, not times. Needs Linux.
"""

import argparse
import faulthandler
import json
import signal
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchmarks import _free_kernel as free
    from benchmarks import _middles as middles
    from benchmarks._middles import Middle
    from benchmarks._ours import Async
    from benchmarks._rows import Row, RowSpec, Target, table
    from benchmarks._websockets import JupyterServer, JupyterServerAsShipped, OnWebSocket, Opaque
else:
    import _free_kernel as free  # beside this script, from wherever it is run
    import _middles as middles
    from _middles import Middle
    from _ours import Async
    from _rows import Row, RowSpec, Target, table
    from _websockets import JupyterServer, JupyterServerAsShipped, OnWebSocket, Opaque

PATIENCE: Final = 120
"""Seconds that one round of one contestant may take: a benchmark that hangs is no use."""

MEGABYTE: Final = 1_000_000


class Ours(Async):
    """A client of ours, that can also take many outputs."""

    def outputs(self, size: int, count: int) -> float:
        """Seconds from a request for so many outputs, each with a buffer of so many bytes, until all are here."""
        return self.run(self._outputs(size, count))

    async def _outputs(self, size: int, count: int) -> float:
        start = seconds = time.perf_counter()
        async for message in self._client.execute(f"large {size} {count}", keep=False):
            if message.msg_type == "display_data":
                assert len(message.buffers[0]) == size
                count -= 1
                seconds = time.perf_counter() - start
        assert not count
        return seconds


class Direct(Ours):
    """Without anything in between."""

    name = "direct zmq"


class Relayed(Ours):
    """Through the relay and the host."""

    name = "relay"


CONTESTANTS: Final[dict[str, tuple[type[Ours | OnWebSocket], str]]] = {
    Direct.name: (Direct, "direct"),
    Opaque.name: (Opaque, "opaque"),
    JupyterServerAsShipped.name: (JupyterServerAsShipped, "jupyter_server"),
    JupyterServer.name: (JupyterServer, "jupyter_server"),
    Relayed.name: (Relayed, "relay"),
}
NAMES: Final = tuple(CONTESTANTS)
WITH_RELAY: Final = tuple(name for name in NAMES if name not in (Direct.name, JupyterServerAsShipped.name))


@dataclass(frozen=True)
class Size:
    """How much to measure.

    Attributes:
        warm_up: whether a first round does not count.
        rounds: of requests one after the other.
        trips: requests in each.
        few: rounds of what takes long.
        messages: in each burst.
        large: megabytes of the large output, and how many small ones of one each.
    """

    warm_up: bool
    rounds: int
    trips: int
    few: int
    messages: int
    large: int


FULL = Size(True, rounds=7, trips=200, few=5, messages=20_000, large=100)
QUICK = Size(False, rounds=1, trips=5, few=1, messages=300, large=2)


@dataclass(frozen=True)
class Way:
    """One way to a kernel.

    Attributes:
        middle: what stands in between.
        commands: the benchmark's own way to that kernel.
    """

    middle: Middle
    commands: free.Commands


@dataclass(frozen=True)
class World:
    """Where it is measured.

    Attributes:
        ways: by name.
        size: how much.
    """

    ways: Mapping[str, Way]
    size: Size


class Turn:
    """One contestant's turn, connected."""

    def __init__(self, world: World, name: str) -> None:
        kind, way = CONTESTANTS[name]
        self.size = world.size
        self.middle = world.ways[way].middle
        self.commands = world.ways[way].commands
        self.client = kind()

    def __enter__(self) -> "Turn":
        self.client.open(self.middle.info)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()


def round_trip(turn: Turn) -> dict[str, float]:
    """kernel_info until its reply, and execute until reply and idle; microseconds."""
    count = turn.size.trips
    values = {}
    for name, ask in (("kernel_info", turn.client.kernel_info), ("execute to idle", turn.client.execute)):
        ask(1 + count // 10)
        values[name] = statistics.median(ask(count)) * 1e6
    return values


def live(turn: Turn) -> dict[str, float]:
    """A burst that is read while it is published, and what it costs who stands in between."""
    before = turn.middle.cpu()
    drained = turn.client.drain(lambda: turn.commands.burst(turn.size.messages, wait=False))
    turn.commands.done()
    assert drained.messages >= turn.size.messages
    relay, host = (after - one for after, one in zip(turn.middle.cpu(), before, strict=True))
    values = {
        "drain": drained.messages / drained.seconds,
        "client CPU per 10,000": drained.cpu / drained.messages * 1e7,
    }
    if turn.middle.relay is not None:
        values["relay CPU per 10,000"] = relay / drained.messages * 1e7
    if turn.middle.host is not None:
        values["host CPU per 10,000"] = host / drained.messages * 1e7
    return values


def many(turn: Turn) -> dict[str, float]:
    """Many outputs of a megabyte."""
    count = turn.size.large
    return _large(turn, f"{count} x 1 MB", MEGABYTE, count)


def one(turn: Turn) -> dict[str, float]:
    """One output of many megabytes."""
    count = turn.size.large
    return _large(turn, f"1 x {count} MB", MEGABYTE * count, 1)


def _large(turn: Turn, name: str, size: int, count: int) -> dict[str, float]:
    seconds = turn.client.outputs(size, count)
    values = {name: size * count / seconds / MEGABYTE}
    if turn.middle.relay is not None:
        values[f"{name}, growth"] = turn.middle.growth()
    return values


@dataclass(frozen=True)
class Measure:
    """One thing to measure of all contestants in turn.

    Attributes:
        take: one round of one contestant.
        rows: what becomes of it.
        rounds: how many.
        names: who takes part.
        settles: whether the growth of the relays is counted from its beginning.
    """

    take: Callable[[Turn], dict[str, float]]
    rows: Callable[[Size], tuple[RowSpec, ...]]
    rounds: Callable[[Size], int]
    names: Sequence[str] = tuple(name for name in NAMES if name != JupyterServerAsShipped.name)
    settles: bool = False


def _against(name: str, bound: float, *, at_most: bool = True) -> Target:
    return Target(Relayed.name, name, bound, at_most)


GROWTH: Final = (Target(Relayed.name, "", 16 * 1.048576),)

MEASURES: Final = {
    "round_trip": Measure(
        round_trip,
        lambda size: (
            RowSpec("kernel_info", "us", (_against("jupyter_server", 1.4), _against("js as shipped", 1 / 25))),
            RowSpec("execute to idle", "us", (_against("jupyter_server", 1.4), _against("js as shipped", 1 / 25))),
        ),
        lambda size: size.rounds,
        NAMES,
    ),
    "live": Measure(
        live,
        lambda size: (
            RowSpec("drain", "messages/s", (_against("jupyter_server", 2.5, at_most=False),)),
            RowSpec("relay CPU per 10,000", "ms", (_against("jupyter_server", 0.25),)),
            RowSpec("host CPU per 10,000", "ms"),
            RowSpec("client CPU per 10,000", "ms"),
        ),
        lambda size: size.few,
    ),
    "many": Measure(
        many,
        lambda size: (
            RowSpec(f"{size.large} x 1 MB", "MB/s", (_against("jupyter_server", 0.5, at_most=False),)),
            RowSpec(f"{size.large} x 1 MB, growth", "MB", GROWTH),
        ),
        lambda size: size.few,
        settles=True,
    ),
    "one": Measure(
        one,
        lambda size: (
            RowSpec(f"1 x {size.large} MB", "MB/s", (_against("jupyter_server", 0.8, at_most=False),)),
            RowSpec(f"1 x {size.large} MB, growth", "MB", GROWTH),
        ),
        lambda size: size.few,
        settles=True,
    ),
}


def compare(names: Sequence[str], size: Size) -> list[Row]:
    """All rows."""
    rows = []
    with ExitStack() as stack:
        world = World({name: _way(stack, name) for name in {way: None for _, way in CONTESTANTS.values()}}, size)
        for measure in map(MEASURES.__getitem__, names):
            rows += in_turns(world, measure)
    return rows


def _way(stack: ExitStack, name: str) -> Way:
    kernel = stack.enter_context(free.running("tcp"))
    commands = free.Commands(kernel)
    stack.callback(commands.close)
    return Way(stack.enter_context(getattr(middles, name)(kernel)), commands)


def in_turns(world: World, measure: Measure) -> list[Row]:
    """The rows of one measure: all contestants in turn, after one round to warm up that does not count."""
    if measure.settles:
        for way in world.ways.values():
            way.middle.settle()
    rounds = []
    for _ in range(world.size.warm_up + measure.rounds(world.size)):
        values = {}
        for name in measure.names:
            # Raised, and not an exit: the processes in between must end too.
            faulthandler.dump_traceback_later(PATIENCE, exit=False)
            signal.alarm(PATIENCE)
            with Turn(world, name) as turn:
                values[name] = measure.take(turn)
        rounds.append(values)
    counted = rounds[world.size.warm_up :]
    return [spec.row("", counted, measure.names) for spec in measure.rows(world.size)]


def _give_up(*_: object) -> None:
    raise SystemExit(f"a round took longer than {PATIENCE} s")  # which no event loop keeps for itself


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="one small round only: shows that it works, not how fast")
    parser.add_argument("--only", choices=MEASURES, metavar="NAME", help=f"one of {', '.join(MEASURES)}")
    arguments = parser.parse_args()
    signal.signal(signal.SIGALRM, _give_up)
    names = [arguments.only] if arguments.only else list(MEASURES)
    rows = compare(names, QUICK if arguments.quick else FULL)
    faulthandler.cancel_dump_traceback_later()
    signal.alarm(0)
    print(json.dumps([asdict(row) for row in rows], indent=2) if arguments.json else table(rows, NAMES))


if __name__ == "__main__":
    main()
