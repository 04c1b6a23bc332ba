"""One context, counted."""

import asyncio
import os
import threading

import pytest
import zmq

from kernelwire_zmq import contexts
from kernelwire_zmq.contexts import SharedContext


async def test_made_with_the_first_and_terminated_with_the_last() -> None:
    shared = SharedContext()
    first = shared.acquire()
    assert shared.acquire() is first
    await shared.release()
    assert not first.closed
    await shared.release()
    assert first.closed
    second = shared.acquire()
    assert second is not first
    await shared.release()
    assert second.closed


async def test_release_waits_for_the_sockets_without_stopping_the_loop() -> None:
    shared = SharedContext()
    context = shared.acquire()
    socket = context.socket(zmq.PAIR)
    releasing = asyncio.create_task(shared.release())
    await asyncio.sleep(0)
    assert not releasing.done()
    socket.close(0)
    await releasing
    assert context.closed
    assert not any("kernelwire" in thread.name for thread in threading.enumerate())


async def test_a_cancelled_release_still_terminates() -> None:
    shared = SharedContext()
    context = shared.acquire()
    socket = context.socket(zmq.PAIR)
    releasing = asyncio.create_task(shared.release())
    await asyncio.sleep(0)
    releasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await releasing
    thread = next(t for t in threading.enumerate() if t.name == "kernelwire zmq termination")
    socket.close(0)
    await asyncio.to_thread(thread.join)
    assert context.closed


def test_the_loop_may_be_gone_by_then() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.PAIR)

    async def release_and_leave() -> None:
        task = asyncio.create_task(contexts._terminate(context))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(release_and_leave())
    thread = next(t for t in threading.enumerate() if t.name == "kernelwire zmq termination")
    socket.close(0)
    thread.join()
    assert context.closed


def test_users_in_many_threads() -> None:
    shared = SharedContext()
    base = shared.acquire()
    got: list[object] = []

    def use() -> None:
        got.append(shared.acquire())
        asyncio.run(shared.release())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [base] * 8
    asyncio.run(shared.release())
    assert base.closed


async def test_a_forked_child_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SharedContext()
    parents = shared.acquire()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        childs = shared.acquire()
        assert childs is not parents
        await shared.release()
    assert not parents.closed
    parents.term()
