"""The blocking client, against scripted kernels that another thread serves."""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from kernelwire import blocking
from kernelwire import client as async_client
from kernelwire.blocking import BlockingKernelClient, connect
from kernelwire.blocking_comm import BlockingComm
from kernelwire.blocking_execution import BlockingExecution
from kernelwire.channels import Channel
from kernelwire.client import KernelClient
from kernelwire.comms import Comm
from kernelwire.connection_file import ConnectionFile
from kernelwire.errors import (
    ChannelClosed,
    ConnectionFileNotFound,
    KernelDied,
    NotSupported,
    RequestTimeout,
    WrongLoop,
)
from kernelwire.execution import Execution
from kernelwire.messages import Message

from ._threaded_kernel import PATIENCE, ThreadedKernel, texts


@pytest.fixture(params=["tcp", "ipc"])
def kernel(request: pytest.FixtureRequest) -> Iterator[ThreadedKernel]:
    kernel = ThreadedKernel(request.param)
    yield kernel
    kernel.stop()


@pytest.fixture
def client(kernel: ThreadedKernel) -> Iterator[BlockingKernelClient]:
    with connect(kernel.info) as client:
        client.ready(PATIENCE)
        yield client


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


# It is the same client


def public(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_")}


METHODS = sorted(name for name in public(KernelClient) if inspect.isfunction(getattr(KernelClient, name)))


def test_it_has_what_the_async_client_has() -> None:
    # What the other keeps as an attribute, does by `async with`, or gives away only where its loop runs.
    assert public(BlockingKernelClient) - public(KernelClient) == {"call_soon", "close", "is_beating", "session"}
    assert public(KernelClient) - public(BlockingKernelClient) == {"heartbeat"}


def test_so_have_its_comms_and_executions() -> None:
    assert public(BlockingComm) == public(Comm) - {"on_message", "on_close"}
    assert public(BlockingExecution) == {"result", "follow"}
    for asynchronous, blocks in ((Comm, BlockingComm), (Execution, BlockingExecution)):
        assert hasattr(asynchronous, "__aiter__") == hasattr(blocks, "__iter__")
        assert hasattr(asynchronous, "__aenter__") == hasattr(blocks, "__enter__")


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_those_of_the_async_client(name: str) -> None:
    ours, its = getattr(BlockingKernelClient, name), getattr(KernelClient, name)
    assert ours.__doc__
    assert not inspect.iscoroutinefunction(ours)
    parameters = [(each.name, each.kind, each.default) for each in inspect.signature(ours).parameters.values()]
    assert parameters == [(each.name, each.kind, each.default) for each in inspect.signature(its).parameters.values()]
    assert ours.__qualname__ == f"BlockingKernelClient.{name}"


def test_connect_has_the_arguments_of_the_async_one() -> None:
    ours, its = (inspect.signature(each).parameters for each in (connect, async_client.connect))
    assert [(each.name, each.default) for each in ours.values()] == [(each.name, each.default) for each in its.values()]


# Requests


def test_requests(client: BlockingKernelClient) -> None:
    assert client.kernel_info().content["implementation"] == "scripted"
    assert client.complete("ab", timeout=PATIENCE).content["matches"] == ["ab_completed"]
    assert client.history(n=3, pattern="x", hist_access_type="search").content["ename"] == "NotImplementedError"
    assert client.interrupt().content["status"] == "ok"
    assert client.shutdown(restart=True).content["restart"] is True
    assert client.request("vendor_request", {"a": 1}).msg_type == "vendor_reply"
    client.flush()
    assert client.pending == 0


def test_by_connection_file(kernel: ThreadedKernel, tmp_path: Any) -> None:
    with ConnectionFile.write(kernel.info, tmp_path / "kernel.json") as file, connect(str(file.path)) as client:
        assert client.kernel_info().msg_type == "kernel_info_reply"


def test_what_cannot_be_connected(tmp_path: Any) -> None:
    before = psutil.Process().num_fds()
    with pytest.raises(ConnectionFileNotFound):
        connect(tmp_path / "none.json")
    assert psutil.Process().num_fds() == before
    assert not blocking._open


def test_a_time_limit(client: BlockingKernelClient, kernel: ThreadedKernel, pool: ThreadPoolExecutor) -> None:
    running = pool.submit(client.execute("wait").result)
    assert kernel.entered.wait(PATIENCE)
    with pytest.raises(RequestTimeout):
        client.kernel_info(timeout=0.01)
    kernel.go()
    assert running.result(PATIENCE).text == "waiting"
    client.kernel_info()


def test_some_channels_only(kernel: ThreadedKernel) -> None:
    with connect(kernel.info, channels={Channel.CONTROL}, input_hook=str) as client:
        assert client.interrupt(PATIENCE).content["status"] == "ok"
        assert client.allow_stdin is False
        with pytest.raises(NotSupported, match="shell"):
            client.kernel_info()
        with pytest.raises(NotSupported, match="hb"):
            assert client.is_beating
        rest(client)  # after which a heartbeat would be looked at anew
        client.interrupt(PATIENCE)
    with connect(kernel.info, channels=set(Channel) - {Channel.STDIN}, input_hook=str) as client:
        assert client.execute("x").result().text == "x"
        assert client.execute_interactive("x", output_hook=str).text == "x"
        with pytest.raises(NotSupported, match="stdin"):
            client.execute("x", input_hook=str).result()


def test_what_it_knows(client: BlockingKernelClient) -> None:
    client.flush()
    client._driver.run(client._client.heartbeat.wait_beating)
    assert client.is_beating is True
    assert client.allow_stdin is False
    assert client.broken is None
    assert client.session.message("x").header["session"] == client.session.session_id


def test_all_requests_are_ended(client: BlockingKernelClient, kernel: ThreadedKernel, pool: ThreadPoolExecutor) -> None:
    running = pool.submit(client.execute("wait").result)
    assert kernel.entered.wait(PATIENCE)
    client.end_requests(KernelDied("somebody knows better"))
    with pytest.raises(KernelDied, match="knows better"):
        running.result(PATIENCE)
    kernel.go()
    client.kernel_info()


# Interactively


def test_output_is_shown_and_questions_are_answered(
    client: BlockingKernelClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: prompt.upper())
    assert client.execute_interactive("lines 3").status == "ok"
    assert client.execute_interactive("ask name?").text == "got NAME?"
    result = client.execute_interactive("fail")
    assert result.error is not None
    assert capsys.readouterr() == ("0\n1\n2\ngot NAME?", "ZeroDivisionError('division by zero')\n")


def test_hooks_are_called_here(client: BlockingKernelClient) -> None:
    shown: list[Message] = []
    client.execute_interactive("ask name?", output_hook=shown.append, input_hook=lambda asked: asked.prompt.upper())
    assert texts(shown) == ["got NAME?"]


# Ctrl-C


def press_ctrl_c(kernel: ThreadedKernel, pool: ThreadPoolExecutor) -> "Future[None]":
    """Once the script waits."""

    def press() -> None:
        assert kernel.entered.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)

    kernel.entered.clear()
    return pool.submit(press)


