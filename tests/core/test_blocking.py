"""The blocking client, against scripted kernels that another thread serves."""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from kernelwire import blocking, registry
from kernelwire.blocking import BlockingExecution, BlockingKernelClient, connect
from kernelwire.client import KernelClient
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile
from kernelwire.ends import KernelEnd
from kernelwire.errors import (
    ChannelBusy,
    ChannelClosed,
    ConnectionFileNotFound,
    InvalidMessage,
    KernelDied,
    RequestTimeout,
    WrongLoop,
)
from kernelwire.execution import END_OF_INPUT, Execution, InputRequest
from kernelwire.messages import Message
from kernelwire.session import Session
from kernelwire.testing import Run, ScriptedKernel

PATIENCE = 60.0


class ThreadedKernel:
    """A scripted kernel that a thread serves.

    Its script does as the code says: ``lines N``, ``ask PROMPT``, ``fail``, ``wait`` (until `go`), else it prints it.
    """

    def __init__(self, transport: str) -> None:
        self.entered = threading.Event()
        self._served: Future[tuple[asyncio.AbstractEventLoop, KernelEnd]] = Future()
        self._backend = registry.load(transport)
        self.info = self._backend.prepare(ConnectionInfo(transport=transport, key=b"a key for these tests"))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="scripted kernel")
        self._thread.start()
        self.loop, self.end = self._served.result(PATIENCE)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the kernel's loop, and wait until it has been."""
        called = threading.Event()

        def run() -> None:
            function(*args)
            called.set()

        self.loop.call_soon_threadsafe(run)
        assert called.wait(PATIENCE)

    def go(self) -> None:
        self.call(self._go.set)

    def beat(self, beating: bool) -> None:
        self.call(setattr, self.end, "beating", beating)

    def stop(self) -> None:
        self.call(self._stop.set)
        self._thread.join(PATIENCE)
        self._backend.release(self.info)

    async def _serve(self) -> None:
        self._go, self._stop = asyncio.Event(), asyncio.Event()
        async with await self._backend.serve(self.info) as end, ScriptedKernel(end, Session.of(self.info), self._run):
            self._served.set_result((asyncio.get_running_loop(), end))
            await self._stop.wait()

    async def _run(self, run: Run) -> Mapping[str, Any] | None:
        match run.code.split():
            case ["lines", number]:
                for n in range(int(number)):
                    await run.stream(f"{n}\n")
            case ["ask", prompt]:
                await run.stream("got " + await run.input(prompt))
            case ["fail"]:
                raise ZeroDivisionError("division by zero")
            case ["wait"]:
                await run.stream("waiting")
                self.entered.set()
                await self._go.wait()
            case _:
                await run.stream(run.code)
        return None


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


def texts(execution: BlockingExecution) -> list[str]:
    return [str(message.content["text"]) for message in execution]


# It is the same client


def public(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(public(BlockingKernelClient) - {"close", "pending"}))
def test_methods_are_those_of_the_async_client(name: str) -> None:
    ours, its = getattr(BlockingKernelClient, name), getattr(KernelClient, name)
    assert ours.__doc__
    assert not inspect.iscoroutinefunction(ours)
    parameters = [(each.name, each.kind, each.default) for each in inspect.signature(ours).parameters.values()]
    assert parameters == [(each.name, each.kind, each.default) for each in inspect.signature(its).parameters.values()]
    assert ours.__qualname__ == f"BlockingKernelClient.{name}"


def test_no_request_is_left_out() -> None:
    comms = {"open_comm", "on_comm_open"}  # they live in the loop between calls
    requests = {name for name in public(KernelClient) if inspect.iscoroutinefunction(getattr(KernelClient, name))}
    assert requests - comms <= public(BlockingKernelClient)


def test_connect_has_the_arguments_of_the_async_one() -> None:
    from kernelwire.client import connect as async_connect

    assert list(inspect.signature(connect).parameters) == list(inspect.signature(async_connect).parameters)


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


# Executions


