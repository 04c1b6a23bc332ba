"""The printer and the question, without a process around them."""

import asyncio
import io
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from kernelwire.cli.display import Folder
from kernelwire.cli.terminal import Printer, read_line
from kernelwire.execution import InputRequest
from kernelwire.messages import Message


class Terminal(io.StringIO):
    """A text stream that says it is one."""

    def isatty(self) -> bool:
        return True


def message(msg_type: str, **content: object) -> Message:
    return Message({"msg_type": msg_type}, content=content)


def shown(*messages: Message, stream: type[io.StringIO] = io.StringIO) -> tuple[str, str]:
    out, err = stream(), stream()
    printer = Printer(out, err)
    for each in messages:
        printer.show(each)
    return out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("msg_type", "content", "expected"),
    [
        ("stream", {"name": "stdout", "text": "a"}, ("a", "")),
        ("stream", {"name": "stderr", "text": "a"}, ("", "a")),
        ("stream", {"text": "a"}, ("a", "")),
        ("stream", {}, ("", "")),
        ("display_data", {"data": {"text/plain": "a"}}, ("a\n", "")),
        ("update_display_data", {"data": {"text/plain": "a"}}, ("a\n", "")),
        ("execute_result", {"data": {"text/plain": "a", "text/html": "b"}}, ("a\n", "")),
        ("display_data", {"data": {"image/png": "", "image/jpeg": ""}}, ("<image/jpeg, 0 B; image/png, 0 B>\n", "")),
        ("display_data", {}, ("<>\n", "")),
        ("display_data", {"data": None}, ("<>\n", "")),
        ("error", {"ename": "E", "traceback": ["t"]}, ("", "")),
        ("execute_input", {"code": "a"}, ("", "")),
        ("clear_output", {}, ("", "")),
    ],
)
def test_what_is_shown(msg_type: str, content: dict[str, Any], expected: tuple[str, str]) -> None:
    assert shown(message(msg_type, **content)) == expected


@pytest.mark.parametrize(
    ("traceback", "expected"), [(["one", "\x1b[31mtwo\x1b[0m"], "one\ntwo\n"), ([], "Name: value\n")]
)
def test_an_error(traceback: list[str], expected: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    Printer(out, err).show_error("Name", "value", traceback)
    assert (out.getvalue(), err.getvalue()) == ("", expected)


SEQUENCES = "\x1b[31mred\x1b[0m \x1b[?25lhidden\x1b[38;5;1m \x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\"


def test_sequences_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = message("stream", name="stdout", text=SEQUENCES)
    assert shown(text) == ("red hidden link", "")
    assert shown(text, stream=Terminal) == (SEQUENCES, "")
    monkeypatch.setenv("NO_COLOR", "")
    assert shown(text, stream=Terminal) == ("red hidden link", "")


PNG = {"image/png": "iVBORw0K", "text/plain": "<Figure>"}


def test_an_image_on_a_terminal_that_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMUX", "TERM_PROGRAM", "KITTY_WINDOW_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert shown(message("display_data", data=PNG), stream=Terminal) == ("<Figure>\n", "")
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(message("display_data", data=PNG), stream=Terminal) == ("\x1b_Ga=T,f=100,m=0;iVBORw0K\x1b\\\n", "")
    jpeg = {"image/jpeg": "iVBORw0K", "text/plain": "<Figure>"}
    assert shown(message("display_data", data=jpeg), stream=Terminal) == ("<Figure>\n", "")
    assert shown(message("display_data", data=PNG)) == ("<Figure>\n", "")


@pytest.mark.parametrize("term", ["xterm-kitty", "xterm-256color"])
def test_an_image_that_is_saved_is_shown_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    for name in ("TMUX", "TERM_PROGRAM", "KITTY_WINDOW_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", term)
    out = Terminal()
    printer = Printer(out, io.StringIO(), Folder(tmp_path))
    printer.show(message("display_data", data=PNG))
    printer.show(message("display_data", data={"text/plain": "text"}))
    inline = "\x1b_Ga=T,f=100,m=0;iVBORw0K\x1b\\\n" if term == "xterm-kitty" else ""
    assert out.getvalue() == f"{inline}{tmp_path / 'image-1.png'}\ntext\n"


def test_what_the_encoding_cannot_show() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    Printer(stream, stream).show(message("stream", name="stdout", text="Grüße 日"))
    assert raw.getvalue() == "Grüße ".encode("latin-1") + b"\\u65e5"


def test_each_message_is_flushed() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(io.BufferedWriter(raw, 1 << 20), encoding="utf-8")
    Printer(stream, stream).show(message("stream", name="stdout", text="no newline"))
    assert raw.getvalue() == b"no newline"


# Asking


@pytest.mark.parametrize("password", [False, True])
async def test_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], password: bool) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo"))
    assert await read_line(InputRequest("first? ", password)) == "one"
    assert await read_line(InputRequest("second? ", password)) == "two"
    with pytest.raises(EOFError):
        await read_line(InputRequest("third? ", password))
    assert capsys.readouterr() == ("", "first? second? third? ")


async def test_a_password_on_a_terminal_is_not_echoed(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[str] = []

    def getpass(prompt: str) -> str:
        prompts.append(prompt)
        return "hush"

    monkeypatch.setattr(sys, "stdin", Terminal("seen\n"))
    monkeypatch.setattr("getpass.getpass", getpass)
    assert await read_line(InputRequest("secret: ", True)) == "hush"
    assert await read_line(InputRequest("open: ", False)) == "seen"
    assert prompts == ["secret: "]


class Waiting:
    """Standard input where nobody types, until the test does."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.typed = threading.Event()

    def readline(self) -> str:
        self.asked.set()
        self.typed.wait()
        return "late\n"


async def test_a_question_may_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = Waiting()
    monkeypatch.setattr(sys, "stdin", stdin)
    before = set(threading.enumerate())
    asking = asyncio.create_task(read_line(InputRequest("? ", False)))
    await asyncio.to_thread(stdin.asked.wait)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    # It still waits in its thread, which does not keep the process: only the terminal can end that.
    readers = [thread for thread in set(threading.enumerate()) - before if thread.name == "kernelwire input"]
    assert [thread.daemon for thread in readers] == [True]
    stdin.typed.set()
    for thread in readers:
        await asyncio.to_thread(thread.join)
