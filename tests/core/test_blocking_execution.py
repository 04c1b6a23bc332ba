"""Executions that threads wait for, against scripted kernels that another thread serves."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kernelwire.blocking import BlockingKernelClient, connect
from kernelwire.channels import Channel
from kernelwire.errors import ChannelBusy, GapNotice, Incomplete, InvalidMessage, RequestTimeout
from kernelwire.execution import END_OF_INPUT, Execution, InputRequest
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


# Before and after


def test_an_execution_has_no_message_before_it_begins(client: BlockingKernelClient) -> None:
    execution = client.execute("x")
    assert execution._execution is None
    execution.result()
    assert isinstance(execution._execution, Execution)


def test_one_that_nobody_uses_warns_when_it_goes(client: BlockingKernelClient) -> None:
    with pytest.warns(RuntimeWarning, match="code was not sent to the kernel"):
        client.execute("x")


# Time limits


@pytest.mark.parametrize("keep", [True, False])
def test_a_result_that_is_late_may_be_waited_for_again(
    client: BlockingKernelClient, kernel: ThreadedKernel, keep: bool
) -> None:
    execution = client.execute("wait", keep=keep)
    for _ in range(2):
        with pytest.raises(RequestTimeout, match=r"not done within 0\.01 s, and runs on"):
            execution.result(timeout=0.01)
    assert kernel.entered.wait(PATIENCE)
    kernel.go()
    assert execution.result(PATIENCE).text == "waiting"
    assert client.pending == 0


def test_a_limit_that_was_kept_ends_nothing(client: BlockingKernelClient, kernel: ThreadedKernel) -> None:
    execution = client.execute("x")
    assert execution.follow(str, timeout=PATIENCE).text == "x"
    client._driver.loop.time = lambda: 1e9  # type: ignore[method-assign]
    client.kernel_info()
    assert execution.result(timeout=PATIENCE).text == "x"


def test_following_in_time(client: BlockingKernelClient, kernel: ThreadedKernel) -> None:
    execution = client.execute("wait")
    shown: list[Message] = []
    with pytest.raises(RequestTimeout):
        execution.follow(shown.append, timeout=0.5)
    kernel.go()
    assert execution.follow(shown.append).text == "waiting"
    assert texts(shown) == ["waiting"]


def test_what_the_hook_raises_ends_the_following(client: BlockingKernelClient) -> None:
    def fail(_: Message) -> None:
        raise ZeroDivisionError

    execution = client.execute("lines 2")
    with pytest.raises(ZeroDivisionError):
        execution.follow(fail)
    assert execution.result().text == "0\n1\n"


def test_a_gap_ends_the_following_only_when_all_is_shown(client: BlockingKernelClient, kernel: ThreadedKernel) -> None:
    shown: list[Message] = []
    execution = client.execute("wait")

    def show(message: Message) -> None:
        assert execution._execution is not None
        execution._execution.on_gap(GapNotice(2, 10, "a test"))
        shown.append(message)
        kernel.go()

    with pytest.raises(Incomplete, match="2 messages are missing here: a test") as caught:
        execution.follow(show)
    assert texts(shown) == ["waiting"]
    assert caught.value.result.text == "waiting"


# Without stdin


def test_the_kernel_may_not_ask(kernel: ThreadedKernel) -> None:
    with connect(kernel.info, input_hook=str) as client:
        assert client.allow_stdin is True
        for allow_stdin in (True, False):
            client.execute("x", allow_stdin=allow_stdin).result()
            request = kernel.scripted.received[Channel.SHELL][-1]
            assert request.content["allow_stdin"] is allow_stdin
