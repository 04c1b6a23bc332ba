"""Processes by number and time: the one that was meant, or none."""

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from kernelwire import processes as module
from kernelwire.processes import ProcessIdentity, RunningProcess, until

# A parent that is asked for nothing more, and one child of it in its group.
TWO = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print(child.pid, flush=True)
time.sleep(1000)
"""


@pytest.fixture(params=["proc", "ps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As Linux tells, and as other systems do."""
    module._system.cache_clear()
    if request.param == "ps":
        monkeypatch.setattr(module, "_PROC", Path("/nowhere"))
    yield
    module._system.cache_clear()


def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", "1000"], start_new_session=True)


def identity(pid: int) -> ProcessIdentity:
    found = ProcessIdentity.of(pid)
    assert found is not None
    return found


@pytest.mark.usefixtures("way")
def test_identity() -> None:
    child = sleeper()
    try:
        one = identity(child.pid)
        assert one == identity(child.pid)
        assert one.is_here
        assert one.is_running
        assert identity(os.getpid()).is_running
        # The same number, at another time, or elsewhere.
        assert not dataclasses.replace(one, began=one.began + "0").is_running
        elsewhere = dataclasses.replace(one, system="another")
        assert not elsewhere.is_here
        assert not elsewhere.is_running
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not one.is_running  # though its parent has not looked yet
        assert ProcessIdentity.of(child.pid) is None
    finally:
        child.kill()
        child.wait()
    assert ProcessIdentity.of(child.pid) is None


def test_a_name_that_looks_like_more(tmp_path: Path) -> None:
    odd = tmp_path / "a) R (b"
    odd.symlink_to("/bin/sleep")
    child = subprocess.Popen([odd, "1000"])
    try:
        assert identity(child.pid).began.isdigit()
        assert identity(child.pid).is_running
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def family() -> Iterator[tuple["subprocess.Popen[bytes]", ProcessIdentity]]:
    """A leader of a group, and the other member of that."""
    with subprocess.Popen([sys.executable, "-c", TWO], stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        try:
            yield parent, identity(int(parent.stdout.readline()))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)


Family = tuple["subprocess.Popen[bytes]", ProcessIdentity]


async def test_signals_reach_it_and_its_group(family: Family) -> None:
    parent, child = family
    running = RunningProcess(identity(parent.pid), group=True)
    assert running.poll() is None
    assert running.signalled == 0
    running.terminate()
    assert await running.wait() == 0
    assert running.poll() == 0
    assert running.signalled == signal.SIGTERM
    assert parent.wait() == -signal.SIGTERM
    await until(lambda: not child.is_running)
    await running.forgotten()


async def test_what_is_left_of_a_group(family: Family) -> None:
    parent, child = family
    running = RunningProcess(identity(parent.pid), group=True)
    running.end_group()  # nothing: it has not ended
    alone = RunningProcess(identity(parent.pid))
    assert running.poll() is None
    alone.kill()
    parent.wait()
    alone.end_group()
    assert child.is_running
    running.end_group()
    await until(lambda: not child.is_running)
    await running.forgotten()


async def test_another_process_of_that_number_is_left_alone() -> None:
    child = sleeper()
    try:
        before = dataclasses.replace(identity(child.pid), began="0")
        running = RunningProcess(before, group=True)
        assert running.poll() == 0
        assert await running.wait() == 0
        running.kill()
        running.end_group()
        await running.forgotten()
        assert running.signalled == 0
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


async def test_there_is_nothing_to_hold() -> None:
    running = RunningProcess(identity(os.getpid()))
    running.abandon()
    assert running.stderr == ""


async def test_a_parent_that_does_not_look_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BURIAL", 0.05)
    child = sleeper()
    running = RunningProcess(identity(child.pid), group=True)
    child.kill()
    await running.wait()
    await running.forgotten()
    assert psutil.pid_exists(child.pid)
    child.wait()


@pytest.mark.parametrize("way_to_know", ["told", "looks"])
async def test_waiting_for_its_end(way_to_know: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way_to_know == "looks":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    child = sleeper()
    process = RunningProcess(identity(child.pid))
    waiting = asyncio.create_task(process.wait())
    given_up = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    given_up.cancel()
    assert not waiting.done()
    child.kill()
    async with asyncio.timeout(60):
        assert await waiting == 0
    child.wait()
    assert await process.wait() == 0  # at once
