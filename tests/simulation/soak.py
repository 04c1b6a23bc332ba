"""As many schedules as you like, or one of them again with all that happened in it."""

import argparse
import math
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # from wherever it is run

from simulation._checker import Broken
from simulation._mutants import MUTANTS, nothing_planted, planted
from simulation._run import Tally, run, run_all_cuts, run_many
from simulation._script import all_cuts

SEEDS = Path(__file__).with_name("seeds.txt")
"""Seeds of schedules that failed once."""

SHOWN_EVERY = 5.0
"""Seconds between two lines of progress."""

ENOUGH = 10
"""Schedules that have failed, after which no more are run."""

_HERE = "tests/simulation/soak.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 if a promise was broken, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="run this schedule alone")
    parser.add_argument("--verbose", action="store_true", help="with --seed: print what happened")
    parser.add_argument("--bug", choices=sorted(MUTANTS), metavar="NAME", help="with --seed: plant this bug before")
    parser.add_argument("--cuts", action="store_true", help="cut a script of 40 frames twice in every possible way")
    parser.add_argument("--count", type=int, default=1_000_000, help="schedules to run (default: 1,000,000)")
    parser.add_argument("--base", type=int, help="the first one's seed (default: any)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after so many (default: when all are run)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)"
    )
    arguments = parser.parse_args(argv)
    if arguments.seed is not None:
        return _replay(arguments.seed, verbose=arguments.verbose, bug=arguments.bug)
    if min(arguments.count, arguments.workers) < 1:
        parser.error("--count and --workers are at least 1")
    if arguments.cuts:
        return _cut(arguments.workers)
    base = random.SystemRandom().randrange(10**12) if arguments.base is None else arguments.base
    return _soak(base, arguments.count, arguments.workers, arguments.minutes)


def seeds() -> list[int]:
    """Those of :data:`SEEDS`."""
    lines = (line.partition("#")[0].strip() for line in SEEDS.read_text(encoding="utf-8").splitlines())
    return [int(line) for line in lines if line]


def _replay(seed: int, *, verbose: bool, bug: str | None) -> int:
    history: list[str] = []
    error: Broken | None = None
    with planted(bug) if bug else nothing_planted():
        try:
            run(seed, history=history)
        except Broken as broken:
            error = broken
    if verbose:
        print(*history, sep="\n")
    print(f"schedule {seed}: {error or 'all promises were kept'}")
    return 1 if error else 0


def _soak(base: int, count: int, workers: int, minutes: float) -> int:
    print(f"{count:,} schedules from seed {base} on, in {workers} processes", flush=True)
    started, shown, tally = time.monotonic(), 0.0, Tally()
    interrupted = False
    try:
        for tally in run_many(base, count, workers):
            now = time.monotonic()
            if now - shown >= SHOWN_EVERY or tally.schedules == count:
                shown = now
                print(_progress(tally, count, now - started), flush=True)
            if len(tally.failures) >= ENOUGH or now - started >= 60 * minutes:
                break
    except KeyboardInterrupt:
        interrupted = True
    for thing, times in sorted(tally.seen.items()):
        print(f"{times:>10,} x {thing}")
    for failure in tally.failures:
        print(f"schedule {failure.seed}: {failure}")
    print(f"{len(tally.failures)} of {tally.schedules:,} schedules failed, in {time.monotonic() - started:.0f} s")
    if tally.schedules < count:
        print(f"to go on: python {_HERE} --base {base + tally.schedules} --count {count - tally.schedules}")
    if tally.failures:
        print(f"add what failed to {SEEDS.name}, beside this script")
        return 1
    return 130 if interrupted else 0


def _progress(tally: Tally, count: int, seconds: float) -> str:
    rate = tally.schedules / seconds
    left = round((count - tally.schedules) / rate)
    return (
        f"{tally.schedules:>10,} schedules, {len(tally.failures)} failed, {tally.delivered:,} messages, "
        f"{tally.cuts:,} cuts, {rate:,.0f} schedules/s, {left // 60} min {left % 60:02} s to go"
    )


def _cut(workers: int) -> int:
    pairs = list(all_cuts())
    print(f"{len(pairs):,} pairs of cuts", flush=True)
    started = time.monotonic()
    failures = run_all_cuts(pairs, workers)
    print(*failures, sep="\n", end="\n" if failures else "")
    print(f"{len(failures)} of {len(pairs):,} pairs failed, in {time.monotonic() - started:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it so wants to know how far it came, too
    sys.exit(main())
