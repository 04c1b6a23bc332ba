"""``kernelwire run`` with a notebook, as its user meets it; and that it becomes what nbclient makes of it."""

import asyncio
import json
import os
import pty
import signal
import stat
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from nbformat import v3, v4

PATIENCE = 60
PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def code(source: str, *tags: str) -> Any:
    return v4.new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


def write(directory: Path, *cells: Any, **metadata: Any) -> Path:
    path = directory / "book.ipynb"
    nbformat.write(v4.new_notebook(cells=list(cells), metadata=metadata), path)
    return path


def read(path: Path) -> Any:
    node = nbformat.read(path, nbformat.NO_CONVERT)
    nbformat.validate(node)
    return node


def texts(cell: Any) -> list[str]:
    """The outputs of a cell, in short."""
    return [o.get("text") or o.get("ename") or o["data"]["text/plain"] for o in cell.outputs]


def outputs(node: Any) -> list[list[str]]:
    return [texts(cell) for cell in node.cells if cell.cell_type == "code"]


# As nbclient does it

STORY = [
    v4.new_markdown_cell("# A story"),
    code("from IPython.display import *\nimport sys, os\nhandle = display('first', display_id='x')"),
    code("for i in range(100): print(i, flush=i % 10 == 0)\nprint('to err', file=sys.stderr)\n6 * 7"),
    v4.new_raw_cell("raw"),
    code("handle.update('second')\ndisplay('again', display_id='x')\ndisplay({'application/json': [1]}, raw=True)"),
    code("  \n"),
    code("nonsense(", "skip-execution"),
    code("raise KeyError('expected')", "raises-exception"),
    code("print('gone'); clear_output(wait=True); print('stays'); display_html('<b>', raw=True)"),
    code("print('gone'); clear_output(); print(os.getcwd())"),
    code("%%bash\necho from bash"),
    code("import IPython\nIPython.get_ipython().set_next_input('x')\nNone"),
    code("display({'image/svg+xml': '<svg>\\n</svg>', 'text/plain': 'a\\nb'}, raw=True, metadata={'m': 1})"),
    code("%pip --version >/dev/null\ninput('nobody answers')", "raises-exception"),
    v4.new_markdown_cell("the end"),
]


def normal(node: Any) -> Any:
    """Without what differs from run to run: times, and where text of one stream was cut."""
    for cell in node.cells:
        cell.metadata.pop("execution", None)
        joined: list[Any] = []
        for output in cell.get("outputs", []):
            if joined and output.output_type == joined[-1].output_type == "stream" and output.name == joined[-1].name:
                joined[-1].text += output.text
            else:
                joined.append(output)
        if joined:
            # Two streams of one cell have no order: each is sent when it is full, or when it is time.
            cell.outputs = sorted(joined, key=lambda output: output.get("name", ""))
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output.traceback = output.traceback[-1:]
    return node


