"""``kernelwire run`` with a program, as its user meets it."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60

SLEEP = "print('runs', flush=True)\nimport time\ntime.sleep(600)\n"

DEAF = """\
import time
said = "runs"
while True:
    try:
        print(said, flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        said = "no"
"""


def program(directory: Path, text: str, name: str = "program.py") -> str:
    (directory / name).write_text(text, encoding="utf-8")
    return name


def last_line(err: str) -> str:
    return err.rstrip("\n").split("\n")[-1]


# In a kernel of its own


async def test_a_program(real_kernels: Any, tmp_path: Path) -> None:
    text = """\
import os, sys
print("to out")
print("to err", file=sys.stderr)
name = input("name? ")
%time None
display({"text/plain": name, "text/html": "<b>"}, raw=True)
display({"image/png": "AAAA"}, raw=True)
print(os.getcwd() == os.path.dirname(os.path.abspath("program.py")), __name__)
6 * 7
"""
    arguments = ("run", program(tmp_path, text), "--images", "pictures")
    code, out, err = await real_kernels.run(*arguments, stdin="Grüße\n".encode())
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "to out"
    assert any(line.startswith("Wall time") for line in lines)
    assert lines[-4:] == ["Grüße", "pictures/image-1.png", "True __main__", "42"]
    assert err == "to err\nname? "  # and nothing that the kernel's process says besides


async def test_a_program_as_json_on_another_transport(real_kernels: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    text = "%%bash\npwd"
    arguments = ("run", "--json", "--transport", "ipc", "--cwd", "elsewhere", "--kernel", "python3")
    code, out, err = await real_kernels.run(*arguments, program(tmp_path, text, "cell.txt"))
    assert (code, err) == (0, "")
    stream = {"output_type": "stream", "name": "stdout", "text": f"{tmp_path / 'elsewhere'}\n"}
    assert json.loads(out) == {"status": "ok", "execution_count": 1, "outputs": [stream]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import sys\nprint('hi')\nsys.exit(0)", (0, "hi\n")),
        ("import sys\nprint('hi')\nsys.exit('a reason')", (1, "hi\n")),
        ("print('hi')\nraise KeyError('x')", (1, "hi\n")),
    ],
)
async def test_how_a_program_ends(real_kernels: Any, tmp_path: Path, text: str, expected: tuple[int, str]) -> None:
    code, out, err = await real_kernels.run("run", program(tmp_path, text))
    assert (code, out) == expected
    if code == 0:
        assert "An exception has occurred" not in err
    else:
        assert last_line(err) in ("KeyError: 'x'", "SystemExit: a reason")


async def test_a_kernel_that_dies(real_kernels: Any, tmp_path: Path) -> None:
    text = "import os\nprint('runs', flush=True)\nos.write(2, b'last words')\nos._exit(7)\n"
    code, _, err = await real_kernels.run("run", program(tmp_path, text))
    assert code == 3
    assert err.startswith("kernelwire: the kernel's process ended with exit code 7; its last words:\n")
    assert "last words" in err.split("\n", 1)[1]


async def test_a_time_limit(real_kernels: Any, tmp_path: Path) -> None:
    done = await real_kernels.run("run", "--timeout", "0.5", program(tmp_path, SLEEP))
    assert done == (3, "runs\n", "kernelwire: the code took longer than 0.5 s; it was interrupted\n")


async def test_one_interrupt_is_for_the_program(real_kernels: Any, tmp_path: Path) -> None:
    process = await real_kernels.start("run", program(tmp_path, SLEEP))
    assert await process.stdout.readline() == b"runs\n"
    process.send_signal(signal.SIGINT)
    code, out, err = await real_kernels.end(process)
    assert (code, out) == (130, "")
    assert last_line(err).startswith("KeyboardInterrupt")


async def test_a_second_interrupt_ends_the_kernel(real_kernels: Any, tmp_path: Path) -> None:
    process = await real_kernels.start("run", program(tmp_path, DEAF))
    for line in (b"runs\n", b"no\n"):
        assert await process.stdout.readline() == line
        process.send_signal(signal.SIGINT)
    done = await real_kernels.end(process)
    assert done == (130, "", "kernelwire: not waiting any longer; the kernel is ended\n")


async def test_being_ended(real_kernels: Any, tmp_path: Path) -> None:
    process = await real_kernels.start("run", program(tmp_path, DEAF))
    assert await process.stdout.readline() == b"runs\n"
    process.terminate()
    assert await real_kernels.end(process) == (130, "", "")


async def test_a_reader_that_has_enough(real_kernels: Any, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    text = "for i in range(1000000):\n    print(i)\nimport time\ntime.sleep(600)\n"
    process = await real_kernels.start("run", program(tmp_path, text), stdout=writing)
    os.close(writing)
    assert (await asyncio.to_thread(os.read, reading, 2)).startswith(b"0")
    os.close(reading)
    assert await real_kernels.end(process) == (1, "", "")


# In a kernel that runs


async def test_a_kernel_that_runs_goes_on(command: Any, kernel: Any, tmp_path: Path) -> None:
    for _ in range(2):
        done = await command.run("run", "--connect", str(kernel.file), program(tmp_path, "print"))
        assert done == (0, "to out\n", "to err\n")
    assert all(message.msg_type != "shutdown_request" for message in kernel.scripted.received["control"])


async def test_any_text_is_a_program_there(command: Any, kernel: Any, tmp_path: Path) -> None:
    done = await command.run("run", "--connect", str(kernel.file), program(tmp_path, "日本\n", "text.r"))
    assert done == (0, "code '日本\\n'\n", "")


async def test_the_encoding_that_a_program_declares(command: Any, kernel: Any, tmp_path: Path) -> None:
    (tmp_path / "old.py").write_bytes("# coding: latin-1\r\n'ä'".encode("latin-1"))
    done = await command.run("run", "--connect", str(kernel.file), "old.py")
    assert done == (0, "code \"# coding: latin-1\\n'ä'\"\n", "")


async def test_giving_up_on_a_kernel_that_runs(command: Any, kernel: Any, tmp_path: Path) -> None:
    process = await command.start("run", "--connect", str(kernel.file), program(tmp_path, "deaf"))
    assert await process.stdout.readline() == b"runs\n"
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(PATIENCE):
        await kernel.scripted.interrupted.wait()
    process.send_signal(signal.SIGINT)
    assert await command.end(process) == (130, "", "kernelwire: not waiting any longer; the code may still run\n")


async def test_an_error_of_a_program(command: Any, kernel: Any, tmp_path: Path) -> None:
    done = await command.run("run", "--connect", str(kernel.file), program(tmp_path, "raise"))
    assert done == (1, "", "ValueError('it broke')\n")


# What cannot be used


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.py"], "missing.py: cannot be read: No such file or directory"),
        (["."], "cannot be read: Is a directory"),
        (["binary.py"], "binary.py: not text: "),
        (["unknown.py"], "unknown.py: not text: unknown encoding"),
        (["script.r"], "script.r: name the kernel for it with --kernel or --connect"),
        (["program.py", "--kernel", "pyhton3"], "no kernelspec 'pyhton3'; there are: python3"),
        (["program.py", "--kernel", "pyhton3"], "; --kernel names another"),
        (["program.py", "--kernel", "python3", "--connect", "x"], "not allowed with argument"),
        (["program.py", "--connect", "x"], "no file 'x'"),
        (["program.py", "--connect", "x", "--cwd", "."], "--cwd is for a kernel that is started"),
        (["program.py", "--connect", "x", "--transport", "ipc"], "--transport is for a kernel that is started"),
        (["program.py", "--cwd", "missing"], "cannot be started in missing: No such file or directory"),
        (["program.py", "--transport", "tpc"], "did you mean 'tcp'"),
        (["program.py", "-o", "x"], "-o is for notebooks, and program.py is none"),
        (["program.py", "--allow-errors"], "--allow-errors is for notebooks"),
        (["program.py", "--images", "program.py/x"], "images cannot be saved there"),
        (["program.py", "--images", "x", "--json"], "not allowed with argument"),
        (["program.py", "--timeout", "0"], "a number of seconds above 0"),
        ([], "FILE"),
    ],
)
async def test_a_command_line_that_cannot_be_used(
    real_kernels: Any, tmp_path: Path, arguments: list[str], says: str
) -> None:
    for name in ("program.py", "script.r"):
        program(tmp_path, "1", name)
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "unknown.py").write_bytes(b"# coding: nonsense\n")
    code, out, err = await real_kernels.run("run", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
    assert err.count("\n") == 1
