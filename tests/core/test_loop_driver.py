"""Threads that wait for what happens in one loop, and drive it."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kernelwire.errors import ChannelClosed, WrongLoop
from kernelwire.loop_driver import LoopDriver, Outcome, Wait

PATIENCE = 60.0


async def nothing() -> None:
    pass


@pytest.fixture
def driver() -> Iterator[LoopDriver]:
    driver = LoopDriver()
    yield driver
    driver.close(nothing)
    assert driver.loop.is_closed()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


async def echo(value: int, turns: int = 3) -> int:
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


class Stage:
    """Something to wait for in the loop."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.cancelled = threading.Event()
        self.go = asyncio.Event()

    async def play(self) -> str:
        self.entered.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "played"


def test_what_comes_back(driver: LoopDriver) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    assert driver.run(echo, 1, turns=2) == 1
    with pytest.raises(ZeroDivisionError):
        driver.run(fail)
    assert driver.run(echo, 2) == 2


def test_an_exit_is_the_callers(driver: LoopDriver) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        driver.run(leave)
    assert driver.run(echo, 1) == 1


def test_threads_wait_for_their_own(driver: LoopDriver, pool: ThreadPoolExecutor) -> None:
    values = list(range(800))
    assert list(pool.map(lambda n: driver.run(echo, n, turns=n % 7), values, timeout=PATIENCE)) == values


def test_a_second_thread_wakes_the_first_ones_loop(driver: LoopDriver, pool: ThreadPoolExecutor) -> None:
    stage = Stage()
    leading = pool.submit(driver.run, stage.play)
    assert stage.entered.wait(PATIENCE)
    assert pool.submit(driver.run, echo, 1).result(PATIENCE) == 1
    assert not leading.done()
    driver.call(stage.go.set)
    assert leading.result(PATIENCE) == "played"


def test_the_lead_is_handed_on(driver: LoopDriver, pool: ThreadPoolExecutor) -> None:
    stages = [Stage() for _ in range(8)]
    waits = []
    for stage in stages:
        waits.append(pool.submit(driver.run, stage.play))
        assert stage.entered.wait(PATIENCE)
    for stage, wait in zip(stages, waits, strict=True):  # always the one that leads
        driver.call(stage.go.set)
        assert wait.result(PATIENCE) == "played"


def test_errands_are_done_by_the_waiting_thread_while_others_go_on(
    driver: LoopDriver, pool: ThreadPoolExecutor
) -> None:
    errands: deque[Callable[[], None]] = deque()
    outcome = Outcome[str](errands)
    stage = Stage()
    where = []

    def errand() -> None:
        where.append(threading.get_ident())
        assert pool.submit(driver.run, echo, 1).result(PATIENCE) == 1  # somebody else drives
        assert driver.run(echo, 2) == 2  # or this thread does
        driver.call(stage.go.set)

    async def work() -> str:
        errands.append(errand)
        driver.look(outcome)
        return await stage.play()

    assert driver.run_as(outcome, work) == "played"
    assert where == [threading.get_ident()]


def test_an_errand_that_fails_ends_the_wait(driver: LoopDriver) -> None:
    outcome = Outcome[str](deque([lambda: 1 / 0]))  # type: ignore[list-item]
    stage = Stage()
    with pytest.raises(ZeroDivisionError):
        driver.run_as(outcome, stage.play)
    assert outcome.done
    assert not asyncio.all_tasks(driver.loop)


def test_ctrl_c_ends_the_wait_of_the_main_thread(driver: LoopDriver, pool: ThreadPoolExecutor) -> None:
    handler = signal.getsignal(signal.SIGINT)
    mine, others = Stage(), Stage()

    async def press() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return await mine.play()

    other = pool.submit(driver.run, others.play)
    assert others.entered.wait(PATIENCE)
    for leads in (False, True):
        with pytest.raises(KeyboardInterrupt):
            driver.run(press)
        assert mine.cancelled.is_set()
        assert signal.getsignal(signal.SIGINT) is handler
        if not leads:
            driver.call(others.go.set)
            assert other.result(PATIENCE) == "played"
        mine = Stage()
    assert driver.run(echo, 1) == 1


