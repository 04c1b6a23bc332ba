"""A loop in a thread of its own."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kernelwire.errors import ChannelClosed, WrongLoop
from kernelwire.loop_thread import LoopThread


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    thread = LoopThread("a test's")
    yield thread
    thread.close()
    assert "a test's" not in {each.name for each in threading.enumerate()}


def test_it_returns_what_the_coroutine_returns(thread: LoopThread) -> None:
    async def double(number: int) -> int:
        return 2 * number

    assert thread.run(double, 21) == 42


def test_it_raises_what_the_coroutine_raises(thread: LoopThread) -> None:
    async def fail() -> None:
        raise ValueError("so it is")

    with pytest.raises(ValueError, match="so it is"):
        thread.run(fail)


def test_several_threads_may_wait_at_once(thread: LoopThread) -> None:
    async def event() -> asyncio.Event:
        return asyncio.Event()

    met = thread.run(event)

    async def come(last: int) -> str:
        if last:
            met.set()
        await met.wait()
        return "met"

    results: list[str] = []
    threads = [threading.Thread(target=lambda last=last: results.append(thread.run(come, last))) for last in (0, 0, 1)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == ["met"] * 3


def test_what_is_given_up_has_ended(thread: LoopThread) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def wait_for_ever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupt() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        thread.run(wait_for_ever)
    assert ended.is_set()


@pytest.mark.parametrize("heard", [True, False], ids=["after", "before"])
def test_what_is_given_up_while_it_is_begun_has_ended(
    thread: LoopThread, monkeypatch: pytest.MonkeyPatch, heard: bool
) -> None:
    """Ctrl-C as it is handed to the loop, when the loop has heard of it or has not."""
    happened: list[str] = []

    async def wait_for_ever() -> None:
        happened.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            happened.append("ended")

    hand_over = thread._loop.call_soon_threadsafe

    def interrupted(*args: Any, **kwargs: Any) -> None:
        monkeypatch.undo()
        if heard:
            hand_over(*args, **kwargs)
            while not happened:
                pass
        raise KeyboardInterrupt

    monkeypatch.setattr(thread._loop, "call_soon_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        thread.run(wait_for_ever)
    assert happened == (["begun", "ended"] if heard else [])


def test_ctrl_c_at_any_time(thread: LoopThread) -> None:
    armed = threading.Semaphore(0)
    rounds = 300

    def press() -> None:
        for _ in range(rounds):
            armed.acquire()
            os.kill(os.getpid(), signal.SIGINT)

    async def turns(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    threading.Thread(target=press, daemon=True).start()
    for n in range(rounds):
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - which of the calls it comes in is anybody's guess
            armed.release()
            while True:
                thread.run(turns, n % 5)
    thread.run(turns, 1)
    assert not asyncio.all_tasks(thread._loop)


async def test_it_is_not_for_code_with_a_loop(thread: LoopThread) -> None:
    with pytest.raises(WrongLoop, match="an event loop runs"):
        thread.run(asyncio.sleep, 0)
    with pytest.raises(WrongLoop, match="an event loop runs"):
        LoopThread("another")


def test_a_closed_one_says_so() -> None:
    thread = LoopThread("a test's")
    thread.close()
    thread.close()
    with pytest.raises(ChannelClosed):
        thread.run(asyncio.sleep, 0)


def test_a_child_process_is_told() -> None:
    thread = LoopThread("a test's")
    try:
        if (pid := os.fork()) == 0:
            try:
                thread.run(asyncio.sleep, 0)
            except WrongLoop:
                thread.close()  # the parent's: nothing happens
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    finally:
        thread.close()
