"""Code that runs elsewhere as if it ran here: what is shown where, who is asked, how it ends."""

import asyncio
import io
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from kernelwire import registry
from kernelwire.channels import Channel
from kernelwire.client import KernelClient, connect
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import GapNotice, Incomplete, NotSupported, RequestTimeout
from kernelwire.execution import END_OF_INPUT, InputRequest
from kernelwire.interactive import ask, ask_here, follow, show
from kernelwire.messages import Message
from kernelwire.session import Session
from kernelwire.testing import Run, ScriptedKernel

PATIENCE = 60.0


def message(msg_type: str, **content: object) -> Message:
    return Message({"msg_type": msg_type, "msg_id": "m"}, content=content)


# What is shown


class Terminal(io.StringIO):
    encoding = "ascii"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("shown", "out", "err"),
    [
        pytest.param(message("stream", name="stdout", text="a"), "a", "", id="stdout"),
        pytest.param(message("stream", name="stderr", text="a"), "", "a", id="stderr"),
        pytest.param(message("stream", text=None), "None", "", id="odd stream"),
        pytest.param(message("execute_result", data={"text/plain": "42", "text/html": "<b>"}), "42\n", "", id="result"),
        pytest.param(message("display_data", data={"text/plain": ["a\n", "b"]}), "a\nb\n", "", id="lines"),
        pytest.param(message("display_data", data={"image/png": "", "a/b": ""}), "<a/b, image/png>\n", "", id="image"),
        pytest.param(message("update_display_data", data={"text/plain": "new"}), "new\n", "", id="update"),
        pytest.param(message("display_data", data=5), "<>\n", "", id="odd data"),
        pytest.param(message("error", ename="E", evalue="v", traceback=["one", "two"]), "", "one\ntwo\n", id="error"),
        pytest.param(message("error", ename="E", evalue="v", traceback=[]), "", "E: v\n", id="no traceback"),
        pytest.param(message("error", ename="E", evalue="v", traceback=["\x1b[31mred\x1b[0m"]), "", "red\n", id="red"),
        pytest.param(message("clear_output", wait=True), "", "", id="clear"),
        pytest.param(message("execute_input", code="secret"), "", "", id="other"),
    ],
)
def test_what_is_shown(shown: Message, out: str, err: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(shown)
    assert capsys.readouterr() == (out, err)


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    coloured = message("stream", name="stdout", text="\x1b[31mrot grün\x1b[0m")
    show(coloured)
    assert terminal.getvalue() == "\x1b[31mrot gr\\xfcn\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    show(coloured)
    assert terminal.getvalue() == "rot gr\\xfcn"


def test_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    show(message("stream", name="stdout", text="a"))


class Shell:
    """What of IPython is used."""

    def __init__(self) -> None:
        self.calls: list[Mapping[str, Any]] = []
        self.display_pub = SimpleNamespace(publish=self._note, clear_output=self._note)

    def _note(self, **call: Any) -> None:
        self.calls.append(call)


def test_in_ipython(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    png = {"image/png": "..."}
    show(message("execute_result", data=png, metadata={"a": 1}, execution_count=3))
    show(message("update_display_data", data=png, transient={"display_id": "d"}))
    show(message("clear_output", wait=True))
    show(message("stream", name="stdout", text="\x1b[1ma\x1b[0m"))
    assert shell.calls == [
        {"data": png, "metadata": {"a": 1}, "transient": {}, "update": False},
        {"data": png, "metadata": {}, "transient": {"display_id": "d"}, "update": True},
        {"wait": True},
    ]
    assert capsys.readouterr().out == "a"
    shell.kernel = "a notebook's"  # type: ignore[attr-defined]
    show(message("error", traceback=["\x1b[31mred\x1b[0m"]))
    assert capsys.readouterr().err == "\x1b[31mred\x1b[0m\n"


def test_where_ipython_is_imported_and_not_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (SimpleNamespace(get_ipython=lambda: None), SimpleNamespace()):
        monkeypatch.setitem(sys.modules, "IPython", module)
        show(message("display_data", data={"text/plain": "a"}))
        assert capsys.readouterr().out == "a\n"


# Who is asked


def test_asking_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: prompt + "Ada")
    monkeypatch.setattr("getpass.getpass", lambda prompt: prompt + "secret")
    assert ask_here(InputRequest("name? ", False)) == "name? Ada"
    assert ask_here(InputRequest("word? ", True)) == "word? secret"


@pytest.mark.parametrize("error", [EOFError, RuntimeError("lost sys.stdin"), ValueError("closed"), NotImplementedError])
def test_nobody_to_ask(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> str:
        raise error

    monkeypatch.setattr("builtins.input", fail)
    with pytest.raises(EOFError):
        ask_here(InputRequest("", False))


async def test_asking_does_not_stop_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = threading.Event()

    def wait(_: str) -> str:
        assert typed.wait(PATIENCE)
        return "Ada"

    monkeypatch.setattr("builtins.input", wait)
    asking = asyncio.create_task(ask(InputRequest("", False)))
    await asyncio.sleep(0)
    assert not asking.done()
    typed.set()
    assert await asking == "Ada"


async def test_a_question_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, typed = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait(_: str) -> str:
        loop.call_soon_threadsafe(asked.set)
        assert typed.wait(PATIENCE)
        return "too late"

    monkeypatch.setattr("builtins.input", wait)
    asking = asyncio.create_task(ask(InputRequest("", False)))
    await asked.wait()
    (thread,) = (each for each in threading.enumerate() if each.name == "kernelwire input")
    assert thread.daemon
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    typed.set()
    await asyncio.to_thread(thread.join, PATIENCE)


# With a kernel


async def script(run: Run) -> Mapping[str, Any] | None:
    match run.code:
        case "ask":
            await run.stream("got " + await run.input("name? "))
        case "fail":
            raise ZeroDivisionError("division by zero")
        case "hang":
            await run.stream("hanging")
            await asyncio.Event().wait()
        case _:
            await run.stream(run.code)
            await run.publish("execute_result", {"data": {"text/plain": "42"}, "metadata": {}, "execution_count": 1})
    return None


@pytest.fixture
async def info() -> AsyncIterator[ConnectionInfo]:
    backend = registry.load("inprocess")
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=b"a key for these tests"))
    async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info), script):
        yield info


