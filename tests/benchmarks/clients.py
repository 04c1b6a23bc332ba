"""Our clients beside jupyter_client's and raw pyzmq, all in one run against the same kernel, which costs nothing.

They take turns, so that what else the machine does hits all alike. Ratios are medians of the ratios within each round.
Compare ratios, not times.
"""

import argparse
import faulthandler
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks import _free_kernel as free
    from benchmarks._measures import FULL, MEASURES, QUICK, Measure, Size, World
    from benchmarks._processes import PROCESS_MEASURES
    from benchmarks._rows import Row, table
else:
    import _free_kernel as free  # beside this script, from wherever it is run
    from _measures import FULL, MEASURES, QUICK, Measure, Size, World
    from _processes import PROCESS_MEASURES
    from _rows import Row, table

ALL = (*MEASURES, *PROCESS_MEASURES)
TRANSPORTS = ("tcp", "ipc")
PATIENCE = 120
"""Seconds that one round of all may take: a benchmark that hangs is no use. The kernels end with this process."""


def compare(transport: str, measures: Sequence[Measure], size: Size) -> list[Row]:
    """All rows of one transport."""
    rows = []
    with free.running(transport) as info:
        world = World(info, free.Commands(info), size)
        try:
            for measure in measures:
                if sys.stderr.isatty():  # all of it may take half an hour
                    print(f"{transport} {measure.name}", file=sys.stderr, flush=True)
                rows += in_turns(world, transport, measure)
        finally:
            world.commands.close()
    return rows


def in_turns(world: World, transport: str, measure: Measure) -> list[Row]:
    """The rows of one measure: all contestants in turn, after one round to warm up that does not count."""
    rounds = []
    for _ in range(world.size.warm_up + measure.rounds(world.size)):
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        rounds.append({name: measure.take(world, name) for name in measure.contestants})
    return [spec.row(transport, rounds[world.size.warm_up :]) for spec in measure.rows]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="a few rounds only: shows that it works, not how fast")
    parser.add_argument("--transport", choices=TRANSPORTS, help="only this one")
    names = [measure.name for measure in ALL]
    parser.add_argument("--only", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    arguments = parser.parse_args()
    measures = [measure for measure in ALL if arguments.only in (None, measure.name)]
    transports = [arguments.transport] if arguments.transport else TRANSPORTS
    size = QUICK if arguments.quick else FULL
    rows = [row for transport in transports for row in compare(transport, measures, size)]
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps([asdict(row) for row in rows], indent=2) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
