"""The class for pytest: what an author writes, and cannot leave out."""

import dataclasses
from random import Random

import pytest

from kernelwire.testing import BEHAVIOURS, BackendHarness, Group, Pair, TransportConformance, suite

pytest_plugins = ["pytester"]

HEAD = """
from kernelwire.testing import BackendHarness, Known, TransportConformance
"""

FEW = [each for each in BEHAVIOURS if each.name in ("round_trip_on_each_channel", "text_is_not_touched")]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "BEHAVIOURS", FEW)


def run(pytester: pytest.Pytester, text: str) -> pytest.RunResult:
    pytester.makepyfile(HEAD + text)
    without = [word for plugin in ("cacheprovider", "asyncio", "hypothesispytest") for word in ("-p", f"no:{plugin}")]
    return pytester.runpytest_inprocess(*without, "-rA")


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


async def fails(_pair: Pair, _: Random) -> None:
    raise AssertionError


@pytest.mark.parametrize(("group", "outcome"), [(Group.RELIABLE, "skipped"), (Group.PAYLOAD, "failed")])
def test_what_is_known_is_shown(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, group: Group, outcome: str
) -> None:
    (broken,) = (dataclasses.replace(each, check=fails, group=group) for each in FEW if "text" in each.name)
    monkeypatch.setattr(suite, "BEHAVIOURS", [broken])
    text = """
class Mine(BackendHarness):
    known = {"text_is_not_touched": Known("to be mended", "99")}

class TestMine(TransportConformance):
    harness = Mine("ipc")
"""
    result = run(pytester, text)
    assert result.parseoutcomes() | {"passed": 5, outcome: 1} == result.parseoutcomes()
    result.stdout.fnmatch_lines(["*until 99: to be mended*"])


NAMES = ["test_behaviour", "pytest_generate_tests", "pytestmark", "_made", "anything"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_can_be_left_out(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        type("TestMine", (TransportConformance,), {"harness": BackendHarness("inprocess"), name: lambda _self: None})


@pytest.mark.parametrize("name", NAMES)
def test_nothing_can_be_left_out_by_a_mixin(name: str) -> None:
    mixin = type("Mixin", (), {name: lambda _self: None})
    with pytest.raises(TypeError, match=name):
        type("TestMine", (mixin, TransportConformance), {"harness": BackendHarness("inprocess")})


def test_a_harness_claims_what_its_backend_does(pytester: pytest.Pytester) -> None:
    text = """
import dataclasses

class Modest(BackendHarness):
    def __init__(self):
        super().__init__("ipc")
        self.capabilities = dataclasses.replace(self.capabilities, signed=False)

class TestMine(TransportConformance):
    harness = Modest
"""
    result = run(pytester, text)
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(["*signed=False*"])
