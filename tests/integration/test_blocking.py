"""The blocking client with a real ipykernel: many threads, Ctrl-C, the end of the interpreter, fork."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kernelwire import blocking

from ._kernels import PATIENCE, RealKernel, real_kernel


@pytest.fixture(params=["tcp", "ipc"])
def kernel(request: pytest.FixtureRequest, runtime: Path) -> Iterator[RealKernel]:
    """A kernel that a loop in another thread looks after."""
    assert runtime
    kernels: list[RealKernel] = []
    started, over = threading.Event(), threading.Event()

    async def keep() -> None:
        try:
            async with real_kernel(request.param) as kernel:
                kernels.append(kernel)
                started.set()
                await asyncio.to_thread(over.wait)
        finally:
            started.set()

    with ThreadPoolExecutor(1) as pool:
        keeping = pool.submit(asyncio.run, keep())
        try:
            assert started.wait(PATIENCE)
            if kernels:
                yield kernels[0]
        finally:
            over.set()
        keeping.result(PATIENCE)


def run(script: str, kernel: RealKernel) -> str:
    """What a script prints in a process of its own; it must say nothing else, and end well."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(kernel.file)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_eight_threads_with_fifty_requests_each(kernel: RealKernel) -> None:
    with blocking.connect(kernel.file) as client:
        client.ready(PATIENCE)

        def use(thread: int) -> int:
            for n in range(25):
                text = f"{thread}-{n}"
                assert client.execute(f"print('{text}', end='')").result().text == text
                assert client.is_complete(f"for x{thread} in y:").content["status"] == "incomplete"
            return thread

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(use, range(8), timeout=2 * PATIENCE)) == list(range(8))
        assert client.pending == 0


def test_a_session(kernel: RealKernel) -> None:
    asked = []

    def hook(question: object) -> str:
        asked.append(str(question))
        return "Ada"

    with blocking.connect(kernel.file, input_hook=hook) as client:
        assert client.ready(PATIENCE).content["implementation"] == "ipython"
        lines = [
            message.content["text"]
            for message in client.execute("print('hello', input('name? '))")
            if message.msg_type == "stream"
        ]
        assert "".join(lines) == "hello Ada\n"
        assert asked == ["name? "]
        assert client.execute("6 * 7").result().data == {"text/plain": "42"}
        assert "print" in client.complete("pri").content["matches"]
        assert client.inspect("print").content["found"] is True
        assert client.comm_info().content["comms"] == {}
        error = client.execute("1 / 0").result().error
        assert error is not None
        assert error[0] == "ZeroDivisionError"
        client.flush(PATIENCE)


def test_ctrl_c_while_an_execution_waits(kernel: RealKernel) -> None:
    script = """
import os, signal, sys, threading
from kernelwire import blocking

with blocking.connect(sys.argv[1]) as client:
    client.ready(60)
    for how in ("result", "iterate"):
        execution = client.execute("import time\\nprint('on', flush=True)\\nwhile True: time.sleep(0.01)")
        assert "execute_input" in next(iter(execution)).msg_type
        press = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        try:
            press.start()
            execution.result() if how == "result" else list(execution)
        except KeyboardInterrupt:
            print("interrupted", end=" ")
        press.join()
        client.interrupt(60)
        print(execution.result().error[0], client.execute("6 * 7").result().data["text/plain"])
"""
    assert run(script, kernel) == "interrupted KeyboardInterrupt 42\n" * 2


@pytest.mark.parametrize("doing", ["pass", "next(iter(client.execute('import time; time.sleep(0.3)')))"])
def test_the_interpreter_ends_with_an_open_client(kernel: RealKernel, doing: str) -> None:
    script = f"""
import sys
from kernelwire import blocking
client = blocking.connect(sys.argv[1])
client.ready(60)
{doing}
print("the end")
"""
    assert run(script, kernel) == "the end\n"


def test_a_forked_child_opens_its_own(kernel: RealKernel) -> None:
    script = """
import os, sys
from kernelwire import blocking
from kernelwire.errors import WrongLoop
client = blocking.connect(sys.argv[1])
client.ready(60)
child = os.fork()
if not child:
    try:
        client.kernel_info()
    except WrongLoop:
        with blocking.connect(sys.argv[1]) as own:
            sys.exit(int(own.execute("6 * 7").result().data["text/plain"]))
    sys.exit(1)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), client.execute("'still here'").result().data["text/plain"])
"""
    assert run(script, kernel) == "42 'still here'\n"
