"""``kernelwire exec`` as its user meets it."""

import argparse
import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernelwire import registry
from kernelwire.cli import exec as module
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile, read
from kernelwire.session import Session
from kernelwire.testing import ScriptedKernel

PATIENCE = 60
PIPE = asyncio.subprocess.PIPE


# Output


async def test_output_and_errors_go_to_their_streams(command: Any, kernel: Any) -> None:
    assert await command.run("exec", "--connect", str(kernel.file), "print") == (0, "to out\n", "to err\n")


async def test_what_is_displayed(command: Any, kernel: Any) -> None:
    done = await command.run("exec", "--connect", str(kernel.file), "display")
    assert done == (0, "shown\n<a/b, 1 B; image/png, 3 B>\n42\n", "")


async def test_images_are_saved(command: Any, kernel: Any, tmp_path: Path) -> None:
    done = await command.run("exec", "--images", "pictures", "--connect", str(kernel.file), "display")
    assert done == (0, "shown\npictures/image-1.png\n42\n", "")
    assert (tmp_path / "pictures" / "image-1.png").read_bytes() == b"\0\0\0"


async def test_a_file_may_be_named_as_in_the_runtime_directory(command: Any, kernel: Any) -> None:
    runtime = Path(command.environment["JUPYTER_RUNTIME_DIR"])
    runtime.mkdir(0o700)
    kernel.file.rename(runtime / "kernel-moved.json")
    assert await command.run("exec", "--connect", "moved", "hi") == (0, "code 'hi'\n", "")


async def test_output_comes_while_the_code_runs(command: Any, kernel: Any) -> None:
    process = await command.start("exec", "--connect", str(kernel.file), "stream")
    assert await process.stdout.readline() == b"first\n"
    kernel.go_on.set()
    assert await command.end(process) == (0, "last\n", "")


async def test_json(command: Any, kernel: Any) -> None:
    code, out, err = await command.run("exec", "--json", "--connect", str(kernel.file), "print")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "status": "ok",
        "execution_count": 1,
        "outputs": [
            {"output_type": "stream", "name": "stdout", "text": "to out\n"},
            {"output_type": "stream", "name": "stderr", "text": "to err\n"},
        ],
    }
    code, out, err = await command.run("exec", "--json", "--connect", str(kernel.file), "raise")
    assert (code, err) == (1, "")
    failed = json.loads(out)
    assert (failed["status"], failed["execution_count"]) == ("error", 2)
    assert [output["ename"] for output in failed["outputs"]] == ["ValueError"]
    code, out, _ = await command.run("exec", "--json", "--connect", str(kernel.file), "characters")
    assert json.loads(out)["outputs"][0]["text"] == "日本語 😀 \ud800\n"


async def test_code_from_standard_input(command: Any, kernel: Any) -> None:
    done = await command.run("exec", "--connect", str(kernel.file), "-", stdin="zwei\nZeilen 😀".encode())
    assert done == (0, "code 'zwei\\nZeilen 😀'\n", "")
    requests = [message for message in kernel.scripted.received["shell"] if message.msg_type == "execute_request"]
    assert requests[-1].content["allow_stdin"] is False


async def test_standard_input_that_is_no_text(command: Any, kernel: Any) -> None:
    code, out, err = await command.run(
        "exec", "--connect", str(kernel.file), "-", stdin=b"\xff\xfe", PYTHONUTF8="0", PYTHONIOENCODING="utf-8"
    )
    assert (code, out) == (2, "")
    assert err.startswith("kernelwire: standard input is not utf-8")
    assert err.count("\n") == 1


async def test_code_in_a_locale_without_its_characters(command: Any, kernel: Any) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    shown = (0, "code '\\xe4\\u65e5'\n", "")  # by an output that has no such characters either
    assert await command.run("exec", "--connect", str(kernel.file), "ä日", **ascii_only) == shown
    assert await command.run("exec", "--connect", str(kernel.file), "-", stdin="ä日".encode(), **ascii_only) == shown
    asked = [message for message in kernel.scripted.received["shell"] if message.msg_type == "execute_request"]
    assert [message.content["code"] for message in asked] == ["ä日"] * 2


@pytest.mark.parametrize("from_input", [False, True])
async def test_code_that_is_no_text(command: Any, kernel: Any, from_input: bool) -> None:
    code = "-" if from_input else "print('\udcff')"  # as Python has the byte 255 of a command line
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"} if from_input else {}
    done = await command.run("exec", "--connect", str(kernel.file), code, stdin=b"\xff", **ascii_only)
    what = "standard input" if from_input else "CODE"
    assert done == (2, "", f"kernelwire: {what} is not UTF-8: invalid start byte\n")
    assert not kernel.scripted.received["shell"]


# What the terminal can show


async def test_no_colours_where_no_terminal_is(command: Any, kernel: Any) -> None:
    assert await command.run("exec", "--connect", str(kernel.file), "colours") == (0, "red link\n", "")