@pytest.fixture
async def client(info: ConnectionInfo) -> AsyncIterator[KernelClient]:
    async with connect(info) as client:
        yield client


async def test_output_is_shown_as_it_comes(client: KernelClient, capsys: pytest.CaptureFixture[str]) -> None:
    result = await client.execute_interactive("a\n", silent=False)
    assert result.status == "ok"
    assert result.data == {"text/plain": "42"}
    assert capsys.readouterr() == ("a\n42\n", "")


async def test_an_error_is_shown_and_returned(client: KernelClient, capsys: pytest.CaptureFixture[str]) -> None:
    result = await client.execute_interactive("fail")
    assert result.error is not None
    assert result.error[0] == "ZeroDivisionError"
    assert "division by zero" in capsys.readouterr().err


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_hook_takes_the_output(
    client: KernelClient, capsys: pytest.CaptureFixture[str], asynchronous: bool
) -> None:
    taken: list[str] = []

    async def take_later(message: Message) -> None:
        await asyncio.sleep(0)
        taken.append(message.msg_type)

    def take(message: Message) -> None:
        taken.append(message.msg_type)

    await client.execute_interactive("a", output_hook=take_later if asynchronous else take)
    assert taken == ["stream", "execute_result"]
    assert capsys.readouterr() == ("", "")


async def test_the_user_is_asked_unless_somebody_else_is(
    info: ConnectionInfo, client: KernelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hook(question: InputRequest) -> str:
        return question.prompt.upper()

    monkeypatch.setattr("builtins.input", lambda prompt: prompt + "Ada")
    assert (await client.execute_interactive("ask", output_hook=str)).text == "got name? Ada"
    assert (await client.execute_interactive("ask", output_hook=str, input_hook=hook)).text == "got NAME? "
    async with connect(info, input_hook=hook) as other:
        assert (await other.execute_interactive("ask", output_hook=str)).text == "got NAME? "


async def test_the_end_of_input(client: KernelClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert (await client.execute_interactive("ask", output_hook=str)).text == "got " + END_OF_INPUT


async def test_without_stdin(info: ConnectionInfo) -> None:
    async with connect(info, channels=set(Channel) - {Channel.STDIN}) as client:
        assert (await client.execute_interactive("a", output_hook=str)).text == "a"
        with pytest.raises(NotSupported, match="stdin"):
            await client.execute_interactive("a", input_hook=ask)


async def test_a_time_limit(client: KernelClient, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RequestTimeout, match=r"not done within 0\.2 s, and runs on: interrupt\(\) ends what runs"):
        await client.execute_interactive("hang", timeout=0.2)
    assert capsys.readouterr().out == "hanging"
    assert (await client.interrupt()).content["status"] == "ok"


async def test_what_the_hook_raises_is_raised(client: KernelClient) -> None:
    def fail(_: Message) -> None:
        raise TimeoutError("the hook's own")

    with pytest.raises(TimeoutError, match="own"):
        await client.execute_interactive("a", output_hook=fail, timeout=PATIENCE)


async def test_missing_output_is_told_when_the_rest_was_shown(client: KernelClient) -> None:
    taken: list[Message] = []
    execution = client.execute("a")
    execution.on_gap(GapNotice(2, 10, "a test"))
    with pytest.raises(Incomplete, match="2 messages are missing here: a test") as caught:
        await follow(execution, taken.append, None)
    assert [each.msg_type for each in taken] == ["stream", "execute_result"]
    assert caught.value.result.text == "a"


async def test_an_option_that_is_none(client: KernelClient) -> None:
    with pytest.raises(TypeError, match="colour"):
        await client.execute_interactive("a", colour="red")
