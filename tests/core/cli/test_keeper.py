"""A keeper, without a command around it; with one it is tested where kernels are started, stopped and restarted."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from integration._fake_kernel import LAST_WORDS, fake
from kernelwire.cli.keeper import RESTART, RESTART_NOW, keep
from kernelwire.cli.running import RunningKernel, read
from kernelwire.errors import KernelExited, NoSuchKernelspec
from kernelwire.launcher import LocalLauncher

PATIENCE = 60


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    install(tmp_path, "good")
    return {"kernel_name": "mine", "cwd": str(tmp_path), "env": {}, "arguments": (), "timeout": PATIENCE}


def install(directory: Path, behaviour: str) -> None:
    directory = directory / "jupyter" / "kernels" / "mine"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "kernel.json").write_text(json.dumps({"argv": fake(behaviour)}))


class Kept:
    """A keeper as a task.

    Attributes:
        started: what it has told.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.started: asyncio.Future[RunningKernel] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(keep(options, LocalLauncher(), self.started.set_result))

    async def kernel(self) -> RunningKernel:
        waits: list[asyncio.Future[Any]] = [self.started, self.task]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return self.started.result()


async def test_the_life_of_a_kernel(options: dict[str, Any]) -> None:
    kept = Kept(options)
    kernel = await kept.kernel()
    record = kernel.record
    assert record is not None
    assert record == read(kernel.path).record
    assert record.keeper is not None
    assert record.keeper.pid == os.getpid()
    pids = {record.kernel.pid}
    for restarts, signum in enumerate((RESTART, RESTART_NOW), 1):
        os.kill(os.getpid(), signum)
        async with asyncio.timeout(PATIENCE):
            while (after := read(kernel.path).record) is None or after.restarts < restarts:
                await asyncio.sleep(0.02)
        record = after
        assert record.error == ""
        assert read(kernel.path).info.replace(extra={}) == kernel.info.replace(extra={})
        pids.add(record.kernel.pid)
    assert len(pids) == 3
    os.kill(record.kernel.pid, signal.SIGKILL)
    with pytest.raises(KernelExited, match="by signal 9"):
        await kept.task
    assert not kernel.path.exists()


async def test_a_restart_that_fails(options: dict[str, Any], tmp_path: Path) -> None:
    kept = Kept(options)
    kernel = await kept.kernel()
    (tmp_path / "jupyter" / "kernels" / "mine" / "kernel.json").unlink()
    os.kill(os.getpid(), RESTART)
    async with asyncio.timeout(PATIENCE):
        while (record := read(kernel.path).record) is None or not record.error:
            await asyncio.sleep(0.02)
    assert record.error.startswith("no kernelspec 'mine'")
    assert kernel.record is not None
    assert record.kernel == kernel.record.kernel  # it lives on
    install(tmp_path, "exits")
    os.kill(os.getpid(), RESTART)
    with pytest.raises(KernelExited, match=LAST_WORDS):
        await kept.task
    # Whoever wanted the restart reads it there.
    after = read(kernel.path).record
    assert after is not None
    assert LAST_WORDS in after.error
    assert after.restarts == 2
    kernel.path.unlink()


async def test_a_cancellation_ends_the_kernel(options: dict[str, Any]) -> None:
    kept = Kept(options)
    kernel = await kept.kernel()
    kept.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await kept.task
    assert kernel.is_gone
    assert not kernel.path.exists()


async def test_nobody_to_tell(options: dict[str, Any]) -> None:
    kernels = []

    def report(kernel: RunningKernel) -> None:
        kernels.append(kernel)
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await keep(options, LocalLauncher(), report)
    assert kernels[0].is_gone
    assert not kernels[0].path.exists()


def never(_kernel: RunningKernel) -> None:
    raise AssertionError("it was told of a kernel that is not there")


async def test_a_kernel_that_cannot_be_started(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(NoSuchKernelspec):
        await keep(options | {"kernel_name": "other"}, LocalLauncher(), never)
    install(tmp_path, "exits")
    with pytest.raises(KernelExited):
        await keep(options, LocalLauncher(), never)
    assert list((tmp_path / "runtime").iterdir()) == []
