"""Before the simulator is believed: it finds every bug that is planted, and does the same thing twice."""

from pathlib import Path

import pytest

from simulation import soak
from simulation._checker import Broken
from simulation._mutants import MUTANTS, planted
from simulation._run import attempt, run

PATIENCE = 3_000
"""Schedules in which a planted bug must have been found. Most take less than ten."""


@pytest.mark.parametrize("bug", MUTANTS)
def test_a_planted_bug_is_found(bug: str) -> None:
    with planted(bug):
        assert any(attempt([seed]).failures for seed in range(PATIENCE))


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 10


def test_what_is_planted_is_taken_out_again() -> None:
    for bug in MUTANTS:
        with planted(bug):
            pass
    assert not attempt(range(20)).failures


def test_a_seed_says_all() -> None:
    one: list[str] = []
    other: list[str] = []
    assert run(7, history=one).stage.delivered == run(7, history=other).stage.delivered == run(7).stage.delivered
    assert one == other
    different: list[str] = []
    run(8, history=different)
    assert one != different


def test_a_failure_says_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    bug = "what was handled last is sent again"
    with planted(bug):
        (failure, *_) = attempt(range(50)).failures
    assert f"python tests/simulation/soak.py --seed {failure.seed} --verbose" in str(failure)
    assert soak.main(["--seed", str(failure.seed), "--verbose", "--bug", bug]) == 1
    out = capsys.readouterr().out
    assert "dials: connection 1" in out
    assert failure.error in out


def test_a_schedule_without_failure_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["--seed", "1"]) == 0
    assert capsys.readouterr().out == "schedule 1: all promises were kept\n"


def test_a_soak_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["--base", "0", "--count", "20"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("20 schedules from seed 0 on\n")
    assert out.endswith("0 of 20 schedules failed\n")


def test_seeds_may_have_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "seeds.txt"
    path.write_text("# all\n\n17 # why\n4\n")
    monkeypatch.setattr(soak, "SEEDS", path)
    assert soak.seeds() == [17, 4]


def test_a_crash_is_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(seed: int) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("simulation._run.run", crash)
    assert attempt([3]).failures[0].error.startswith("ZeroDivisionError")


def test_a_broken_promise_says_which() -> None:
    error = Broken("lost", "this")
    assert (error.kind, str(error)) == ("lost", "lost: this")
