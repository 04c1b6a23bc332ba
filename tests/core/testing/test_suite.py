"""The whole kit over one harness: reports, what is known, and claims that are none."""

import dataclasses
import json
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kernelwire.backend import Capabilities
from kernelwire.errors import ConfigurationError, TransportUnavailable, UnknownTransport
from kernelwire.testing import (
    BEHAVIOURS,
    SUITE,
    BackendHarness,
    Behaviour,
    Group,
    Known,
    Level,
    Outcome,
    Pair,
    Status,
    suite,
)
from kernelwire.testing.suite import Report, cases, harness_of, reason, try_all, try_one


async def passes(_pair: Pair, _: Random) -> None:
    pass


async def fails(_pair: Pair, _: Random) -> None:
    raise AssertionError("it is\nbroken")


async def interrupted(_pair: Pair, _: Random) -> None:
    raise KeyboardInterrupt


def behaviour(name: str, check: Any, group: Group = Group.DELIVERY, *requires: str) -> Behaviour:
    return Behaviour(1, name, group, "One.", requires, check)


@pytest.fixture
def behaviours(monkeypatch: pytest.MonkeyPatch) -> list[Behaviour]:
    """A small kit, to be filled by the test."""
    small: list[Behaviour] = [behaviour("one", passes), behaviour("two", passes)]
    monkeypatch.setattr(suite, "BEHAVIOURS", small)
    return small


@pytest.fixture
def harness() -> BackendHarness:
    return BackendHarness("inprocess")


def of(report: Report, name: str) -> Outcome:
    (outcome,) = (each for each in report.worst() if each.behaviour.name == name)
    return outcome


def test_all_pass(behaviours: list[Behaviour], harness: BackendHarness) -> None:
    seen: list[Outcome] = []
    report = try_all(harness, seed=7, repeat=2, on_outcome=seen.append)
    assert report.passed
    assert report.headline == "core 2/2"
    assert [each.seed for each in seen if each.behaviour.name == "one"] == [7, 8]
    assert seen == report.outcomes
    assert (report.transport, report.distribution) == ("inprocess", "kernelwire")
    row = json.loads(json.dumps(report.to_dict()))
    assert row["suite"] == SUITE
    assert row["passed"] is True
    assert row["version"] == row["kernelwire"]
    assert row["capabilities"]["beat"] == "kernel"
    assert row["outcomes"][0] | {"seconds": 0} == {
        "number": 1,
        "name": "one",
        "group": "delivery",
        "level": "core",
        "claims": [],
        "status": "pass",
        "seconds": 0,
        "seed": 7,
        "note": "",
        "error": None,
        "place": None,
    }


def test_one_fails(behaviours: list[Behaviour], harness: BackendHarness) -> None:
    behaviours.append(behaviour("three", fails, Group.RELIABLE))
    report = try_all(harness)
    assert not report.passed
    assert report.headline == "core 2/2 · reliable 0/1"
    assert [each.behaviour.name for each in report.failures] == ["three"]
    assert report.to_dict()["outcomes"][2]["error"] == "AssertionError: it is broken"


def test_what_is_not_claimed(behaviours: list[Behaviour], harness: BackendHarness) -> None:
    behaviours.append(behaviour("three", fails, Group.RELIABLE, "resume"))
    report = try_all(harness)
    assert report.passed
    assert report.headline == "core 2/2 · reliable 0/1 not claimed"
    assert (of(report, "three").status, of(report, "three").note) == (Status.NOT_APPLICABLE, "resume not claimed")
    assert of(report, "no_resume").note.startswith("not verified")


def test_an_undeclared_ability_fails(behaviours: list[Behaviour], harness: BackendHarness) -> None:
    harness.capabilities = dataclasses.replace(harness.capabilities, peer_events=False)
    report = try_all(harness)
    assert report.headline == "core 2/2"
    assert not report.passed
    assert "peer_events" in str(of(report, "no_peer_events").error)


def test_what_is_not_chosen_is_not_run(behaviours: list[Behaviour], harness: BackendHarness) -> None:
    report = try_all(harness, only=["one"])
    assert of(report, "two").status is Status.NOT_RUN
    assert report.headline == "core 1/2 (1 not run)"
    assert not report.passed
    behaviours.append(behaviour("three", passes, Group.REMOTE))
    report = try_all(harness, level=Level.REMOTE)
    assert report.headline == "core 0/2 (2 not run) · remote 1/1"
    assert not report.passed


def test_a_name_that_there_is_not(behaviours: list[Behaviour], harness: BackendHarness) -> None:
    with pytest.raises(ConfigurationError, match="'thre'"):
        try_all(harness, only=["thre"])


def test_an_interruption_ends_it_with_a_report(behaviours: list[Behaviour], harness: BackendHarness) -> None:
    behaviours[0] = behaviour("one", interrupted)
    report = try_all(harness)
    assert {each.status for each in report.worst() if each.behaviour.level is Level.CORE} >= {Status.NOT_RUN}
    assert of(report, "two").note == "interrupted"
    assert not report.passed