def test_output_as_it_comes(client: BlockingKernelClient, kernel: ThreadedKernel) -> None:
    execution = client.execute("wait")
    messages = iter(execution)
    assert next(messages).content["text"] == "waiting"
    kernel.go()
    assert list(messages) == []
    assert list(execution) == []
    assert execution.result().text == "waiting"


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("read", [0, 1, 64, 65, 500])
def test_first_iterate_then_the_result(client: BlockingKernelClient, read: int, keep: bool) -> None:
    execution = client.execute("lines 500", keep=keep)
    seen = [str(message.content["text"]) for message, _ in zip(execution, range(read), strict=False)]
    expected = [f"{n}\n" for n in range(500)]
    assert seen == expected[:read]
    result = execution.result()
    assert result.status == "ok"
    if keep:
        assert result.text == "".join(expected)
    else:
        # zip has taken one more than it gave
        assert result.text == "".join(expected[read + 1 :])


def test_the_result_alone(client: BlockingKernelClient) -> None:
    assert client.execute("lines 300").result().text.splitlines() == [str(n) for n in range(300)]
    assert client.execute("fail").result().error == (
        "ZeroDivisionError",
        "division by zero",
        ["ZeroDivisionError('division by zero')"],
    )


def test_what_cannot_be_sent(client: BlockingKernelClient) -> None:
    wrong: Any = 5
    with pytest.raises(InvalidMessage):
        client.execute(wrong).result()
    with pytest.raises(InvalidMessage):
        list(client.execute("1", user_expressions={"a": wrong}))
    assert client.execute("x").result().text == "x"


def test_one_reader_at_a_time(client: BlockingKernelClient, kernel: ThreadedKernel, pool: ThreadPoolExecutor) -> None:
    execution = client.execute("wait")
    reading = pool.submit(execution.result)
    assert kernel.entered.wait(PATIENCE)
    with pytest.raises(ChannelBusy):
        next(iter(execution))
    kernel.go()
    assert reading.result(PATIENCE).status == "ok"


# Input hooks


def test_a_plain_hook_is_called_by_the_waiting_thread(client: BlockingKernelClient, pool: ThreadPoolExecutor) -> None:
    asked: list[tuple[InputRequest, int]] = []

    def hook(question: InputRequest) -> str:
        asked.append((question, threading.get_ident()))
        # The client may be used meanwhile: here and elsewhere.
        assert pool.submit(client.interrupt).result(PATIENCE).content["status"] == "ok"
        client.interrupt()
        return "Ada"

    assert client.execute("ask name?", input_hook=hook).result().text == "got Ada"
    assert texts(client.execute("ask name?", input_hook=hook)) == ["got Ada"]
    assert asked == [(InputRequest("name?", password=False), threading.get_ident())] * 2


def test_the_builtin_input_is_a_hook(kernel: ThreadedKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = []

    def typed(prompt: object) -> str:
        prompts.append(str(prompt))  # as input() prints it
        return "Ada"

    with connect(kernel.info, input_hook=typed) as client:
        assert client.execute("ask name?").result().text == "got Ada"
    assert prompts == ["name?"]


def test_an_awaitable_answer(client: BlockingKernelClient) -> None:
    async def hook(question: InputRequest) -> str:
        return question.prompt.upper()

    assert client.execute("ask name?", input_hook=hook).result().text == "got NAME?"


@pytest.mark.parametrize("error", [EOFError, ZeroDivisionError, StopIteration])
def test_a_hook_that_fails_is_the_end_of_input(client: BlockingKernelClient, error: type[Exception]) -> None:
    def hook(_: InputRequest) -> str:
        raise error

    assert client.execute("ask name?", input_hook=hook).result().text == "got " + END_OF_INPUT


def test_ctrl_c_at_the_prompt(client: BlockingKernelClient) -> None:
    def hook(_: InputRequest) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on")

    with pytest.raises(KeyboardInterrupt):
        client.execute("ask name?", input_hook=hook).result()
    assert client.interrupt().content["status"] == "ok"


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
        pytest.param("client.execute('a'); execution = client.execute('lines 3'); execution.result()", id="executed"),
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


def test_an_execution_has_no_message_before_it_begins(client: BlockingKernelClient) -> None:
    execution = client.execute("x")
    assert execution._execution is None
    execution.result()
    assert isinstance(execution._execution, Execution)
