"""A thread that can be interrupted."""

import asyncio
import concurrent.futures
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from kernelwire_inprocess.worker import Exited, Interrupted, Worker

variable: "contextvars.ContextVar[int]" = contextvars.ContextVar("variable")


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker("kernelwire test")
    yield worker
    assert await worker.close()
    assert not worker._thread.is_alive()


def nothing() -> None:
    pass


async def started(worker: Worker, work: Callable[[threading.Event], Coroutine[Any, Any, Any]]) -> "asyncio.Task[Any]":
    """A call whose work has begun."""
    begun = threading.Event()
    task = asyncio.create_task(worker.call(lambda: work(begun), nothing))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    return task


async def test_results_errors_and_contexts(worker: Worker) -> None:
    async def name() -> tuple[str, int]:
        await asyncio.sleep(0)
        return threading.current_thread().name, variable.get()

    assert await worker.call(name, lambda: variable.set(3)) == ("kernelwire test", 3)

    async def fail() -> None:
        raise LookupError("as asked")

    with pytest.raises(LookupError, match="as asked"):
        await worker.call(fail, nothing)

    async def leave() -> None:
        raise SystemExit(2)

    with pytest.raises(Exited):
        await worker.call(leave, nothing)
    assert await worker.call(name, nothing) == ("kernelwire test", 3)


async def busy(begun: threading.Event) -> None:
    begun.set()
    while True:
        pass


async def busy_between_awaits(begun: threading.Event) -> None:
    begun.set()
    while True:
        await asyncio.sleep(0)


async def waiting(begun: threading.Event) -> None:
    begun.set()
    await asyncio.get_running_loop().create_future()


async def busy_after_a_wait(begun: threading.Event) -> None:
    await asyncio.sleep(0.001)
    await busy(begun)


@pytest.mark.parametrize("work", [busy, busy_between_awaits, waiting, busy_after_a_wait])
async def test_an_interrupt_reaches_what_runs(worker: Worker, work: Any) -> None:
    for _ in range(10):
        task = await started(worker, work)
        while not task.done():  # one is enough, but for the instant between two steps
            worker.interrupt()
            await asyncio.wait([task], timeout=0.05)
        with pytest.raises(Interrupted):
            await task


async def test_work_may_catch_it_and_go_on(worker: Worker) -> None:
    async def catches(begun: threading.Event) -> str:
        try:
            await waiting(begun)
        except KeyboardInterrupt:
            async with asyncio.timeout(10):  # which a cancellation that was left over would disturb
                await asyncio.sleep(0)
            return "caught"
        return "never"

    task = await started(worker, catches)
    worker.interrupt()
    assert await task == "caught"


async def test_an_interrupt_of_nothing_is_nothing(worker: Worker) -> None:
    async def add() -> int:
        return 1 + 1

    for _ in range(200):
        worker.interrupt()
        assert await worker.call(add, nothing) == 2


async def test_interrupts_never_hit_the_worker_itself(worker: Worker) -> None:
    """Interrupts at any moment, of work that is over in an instant."""
    stop = threading.Event()

    def storm() -> None:
        while not stop.wait(0.0005):
            worker.interrupt()

    async def short() -> str:
        for _ in range(20):
            await asyncio.sleep(0)
        return "done"

    thread = threading.Thread(target=storm)
    thread.start()
    ends = {"done": 0, "interrupted": 0}
    try:
        for _ in range(300):
            try:
                ends[await asyncio.wait_for(worker.call(short, nothing), 30)] += 1
            except Interrupted:
                ends["interrupted"] += 1
    finally:
        stop.set()
        thread.join()
    assert sum(ends.values()) == 300
    assert await worker.call(short, nothing) == "done"


async def test_an_interrupt_ends_a_wait(worker: Worker) -> None:
    answer: concurrent.futures.Future[str] = concurrent.futures.Future()

    async def asks(begun: threading.Event) -> str:
        begun.set()
        return worker.wait_for(answer)

    task = await started(worker, asks)
    while worker._answer is None:
        await asyncio.sleep(0.001)
    worker.interrupt()
    with pytest.raises(Interrupted):
        await task
    assert answer.cancelled()


async def test_closing_ends_what_runs_and_what_was_left_behind() -> None:
    worker = Worker("kernelwire test")
    cancelled = threading.Event()

    async def leaves(_begun: threading.Event) -> None:
        async def behind() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                cancelled.set()

        leaves.task = asyncio.create_task(behind())  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        await busy(_begun)

    task = await started(worker, leaves)
    assert await worker.close()
    assert cancelled.is_set()
    with pytest.raises((Interrupted, concurrent.futures.CancelledError)):
        await task
    with pytest.raises(concurrent.futures.CancelledError):
        await worker.call(lambda: waiting(threading.Event()), nothing)


async def test_what_cannot_be_interrupted_ends_when_it_can(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker("kernelwire test")

    async def sleeps(begun: threading.Event) -> None:
        begun.set()
        time.sleep(0.5)

    task = await started(worker, sleeps)
    assert not await worker.close(grace=0.1)
    assert "cannot be interrupted" in caplog.text
    await asyncio.wait([task])
    task.exception()
    worker._thread.join()


async def test_a_stray_exit_does_not_end_the_thread(worker: Worker) -> None:
    async def leaves() -> None:
        asyncio.get_running_loop().call_soon(exit_)

    def exit_() -> None:
        raise SystemExit(1)

    await worker.call(leaves, nothing)

    async def add() -> int:
        return 2

    assert await worker.call(add, nothing) == 2