@pytest.mark.parametrize("how", ["result", "iterate"])
def test_ctrl_c_ends_the_wait_and_nothing_else(
    client: BlockingKernelClient, kernel: ThreadedKernel, pool: ThreadPoolExecutor, how: str
) -> None:
    execution = client.execute("wait")
    press_ctrl_c(kernel, pool)
    with pytest.raises(KeyboardInterrupt):
        execution.result() if how == "result" else list(execution)
    assert client.interrupt().content["status"] == "ok"
    other = pool.submit(client.execute("other").result)
    kernel.go()
    assert other.result(PATIENCE).text == "other"
    assert execution.result().text == "waiting"
    assert client.pending == 0


def test_ctrl_c_leaves_the_waits_of_other_threads(
    client: BlockingKernelClient, kernel: ThreadedKernel, pool: ThreadPoolExecutor
) -> None:
    running = pool.submit(client.execute("wait").result)
    assert kernel.entered.wait(PATIENCE)
    queued = [pool.submit(client.kernel_info) for _ in range(4)]
    pressing = press_ctrl_c(kernel, pool)
    kernel.entered.set()
    with pytest.raises(KeyboardInterrupt):
        client.complete("behind it")
    pressing.result(PATIENCE)
    kernel.go()
    assert running.result(PATIENCE).status == "ok"
    for each in queued:
        assert each.result(PATIENCE).msg_type == "kernel_info_reply"


# Threads


def test_eight_threads_on_one_client(client: BlockingKernelClient, pool: ThreadPoolExecutor) -> None:
    def use(thread: int) -> None:
        for n in range(20):
            text = f"{thread}-{n}"
            assert client.complete(text).content["matches"] == [text + "_completed"]
            assert client.execute(text).result().text == text
            assert texts(client.execute(text)) == [text]

    for using in [pool.submit(use, thread) for thread in range(8)]:
        using.result(PATIENCE)
    assert client.pending == 0


def test_a_client_in_a_plain_thread(kernel: ThreadedKernel, pool: ThreadPoolExecutor) -> None:
    def use() -> Message:
        with connect(kernel.info) as client:
            return client.kernel_info()

    assert pool.submit(use).result(PATIENCE).content["status"] == "ok"


def test_after_other_loops(kernel: ThreadedKernel) -> None:
    asyncio.run(asyncio.sleep(0))
    with connect(kernel.info) as client:
        client.kernel_info()
        asyncio.run(asyncio.sleep(0))
        client.kernel_info()


def test_where_a_loop_runs(client: BlockingKernelClient, kernel: ThreadedKernel) -> None:
    async def use() -> None:
        with pytest.raises(WrongLoop, match=r"kernelwire\.connect"):
            client.kernel_info()
        with pytest.raises(WrongLoop, match=r"kernelwire\.connect"):
            client.execute("x").result()
        with pytest.raises(WrongLoop, match=r"kernelwire\.connect"):
            connect(kernel.info)
        with pytest.raises(WrongLoop, match=r"kernelwire\.connect"):
            client.close()
        loop = asyncio.get_running_loop()
        assert (await loop.run_in_executor(None, client.kernel_info)).content["status"] == "ok"

    asyncio.run(use())
    client.kernel_info()