@pytest.mark.parametrize("no_color", [False, True])
async def test_colours_on_a_terminal(command: Any, kernel: Any, no_color: bool) -> None:
    controller, terminal = pty.openpty()
    try:
        environment = {"NO_COLOR": "1"} if no_color else {}
        arguments = ("exec", "--connect", str(kernel.file), "colours")
        process = await command.start(*arguments, stdout=terminal, environment=environment)
        assert (await command.end(process)).code == 0
        shown = os.read(controller, 1000)
    finally:
        os.close(controller)
        os.close(terminal)
    assert (b"\x1b[1;31mred" in shown) is not no_color
    assert b"red" in shown


async def test_what_the_encoding_cannot_show(command: Any, kernel: Any) -> None:
    arguments = ("exec", "--connect", str(kernel.file), "characters")
    assert await command.run(*arguments) == (0, "日本語 😀 \\ud800\n", "")
    done = await command.run(*arguments, PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done == (0, "\\u65e5\\u672c\\u8a9e \\U0001f600 \\ud800\n", "")


async def test_a_reader_that_has_enough(command: Any, kernel: Any) -> None:
    reading, writing = os.pipe()
    process = await command.start("exec", "--connect", str(kernel.file), "flood", stdout=writing)
    os.close(writing)
    assert (await asyncio.to_thread(os.read, reading, 2)).startswith(b"0")
    os.close(reading)
    assert await command.end(process) == (1, "", "")


# How it ends


async def test_code_that_raises(command: Any, kernel: Any) -> None:
    code, out, err = await command.run("exec", "--connect", str(kernel.file), "raise")
    assert (code, out) == (1, "")
    assert err == "ValueError('it broke')\n"  # once, though reply and iopub both have it


async def test_code_that_was_skipped(command: Any, kernel: Any) -> None:
    code, out, err = await command.run("exec", "--connect", str(kernel.file), "skip")
    assert (code, out) == (1, "")
    assert err == "kernelwire: the kernel skipped this request because an earlier one failed\n"


async def test_one_interrupt_is_for_the_kernel(command: Any, kernel: Any) -> None:
    process = await command.start("exec", "--connect", str(kernel.file), "until interrupted")
    assert await process.stdout.readline() == b"runs\n"
    process.send_signal(signal.SIGINT)
    assert await command.end(process) == (130, "", "RuntimeError('interrupted')\n")
    assert kernel.scripted.interrupted.is_set()


async def test_a_second_interrupt_gives_up(command: Any, kernel: Any) -> None:
    process = await command.start("exec", "--connect", str(kernel.file), "deaf")
    assert await process.stdout.readline() == b"runs\n"
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(PATIENCE):
        await kernel.scripted.interrupted.wait()
    process.send_signal(signal.SIGINT)
    assert await command.end(process) == (130, "", "kernelwire: not waiting any longer; the code may still run\n")


async def test_a_time_limit(command: Any, kernel: Any) -> None:
    code, out, err = await command.run("exec", "--timeout", "0.3", "--connect", str(kernel.file), "until interrupted")
    assert (code, out) == (3, "runs\n")
    assert err == "kernelwire: the code took longer than 0.3 s; it was interrupted\n"
    assert kernel.scripted.interrupted.is_set()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
async def test_being_ended_interrupts_the_code(command: Any, kernel: Any, signum: int) -> None:
    process = await command.start("exec", "--connect", str(kernel.file), "until interrupted")
    assert await process.stdout.readline() == b"runs\n"
    process.send_signal(signum)
    assert await command.end(process) == (130, "", "")
    assert kernel.scripted.interrupted.is_set()


async def test_code_of_somebody_else_is_not_interrupted(command: Any, kernel: Any) -> None:
    busy = await command.start("exec", "--connect", str(kernel.file), "until interrupted")
    assert await busy.stdout.readline() == b"runs\n"
    limited = await command.start("exec", "--timeout", "0.1", "--connect", str(kernel.file), "mine")
    left = "the kernel is at work on something else, which was not interrupted; the code will run after it\n"
    assert await command.end(limited) == (3, "", f"kernelwire: the code had not begun after 0.1 s; {left}")
    assert not kernel.scripted.interrupted.is_set()
    busy.send_signal(signal.SIGINT)
    assert (await command.end(busy)).code == 130


async def test_a_kernel_of_another_key(command: Any, kernel: Any) -> None:
    info = read(kernel.file)
    with ConnectionFile.write(info.replace(key=b"another"), kernel.file.with_name("stale.json")) as stale:
        code, out, err = await command.run("exec", "--connect", str(stale.path), "1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("kernelwire: connection field 'key': the kernel at this address signs with another one")
    assert err.endswith(f" (in {stale.path})\n")


async def test_no_kernel(command: Any, address: tuple[ConnectionInfo, Path]) -> None:
    code, out, err = await command.run("exec", "--wait", "0.1", "--connect", str(address[1]), "1")
    doubt = "nobody listens at its address: it is dead, or has not begun yet"
    assert (code, out, err) == (3, "", f"kernelwire: the kernel did not answer within 0.1 s; {doubt}\n")


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ([], 60),
        (["--timeout", "0.1"], 5),
        (["--timeout", "20"], 20),
        (["--timeout", "600"], 60),
        (["--wait", "0.5", "--timeout", "20"], 0.5),
        (["--wait", "100", "--timeout", "20"], 100),
    ],
)
def test_who_bounds_the_time_waits_no_longer_for_nobody(options: list[str], seconds: float) -> None:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert module._wait(parser.parse_args(["--connect", "x.json", *options, "1"])) == seconds


