"""What runs code, without a process around it. How it is for users, see test_exec.py and test_run.py."""

import argparse
import asyncio
import os
import signal
from collections.abc import AsyncIterator, Generator
from typing import Any, cast

import pytest

from kernelwire.cli import running_code as module
from kernelwire.cli.running_code import (
    Interruption,
    add_output_arguments,
    interrupt_quietly,
    make_printer,
    read_all,
    run_code,
)
from kernelwire.errors import ConfigurationError, GapNotice, KernelDied, RequestTimeout
from kernelwire.execution import ExecuteResult, Execution
from kernelwire.messages import Message


async def nothing() -> None:
    pass


class Scripted:
    """Stands for an execution: yields messages, raises errors, and has a result.

    Attributes:
        steps: what is left to come.
        content: of its reply.
        begun, done: as of an execution.
    """

    begun = True
    done = False

    def __init__(self, *steps: Message | Exception | None, **content: Any) -> None:
        self.steps = list(steps)
        self.content = {"status": "ok"} | content

    async def __aiter__(self) -> AsyncIterator[Message]:
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, Exception):
                raise step
            if step is None:
                await asyncio.get_running_loop().create_future()
            else:
                yield step

    def __await__(self) -> Generator[Any, None, ExecuteResult]:
        return self._result().__await__()

    async def _result(self) -> ExecuteResult:
        return ExecuteResult(str(self.content["status"]), (), Message({}, content=self.content))


def scripted(*steps: Message | Exception | None, **content: Any) -> Execution:
    return cast("Execution", Scripted(*steps, **content))


def stream(text: str) -> Message:
    return Message({"msg_type": "stream"}, content={"name": "stdout", "text": text})


async def test_what_is_missing_is_told_and_the_rest_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    taken: list[Message] = []
    execution = scripted(stream("a"), GapNotice(3, 10, "too slow"), stream("b"))
    result = await read_all(execution, taken.append)
    assert result.status == "ok"
    assert [message.content["text"] for message in taken] == ["a", "b"]
    assert capsys.readouterr() == ("", "kernelwire: 3 messages are missing here: too slow\n")


async def test_an_interrupt_that_fails_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async def fail() -> None:
        raise KernelDied("it is gone")

    await interrupt_quietly(nothing)
    assert capsys.readouterr().err == ""
    await interrupt_quietly(fail)
    assert capsys.readouterr().err == "kernelwire: the kernel did not take the interrupt: it is gone\n"


async def test_an_interruption_takes_two_signals_and_gives_the_handler_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupted = asyncio.Event()

    async def interrupt() -> None:
        interrupted.set()

    async def work() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        await interrupted.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.get_running_loop().create_future()
        return "never"

    with Interruption(interrupt) as interruption:
        assert await interruption.watch(work()) is None
    assert (interruption.happened, interruption.given_up) == (True, True)
    assert signal.getsignal(signal.SIGINT) is before


async def test_an_interruption_leaves_code_of_others_alone(capsys: pytest.CaptureFixture[str]) -> None:
    async def interrupt() -> None:
        raise AssertionError

    class Behind(Scripted):
        begun = False

        async def __aiter__(self) -> AsyncIterator[Message]:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.get_running_loop().create_future()
            yield stream("never")

    execution = cast("Execution", Behind())
    assert await run_code(execution, interrupt, printer=None, timeout=None, farewell="bye") == 130
    left = "the kernel is at work on something else, which was not interrupted; the code will run after it"
    assert capsys.readouterr() == ("", f"kernelwire: {left}\n")


async def test_work_without_an_interruption() -> None:
    async def work() -> int:
        return 3

    with Interruption(nothing) as interruption:
        assert await interruption.watch(work()) == 3
    assert (interruption.happened, interruption.given_up) == (False, False)


async def test_who_is_cancelled_cancels_the_work() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    async def watch() -> None:
        with Interruption(nothing) as interruption:
            await interruption.watch(work())

    watching = asyncio.create_task(watch())
    await started.wait()
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert ended.is_set()