def test_a_harness_that_does_not_open(
    behaviours: list[Behaviour], harness: BackendHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness._backend.prepare = lambda info: info  # type: ignore[method-assign]
    report = try_all(harness)
    assert report.headline == "core 0/2 (2 not run)"
    (failure,) = report.failures
    assert (failure.behaviour.name, failure.note) == ("it_opens", "claims serve")
    assert "name" in str(failure.error)
    assert not report.passed


# What is known


def known(harness: BackendHarness, version: str, until: str, monkeypatch: pytest.MonkeyPatch) -> BackendHarness:
    harness.known = {"one": Known("to be mended", until)}
    monkeypatch.setattr(suite, "provided_by", lambda _name: ("it", version))
    return harness


@pytest.mark.parametrize(
    ("version", "until", "status"),
    [("1.9", "2", Status.KNOWN), ("2.0", "2", Status.FAIL), ("10", "9.1", Status.FAIL), ("", "1", Status.KNOWN)],
)
def test_a_known_failure_has_an_end(
    harness: BackendHarness, monkeypatch: pytest.MonkeyPatch, version: str, until: str, status: Status
) -> None:
    outcome = try_one(known(harness, version, until, monkeypatch), behaviour("one", fails))
    assert outcome.status is status
    assert "to be mended" in outcome.note


def test_a_known_failure_that_passes_is_one(harness: BackendHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = try_one(known(harness, "1", "2", monkeypatch), behaviour("one", passes))
    assert outcome.status is Status.FAIL
    assert "unexpected pass" in str(outcome.error)


def test_nothing_of_core_may_be_known(
    behaviours: list[Behaviour], harness: BackendHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviours[0] = behaviour("one", fails)
    report = try_all(known(harness, "1", "2", monkeypatch))
    assert report.headline == "core 1/2 (1 known)"
    assert not report.passed
    behaviours[0] = behaviour("one", fails, Group.RELIABLE)
    assert try_all(harness).passed


@pytest.mark.parametrize(("name", "why", "until"), [("no", "why", "1"), ("one", "", "1"), ("one", "why", "soon")])
def test_what_is_known_must_be_said_in_full(
    behaviours: list[Behaviour], harness: BackendHarness, name: str, why: str, until: str
) -> None:
    harness.known = {name: Known(why, until)}
    with pytest.raises(ConfigurationError, match=repr(name)):
        try_all(harness)
    with pytest.raises(ConfigurationError, match=repr(name)):
        cases(harness)


# Harnesses and claims


def test_cases(harness: BackendHarness) -> None:
    names = {each.name for each in cases(harness)}
    assert names == {each.name for each in BEHAVIOURS if each.applies_to(harness.capabilities)} | {
        "no_resume",
        "no_encrypted",
    }


@pytest.mark.parametrize(
    ("claim", "named"),
    [
        (None, "capabilities"),
        (Capabilities(beat="sometimes"), "beat='sometimes'"),  # type: ignore[arg-type]
        (Capabilities(resume="yes"), "resume='yes'"),  # type: ignore[arg-type]
        (Capabilities(max_message_bytes=0), "max_message_bytes=0"),
    ],
)
def test_a_claim_that_is_none(claim: object, named: str) -> None:
    with pytest.raises(TransportUnavailable, match=named):
        suite.check_claim("mine", claim)


def test_an_unknown_transport() -> None:
    with pytest.raises(UnknownTransport, match="tpc"):
        harness_of("tpc")


HARNESS = """
import dataclasses
from kernelwire.testing import BackendHarness

class Mine(BackendHarness):
    def __init__(self):
        super().__init__("inprocess")

class Modest(BackendHarness):
    def __init__(self):
        super().__init__("inprocess")
        self.capabilities = dataclasses.replace(self.capabilities, signed=False)

class Broken:
    def __init__(self):
        raise OSError("no such\\nserver")

class Odd:
    pass
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Mine", None),
        ("Modest", "signed=False, and its backend True"),
        ("Broken", "no such server"),
        ("Odd", "no kernelwire"),
    ],
)
def test_a_distribution_may_bring_a_harness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str | None
) -> None:
    metadata = tmp_path / "of_mine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: of-mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[kernelwire.harnesses]\ninprocess = my_harness_{name}:{name}\n")
    (tmp_path / f"my_harness_{name}.py").write_text(HARNESS)
    monkeypatch.syspath_prepend(str(tmp_path))
    if says is None:
        assert type(harness_of("inprocess")).__name__ == name
    else:
        with pytest.raises(TransportUnavailable, match=says):
            harness_of("inprocess")


def test_a_reason_is_one_line() -> None:
    group = BaseExceptionGroup("two", [ValueError("a\nb"), ExceptionGroup("one", [KeyError(), ValueError("a b")])])
    assert reason(group) == "ValueError: a b; KeyError"
    assert reason(ExceptionGroup("x", [ValueError("1"), ExceptionGroup("y", [OSError()])])) == "ValueError: 1; OSError"


def test_a_place_is_where_it_was_raised_but_not_in_the_kit() -> None:
    def somewhere() -> None:
        raise OSError("it broke")

    def wrapping() -> None:
        try:
            somewhere()
        except OSError as error:
            raise ExceptionGroup("one", [error]) from None

    for call in (somewhere, wrapping):
        with pytest.raises((OSError, ExceptionGroup)) as info:
            call()
        assert suite.place(info.value).startswith(f"somewhere ({__file__}, line ")
    with pytest.raises(ConfigurationError) as refused:
        try_all(BackendHarness("inprocess"), only=["nothing"])
    assert suite.place(refused.value) == ""
    assert suite.place(OSError("never raised")) == ""


def test_a_pair_that_opens_once_only(behaviours: list[Behaviour], harness: BackendHarness) -> None:
    opened = iter([True, True])
    really = harness.open

    @asynccontextmanager
    async def once() -> Any:
        if not next(opened, False):
            raise OSError("not again")
        async with really() as pair:
            yield pair

    harness.open = once  # type: ignore[method-assign]
    report = try_all(harness)
    assert "not again" in str(of(report, "one").error)
