"""The real command in a process of its own, and a scripted kernel in this one for it to talk to."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from kernelwire import registry
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile
from kernelwire.session import Session
from kernelwire.testing import Run, ScriptedKernel

PIPE = asyncio.subprocess.PIPE
PATIENCE = 60
"""Seconds for anything; no test asserts that anything is fast."""


class Done(NamedTuple):
    """What a command left: its exit code, and what it wrote."""

    code: int | None
    out: str
    err: str


class Command:
    """``python -m kernelwire.cli`` in a directory, and an environment, of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[asyncio.subprocess.Process] = []
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "PYTHONIOENCODING", "PYTHONWARNINGS")},
            "JUPYTER_RUNTIME_DIR": str(directory / "runtime"),
            "PYTHONUTF8": "1",
            "COLUMNS": "100",
        }

    async def start(
        self,
        *arguments: str,
        stdout: int = PIPE,
        stderr: int = PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "kernelwire.cli", *arguments),
            cwd=self.directory,
            env={**self.environment, **(environment or {})},
            stdin=PIPE,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    async def run(self, *arguments: str, stdin: bytes = b"", **environment: str) -> Done:
        """Run to the end."""
        return await self.end(await self.start(*arguments, environment=environment), stdin)

    async def end(self, process: asyncio.subprocess.Process, stdin: bytes = b"") -> Done:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin)
        return Done(process.returncode, (out or b"").decode(), (err or b"").decode())


@pytest.fixture
async def command(tmp_path: Path) -> AsyncIterator[Command]:
    command = Command(tmp_path)
    yield command
    for process in command.processes:  # of a test that failed
        if process.returncode is None:
            process.kill()
            await process.communicate()


class Kernel:
    """A scripted kernel with a connection file.

    Attributes:
        file: the connection file.
        scripted: the kernel.
        go_on: lets the code ``stream`` go on.
    """

    scripted: ScriptedKernel

    def __init__(self, file: Path) -> None:
        self.file = file
        self.go_on = asyncio.Event()

    async def script(self, run: Run) -> Mapping[str, Any] | None:
        match run.code:
            case "print":
                await run.stream("to out\n")
                await run.stream("to err\n", "stderr")
            case "stream":
                await run.stream("first\n")
                await self.go_on.wait()
                await run.stream("last\n")
            case "raise":
                raise ValueError("it broke")
            case "display":
                await run.publish("display_data", {"data": {"text/plain": "shown", "text/html": "<b>"}, "metadata": {}})
                await run.publish("display_data", {"data": {"image/png": "AAAA", "a/b": "c"}, "metadata": {}})
                await run.publish(
                    "execute_result", {"data": {"text/plain": "42"}, "metadata": {}, "execution_count": 1}
                )
            case "ask":
                name = await run.input("name? ")
                secret = await run.input("secret: ", password=True)
                await run.stream(f"{name!r} {secret!r}\n")
            case "until interrupted":
                await run.stream("runs\n")
                await self.scripted.interrupted.wait()
                raise RuntimeError("interrupted")
            case "deaf":
                await run.stream("runs\n")
                await asyncio.get_running_loop().create_future()
            case "colours":
                await run.stream("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x1b\\link\x1b]8;;\x07\n")
            case "characters":
                await run.stream("日本語 😀 \ud800\n")
            case "skip":
                return {"status": "aborted"}
            case "show" | "show again" | "update":
                msg_type = "update_display_data" if run.code == "update" else "display_data"
                data, transient = {"text/plain": run.code}, {"display_id": "x"}
                await run.publish(msg_type, {"data": data, "metadata": {}, "transient": transient})
            case "clear":
                await run.stream("gone\n")
                await run.publish("clear_output", {"wait": False})
                await run.stream("stays\n")
            case "odd":
                await run.publish("stream", {"text": None})
                await run.publish("display_data", {"data": {"text/plain": {"not": "text"}}})
            case "flood":
                for number in range(20_000):
                    await run.stream(f"{number}\n")
            case code:
                await run.stream(f"code {code!r}\n")
        return None


@pytest.fixture
async def real_kernels(command: Command) -> AsyncIterator[Command]:
    """The command, which may start real kernels; nothing of them is left when it has ended."""
    command.environment |= {
        "IPYTHONDIR": str(command.directory / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "NO_COLOR": "1",
    }
    runtime = Path(command.environment["JUPYTER_RUNTIME_DIR"])
    yield command
    assert all(process.returncode is not None for process in command.processes)
    assert not runtime.exists() or list(runtime.iterdir()) == []
    left = [each for each in psutil.process_iter(["cmdline"]) if str(runtime) in " ".join(each.info["cmdline"] or ())]
    assert left == []


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[tuple[ConnectionInfo, Path]]:
    """A connection file, and nobody there yet."""
    backend = registry.load("ipc")
    info = backend.prepare(ConnectionInfo(transport="ipc", ip=str(tmp_path / "s"), key=b"a key for these tests"))
    with ConnectionFile.write(info, tmp_path / "kernel-1.json") as file:
        yield info, file.path
    backend.release(info)


@pytest.fixture
async def kernel(address: tuple[ConnectionInfo, Path]) -> AsyncIterator[Kernel]:
    info, path = address
    kernel = Kernel(path)
    async with await registry.load("ipc").serve(info) as end:
        kernel.scripted = ScriptedKernel(end, Session.of(info), kernel.script)
        async with kernel.scripted:
            yield kernel


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Any]:
    """Commands that start kernels; nothing of those may be left at the end."""
    from ._station import Station  # it imports this module

    station = Station(tmp_path)
    left = ["the test did not come to its end"]
    try:
        yield station
    finally:
        left = await station.close()
    assert left == []
