"""The kit: outcomes, the watchdog, leaks, seeds."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from random import Random

import pytest

from kernelwire.backend import Capabilities
from kernelwire.errors import WrongLoop
from kernelwire.testing import (
    BackendHarness,
    Behaviour,
    Group,
    Hanging,
    LeftBehind,
    Level,
    Outcome,
    Pair,
    Status,
    kit,
    leaks,
    run,
    summary,
)
from kernelwire.testing.kit import Check


@pytest.fixture
def harness() -> BackendHarness:
    return BackendHarness("inprocess")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_PATIENCE", 0.1)
    monkeypatch.setattr(kit, "_GRACE", 0.02)


def behaviour(check: Check, *requires: str) -> Behaviour:
    return Behaviour(99, "a_behaviour", Group.DELIVERY, "A behaviour.", requires, check)


async def passes(pair: Pair, _chance: Random) -> None:
    await pair.connect()


async def fails(_pair: Pair, _chance: Random) -> None:
    raise AssertionError("it is broken")


async def for_ever(_pair: Pair, _chance: Random) -> None:
    await asyncio.get_running_loop().create_future()


# Outcomes


def test_pass(harness: BackendHarness) -> None:
    outcome = run(harness, behaviour(passes))
    assert (outcome.status, outcome.error) == (Status.PASS, None)
    assert outcome.seconds >= 0
    assert str(outcome).startswith("99 pass a_behaviour (")
    assert "\n" not in str(outcome)


def test_fail(harness: BackendHarness) -> None:
    outcome = run(harness, behaviour(fails), seed=7)
    assert outcome.status is Status.FAIL
    assert isinstance(outcome.error, AssertionError)
    assert "seed 7" in str(outcome)
    assert "it is broken" in str(outcome)
    assert "in fails" in str(outcome)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), OSError("odd"), TimeoutError("the transport's own")])
def test_any_error_is_a_failure(harness: BackendHarness, error: BaseException) -> None:
    async def check(_pair: Pair, _chance: Random) -> None:
        raise error

    outcome = run(harness, behaviour(check))
    assert outcome.status is Status.FAIL
    assert isinstance(outcome.error, type(error))


def test_a_user_may_interrupt(harness: BackendHarness) -> None:
    async def check(_pair: Pair, _chance: Random) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(harness, behaviour(check))


def test_an_interrupted_behaviour_leaves_nothing_and_says_nothing(
    harness: BackendHarness, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def interrupted() -> None:
        raise KeyboardInterrupt

    async def check(_pair: Pair, _chance: Random) -> None:
        loops.append(asyncio.get_running_loop())
        async with asyncio.TaskGroup() as tasks:  # which raises it again, as many do that wait for others
            tasks.create_task(interrupted())

    with pytest.raises(KeyboardInterrupt):
        run(harness, behaviour(check))
    gc.collect()
    assert loops[0].is_closed()
    assert (caplog.records, capsys.readouterr()) == ([], ("", ""))


def test_a_harness_that_does_not_open(harness: BackendHarness) -> None:
    harness._backend.prepare = lambda info: info  # type: ignore[method-assign]
    outcome = run(harness, behaviour(passes))
    assert outcome.status is Status.FAIL
    assert "name" in str(outcome.error)


def test_not_applicable(harness: BackendHarness) -> None:
    harness.capabilities = Capabilities(signed=False, beat="none")
    for requires in (["signed"], ["beat"], ["multi_client", "signed"]):
        outcome = run(harness, behaviour(fails, *requires))
        assert (outcome.status, outcome.error) == (Status.NOT_APPLICABLE, None)
    harness.capabilities = Capabilities(beat="peer")
    assert run(harness, behaviour(fails, "signed", "beat")).status is Status.FAIL


def test_it_needs_a_loop_of_its_own(harness: BackendHarness) -> None:
    async def main() -> None:
        run(harness, behaviour(passes))

    with pytest.raises(WrongLoop):
        asyncio.run(main())


# The watchdog


def test_what_hangs(harness: BackendHarness) -> None:
    outcome = run(harness, behaviour(for_ever), watchdog=0.05)
    assert outcome.status is Status.FAIL
    assert isinstance(outcome.error, Hanging)
    assert "0.05 s" in str(outcome.error)


@pytest.mark.usefixtures("impatient")
def test_what_hangs_and_swallows_its_cancellation(harness: BackendHarness) -> None:
    give_up = threading.Event()

    async def check(_pair: Pair, _chance: Random) -> None:
        while not give_up.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    outcome = run(harness, behaviour(check), watchdog=0.05)
    give_up.set()
    assert isinstance(outcome.error, Hanging)
    assert run(harness, behaviour(passes)).status is Status.PASS  # and nothing of it disturbs the next


def test_what_takes_its_time_is_not_hanging(harness: BackendHarness) -> None:
    async def check(_pair: Pair, _chance: Random) -> None:
        await asyncio.sleep(0.05)

    assert run(harness, behaviour(check)).status is Status.PASS


def test_what_blocks_the_loop_is_interrupted_and_named(
    harness: BackendHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(_pair: Pair, _chance: Random) -> None:
        time.sleep(1000)

    async def again(_pair: Pair, _chance: Random) -> None:
        for _ in range(2):
            try:
                time.sleep(1000)
            except Exception:  # noqa: BLE001 - as a careless retry would do
                continue

    monkeypatch.setattr(kit, "_BLOCKED", 0.2)
    for each in (check, again):
        outcome = run(harness, behaviour(each), watchdog=0.3)
        assert isinstance(outcome.error, Hanging)
        assert f"{each.__name__} (" in str(outcome.error)
        assert "test_kit.py, line" in str(outcome.error)
    assert run(harness, behaviour(passes)).status is Status.PASS


# Leaks


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["task", "thread", "descriptor", "child"])
def test_what_is_left_behind(harness: BackendHarness, kind: str) -> None:
    stop = threading.Event()
    opened: list[int] = []
    children: list[subprocess.Popen[bytes]] = []
    tasks: list[asyncio.Task[None]] = []

    async def check(pair: Pair, chance: Random) -> None:
        match kind:
            case "task":
                tasks.append(asyncio.create_task(for_ever(pair, chance), name="a task for ever"))
            case "thread":
                threading.Thread(target=stop.wait, name="a thread for ever").start()
            case "descriptor":
                opened.append(os.open(os.devnull, os.O_RDONLY))
            case _:
                children.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))

    outcome = run(harness, behaviour(check))
    stop.set()
    for descriptor in opened:
        os.close(descriptor)
    for child in children:
        child.communicate(b"\n")
    assert isinstance(outcome.error, LeftBehind)
    expected = {
        "task": "a task for ever",
        "thread": "a thread for ever",
        "descriptor": "/dev/null",
        "child": "children: ",
    }
    assert expected[kind] in str(outcome.error)


def test_what_ends_a_little_later_is_not_left_behind(harness: BackendHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernelwire.testing.leaks._PATIENCE", 60.0)  # a machine may be busy

    async def check(_pair: Pair, _chance: Random) -> None:
        asyncio.get_running_loop().call_later(0.05, lambda: None)
        tasks.append(asyncio.create_task(asyncio.sleep(0.05)))

    tasks: list[asyncio.Task[None]] = []
    assert run(harness, behaviour(check)).status is Status.PASS


# Seeds


def test_a_seed_replays(harness: BackendHarness) -> None:
    seen: list[list[float]] = []

    async def check(_pair: Pair, chance: Random) -> None:
        seen.append([chance.random() for _ in range(5)])

    first = run(harness, behaviour(check))
    run(harness, behaviour(check), seed=first.seed)
    other = run(harness, behaviour(check))
    assert seen[0] == seen[1]
    assert other.seed != first.seed
    assert seen[2] != seen[0]


# Levels


def outcome(group: Group, status: Status) -> Outcome:
    return Outcome(Behaviour(99, "a_behaviour", group, "A behaviour.", (), passes), status, 0.0, 0)


def test_the_level_follows_from_the_group() -> None:
    levels = {group: outcome(group, Status.PASS).behaviour.level for group in Group}
    assert levels[Group.RELIABLE] is Level.RELIABLE
    assert levels[Group.REMOTE] is Level.REMOTE
    assert {level for group, level in levels.items() if group not in (Group.RELIABLE, Group.REMOTE)} == {Level.CORE}


def test_a_summary_counts_by_level() -> None:
    outcomes = [outcome(Group.DELIVERY, Status.PASS), outcome(Group.SIGNING, Status.NOT_APPLICABLE)]
    assert summary(outcomes) == "core 1/1"
    outcomes += [outcome(Group.RELIABLE, Status.PASS), outcome(Group.RELIABLE, Status.FAIL)]
    outcomes += [outcome(Group.REMOTE, Status.NOT_APPLICABLE)]
    assert summary(outcomes) == "core 1/1 · reliable 1/2 · remote 0/1 not claimed"


# The list


def test_a_behaviour_joins_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "BEHAVIOURS", list(kit.BEHAVIOURS))
    before = len(kit.BEHAVIOURS)

    @kit.behaviour(5, Group.HEARTBEAT, "beat")
    async def something_new(_pair: Pair, _chance: Random) -> None:
        """One line.

        And another.
        """

    assert len(kit.BEHAVIOURS) == before + 1
    (added,) = (each for each in kit.BEHAVIOURS if each.name == "something_new")
    assert (added.number, added.group, added.summary, tuple(added.requires)) == (
        5,
        Group.HEARTBEAT,
        "One line.",
        ("beat",),
    )
    assert added.check is something_new
    assert [each.number for each in kit.BEHAVIOURS] == sorted(each.number for each in kit.BEHAVIOURS)