# The heartbeat


def rest(client: BlockingKernelClient) -> None:
    """As if nobody had called for long: what the loop was to do by then is due at once."""
    driver = client._driver
    clock = driver.loop.time
    driver.loop.time = lambda: clock() + 1000  # type: ignore[method-assign]


def test_a_pause_is_not_held_against_the_kernel(client: BlockingKernelClient, kernel: ThreadedKernel) -> None:
    client.flush()
    client._driver.run(client._client.heartbeat.wait_beating)
    kernel.beat(False)  # so that a beat is under way and unanswered
    client._client.heartbeat._interval = 0
    while not client._client.heartbeat._channel._waiting:  # type: ignore[attr-defined]
        client.kernel_info()
    rest(client)
    for _ in range(20):  # each lets the time limit of that beat go by
        assert client.kernel_info().content["status"] == "ok"
    kernel.beat(True)
    client._driver.run(client._client.heartbeat.wait_beating)


def test_a_kernel_that_dies_during_a_call(kernel: ThreadedKernel) -> None:
    with connect(kernel.info, time_to_dead=0.2) as client:
        client.ready(PATIENCE)
        client._client.heartbeat._interval = 0.01
        client._driver.run(client._client.heartbeat.wait_beating)
        execution = client.execute("wait")
        next(iter(execution))
        kernel.beat(False)
        with pytest.raises(KernelDied):
            execution.result()
        kernel.go()


# The end


def test_nothing_is_left(kernel: ThreadedKernel) -> None:
    def use() -> None:
        with connect(kernel.info) as client:
            client.execute("lines 3").result()
            next(iter(client.execute("lines 100")))
            next(iter(client.execute("wait")))

    kernel.go()
    use()
    before = psutil.Process().num_fds(), set(threading.enumerate())
    for _ in range(10):
        use()
    assert (psutil.Process().num_fds(), set(threading.enumerate())) == before
    assert not blocking._open


def test_closed(client: BlockingKernelClient, kernel: ThreadedKernel, pool: ThreadPoolExecutor) -> None:
    waits: list[Future[Any]] = [
        pool.submit(client.execute("wait").result),
        pool.submit(list[Message], client.execute("x")),
    ]
    assert kernel.entered.wait(PATIENCE)
    client.close()
    client.close()
    for wait in waits:
        with pytest.raises(ChannelClosed):
            wait.result(PATIENCE)
    with pytest.raises(ChannelClosed):
        client.kernel_info()
    with pytest.raises(ChannelClosed):
        list(client.execute("x"))
    kernel.go()


@contextmanager
def elsewhere(kernel: ThreadedKernel, tmp_path: Any, *options: str) -> Iterator[Callable[[str], str]]:
    """Runs scripts in a process of their own."""
    with ConnectionFile.write(kernel.info, tmp_path / "kernel.json") as file:

        def run(script: str) -> str:
            done = subprocess.run(
                [sys.executable, *options, "-c", script, str(file.path)],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "")
            return done.stdout

        yield run


OPEN = """
import os, sys, threading
from kernelwire.blocking import connect
client = connect(sys.argv[1])
client.ready(60)
"""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("", id="open"),
        pytest.param("messages = iter(client.execute('wait')); next(messages)", id="iterating"),
        pytest.param("execution = client.execute('lines 3'); execution.result()", id="executed"),
        pytest.param(
            """
entered = threading.Event()
def wait():
    for _ in client.execute('wait'):
        entered.set()
threading.Thread(target=wait, daemon=True).start()
entered.wait()
threading.excepthook = lambda args: None  # the wait's end, which comes in time or not
""",
            id="another thread waits",
        ),
        pytest.param("client.close()", id="closed"),
    ],
)
def test_the_interpreter_ends(kernel: ThreadedKernel, tmp_path: Any, script: str) -> None:
    with elsewhere(kernel, tmp_path, "-W", "error") as run:
        assert run(OPEN + script + "\nprint('the end')") == "the end\n"
    kernel.go()


def test_a_forked_child(kernel: ThreadedKernel, tmp_path: Any) -> None:
    script = """
from kernelwire.errors import WrongLoop
messages = iter(client.execute("lines 100"))
next(messages)
sys.stdout.flush()
child = os.fork()
if not child:
    with client:
        for call in (client.kernel_info, client.execute("x").result):
            try:
                call()
            except WrongLoop as error:
                assert "fork" in str(error)
            else:
                os._exit(1)
    with connect(sys.argv[1]) as own:
        assert own.kernel_info().content["status"] == "ok"
    sys.exit(7)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), len(list(messages)), client.execute("still here").result().text)
"""
    with elsewhere(kernel, tmp_path) as run:
        assert run(OPEN + script) == "7 99 still here\n"
