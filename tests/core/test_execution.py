"""An execution by itself: the test plays the client that feeds it."""

import asyncio
from typing import Any

import pytest

from kernelwire import execution as module
from kernelwire.errors import ChannelBusy, ConnectionLost, GapNotice, KernelDied
from kernelwire.execution import ExecuteResult, Execution
from kernelwire.messages import Message


def message(msg_type: str, **content: object) -> Message:
    return Message({"msg_type": msg_type, "msg_id": "m"}, content=content)


IDLE = message("status", execution_state="idle")
BUSY = message("status", execution_state="busy")
REPLY = message("execute_reply", status="ok", execution_count=1)


class Client:
    """Counts how often the execution was started."""

    def __init__(self, *, keep: bool = True) -> None:
        self.started: list[Execution] = []
        self.failures: list[Exception] = []
        self.unsent = False
        self.execution = Execution(message("execute_request"), self, None, keep=keep)

    def start(self, execution: Execution) -> None:
        if self.failures:
            raise self.failures.pop()
        self.started.append(execution)

    def withdraw(self, execution: Execution) -> bool:
        assert execution is self.execution
        return self.unsent

    def output(self, text: str, size: int = 10) -> None:
        self.execution.on_output(message("stream", name="stdout", text=text), size)


@pytest.fixture
async def client() -> Client:
    return Client()


async def texts(execution: Execution, seen: list[str] | None = None) -> list[str]:
    """All that comes; `seen` has it too, for what ends with an error."""
    seen = [] if seen is None else seen
    async for each in execution:
        seen.append(each.content["text"])
    return seen


async def test_it_is_started_once_and_only_when_wanted(client: Client) -> None:
    assert client.started == []
    waiting = asyncio.create_task(texts(client.execution))
    await asyncio.sleep(0)
    assert client.started == [client.execution]
    client.execution.on_reply(REPLY)
    client.execution.on_output(IDLE, 1)
    await waiting
    await client.execution
    assert len(client.started) == 1


async def test_a_start_that_fails_may_be_tried_again(client: Client) -> None:
    client.failures = [ConnectionLost("once")]
    with pytest.raises(ConnectionLost):
        await client.execution
    client.execution.on_reply(REPLY)
    client.execution.on_output(IDLE, 1)
    assert (await client.execution).status == "ok"


@pytest.mark.parametrize("unsent", [True, False])
async def test_one_that_is_given_up_before_it_was_sent_is_sent_when_it_is_wanted_again(
    client: Client, unsent: bool
) -> None:
    client.unsent = unsent
    waiting = asyncio.create_task(texts(client.execution))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    client.execution.on_reply(REPLY)
    client.execution.on_output(IDLE, 1)
    await client.execution
    assert len(client.started) == (2 if unsent else 1)


@pytest.mark.parametrize(("keep", "expected"), [(True, "ab"), (False, "")])
async def test_what_was_iterated_over_is_kept_unless_it_is_not_wanted(keep: bool, expected: str) -> None:
    client = Client(keep=keep)
    client.output("a")
    client.output("b")
    client.execution.on_reply(REPLY)
    client.execution.on_output(IDLE, 1)
    assert await texts(client.execution) == ["a", "b"]
    assert (await client.execution).text == expected


async def test_over_is_reply_and_idle(client: Client) -> None:
    execution = client.execution
    execution.on_output(BUSY, 1)
    execution.on_reply(REPLY)
    assert not execution.done
    client.output("a")
    execution.on_output(IDLE, 1)
    assert execution.done
    client.output("too late")
    result = await execution
    assert result == ExecuteResult("ok", result.outputs, REPLY)
    assert result.text == "a"


async def test_an_aborted_one_is_over_with_its_reply(client: Client) -> None:
    client.execution.on_reply(message("execute_reply", status="aborted"))
    assert client.execution.done
    assert (await client.execution).status == "aborted"


async def test_a_second_reader_is_refused(client: Client) -> None:
    first = asyncio.create_task(texts(client.execution))
    await asyncio.sleep(0)
    with pytest.raises(ChannelBusy):
        await client.execution
    client.output("a")
    client.execution.on_reply(REPLY)
    client.execution.on_output(IDLE, 1)
    assert await first == ["a"]


async def test_a_gap_stands_where_it_was(client: Client) -> None:
    client.output("a")
    client.execution.on_gap(GapNotice(2, None, "a test"))
    client.output("b")
    client.execution.on_reply(REPLY)
    client.execution.on_output(IDLE, 1)
    seen: list[str] = []
    with pytest.raises(GapNotice):
        await texts(client.execution, seen)
    assert seen == ["a"]
    assert await texts(client.execution) == ["b"]
    assert (await client.execution).text == "ab"


