"""Before the simulator is believed: it finds every bug that is planted, and does the same thing twice."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulation import soak
from simulation._checker import Broken
from simulation._mutants import MUTANTS, planted
from simulation._run import Failure, Tally, attempt, run

PATIENCE = 3_000
"""Schedules in which a planted bug must have been found. Most take less than ten."""

HINTS = (171, 148, 65, 35)
"""Seeds that found what is hardest to find, when they were written down here: to be quick, and for no other reason."""


@pytest.mark.parametrize("bug", MUTANTS)
def test_a_planted_bug_is_found(bug: str) -> None:
    with planted(bug):
        assert any(attempt([seed]).failures for seed in (*range(8), *HINTS, *range(8, PATIENCE)))


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
    assert soak.main(["--base", "0", "--count", "20", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("20 schedules from seed 0 on, in 1 processes\n")
    assert "20 schedules, 0 failed" in out
    assert "\n0 of 20 schedules failed, in " in out
    assert "to go on" not in out


def test_a_soak_that_is_ended_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["--base", "0", "--count", "1000", "--workers", "1", "--minutes", "0"]) == 0
    out = capsys.readouterr().out
    assert "0 of 50 schedules failed" in out
    assert out.endswith("to go on: python tests/simulation/soak.py --base 50 --count 950\n")


def test_a_soak_that_is_interrupted_says_what_it_did(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: int) -> Iterator[Tally]:
        yield Tally(schedules=7, failures=[Failure(3, "lost: this")])
        raise KeyboardInterrupt

    monkeypatch.setattr(soak, "run_many", interrupted)
    assert soak.main(["--base", "0", "--count", "20"]) == 1
    out = capsys.readouterr().out
    assert "schedule 3: lost: this\nto see it again: python tests/simulation/soak.py --seed 3 --verbose" in out
    assert "--base 7 --count 13" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_soak_that_is_killed_says_how_to_go_on(number: signal.Signals) -> None:
    command = [sys.executable, str(soak.__file__), "--base", "0", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(number)
        out, errors = process.communicate()
    assert "schedules/s" in first[1]
    assert "to go on: python tests/simulation/soak.py --base" in out
    assert errors == ""
    assert process.returncode == 130


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--workers", "0"], ["--count", "many"]])
def test_a_soak_of_nothing_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        soak.main(arguments)


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
