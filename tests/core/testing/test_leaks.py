"""What a test may have left behind, and what it has not."""

import asyncio
import os
import subprocess
import sys
import threading

import pytest

from kernelwire.testing import Resources, leaks


async def test_nothing_is_nothing() -> None:
    before = Resources.now()
    assert before.left_behind(Resources.now()) == []
    assert await before.settled() == []


async def test_what_went_is_not_left() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    before = Resources.now()
    os.close(descriptor)
    assert before.left_behind(Resources.now()) == []


async def test_a_task_is_left_until_it_ends() -> None:
    before = Resources.now()
    event = asyncio.Event()
    task = asyncio.create_task(event.wait(), name="waits")
    (left,) = before.left_behind(Resources.now())
    assert left.startswith("tasks: waits: Event.wait")
    await asyncio.sleep(0)  # a task that goes on is the same task
    assert before.left_behind(Resources.now()) == [left]
    event.set()
    assert await before.settled() == []
    await task


async def test_a_thread_is_left_until_it_ends() -> None:
    before = Resources.now()
    event = threading.Event()
    thread = threading.Thread(target=event.wait, name="waits")
    thread.start()
    (left,) = before.left_behind(Resources.now())
    assert left.startswith("threads: waits")
    event.set()
    thread.join()
    assert before.left_behind(Resources.now()) == []


async def test_a_descriptor_is_left_until_it_is_closed() -> None:
    before = Resources.now()
    reading, writing = os.pipe()
    left = before.left_behind(Resources.now())
    assert len(left) == 2
    assert all(each.startswith("descriptors: ") for each in left)
    os.close(reading)
    os.close(writing)
    assert before.left_behind(Resources.now()) == []


async def test_another_file_behind_the_same_number_is_another() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    before = Resources.now()
    os.close(descriptor)
    other = os.open(os.path.sep, os.O_RDONLY)
    assert other == descriptor
    assert len(before.left_behind(Resources.now())) == 1
    os.close(other)


async def test_a_child_is_left_until_it_is_waited_for() -> None:
    before = Resources.now()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert f"children: {child.pid}" in before.left_behind(Resources.now())
        child.communicate(b"\n")
    assert before.left_behind(Resources.now()) == []


async def test_what_stays_is_given_some_time_and_then_told(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Resources.now()
    task = asyncio.create_task(asyncio.Event().wait(), name="stays")
    with monkeypatch.context() as patch:
        patch.setattr(leaks, "_PATIENCE", 0.05)
        (left,) = await before.settled()
    assert "stays" in left
    task.cancel()
    assert await before.settled() == []
