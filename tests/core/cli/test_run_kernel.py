"""The kernel of a run. How it is for users, see test_run.py and test_run_notebook.py."""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from kernelwire.cli.run_kernel import add_kernel_arguments, check_kernel_arguments, open_kernel
from kernelwire.errors import ConfigurationError

PATIENCE = 60


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_kernel_arguments(parser)
    return parser.parse_args(arguments)


def test_what_goes_together() -> None:
    check_kernel_arguments(parsed())
    check_kernel_arguments(parsed("--kernel", "k", "--cwd", ".", "--transport", "ipc", "--wait", "3"))
    check_kernel_arguments(parsed("--connect", "c"))
    for option in ("--cwd", "--transport"):
        with pytest.raises(ConfigurationError, match=f"{option} is for a kernel that is started"):
            check_kernel_arguments(parsed("--connect", "c", option, "x"))


async def test_a_kernel_that_runs(kernel: Any) -> None:
    async with open_kernel(parsed("--connect", str(kernel.file)), "", cwd=None, input_hook=None) as run:
        assert run.kernelspec is None
        await run.interrupt()
        assert kernel.scripted.interrupted.is_set()
        assert (await run.client.execute("hi")).text == "code 'hi'\n"


async def test_no_such_kernelspec() -> None:
    with pytest.raises(ConfigurationError, match="--kernel names another"):
        async with open_kernel(parsed(), "nonsense", cwd=None, input_hook=None):
            pass


def install(directory: Path, *argv: str) -> dict[str, str]:
    """A kernelspec "mine"; the environment in which it is found."""
    folder = directory / "share" / "kernels" / "mine"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Mine", "language": "none"}))
    return {"JUPYTER_PATH": str(directory / "share")}


WAITING = "kernelwire: waiting for the kernel to answer (Ctrl-C to give up)\n"
NEVER_ANSWERS = "import pathlib, time; pathlib.Path('runs').touch(); time.sleep(600)"


async def test_a_kernel_that_never_answers(real_kernels: Any, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("1")
    environment = install(tmp_path, sys.executable, "-c", NEVER_ANSWERS, "{connection_file}")
    arguments = ("run", "program.py", "--kernel", "mine")
    done = await real_kernels.run(*arguments, "--wait", "0.5", **environment)
    assert done == (3, "", "kernelwire: the kernel did not answer within 0.5 s\n")
    (tmp_path / "runs").unlink()
    done = await real_kernels.run(*arguments, "--wait", "2.1", **environment)  # long enough to say what it waits for
    assert done == (3, "", f"{WAITING}kernelwire: the kernel did not answer within 2.1 s\n")
    (tmp_path / "runs").unlink()
    process = await real_kernels.start(*arguments, environment=environment)
    async with asyncio.timeout(PATIENCE):
        while not (tmp_path / "runs").exists():
            await asyncio.sleep(0.02)
    process.send_signal(signal.SIGINT)
    code, out, err = await real_kernels.end(process)
    assert (code, out) == (130, "")
    assert err in ("", WAITING)  # on a machine that is busy


async def test_a_kernel_that_ends_at_its_start(real_kernels: Any, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("1")
    script = "import sys; sys.exit('no licence')"
    environment = install(tmp_path, sys.executable, "-c", script, "{connection_file}")
    done = await real_kernels.run("run", "program.py", "--kernel", "mine", **environment)
    said = "kernelwire: the kernel's process ended with exit code 1; its last words:\nno licence\n"
    assert done == (3, "", said)
