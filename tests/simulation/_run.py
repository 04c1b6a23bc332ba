"""Schedules by the number, in as many processes as there are cores to spare."""

import gc
import multiprocessing
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from simulation._checker import Broken
from simulation._plan import draw
from simulation._scale import applied
from simulation._world import CUTS, MESSAGES, World

WORKERS: Final = 2
_BATCH: Final = 100


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


def run_many(base: int, count: int) -> Iterator[Tally]:
    """The schedules of so many seeds from `base` on; gives what has come of all so far, again and again."""
    batches = [range(first, min(first + _BATCH, base + count)) for first in range(base, base + count, _BATCH)]
    total = Tally()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context, initializer=_collect_less) as pool:
        try:
            for tally in pool.map(attempt, batches):
                total.add(tally)
                yield total
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _collect_less() -> None:
    """Schedules make much that lives as long as they do: to look for garbage all the time costs a sixth."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
