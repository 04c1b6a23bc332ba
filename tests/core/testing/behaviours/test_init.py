"""The suite as a whole: its list, and no false alarm."""

from pathlib import Path

import pytest

from kernelwire.testing import BEHAVIOURS, Behaviour, Group, Level, Status, behaviours, run

from ._mutants import BrokenLink, Mutant


def test_every_module_is_part_of_the_suite() -> None:
    folder = Path(behaviours.__file__).parent
    modules = {path.stem for path in folder.glob("[!_]*.py")}
    assert modules == set(behaviours.__all__)
    homes = {each.check.__module__.rpartition(".")[2] for each in BEHAVIOURS}
    assert homes == modules == {group.value for group in Group if group is not Group.CLAIMS}  # those are absences


def test_names_are_unique_and_numbers_in_order() -> None:
    names = [each.name for each in BEHAVIOURS]
    assert len(names) == len(set(names))
    numbers = [each.number for each in BEHAVIOURS]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("each", BEHAVIOURS, ids=lambda each: each.name)
def test_every_behaviour_says_what_it_is(each: Behaviour) -> None:
    assert each.summary.endswith((".", ":"))
    assert each.group == each.check.__module__.rpartition(".")[2]
    assert each.name == getattr(each.check, "__name__", None)


CORE = [each for each in BEHAVIOURS if each.level is Level.CORE]


@pytest.mark.parametrize("each", CORE, ids=lambda each: each.name)
def test_no_false_alarm(each: Behaviour) -> None:
    """For a mutant that is none. The conformance tests try what it is made of; soak.py does so again and again."""
    outcome = run(Mutant(), each)
    assert outcome.status is Status.PASS, str(outcome)


@pytest.mark.parametrize("each", [each for each in BEHAVIOURS if each not in CORE], ids=lambda each: each.name)
def test_no_false_alarm_for_links(each: Behaviour) -> None:
    """For a link that is not broken, and as quick and as small as the broken ones."""
    outcome = run(BrokenLink(lambda _: None), each)
    assert outcome.status is Status.PASS, str(outcome)


@pytest.mark.parametrize("each", BEHAVIOURS, ids=lambda each: each.name)
def test_levels_say_what_they_require(each: Behaviour) -> None:
    needed = {Level.CORE: set(), Level.RELIABLE: {"resume"}, Level.REMOTE: {"encrypted"}}[each.level]
    assert needed <= set(each.requires)
    if each.level is Level.CORE:
        assert not {"resume", "encrypted"} & set(each.requires)
