"""As many schedules as you like, or one of them again with all that happened in it."""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # from wherever it is run

from simulation._checker import Broken
from simulation._mutants import MUTANTS, nothing_planted, planted
from simulation._run import Tally, run, run_many

SEEDS = Path(__file__).with_name("seeds.txt")
"""Seeds of schedules that failed once."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="run this schedule alone")
    parser.add_argument("--verbose", action="store_true", help="with --seed: print what happened")
    parser.add_argument("--bug", choices=sorted(MUTANTS), metavar="NAME", help="with --seed: plant this bug before")
    parser.add_argument("--count", type=int, default=1_000_000, help="schedules to run (default: 1,000,000)")
    parser.add_argument("--base", type=int, help="the first one's seed (default: any)")
    arguments = parser.parse_args(argv)
    if arguments.seed is not None:
        return _replay(arguments.seed, verbose=arguments.verbose, bug=arguments.bug)
    base = random.SystemRandom().randrange(10**12) if arguments.base is None else arguments.base
    return _soak(base, arguments.count)


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


def _soak(base: int, count: int) -> int:
    print(f"{count:,} schedules from seed {base} on")
    started, shown, tally = time.monotonic(), 0.0, Tally()
    for tally in run_many(base, count):
        now = time.monotonic()
        if tally.failures:
            break
        if now - shown >= 5 or tally.schedules == count:
            shown = now
            rate = tally.schedules / (now - started)
            print(
                f"{tally.schedules:>10,} schedules, {tally.delivered:,} messages, {tally.cuts:,} cuts, "
                f"{rate:,.0f} schedules/s",
                flush=True,
            )
    for thing, times in sorted(tally.seen.items()):
        print(f"{times:>10,} x {thing}")
    for failure in tally.failures:
        print(f"schedule {failure.seed}: {failure}")
    print(f"{len(tally.failures)} of {tally.schedules:,} schedules failed")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
