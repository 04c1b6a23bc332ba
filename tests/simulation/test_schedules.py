"""The link under everything that can go wrong, as often as a test run has time for; `make soak` has more."""

import random
from typing import Final

import pytest

from simulation._run import Tally, attempt, run_many
from simulation._scale import applied
from simulation._script import FRAMES, SCALE, Script, all_cuts, run_cuts, run_often_cut
from simulation.soak import seeds

SCHEDULES: Final = 250
"""In each run at least, of other seeds each time; as many more as it takes to see each of :data:`THINGS`."""

PATIENCE: Final = 4_000
"""Schedules in which each must have been seen."""

EACH: Final = 16
"""Of all pairs of cuts one in so many is made in each run, other ones each time; `make soak` makes all."""

THINGS: Final = {
    "BEGIN",
    "RESUME",
    "RESTART",
    "a hello that was held up",
    "a publisher waits",
    "crowded out",
    "expired",
    "gap",
    "goodbye",
    "half a message at a client",
    "half a message at the host",
    "never met",
    "no room at a client",
    "no room at the host",
    "refused: CLOSED",
    "refused: CONFLICT",
    "refused: FULL",
    "refused: OVERFLOW",
    "silence noticed by a client",
    "silence noticed by the host",
    "too much waited",
}
"""What must have happened in so many schedules, or they prove less than they seem to."""


def test_random_schedules_keep_all_promises() -> None:
    base = random.SystemRandom().randrange(10**12)
    print(f"seeds from {base} on")
    tally = Tally()
    for tally in run_many(base, PATIENCE, 2):
        assert not tally.failures, "\n".join(f"schedule {each.seed}: {each}" for each in tally.failures)
        if tally.schedules >= SCHEDULES and set(tally.seen) >= THINGS:
            break
    assert set(tally.seen) >= THINGS, f"seeds from {base} on"


def test_schedules_that_failed_once_do_not_any_more() -> None:
    assert not attempt(seeds()).failures


def test_the_script_is_long_enough() -> None:
    with applied(SCALE):
        script = Script(((10**6, 0),))
        script.run()
    assert script.frames >= FRAMES


def test_two_cuts_anywhere_in_a_script_lose_nothing() -> None:
    pairs = list(all_cuts())
    assert len(pairs) == (2 * FRAMES) ** 2
    random.shuffle(pairs)
    failures = run_cuts(pairs[::EACH])
    assert not failures, "\n".join(failures[:10])


@pytest.mark.parametrize("frames", range(5, 12))
def test_a_wire_that_breaks_all_the_time_lets_everything_pass(frames: int) -> None:
    # A greeting and the first credit take four.
    assert run_often_cut(frames) >= 2