async def code_of(execution: Execution, *, as_json: bool = False, **options: Any) -> int:
    printer = make_printer(argparse.Namespace(json=as_json, images=None))
    return await run_code(execution, nothing, printer=printer, farewell="bye", **{"timeout": None, **options})


ERROR = {"status": "error", "ename": "E", "evalue": "v", "traceback": ["the traceback"]}
EXIT = {"status": "error", "ename": "SystemExit", "evalue": "0", "traceback": ["the traceback"]}


@pytest.mark.parametrize(
    ("content", "is_program", "expected"),
    [
        ({}, False, (0, "")),
        (ERROR, False, (1, "the traceback\n")),
        (ERROR, True, (1, "the traceback\n")),
        (EXIT, False, (1, "the traceback\n")),
        (EXIT, True, (0, "")),
        (EXIT | {"evalue": ""}, True, (0, "")),
        (EXIT | {"evalue": "1"}, True, (1, "the traceback\n")),
        (
            {"status": "aborted"},
            True,
            (1, "kernelwire: the kernel skipped this request because an earlier one failed\n"),
        ),
    ],
)
async def test_how_code_ends(
    capsys: pytest.CaptureFixture[str], content: dict[str, Any], is_program: bool, expected: tuple[int, str]
) -> None:
    code = await code_of(scripted(stream("a\n"), **content), is_program=is_program)
    assert (code, capsys.readouterr()) == (expected[0], ("a\n", expected[1]))


async def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert await code_of(scripted(stream("a"), execution_count=3), as_json=True) == 0
    assert capsys.readouterr() == ('{"status": "ok", "execution_count": 3, "outputs": []}\n', "")


@pytest.mark.parametrize(
    ("then", "came"), [((), ""), ((None,), ", but goes on"), ((KernelDied("it is gone"),), "; it is gone")]
)
async def test_a_time_limit(then: Any, came: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERRUPT_TIME", 60.0 if not then or then[0] else 0.01)
    with pytest.raises(RequestTimeout) as caught:
        await code_of(scripted(None, *then), timeout=0.01)
    assert str(caught.value) == f"the code took longer than 0.01 s; it was interrupted{came}"


async def test_code_that_nobody_reads_any_more_is_interrupted() -> None:
    interrupts: list[str] = []

    async def interrupt() -> None:
        interrupts.append("one")

    async def run(execution: Execution) -> int:
        return await run_code(execution, interrupt, printer=None, timeout=None, farewell="bye")

    with pytest.raises(BrokenPipeError):
        await run(scripted(BrokenPipeError()))
    assert interrupts == ["one"]
    running = asyncio.create_task(run(scripted(None)))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert interrupts == ["one"] * 2
    for state in ({"begun": False}, {"done": True}):
        execution = Scripted(BrokenPipeError())
        vars(execution).update(state)
        with pytest.raises(BrokenPipeError):
            await run(cast("Execution", execution))
    assert interrupts == ["one"] * 2


async def test_pages(capsys: pytest.CaptureFixture[str]) -> None:
    payload = [{"source": "page", "data": {"text/plain": "the page"}}, {"source": "set_next_input", "text": "x"}, None]
    assert await code_of(scripted(payload=payload)) == 0
    assert await code_of(scripted(payload="odd")) == 0
    assert capsys.readouterr() == ("the page\n", "")


def test_the_arguments(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_output_arguments(parser, json_help="as JSON")
    assert make_printer(parser.parse_args(["--json"])) is None
    assert make_printer(parser.parse_args([])) is not None
    assert make_printer(parser.parse_args(["--images", str(tmp_path / "new")])) is not None
    assert (tmp_path / "new").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError):
        make_printer(parser.parse_args(["--images", str(tmp_path / "file")]))
    with pytest.raises(SystemExit):
        parser.parse_args(["--json", "--images", "x"])
    assert "not allowed with" in capsys.readouterr().err