async def test_it_becomes_what_nbclient_makes_of_it(
    real_kernels: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in real_kernels.environment.items():
        monkeypatch.setenv(name, value)
    path = write(tmp_path, *STORY, title="t", **PYTHON)
    before = path.read_bytes()
    assert await real_kernels.run("run", path.name, "-o", "done.ipynb") == (0, "", "")
    assert path.read_bytes() == before
    theirs = nbformat.read(path, 4)
    client = nbclient.NotebookClient(theirs, resources={"metadata": {"path": str(tmp_path)}})
    await client.async_execute()
    ours = read(tmp_path / "done.ipynb")
    timing = [set(cell.metadata.execution) for cell in ours.cells if "execution" in cell.metadata]
    assert timing == [{"iopub.execute_input", "shell.execute_reply"}] * len(timing)
    assert len(timing) == 10
    assert normal(ours) == normal(theirs)


# In a kernel of its own


async def test_in_place_until_a_cell_raises(real_kernels: Any, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    old = v4.new_code_cell("print('never')", outputs=[v4.new_output("stream", text="old\n")], execution_count=9)
    path = write(tmp_path / "far", code("import os; print(os.listdir())"), code("1 / 0"), old, **PYTHON)
    path.chmod(0o640)
    done = await real_kernels.run("run", "far/book.ipynb")
    assert (done.code, done.out) == (1, "")
    lines = done.err.splitlines()
    assert "ZeroDivisionError: division by zero" in lines
    assert lines[-2:] == [
        "kernelwire: cell 2 of 3: it raised ZeroDivisionError",
        "kernelwire: as far as it came, the notebook is in far/book.ipynb",
    ]
    node = read(path)
    assert outputs(node) == [["['book.ipynb']\n"], ["ZeroDivisionError"], ["old\n"]]
    assert [cell.execution_count for cell in node.cells] == [1, 2, 9]
    assert node.metadata.language_info.name == "python"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]


async def test_a_time_limit_is_for_each_cell(real_kernels: Any, tmp_path: Path) -> None:
    slow = "import time\nprint('runs', flush=True)\ntime.sleep({})"
    path = write(tmp_path, code(slow.format(0.6)), code(slow.format(0.6)), code(slow.format(600)), code("1"), **PYTHON)
    done = await real_kernels.run("run", "--timeout", "1", path.name)
    assert done.code == 3
    assert done.err.splitlines()[0] == "kernelwire: cell 3 of 4: it took longer than 1 s; it was interrupted"
    node = read(path)
    assert outputs(node) == [["runs\n"], ["runs\n"], ["runs\n", "KeyboardInterrupt"], []]
    assert [cell.execution_count for cell in node.cells] == [1, 2, 3, None]


DIES = """\
import os, time
print('b', flush=True)
time.sleep(1)  # the kernel's threads send it
os._exit(7)
"""


async def test_a_kernel_that_dies(real_kernels: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("print('a')"), code(DIES), **PYTHON)
    code_, out, err = await real_kernels.run("run", path.name, "--json")
    assert (code_, err) == (3, "")
    report = json.loads(out)
    reason = report.pop("reason")
    assert report == {
        "status": "died",
        "cells": 2,
        "cells_run": 1,
        "failed_cell": 1,
        "error": None,
        "output": "book.ipynb",
    }
    assert reason.startswith("the kernel's process ended with exit code 7")
    assert outputs(read(path)) == [["a\n"], ["b\n"]]


async def until(path: Path) -> None:
    """A cell says by a file that it runs: a notebook shows nothing meanwhile."""
    async with asyncio.timeout(PATIENCE):
        while not path.exists():
            await asyncio.sleep(0.02)


# One statement from the file on: what interrupts IPython between two of them is its own affair.
RUNS = """\
import pathlib, time
print("runs", flush=True)
while True:
    pathlib.Path("runs").touch()
    time.sleep(600)
"""


async def test_one_interrupt_is_for_the_cell(real_kernels: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("1"), code(RUNS), code("3"), **PYTHON)
    process = await real_kernels.start("run", path.name, "--allow-errors")
    await until(tmp_path / "runs")
    process.send_signal(signal.SIGINT)
    done = await real_kernels.end(process)
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[0] == "kernelwire: cell 2 of 3: interrupted"
    assert outputs(read(path)) == [["1"], ["runs\n", "KeyboardInterrupt"], []]


DEAF = """\
import pathlib, time
name = "runs"
while True:
    try:
        print(name, flush=True)
        pathlib.Path(name).touch()
        time.sleep(600)
    except KeyboardInterrupt:
        name = "deaf"
"""


async def test_a_second_interrupt_ends_the_kernel(real_kernels: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("1"), code(DEAF), code("3"), **PYTHON)
    process = await real_kernels.start("run", path.name)
    for name in ("runs", "deaf"):
        await until(tmp_path / name)
        process.send_signal(signal.SIGINT)
    done = await real_kernels.end(process)
    assert done.code == 130
    assert done.err.splitlines()[0] == "kernelwire: cell 2 of 3: not waiting any longer; the kernel is ended"
    first, second, third = outputs(read(path))
    assert (first, third) == (["1"], [])
    assert second[0].startswith("runs\n")


async def test_being_ended(real_kernels: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("1"), code(DEAF), **PYTHON)
    process = await real_kernels.start("run", path.name, "--json")
    await until(tmp_path / "runs")
    process.terminate()
    code_, out, err = await real_kernels.end(process)
    assert (code_, err) == (130, "")
    report = json.loads(out)
    assert (report["status"], report["failed_cell"]) == ("interrupted", 1)
    assert report["reason"] == "it was ended by a signal"
    assert outputs(read(path))[0] == ["1"]  # of the second, what had come by then


async def test_another_kernel_than_the_notebook_names(real_kernels: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("1"), kernelspec={"name": "nonsense", "display_name": "N"})
    code_, out, err = await real_kernels.run("run", path.name)
    assert (code_, out) == (2, "")
    assert err.startswith("kernelwire: no kernelspec 'nonsense'; there are: ")
    assert err.endswith("; --kernel names another\n")
    assert await real_kernels.run("run", path.name, "--kernel", "python3", "--transport", "ipc") == (0, "", "")
    node = read(path)
    assert node.metadata.kernelspec.name == "python3"
    assert node.metadata.kernelspec.language == "python"
    assert outputs(node) == [["1"]]


# In a kernel that runs


async def run(command: Any, kernel: Any, path: Path, *arguments: str) -> tuple[int, str, str, Any]:
    done = await command.run("run", "--connect", str(kernel.file), path.name, *arguments)
    return *done, read(path)


async def test_displays_and_clearing(command: Any, kernel: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("show"), code("clear"), code("show again"), code("update"))
    code_, out, err, node = await run(command, kernel, path)
    assert (code_, out, err) == (0, "", "")
    assert outputs(node) == [["update"], ["stays\n"], ["update"], []]
    assert "kernelspec" not in node.metadata
    assert node.metadata.language_info.name == "text"


async def test_what_is_not_as_it_should_be_is_made_so(command: Any, kernel: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("odd"), code("characters"))
    code_, _, _, node = await run(command, kernel, path)
    assert code_ == 0
    assert [dict(each) for each in node.cells[0].outputs] == [
        {"output_type": "stream", "name": "stdout", "text": ""},
        {"output_type": "display_data", "data": {"text/plain": '{"not": "text"}'}, "metadata": {}},
    ]
    assert texts(node.cells[1]) == ["日本語 😀 \ud800\n"]


async def test_tags_and_allowed_errors(command: Any, kernel: Any, tmp_path: Path) -> None:
    cells = [code("raise", "raises-exception"), code("print", "skip-execution"), code("raise"), code("print")]
    path = write(tmp_path, *cells)
    code_, out, err, node = await run(command, kernel, path)
    assert (code_, out) == (1, "")
    assert err.splitlines()[:2] == ["ValueError('it broke')", "kernelwire: cell 2 of 3: it raised ValueError"]
    assert outputs(node) == [["ValueError"], [], ["ValueError"], []]
    code_, out, err, node = await run(command, kernel, path, "--allow-errors")
    assert (code_, out, err) == (0, "", "")
    assert outputs(node) == [["ValueError"], [], ["ValueError"], ["to out\n", "to err\n"]]
    flags = [each.content["stop_on_error"] for each in kernel.scripted.received["shell"] if "code" in each.content]
    assert flags == [False, True, False, False, False]


async def test_json(command: Any, kernel: Any, tmp_path: Path) -> None:
    path = write(tmp_path, v4.new_markdown_cell("m"), code("print"), code("raise"), code("print"))
    code_, out, err, _ = await run(command, kernel, path, "--json")
    assert (code_, err) == (1, "")
    assert json.loads(out) == {
        "status": "error",
        "cells": 3,
        "cells_run": 2,
        "failed_cell": 2,
        "error": {"ename": "ValueError", "evalue": "it broke"},
        "reason": "it raised ValueError",
        "output": "book.ipynb",
    }
    path = write(tmp_path, code("print"))
    code_, out, _, _ = await run(command, kernel, path, "--json", "-o", "out.ipynb")
    assert json.loads(out) == {
        "status": "ok",
        "cells": 1,
        "cells_run": 1,
        "failed_cell": None,
        "error": None,
        "reason": None,
        "output": "out.ipynb",
    }


async def test_to_standard_output(command: Any, kernel: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("print"), code("raise"))
    before = path.read_bytes()
    code_, out, err, _ = await run(command, kernel, path, "-o", "-")
    assert code_ == 1
    assert outputs(nbformat.reads(out, 4)) == [["to out\n", "to err\n"], ["ValueError"]]
    assert err.endswith("kernelwire: as far as it came, the notebook is in standard output\n")
    assert path.read_bytes() == before
    code_, out, err, _ = await run(command, kernel, path, "-o", "-", "--json")
    assert (code_, out) == (2, "")
    assert "leave out --json" in err


async def test_a_cell_that_was_skipped(command: Any, kernel: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("skip"), code("print"))
    code_, _, err, node = await run(command, kernel, path)
    assert code_ == 1
    assert "cell 1 of 2: the kernel skipped it because an earlier request failed" in err
    assert outputs(node) == [[], []]


async def test_a_cell_that_cannot_be_interrupted(command: Any, kernel: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("deaf"))
    code_, _, err, node = await run(command, kernel, path, "--timeout", "0.3")
    assert code_ == 3
    assert "cell 1 of 1: it took longer than 0.3 s; it was interrupted, but goes on" in err
    assert kernel.scripted.interrupted.is_set()
    assert outputs(node) == [["runs\n"]]


async def test_a_cell_behind_somebody_else_s_code(command: Any, kernel: Any, tmp_path: Path) -> None:
    busy = await command.start("exec", "--connect", str(kernel.file), "until interrupted")
    assert await busy.stdout.readline() == b"runs\n"
    path = write(tmp_path, code("print"))
    code_, _, err, _ = await run(command, kernel, path, "--timeout", "0.1")
    assert code_ == 3
    assert "cell 1 of 1: it had not begun after 0.1 s; the kernel is at work on something else" in err
    assert not kernel.scripted.interrupted.is_set()
    busy.send_signal(signal.SIGINT)
    assert (await command.end(busy)).code == 130


async def test_a_question_has_no_answer(command: Any, kernel: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("print"))
    await run(command, kernel, path)
    request = next(each for each in kernel.scripted.received["shell"] if each.msg_type == "execute_request")
    assert request.content["allow_stdin"] is False


async def test_much_output(command: Any, kernel: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("flood"))
    code_, _, err, node = await run(command, kernel, path)
    assert (code_, err) == (0, "")
    assert outputs(node) == [["".join(f"{number}\n" for number in range(20_000))]]


async def test_nothing_to_run(command: Any, kernel: Any, tmp_path: Path) -> None:
    path = write(tmp_path, v4.new_markdown_cell("m"))
    code_, out, err, _ = await run(command, kernel, path, "--json")
    assert (code_, err) == (0, "")
    assert json.loads(out)["cells"] == 0


async def test_an_old_notebook(command: Any, kernel: Any, tmp_path: Path) -> None:
    path = tmp_path / "book.ipynb"
    old = v3.new_notebook(worksheets=[v3.new_worksheet(cells=[v3.new_code_cell("print")])])
    path.write_text(v3.writes_json(old))
    code_, _, _, node = await run(command, kernel, path)
    assert code_ == 0
    assert node.nbformat == 4
    assert outputs(node) == [["to out\n", "to err\n"]]


async def test_a_bar_on_a_terminal(command: Any, kernel: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("print"), code("print"))
    controller, terminal = pty.openpty()
    try:
        arguments = ("run", "--connect", str(kernel.file), path.name)
        done = await command.end(await command.start(*arguments, stderr=terminal))
        assert (done.code, done.out) == (0, "")
        drawn = os.read(controller, 10_000).decode()
    finally:
        os.close(controller)
        os.close(terminal)
    assert "book.ipynb: 100%" in drawn
    assert "2/2 cells" in drawn


# What cannot be used


@pytest.mark.parametrize(
    ("content", "arguments", "says"),
    [
        (None, [], "book.ipynb: cannot be read: No such file or directory"),
        ("{", [], "book.ipynb: not a notebook: not JSON"),
        ("[]", [], "book.ipynb: JSON, but not a notebook"),
        ('{"nbformat": 5}', [], "book.ipynb: not a valid notebook: Unsupported nbformat version 5"),
        ("{}", ["--images", "x"], "--images is for programs"),
        ("good", [], "book.ipynb: names no kernel (metadata.kernelspec.name): name one with --kernel"),
        ("good", ["--kernel", "python3", "-o", "missing/x.ipynb"], "missing/x.ipynb: cannot be written: No such file"),
        ("good", ["--kernel", "python3", "-o", "."], ".: cannot be written: not a regular file"),
        ("good", ["--kernel", "python3", "-o", "/dev/full"], "/dev/full: cannot be written: not a regular file"),
    ],
)
async def test_what_cannot_be_used(
    real_kernels: Any, tmp_path: Path, content: str | None, arguments: list[str], says: str
) -> None:
    path = write(tmp_path, code("open('it-ran', 'w')"))
    if content is None:
        path.unlink()
    elif content != "good":
        path.write_text(content)
    before = content and path.read_bytes()
    code_, out, err = await real_kernels.run("run", path.name, *arguments)
    assert (code_, out) == (2, "")
    assert err.startswith(f"kernelwire: {says}")
    assert err.count("\n") == 1
    assert not (tmp_path / "it-ran").exists()
    assert content is None or path.read_bytes() == before


async def test_without_nbformat(command: Any, tmp_path: Path) -> None:
    path = write(tmp_path, code("1"))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "nbformat.py").write_text("raise ImportError('not here')\n")
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    code_, out, err = await command.run("run", path.name, **environment)
    assert (code_, out) == (2, "")
    assert err == "kernelwire: book.ipynb: notebooks need nbformat: pip install 'kernelwire[run]' (not here)\n"