def test_ctrl_c_before_anything_is_begun(driver: LoopDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def press() -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr("kernelwire.loop_driver.check_no_loop", press)
    with pytest.raises(KeyboardInterrupt):
        driver.run(lambda: pytest.fail("begun"))
    assert driver.run(echo, 1) == 1


def test_ctrl_c_at_any_time(driver: LoopDriver) -> None:
    # From a thread of its own, so it comes anywhere, but one at a time.
    armed = threading.Semaphore(0)
    rounds = 300

    def press() -> None:
        for _ in range(rounds):
            armed.acquire()
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)  # which a test that failed must not wait for
    thread.start()
    for n in range(rounds):
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - which of the calls it comes in is anybody's guess
            armed.release()
            while True:
                driver.run(echo, 1, turns=n % 5)
    thread.join(PATIENCE)
    assert driver.run(echo, 5) == 5
    assert not asyncio.all_tasks(driver.loop)


def test_a_handler_that_returns_does_not_end_the_wait(driver: LoopDriver) -> None:
    pressed = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append((number, frame is not None)))
    try:
        stage = Stage()

        async def press() -> str:
            os.kill(os.getpid(), signal.SIGINT)
            asyncio.get_running_loop().call_later(0.01, stage.go.set)
            return await stage.play()

        assert driver.run(press) == "played"
        assert pressed == [(signal.SIGINT, True)]
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_where_it_is_ignored(driver: LoopDriver) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:

        async def press() -> int:
            os.kill(os.getpid(), signal.SIGINT)
            return await echo(1)

        assert driver.run(press) == 1
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


async def test_not_where_a_loop_runs() -> None:
    with pytest.raises(WrongLoop, match="asyncio client"):
        LoopDriver()


def test_not_where_another_loop_runs(driver: LoopDriver) -> None:
    async def call() -> None:
        driver.run(nothing)

    with pytest.raises(WrongLoop, match="an event loop runs in this thread"):
        asyncio.run(call())
    with pytest.raises(WrongLoop, match="an event loop runs in this thread"):
        driver.run(call)
    assert driver.run(echo, 1) == 1


def test_closing_ends_the_waits_of_others(driver: LoopDriver, pool: ThreadPoolExecutor) -> None:
    stages = [Stage() for _ in range(4)]
    waits = [pool.submit(driver.run, stage.play) for stage in stages]
    for stage in stages:
        assert stage.entered.wait(PATIENCE)
    driver.close(nothing)
    for wait in waits:
        with pytest.raises(ChannelClosed):
            wait.result(PATIENCE)
    with pytest.raises(ChannelClosed):
        driver.run(nothing)
    assert driver.loop.is_closed()  # by the last thread, which may not have been this one


@pytest.mark.parametrize("times", range(20))
def test_closing_while_others_call(times: int, pool: ThreadPoolExecutor) -> None:
    driver = LoopDriver()
    called = threading.Semaphore(0)

    def call() -> None:
        while True:
            driver.run(echo, times)
            called.release()

    calls = [pool.submit(call) for _ in range(4)]
    for _ in range(times):
        called.acquire()
    driver.close(nothing)
    for each in calls:
        with pytest.raises(ChannelClosed):
            each.result(PATIENCE)
    assert driver.loop.is_closed()


def test_ctrl_c_waits_for_closing() -> None:
    driver = LoopDriver()
    done = []

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        done.append(await echo(1, turns=50))

    with pytest.raises(KeyboardInterrupt):
        driver.close(work)
    assert done == [1]
    assert driver.loop.is_closed()


def test_a_pause_is_told(driver: LoopDriver) -> None:
    resumed: list[Any] = []
    driver.on_resume = lambda: resumed.append(1)
    driver.run(nothing)
    assert not resumed
    driver._driven -= 100
    driver.run(nothing)
    driver.run(nothing)
    assert resumed == [1]


def test_a_wait_that_is_over_takes_no_turn(driver: LoopDriver) -> None:
    wait = Wait()
    wait.done = True
    driver.wait(wait, lambda: pytest.fail("begun"))


def test_a_forked_child_leaves_the_loop_alone() -> None:
    script = """
import asyncio, os, sys, threading
from kernelwire.errors import WrongLoop
from kernelwire.loop_driver import LoopDriver

async def nothing():
    pass

async def begin():
    task = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    return task

driver = LoopDriver()
under_way = driver.run(begin)
child = os.fork()
if not child:
    try:
        driver.run(nothing)
    except WrongLoop as error:
        sys.exit(7 if "fork" in str(error) else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7

entered = threading.Event()
async def wait():
    entered.set()
    await go.wait()

async def wake():
    go.set()

go = asyncio.Event()
other = threading.Thread(target=driver.run, args=(wait,))
other.start()
entered.wait()
driver.run(wake)  # reaches the other thread only if the loop's descriptors still work
other.join()
driver.close(nothing)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