async def test_waiting_is_told_and_may_be_given_up_or_rewarded(
    command: Any, address: tuple[ConnectionInfo, Path]
) -> None:
    info, path = address
    processes = [await command.start("exec", "--connect", str(path), "1") for _ in range(2)]
    for process in processes:
        told = await process.stderr.readline()
        assert told.startswith(b"kernelwire: waiting for the kernel to answer; nobody listens at its address")
        assert told.endswith(b" (Ctrl-C to give up)\n")
    processes[0].send_signal(signal.SIGINT)
    assert await command.end(processes[0]) == (130, "", "")
    async with await registry.load("ipc").serve(info) as end, ScriptedKernel(end, Session.of(info)):
        assert await command.end(processes[1]) == (0, "1", "")


# Input


async def test_input_is_answered_from_standard_input(command: Any, kernel: Any) -> None:
    done = await command.run("exec", "--connect", str(kernel.file), "ask", stdin="Grüße\nhush\n".encode())
    assert done == (0, "'Grüße' 'hush'\n", "name? secret: ")


async def test_the_end_of_standard_input(command: Any, kernel: Any) -> None:
    done = await command.run("exec", "--connect", str(kernel.file), "ask", stdin=b"no newline")
    assert done == (0, "'no newline' '\\x04'\n", "name? secret: ")


async def test_standard_input_that_is_closed(command: Any, kernel: Any) -> None:
    shell = '"$@" <&-'
    arguments = [sys.executable, "-m", "kernelwire.cli", "exec", "--connect", str(kernel.file)]
    for code, expected in (
        ("ask", (0, "'\\x04' '\\x04'\n", "")),
        ("-", (2, "", "kernelwire: standard input is closed: there is no code to read\n")),
    ):
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", shell, "sh", *arguments, code), env=command.environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        assert await command.end(process) == expected


async def test_a_question_that_is_open_does_not_hold_up_an_interrupt(command: Any, kernel: Any) -> None:
    process = await command.start("exec", "--connect", str(kernel.file), "ask")
    assert await process.stderr.readexactly(6) == b"name? "
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            await kernel.scripted.interrupted.wait()
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == 130
    assert b"Traceback" not in await process.stderr.read()
    process.stdin.close()


# What cannot be used


def one_line(err: str) -> bool:
    return err.startswith("kernelwire: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(None, "no file", id="missing"),
        pytest.param("{", "not JSON", id="no JSON"),
        pytest.param("[]", "no object", id="no object"),
        pytest.param('{"transport": "tpc"}', "did you mean 'tcp'", id="unknown transport"),
        pytest.param('{"transport": "tcp", "shell_port": 99999}', "99999 is no port", id="odd port"),
        pytest.param('{"transport": "tcp", "ip": "127.0.0.1"}', "shell_port", id="no ports"),
        pytest.param('{"transport": "inprocess", "name": "x", "pid": 1}', "process 1", id="another process"),
    ],
)
async def test_a_connection_file_that_cannot_be_used(
    command: Any, tmp_path: Path, content: str | None, says: str
) -> None:
    path = tmp_path / "odd.json"
    if content is not None:
        path.touch(0o600)
        path.write_text(content)
    code, out, err = await command.run("exec", "--connect", str(path), "1")
    assert (code, out) == (2, "")
    assert one_line(err), err
    assert says in err


async def test_a_file_that_others_can_read(command: Any, kernel: Any) -> None:
    kernel.file.chmod(0o644)
    code, out, err = await command.run("exec", "--connect", str(kernel.file), "hi")
    assert (code, out) == (0, "code 'hi'\n")
    assert one_line(err), err
    assert err.startswith("kernelwire: warning: ")
    assert f"chmod 600 {kernel.file}" in err


Arguments = Callable[[str], list[str]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (lambda file: ["1"], "--connect"),
        (lambda file: ["--connect", file], "CODE"),
        (lambda file: ["--connect", file, "--timeout", "soon", "1"], "soon: a number of seconds above 0"),
        (lambda file: ["--connect", file, "--wait", "0", "1"], "0: a number of seconds above 0"),
        (lambda file: ["--connect", file, "--wait", "nan", "1"], "nan: a number of seconds above 0"),
        (lambda file: ["--connect", file, "--nonsense", "1"], "--nonsense"),
        (lambda file: ["--connect", file, "--json", "--images", "x", "1"], "not allowed with argument --json"),
        (lambda file: ["--connect", file, "--images", "/dev/null/x", "1"], "images cannot be saved there"),
    ],
)
async def test_a_command_line_that_cannot_be_used(
    command: Any, tmp_path: Path, arguments: Arguments, says: str
) -> None:
    code, out, err = await command.run("exec", *arguments(str(tmp_path / "any.json")))
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
