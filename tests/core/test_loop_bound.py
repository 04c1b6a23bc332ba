"""What belongs to one event loop says so when it is used from another."""

import asyncio
import subprocess
import sys
import threading

import pytest

from kernelwire.errors import WrongLoop
from kernelwire.loop_bound import LoopBound


async def test_its_own_loop_is_accepted() -> None:
    LoopBound().check_loop()


async def test_another_loop_is_refused() -> None:
    bound = LoopBound()
    outcome: list[str] = []

    async def elsewhere() -> None:
        with pytest.raises(WrongLoop) as raised:
            bound.check_loop()
        outcome.append(str(raised.value))

    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    thread.start()
    thread.join()
    assert outcome == ["belongs to another event loop: use it in the loop that opened it"]


def test_no_loop_is_refused() -> None:
    async def make() -> LoopBound:
        return LoopBound()

    bound = asyncio.run(make())
    with pytest.raises(WrongLoop):
        bound.check_loop()


def test_it_cannot_be_made_outside_a_loop() -> None:
    with pytest.raises(RuntimeError):
        LoopBound()


def test_a_forked_child_is_told_of_the_fork() -> None:
    # In a process of its own: a test runner that forks takes its threads' locks with it.
    script = """
import asyncio, os, sys
from kernelwire.errors import WrongLoop
from kernelwire.loop_bound import LoopBound

async def make():
    return LoopBound()

bound = asyncio.run(make())
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    bound.check_loop()
except WrongLoop as error:
    os._exit(0 if "fork" in str(error) else 2)
os._exit(1)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
