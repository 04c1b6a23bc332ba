"""When a kernel is started again; the rest is tested through the manager, with real processes."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kernelwire.errors import KernelExited
from kernelwire.kernel_clients import KernelClients
from kernelwire.launch import AutoRestart, Event, Launch, Patience
from kernelwire.launcher import Launcher, Process
from kernelwire.owned_kernel import START_TIME, OwnedKernel

PATIENCE = 60.0


class Imagined(Process):
    """A process that ends when the test says so."""

    stderr = "Address already in use"

    def __init__(self) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    def poll(self) -> int | None:
        return self.ended.result() if self.ended.done() else None

    def send_signal(self, signum: int) -> None:
        if not self.ended.done():
            self.ended.set_result(-signum)

    def abandon(self) -> None:
        pass


class Stage(Launcher):
    """Launches imagined processes."""

    def __init__(self) -> None:
        self.processes: asyncio.Queue[Imagined] = asyncio.Queue()
        self.launched = 0

    async def launch(self, argv: Sequence[str], env: Mapping[str, str], cwd: Any) -> Process:
        process = Imagined()
        self.launched += 1
        self.processes.put_nowait(process)
        return process


class Clock:
    """Passes when the test says so."""

    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    return Clock()


async def imagined(
    clock: Clock, events: "asyncio.Queue[Event]", auto_restart: AutoRestart
) -> tuple[OwnedKernel, Stage]:
    stage = Stage()
    kernel = await OwnedKernel.open(
        Launch(argv=["x"], launcher=stage),
        KernelClients(),
        auto_restart=auto_restart,
        patience=Patience(shutdown=0.1),
        on_event=events.put_nowait,
        clock=clock.time,
    )
    return kernel, stage


async def test_restarts_in_a_row_are_counted(clock: Clock) -> None:
    events: asyncio.Queue[Event] = asyncio.Queue()
    async with asyncio.timeout(PATIENCE):
        kernel, stage = await imagined(clock, events, AutoRestart(limit=2, stable=100))
        for age, event in ((99, "restart"), (99, "restart"), (100, "restart"), (99, "restart"), (99, "dead")):
            process = await stage.processes.get()
            clock.now += age
            process.ended.set_result(-9)
            assert await events.get() == event
        with pytest.raises(KernelExited):
            kernel.living()
        await kernel.close()


@pytest.mark.parametrize(("code", "age"), [(0, 0.0), (-9, 0.0), (1, START_TIME + 1)])
async def test_what_is_no_lost_race_for_a_port(clock: Clock, code: int, age: float) -> None:
    events: asyncio.Queue[Event] = asyncio.Queue()
    async with asyncio.timeout(PATIENCE):
        kernel, stage = await imagined(clock, events, AutoRestart(limit=0))
        process = await stage.processes.get()
        clock.now += age
        process.ended.set_result(code)
        assert await events.get() == "dead"
        assert stage.launched == 1
        await kernel.close()


async def test_a_lost_race_for_a_port(clock: Clock) -> None:
    events: asyncio.Queue[Event] = asyncio.Queue()
    async with asyncio.timeout(PATIENCE):
        kernel, stage = await imagined(clock, events, AutoRestart(limit=0))
        info = kernel.address.info
        (await stage.processes.get()).ended.set_result(1)
        await stage.processes.get()
        assert kernel.address.info.shell_port != info.shell_port
        assert events.empty()
        await kernel.close()
