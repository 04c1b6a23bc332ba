"""``kernelwire check``: what it prints, and its exit code."""

import json
from random import Random
from typing import Any

import pytest

from kernelwire.cli import INTERRUPTED, OK, RAISED, UNUSABLE, main
from kernelwire.testing import BEHAVIOURS, Behaviour, Group, Known, Pair, suite
from kernelwire.testing.harness import Harness

FEW = [each for each in BEHAVIOURS if each.name in ("round_trip_on_each_channel", "text_is_not_touched")]


async def fails(_pair: Pair, _: Random) -> None:
    raise AssertionError("it is broken")


def broken(*requires: str, group: Group = Group.RELIABLE) -> Behaviour:
    return Behaviour(99, "a_broken_one", group, "One.", requires, fails)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[Behaviour]:
    behaviours = list(FEW)
    monkeypatch.setattr(suite, "BEHAVIOURS", behaviours)
    return behaviours


def test_a_transport_that_passes(few: list[Behaviour], capsys: pytest.CaptureFixture[str]) -> None:
    few.append(broken("resume"))
    assert main(["check", "inprocess"]) == OK
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first == "core 2/2 · reliable 0/1 not claimed"
    assert second.startswith("transport inprocess (kernelwire ")
    assert "PASS    round_trip_on_each_channel (" in err
    assert "N/A     no_resume (" in err


def test_a_failure_can_be_replayed(few: list[Behaviour], capsys: pytest.CaptureFixture[str]) -> None:
    few.append(broken("peer_events"))
    assert main(["check", "inprocess", "--seed", "7"]) == RAISED
    out = capsys.readouterr().out
    assert "FAIL a_broken_one (claims peer_events): AssertionError: it is broken\n" in out
    assert "kernelwire check inprocess --only a_broken_one --seed 7\n" in out


def test_only_some(few: list[Behaviour], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "ipc", "--only", "text_is_not_touched", "--repeat", "3"]) == RAISED
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "core 1/2 (1 not run)"
    assert err.count("PASS    text_is_not_touched") == 3
    assert "round_trip" not in err
    assert main(["check", "ipc", "--level", "reliable"]) == RAISED
    assert capsys.readouterr().out.splitlines()[0] == "core 0/2 (2 not run)"


def test_json(few: list[Behaviour], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "ipc", "--json"]) == OK
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True
    assert report["summary"] == "core 2/2"
    assert {row["status"] for row in report["outcomes"]} == {"pass", "n/a"}
    few.append(broken())
    assert main(["check", "ipc", "--json"]) == RAISED
    report = json.loads(capsys.readouterr().out)
    assert report["outcomes"][2]["error"] == "AssertionError: it is broken"


def test_a_failure_says_where_it_came_from(
    few: list[Behaviour], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def release(_backend: Any, _info: Any) -> None:
        raise OSError("it broke")

    monkeypatch.setattr("kernelwire_zmq.IpcBackend.release", release)
    few.append(broken())
    assert main(["check", "ipc", "--only", "a_broken_one", "--traceback"]) == RAISED
    out, err = capsys.readouterr()
    assert f"     at: release ({__file__}, line " in out
    assert "in release\n" in err
    assert "N/A" not in err


def test_ctrl_c(few: list[Behaviour], capsys: pytest.CaptureFixture[str]) -> None:
    async def interrupted(_pair: Pair, _: Random) -> None:
        raise KeyboardInterrupt

    few[:0] = [Behaviour(99, "an_interrupted_one", Group.PAYLOAD, "One.", (), interrupted)]
    assert main(["check", "inprocess"]) == INTERRUPTED
    assert capsys.readouterr().out.startswith("core 0/3 (3 not run)")


def test_what_is_known(
    few: list[Behaviour], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few.append(broken())
    monkeypatch.setattr(Harness, "known", {"a_broken_one": Known("to be mended", "99")})
    assert main(["check", "ipc"]) == OK
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "core 2/2 · reliable 0/1 (1 known)"
    assert "KNOWN a_broken_one: until 99: to be mended" in out


def test_a_pair_that_does_not_open(
    few: list[Behaviour], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(_backend: Any, _info: Any) -> None:
        raise OSError("no\nserver")

    monkeypatch.setattr("kernelwire_zmq.IpcBackend.prepare", prepare)
    assert main(["check", "ipc"]) == RAISED
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "core 0/2 (2 not run)"
    assert "FAIL it_opens: claims serve: OSError: no server" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tpc"], "'tcp'"),
        (["tcp", "--only", "nothing"], "'nothing'"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *arguments]) == UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kernelwire: ")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--seed", "x"], ["--repeat", "0"], ["--level", "all"]])
def test_an_argument_that_is_none(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["check", "tcp", *arguments])
    assert exit_.value.code == UNUSABLE
