"""The class for pytest: what an author writes, and cannot leave out."""

from pathlib import Path
from typing import Any

import pytest

from kernelwire.testing import BackendHarness, TransportConformance
from kernelwire.testing.suite import cases

pytest_plugins = ["pytester"]

HEAD = """
import asyncio
from kernelwire.testing import BackendHarness, Known, TransportConformance, suite

FEW = [each for each in suite.BEHAVIOURS if each.name in ("round_trip_on_each_channel", "text_is_not_touched")]
suite.BEHAVIOURS = FEW
"""


class TestInProcess(TransportConformance):
    harness = BackendHarness("inprocess")


def run(pytester: pytest.Pytester, text: str) -> pytest.RunResult:
    pytester.makepyfile(HEAD + text)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rA")


@pytest.mark.parametrize("harness", ['BackendHarness("ipc")', 'type("H", (BackendHarness,), {"__init__": make})'])
def test_it_runs_them(pytester: pytest.Pytester, harness: str) -> None:
    made = 'make = lambda self: BackendHarness.__init__(self, "ipc")\n'
    result = run(pytester, f"{made}class TestMine(TransportConformance):\n    harness = {harness}\n")
    result.assert_outcomes(passed=2 + 5)
    result.stdout.fnmatch_lines(["*test_behaviour[[]text_is_not_touched[]]*", "*test_behaviour[[]no_peer_events[]]*"])


def test_a_failure_is_shown(pytester: pytest.Pytester) -> None:
    text = """
harness = BackendHarness("ipc")
harness._backend.release = lambda info: (_ for _ in ()).throw(OSError("it broke"))

class TestMine(TransportConformance):
    harness = harness
"""
    result = run(pytester, text)
    assert result.parseoutcomes()["failed"] >= 2
    result.stdout.fnmatch_lines(["*it broke*"])


@pytest.mark.parametrize(("group", "outcome"), [("RELIABLE", "skipped"), ("PAYLOAD", "failed")])
def test_what_is_known_is_shown(pytester: pytest.Pytester, group: str, outcome: str) -> None:
    text = """
class Mine(BackendHarness):
    known = {"text_is_not_touched": Known("to be mended", "99")}

async def fails(pair, chance):
    raise AssertionError

import dataclasses
from kernelwire.testing import Group
(broken,) = (dataclasses.replace(each, check=fails) for each in FEW if "text" in each.name)
suite.BEHAVIOURS = [dataclasses.replace(broken, group=Group.GROUP)]

class TestMine(TransportConformance):
    harness = Mine("ipc")
"""
    result = run(pytester, text.replace("Group.GROUP", f"Group.{group}"))
    assert result.parseoutcomes() | {"passed": 5, outcome: 1} == result.parseoutcomes()
    result.stdout.fnmatch_lines(["*until 99: to be mended*"])


@pytest.mark.parametrize("name", ["test_behaviour", "pytest_generate_tests", "pytestmark", "_made", "anything"])
def test_nothing_can_be_left_out(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        type("TestMine", (TransportConformance,), {"harness": BackendHarness("inprocess"), name: lambda _self: None})


def test_all_cases_are_there(request: pytest.FixtureRequest) -> None:
    items: list[Any] = request.session.items
    collected = {item.callspec.id for item in items if item.path == Path(__file__) and item.cls is TestInProcess}
    assert collected in (set(), {each.name for each in cases(BackendHarness("inprocess"))})