async def test_awaiting_goes_on_after_a_gap(client: Client) -> None:
    client.execution.on_gap(GapNotice(None, None, "a test"))
    client.output("a")
    client.execution.on_reply(REPLY)
    client.execution.on_output(IDLE, 1)
    with pytest.raises(GapNotice, match="unknown number"):
        await client.execution
    assert (await client.execution).text == "a"


async def test_output_that_nobody_reads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GAP_LIMIT", 10_000)
    client = Client()
    for number in range(20):
        client.output(str(number), size=1000)
    client.execution.on_reply(REPLY)
    client.execution.on_output(IDLE, 1)
    with pytest.raises(GapNotice) as caught:
        await client.execution
    assert caught.value.count is not None
    assert caught.value.size == 1000 * caught.value.count
    assert await texts(client.execution) == [str(number) for number in range(caught.value.count, 20)]


async def test_a_failure_comes_after_what_was_there(client: Client) -> None:
    client.output("a")
    client.execution.fail(KernelDied("a test"))
    seen: list[str] = []
    for _ in range(2):
        with pytest.raises(KernelDied):
            await texts(client.execution, seen)
    with pytest.raises(KernelDied):
        await client.execution
    assert seen == ["a"]


async def test_a_failure_after_the_end_changes_nothing(client: Client) -> None:
    client.execution.on_reply(REPLY)
    client.execution.on_output(IDLE, 1)
    client.execution.fail(KernelDied("too late"))
    assert (await client.execution).status == "ok"


async def test_one_that_nobody_uses_warns_when_it_goes() -> None:
    client = Client()
    with pytest.warns(RuntimeWarning, match="code was not sent to the kernel: iterate over its execution, or wait"):
        del client.execution


@pytest.mark.parametrize("begin", ["await", "iterate"])
async def test_one_that_was_begun_does_not_warn(begin: str) -> None:
    client = Client()
    client.failures = [ConnectionLost("a test")]
    with pytest.raises(ConnectionLost):
        await (client.execution if begin == "await" else anext(aiter(client.execution)))
    del client.execution


# Results


def result(*outputs: Message, **reply: object) -> ExecuteResult:
    return ExecuteResult(str(reply.get("status", "ok")), outputs, message("execute_reply", **reply))


def test_text_is_standard_output_alone() -> None:
    outputs = (
        message("stream", name="stdout", text="a"),
        message("stream", name="stderr", text="-"),
        message("display_data", data={"text/plain": "-"}),
        message("stream", name="stdout", text="b"),
        message("stream", name="stdout"),
    )
    assert result(*outputs).text == "ab"


@pytest.mark.parametrize(
    ("outputs", "data"),
    [
        ([], None),
        ([message("display_data", data={"text/plain": "no"})], None),
        ([message("execute_result", data={"text/plain": "1"})], {"text/plain": "1"}),
        ([message("execute_result", data={"a/b": 1}), message("execute_result", data={"a/b": 2})], {"a/b": 2}),
        ([message("execute_result")], {}),
        ([message("execute_result", data=None)], {}),
    ],
)
def test_data_is_the_last_result(outputs: list[Message], data: dict[str, Any] | None) -> None:
    assert result(*outputs).data == data


@pytest.mark.parametrize(("count", "expected"), [(3, 3), (None, None), ("3", None)])
def test_the_execution_count(count: object, expected: int | None) -> None:
    assert result(execution_count=count).execution_count == expected
    assert result().execution_count is None


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"status": "ok", "ename": "E"}, None),
        ({"status": "aborted"}, None),
        ({"status": "error", "ename": "E", "evalue": "v", "traceback": ["a", "b"]}, ("E", "v", ["a", "b"])),
        ({"status": "error"}, ("", "", [])),
        ({"status": "error", "ename": "E", "evalue": 1, "traceback": None}, ("E", "1", [])),
        ({"status": "error", "ename": "E", "evalue": "v", "traceback": ["a", 1]}, ("E", "v", ["a", "1"])),
    ],
)
def test_the_error(reply: dict[str, Any], error: tuple[str, str, list[str]] | None) -> None:
    assert result(**reply).error == error


def test_a_repr_shows_no_content() -> None:
    shown = repr(result(message("stream", text="secret"), status="ok", secret="secret"))
    assert "secret" not in shown
