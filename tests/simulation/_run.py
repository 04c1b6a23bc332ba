"""Schedules by the number, in as many processes as there are cores to spare."""

import gc
import multiprocessing
import random
import signal
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from simulation._checker import Broken
from simulation._plan import draw
from simulation._scale import applied
from simulation._script import Cut, run_cuts
from simulation._world import CUTS, MESSAGES, World

_BATCH: Final = 50


class Failure(NamedTuple):
    """A schedule in which a promise was broken."""

    seed: int
    error: str

    def __str__(self) -> str:
        return f"{self.error}\nto see it again: python tests/simulation/soak.py --seed {self.seed} --verbose"


@dataclass
class Tally:
    """What came of some schedules.

    Attributes:
        schedules: how many.
        delivered: messages.
        cuts: connections that broke.
        seen: how often each thing happened that may or may not.
        failures: those in which a promise was broken.
    """

    schedules: int = 0
    delivered: int = 0
    cuts: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Count others too."""
        self.schedules += other.schedules
        self.delivered += other.delivered
        self.cuts += other.cuts
        self.seen += other.seen
        self.failures += other.failures


def run(seed: int, *, history: list[str] | None = None) -> World:
    """One schedule.

    Arguments:
        seed: from which all of it follows.
        history: where to write down what happens, if it is wanted.

    Raises:
        Broken: a promise was.
    """
    rng = random.Random(seed)
    plan = draw(rng)
    with applied(plan.scale):
        world = World(plan, rng, history=history)
        world.run()
    assert world.stage.delivered >= MESSAGES
    assert world.stage.cuts >= CUTS
    return world


def attempt(seeds: Iterable[int]) -> Tally:
    """Several, in this process. Whatever is raised is a failure."""
    tally = Tally()
    for seed in seeds:
        tally.schedules += 1
        try:
            stage = run(seed).stage
        except Exception as error:  # noqa: BLE001 - whatever it is
            text = str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
            tally.failures.append(Failure(seed, text))
        else:
            tally.delivered += stage.delivered
            tally.cuts += stage.cuts
            tally.seen += stage.seen
    return tally


def run_many(base: int, count: int, workers: int) -> Iterator[Tally]:
    """The schedules of so many seeds from `base` on; gives what has come of them so far, again and again."""
    batches = (range(first, min(first + _BATCH, base + count)) for first in range(base, base + count, _BATCH))
    total = Tally()
    with _pool(workers) as pool:
        # Not all at once: a million of them are many, and who waits for the first should not wait for all.
        under_way = deque(pool.submit(attempt, batch) for batch in islice(batches, 4 * workers))
        try:
            while under_way:
                total.add(under_way.popleft().result())
                under_way += (pool.submit(attempt, batch) for batch in islice(batches, 1))
                yield total
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def run_all_cuts(pairs: Sequence[tuple[Cut, Cut]], workers: int) -> list[str]:
    """What failed of these."""
    batches = [list(pairs[start : start + 200]) for start in range(0, len(pairs), 200)]
    with _pool(workers) as pool:
        return [failure for batch in pool.map(run_cuts, batches) for failure in batch]


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_collect_less)


def _collect_less() -> None:
    """Schedules make much that lives as long as they do: to look for garbage all the time costs a sixth."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever has started it ends it
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
