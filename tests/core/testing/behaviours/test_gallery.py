"""Every mutant of the gallery is killed, by the behaviour that it names, and the page lists them all."""

from pathlib import Path

import pytest

from kernelwire.testing import BEHAVIOURS, Status, leaks
from kernelwire.testing.absences import ABSENCES, Undeclared
from kernelwire.testing.suite import try_one

from ._gallery import GALLERY, Broken, table
from ._mutants import _flat

PAGE = Path(__file__).parents[4] / "docs/reference/mutants.md"
ALL = {each.name: each for each in (*BEHAVIOURS, *ABSENCES.values())}


@pytest.mark.parametrize("mutant", GALLERY, ids=lambda each: each.what)
def test_it_is_killed(mutant: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_PATIENCE", 0.1)
    outcome = try_one(mutant.make(), ALL[mutant.killed_by], watchdog=mutant.watchdog)
    assert outcome.status is Status.FAIL, f"{mutant.killed_by} let it live"
    assert outcome.error is not None
    assert any(isinstance(each, (mutant.by, Undeclared)) for each in _flat(outcome.error)), str(outcome)


def test_there_are_enough() -> None:
    assert len({each.what for each in GALLERY}) == len(GALLERY) >= 20


def test_the_page_lists_them() -> None:
    assert table() in PAGE.read_text(encoding="utf-8")
