"""The manager with real kernels, and with many: what it starts works, and nothing of it stays."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from integration._fake_kernel import fake
from integration._kernels import PATIENCE
from kernelwire import kernelspecs
from kernelwire.client import KernelClient, connect
from kernelwire.connection import PORT_FIELDS
from kernelwire.errors import KernelDied, KernelExited, RequestTimeout
from kernelwire.launch import AutoRestart
from kernelwire.launcher import Launcher, LocalLauncher, Process
from kernelwire.manager import KernelManager
from kernelwire.testing import Resources

KERNELS = 100
AT_ONCE = 20

ENVIRONMENT = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}

on_every_wire = pytest.mark.parametrize("transport", ["tcp", "ipc", "inprocess"])


@pytest.fixture(autouse=True)
async def directory(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Path]:
    """Where sockets are made; a short path. Nothing is left there, in the runtime directory, or in this process."""
    directory = tmp_path_factory.mktemp("s")
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    before = Resources.now()
    yield directory
    assert [*directory.iterdir(), *(runtime.iterdir() if runtime.exists() else ())] == []
    assert await before.settled() == []


async def started(manager: KernelManager, **more: Any) -> None:
    launcher = LocalLauncher(pass_on=lambda _data: None)
    await manager.start("python3", **{"launcher": launcher, "env": ENVIRONMENT, "timeout": PATIENCE, **more})


async def said(client: KernelClient, code: str) -> str:
    return (await client.execute(code)).text.strip()


async def pid(client: KernelClient) -> int:
    return int(await said(client, "import os; print(os.getpid())"))


async def test_five_real_kernels() -> None:
    async def use(transport: str) -> None:
        async with KernelManager() as manager:
            await started(manager, transport=transport)
            async with manager.client() as client:
                assert await pid(client) == manager.pid
            process = psutil.Process(manager.pid)
        assert not process.is_running()

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for transport in ("tcp", "tcp", "ipc", "inprocess", "inprocess"):
            group.create_task(use(transport))


@on_every_wire
async def test_a_restart_keeps_clients(transport: str) -> None:
    async with asyncio.timeout(PATIENCE), KernelManager() as manager:
        await started(manager, transport=transport)
        async with manager.client() as one, manager.client() as other:
            before = await pid(one)
            await one.execute("x = 1")
            await manager.restart()
            # As soon as the process runs, or when the kernel answers: both are good for a request.
            assert await pid(one) == await pid(other) == manager.pid != before
            assert (await one.execute("x")).status == "error"
            await manager.restart(now=True, timeout=None)
            assert await pid(other) == manager.pid


@on_every_wire
async def test_an_interrupt(transport: str) -> None:
    async with asyncio.timeout(PATIENCE), KernelManager() as manager:
        await started(manager, transport=transport)
        async with manager.client() as client:
            execution = client.execute("print('up', flush=True)\nimport time\ntime.sleep(1000)")
            async for message in execution:
                if message.msg_type == "stream":
                    await manager.interrupt()
            assert (await execution).status == "error"
            assert await said(client, "print('well')") == "well"


@on_every_wire
async def test_a_kernel_that_is_killed_comes_back_to_its_client(transport: str) -> None:
    async with asyncio.timeout(PATIENCE), KernelManager(auto_restart=AutoRestart()) as manager:
        again = asyncio.Event()
        manager.add_callback(again.set)
        await started(manager, transport=transport)
        async with manager.client() as client:
            before = await pid(client)
            execution = client.execute("print('up', flush=True)\nimport time\ntime.sleep(1000)")
            async for message in execution:
                if message.msg_type == "stream":
                    break
            os.kill(before, signal.SIGKILL)
            with pytest.raises(KernelExited, match="signal 9"):  # and not only when the heartbeat has stopped
                await execution
            await again.wait()
            await manager.wait_ready(client=client)
            assert await pid(client) == manager.pid != before


@on_every_wire
async def test_a_kernel_that_is_stopped_does_not_beat(transport: str) -> None:
    async with asyncio.timeout(PATIENCE), KernelManager() as manager:
        await started(manager, transport=transport)
        async with manager.client(time_to_dead=3.0) as client:
            execution = client.execute("print('up', flush=True)\nimport time\nfor _ in range(100): time.sleep(0.01)")
            async for message in execution:
                if message.msg_type == "stream":
                    break
            await client.heartbeat.wait_beating()
            manager.signal(signal.SIGSTOP)
            with pytest.raises(KernelDied, match="has not answered its heartbeat for") as caught:
                await execution
            assert not isinstance(caught.value, KernelExited)
            assert float(str(caught.value).split()[-2]) >= 3.0  # what was declared, and not before
            assert client.heartbeat.is_beating is False
            assert manager.is_alive() is True  # as a process it is
            manager.signal(signal.SIGCONT)
            await client.heartbeat.wait_beating()
            assert await pid(client) == manager.pid
            manager.signal(signal.SIGSTOP)  # and it can be ended like that


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("encryption", ["auto", "required"])
async def test_encrypted(transport: str, encryption: str) -> None:
    async with asyncio.timeout(PATIENCE), KernelManager() as manager:
        if "curve" not in kernelspecs.get("python3").supported_encryption:
            pytest.skip("this ipykernel reads no CURVE keys")
        await started(manager, transport=transport, encryption=encryption)
        assert manager.info.curve_secretkey is not None
        async with manager.client(time_to_dead=PATIENCE) as client:
            assert await pid(client) == manager.pid
            await manager.interrupt()
            await manager.restart()
            assert await pid(client) == manager.pid
        plain = manager.info.replace(curve_publickey=None, curve_secretkey=None)
        async with connect(plain) as outsider:
            with pytest.raises(RequestTimeout):
                await outsider.ready(1.0)


async def test_a_bridge_to_an_encrypted_kernel() -> None:
    async with asyncio.timeout(PATIENCE), KernelManager() as manager:
        await started(manager, transport="inprocess", encryption="auto")
        async with manager.client() as client:
            assert await pid(client) == manager.pid


class Thief(Launcher):
    """Takes a port of the first kernel before that can."""

    def __init__(self, field: str, launcher: Launcher) -> None:
        self.field = field
        self.launcher = launcher
        self.taken: socket.socket | None = None

    async def launch(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None) -> Process:
        if self.taken is None:
            fields = json.loads(Path(argv[argv.index("-f") + 1]).read_text())
            self.taken = socket.create_server((fields["ip"], fields[self.field]))
        return await self.launcher.launch(argv, env, cwd)


# At the first, ipykernel ends; at the second it hangs; without the third it lives on.
@pytest.mark.parametrize("field", ["shell_port", "iopub_port", "hb_port"])
@pytest.mark.parametrize("independent", [False, True])
async def test_a_port_that_was_taken(field: str, independent: bool) -> None:
    thief = Thief(field, LocalLauncher(pass_on=lambda _data: None, independent=independent))
    try:
        async with asyncio.timeout(PATIENCE), KernelManager() as manager:
            await started(manager, launcher=thief)
            assert thief.taken is not None
            assert manager.info.port(field) != thief.taken.getsockname()[1]
            async with manager.client() as client:
                assert await pid(client) == manager.pid
                await client.heartbeat.wait_beating()
    finally:
        if thief.taken is not None:
            thief.taken.close()


@pytest.mark.timeout(300)
async def test_many_kernels_leave_nothing() -> None:
    ports: set[tuple[str, int]] = set()
    pids: set[int] = set()
    turns = asyncio.Semaphore(AT_ONCE)

    async def use(transport: str, *, harshly: bool) -> None:
        async with turns, AsyncExitStack() as stack:
            manager = await stack.enter_async_context(KernelManager())
            await started(manager, argv=fake(), transport=transport, timeout=2 * PATIENCE)
            assert manager.pid is not None
            pids.add(manager.pid)
            if transport == "tcp":
                ports.update((str(manager.info.ip), manager.info.port(field)) for field in PORT_FIELDS)
            async with manager.client() as client:
                assert (await client.execute("pid")).text == str(manager.pid)
            if harshly:
                await manager.shutdown(now=True)

    async with asyncio.TaskGroup() as group:
        for n in range(KERNELS):
            group.create_task(use(("tcp", "tcp", "ipc", "inprocess")[n % 4], harshly=n % 5 == 0))
    assert len(pids) == KERNELS
    assert not [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).ppid() == os.getpid()]
    # Not by binding: meanwhile the system may have lent a port to somebody's outgoing connection.
    ours = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True)), *pids}
    listening = {
        c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.pid in ours
    }
    assert not listening & {port for _, port in ports}
