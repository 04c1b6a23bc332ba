"""The manager, with kernels in processes of their own that start fast and do as they are told."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from integration._fake_kernel import EXIT_CODE, LAST_WORDS, fake
from kernelwire import connection_file, kernelspecs
from kernelwire.client import KernelClient, connect
from kernelwire.connection import PORT_FIELDS, ConnectionInfo
from kernelwire.errors import (
    ConnectionFileError,
    ConnectionLost,
    EndOfChannel,
    InvalidField,
    KernelDied,
    KernelExited,
    KernelRestarted,
    KernelspecError,
    LaunchFailed,
    LocalError,
    NoSuchKernelspec,
    NotSupported,
    RequestTimeout,
    UnknownTransport,
)
from kernelwire.launch import NEVER, AutoRestart, Patience
from kernelwire.launcher import Launcher, LocalLauncher, Process
from kernelwire.manager import KernelManager
from kernelwire.owned_kernel import PORT_TRIES
from kernelwire.testing import Resources

PATIENCE = 60.0
HASTY = Patience(shutdown=1.0)

on_every_wire = pytest.mark.parametrize("transport", ["tcp", "ipc", "inprocess"])


def silently(_data: bytes) -> None:
    pass


QUIET = LocalLauncher(pass_on=silently)


@pytest.fixture(autouse=True)
async def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """The runtime directory; sockets are there too, so its path is short. After a test, nothing is left anywhere."""
    directory = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    before = Resources.now()
    yield directory
    assert list(directory.iterdir()) == []
    assert await before.settled() == []


async def started(manager: KernelManager, behaviour: str = "good", mark: Path | str = "", **more: Any) -> None:
    more = {"launcher": QUIET, "timeout": PATIENCE, "argv": fake(behaviour, mark), **more}
    await manager.start("fake", **more)


async def said(client: KernelClient, code: str) -> str:
    return (await client.execute(code)).text


async def executing(client: KernelClient) -> "asyncio.Future[str]":
    """A request that the kernel is at work on, and that nothing but the kernel's end ends."""
    execution = client.execute("hang")
    async for message in execution:
        if message.msg_type == "stream":
            break

    async def rest() -> str:
        return (await execution).text

    return asyncio.ensure_future(rest())


async def pid(client: KernelClient) -> int:
    return int(await said(client, "pid"))


@on_every_wire
async def test_starts_and_shuts_down(transport: str, runtime: Path) -> None:
    async with KernelManager() as manager:
        assert not manager.has_kernel
        assert manager.is_alive() is False
        assert manager.pid is None
        await started(manager, transport=transport, env={"GIVEN": "yes"}, cwd=runtime)
        assert manager.has_kernel
        assert manager.is_alive() is True
        assert manager.info.transport == transport
        assert manager.info.kernel_name == manager.kernel_spec.name == "fake"
        assert connection_file.read(manager.connection_file) == manager.info
        assert connection_file.find() == manager.connection_file
        assert stat.S_IMODE(manager.connection_file.stat().st_mode) == 0o600
        async with manager.client() as client:
            assert await pid(client) == manager.pid
            assert await said(client, "env GIVEN") == "yes"
            assert await said(client, "cwd") == str(runtime.resolve())
        process = psutil.Process(manager.pid)
        await manager.shutdown()
        assert not process.is_running()
        assert not manager.has_kernel
        assert manager.is_alive() is False
        await manager.shutdown()
        with pytest.raises(LocalError, match="no kernel"):
            _ = manager.info
        await started(manager, transport=transport)  # and again


async def test_more_words_for_the_command(runtime: Path) -> None:
    async with KernelManager() as manager:
        await started(manager, arguments=["--log={connection_file}", "--{debug}"])
        async with manager.client() as client:
            assert await said(client, "argv") == f"--log={os.path.realpath(manager.connection_file)} --{{debug}}"
            await manager.restart()
            assert "--{debug}" in await said(client, "argv")
            await manager.restart(arguments=["--quiet"])
            assert await said(client, "argv") == "--quiet"
        with pytest.raises(LocalError, match="arguments: a list"):
            await manager.restart(arguments="--quiet")
        assert manager.is_alive()


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_encrypted(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(PATIENCE), KernelManager() as manager:
        await started(manager, transport=transport, encryption="required")
        keys = manager.info.curve_publickey, manager.info.curve_secretkey
        assert None not in keys
        async with connect(manager.connection_file) as client:
            assert await pid(client) == manager.pid
            await manager.restart()
            assert await pid(client) == manager.pid
        await manager.restart(newports=True)
        assert (manager.info.curve_publickey, manager.info.curve_secretkey) == keys
        await manager.shutdown()
        claims = kernelspecs.KernelSpec("fake", tuple(fake()), metadata={"supported_encryption": ["curve"]})
        monkeypatch.setattr(kernelspecs, "get", lambda _name: claims)
        await started(manager, argv=None, transport=transport, encryption="auto")
        assert manager.info.curve_secretkey is not None


async def test_not_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with KernelManager() as manager:
        silent = kernelspecs.KernelSpec("silent", tuple(fake()))
        monkeypatch.setattr(kernelspecs, "get", lambda _name: silent)
        with pytest.raises(KernelspecError, match=r"'silent': metadata\.supported_encryption"):
            await started(manager, argv=None, encryption="required")
        with pytest.raises(NotSupported, match="'inprocess' does not encrypt"):
            await started(manager, transport="inprocess", encryption="required")
        with pytest.raises(LocalError, match="none of disabled, auto, required"):
            await started(manager, encryption="curve")
        assert not manager.has_kernel
        for asked in ("auto", "disabled"):
            await started(manager, argv=None, encryption=asked)
            assert manager.info.curve_secretkey is None
            await manager.shutdown()


async def test_a_provisioner_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    metadata = {"kernel_provisioner": {"provisioner_name": "k8s", "config": {}}}
    monkeypatch.setattr(kernelspecs, "get", lambda name: kernelspecs.KernelSpec(name, tuple(fake()), metadata=metadata))
    async with KernelManager() as manager:
        await started(manager, argv=None)
        assert "'k8s', which is not used" in caplog.text


@on_every_wire
async def test_a_restart_keeps_clients(transport: str) -> None:
    async with KernelManager() as manager:
        await started(manager, transport=transport, env={"A": "1"})
        info = manager.info
        async with manager.client() as client, connect(manager.connection_file) as other:
            first = await pid(client)
            await manager.restart()
            assert await pid(client) == await pid(other) == manager.pid != first
            await manager.restart(now=True, env={"A": "2"})
            assert await said(client, "env A") == "2"
            if transport == "inprocess":
                await manager.restart(newports=True)
                assert manager.info == info
                assert await pid(client) == await pid(other) == manager.pid
            assert not client.heartbeat.paused
        assert manager.info == info
        async with manager.client() as client:
            assert await said(client, "env A") == "2"


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_a_restart_on_other_ports(transport: str, runtime: Path) -> None:
    async with KernelManager() as manager:
        await started(manager, transport=transport, connection_file=runtime / "mine.json")
        old = manager.info
        async with manager.client() as lost:
            running = await executing(lost)
            channels = await manager.start_channels()
            await manager.restart(newports=True)
            with pytest.raises(KernelRestarted):
                await running
            for client in (lost, channels):
                with pytest.raises(ConnectionLost, match="another address: make a new client"):
                    await client.kernel_info()
        assert not manager.channels_running
        assert await pid(await manager.start_channels()) == manager.pid
        assert manager.info.key == old.key
        assert all((manager.info.ip, manager.info.port(field)) != (old.ip, old.port(field)) for field in PORT_FIELDS)
        assert manager.connection_file == runtime / "mine.json"
        assert connection_file.read(runtime / "mine.json") == manager.info
        async with manager.client() as client:
            assert await pid(client) == manager.pid


async def test_a_restart_after_a_shutdown_or_a_kill() -> None:
    async with KernelManager() as manager:
        await started(manager)
        info = manager.info
        await manager.shutdown(restart=True)
        assert manager.has_kernel
        assert manager.is_alive() is False
        with pytest.raises(LocalError, match="restart"):
            await manager.wait_ready()
        await manager.restart()
        assert manager.info == info
        await manager.kill()
        assert manager.is_alive() is False
        with pytest.raises(LocalError, match="restart"):
            await manager.interrupt()
        await manager.restart()
        assert manager.info == info
        await manager.shutdown()
        await manager.restart()  # as it was started last
        assert manager.info != info
        assert manager.is_alive() is True


async def test_a_restart_that_fails_leaves_it_to_be_restarted() -> None:
    async with KernelManager() as manager:
        await started(manager)
        with pytest.raises(LaunchFailed):
            await manager.restart(argv=["no-such-command-anywhere"])
        assert manager.is_alive() is False
        with pytest.raises(LocalError):
            await manager.wait_ready()
        await manager.restart()
        with pytest.raises(NoSuchKernelspec):
            await manager.restart(kernel_name="no-such-kernel")
        assert manager.is_alive() is True
        with pytest.raises(LocalError, match="transport"):
            await manager.restart(transport="ipc")


async def test_who_waits_during_a_restart_waits_for_the_next_kernel() -> None:
    async with KernelManager(patience=HASTY) as manager:
        await started(manager, "mute", timeout=None)
        waiting = asyncio.create_task(manager.wait_ready(PATIENCE))
        await asyncio.sleep(0)
        await manager.restart(now=True, argv=fake())
        assert (await waiting).content["status"] == "ok"


@pytest.mark.parametrize("behaviour", ["deaf", "stubborn", "mute"])
async def test_one_that_does_not_want_to_end(behaviour: str) -> None:
    async with KernelManager(patience=Patience(shutdown=0.5)) as manager:
        await started(manager, behaviour, timeout=None if behaviour == "mute" else PATIENCE)
        process = psutil.Process(manager.pid)
    assert not process.is_running()


async def test_a_cancelled_shutdown_leaves_nothing() -> None:
    manager = KernelManager(patience=Patience(shutdown=PATIENCE))
    await started(manager, "stubborn")
    process = psutil.Process(manager.pid)
    ending = asyncio.create_task(manager.shutdown())
    while manager.has_kernel:
        await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait([ending])
    assert not process.is_running()


class Recorded(Launcher):
    """Keeps the processes that it has started."""

    def __init__(self) -> None:
        self.processes: list[Process] = []

    async def launch(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None) -> Process:
        self.processes.append(await QUIET.launch(argv, env, cwd))
        return self.processes[-1]


@pytest.mark.parametrize("mode", ["signal", "message"])
@pytest.mark.parametrize("how", ["restart", "shutdown"])
async def test_what_it_executes_is_interrupted_before_it_ends(
    mode: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour = "thorough" if mode == "signal" else "message thorough"
    spec = kernelspecs.KernelSpec("fake", tuple(fake(behaviour)), interrupt_mode=mode)
    monkeypatch.setattr(kernelspecs, "get", lambda _name: spec)
    launcher = Recorded()
    async with KernelManager(patience=Patience(shutdown=PATIENCE)) as manager:
        await started(manager, argv=None, launcher=launcher)
        async with manager.client() as client:
            execution = client.execute("wait")
            ending: asyncio.Task[None] | None = None
            with contextlib.suppress(KernelRestarted, KernelDied):  # or its reply comes before that is known
                async for message in execution:
                    if message.msg_type == "stream":
                        ending = asyncio.create_task(getattr(manager, how)())
                assert (await execution).status == "error"
            assert ending is not None
            await ending
    assert await launcher.processes[0].wait() == 0  # and not by SIGTERM


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_a_cancelled_start_leaves_nothing(turns: int) -> None:
    async with KernelManager() as manager:
        starting = asyncio.create_task(started(manager, transport="inprocess"))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])
        assert not manager.has_kernel


@on_every_wire
async def test_interrupts(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with KernelManager() as manager:
        await started(manager, transport=transport)
        async with manager.client() as client:
            await _interrupted(manager, client)
            by_message = kernelspecs.KernelSpec("fake", tuple(fake("message")), interrupt_mode="message")
            monkeypatch.setattr(kernelspecs, "get", lambda _name: by_message)
            await manager.restart(kernel_name="fake")
            await _interrupted(manager, client)


async def _interrupted(manager: KernelManager, client: KernelClient) -> None:
    execution = client.execute("wait")
    async with asyncio.timeout(PATIENCE):
        async for message in execution:
            if message.msg_type == "stream":
                await manager.interrupt()
        assert (await execution).status == "error"


async def test_nothing_to_restart_interrupt_or_end() -> None:
    async with KernelManager() as manager:
        with pytest.raises(LocalError, match=r"start\(\)"):
            await manager.restart()
        with pytest.raises(LocalError, match=r"start\(\)"):
            await manager.interrupt()
        with pytest.raises(LocalError, match=r"start\(\)"):
            await manager.kill()
        with pytest.raises(LocalError, match=r"start\(\)"):
            await manager.wait_ready()
        await manager.shutdown()
        await manager.detach()
        await started(manager)
        with pytest.raises(LocalError, match="has a kernel already"):
            await started(manager)
        with pytest.raises(LocalError, match="has a kernel already"):
            await manager.attach(manager.info)


class Events:
    """What a manager tells."""

    def __init__(self, manager: KernelManager) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()
        manager.add_callback(lambda: self.told.put_nowait("restart"))
        manager.add_callback(lambda: self.told.put_nowait("dead"), "dead")

    async def next(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return await self.told.get()


async def test_a_kernel_that_dies() -> None:
    async with KernelManager() as manager:
        events = Events(manager)
        await started(manager)
        manager.signal(signal.SIGKILL)
        assert await events.next() == "dead"
        assert manager.is_alive() is False
        assert manager.has_kernel
        for failing in (manager.interrupt(), manager.wait_ready()):
            with pytest.raises(KernelExited, match="signal 9") as caught:
                await failing
            assert isinstance(caught.value, KernelDied)
            assert caught.value.exit_code == -signal.SIGKILL
        with pytest.raises(KernelExited):
            manager.signal(signal.SIGINT)
        await manager.restart()
        assert manager.is_alive() is True
        assert events.told.empty()


@on_every_wire
async def test_is_started_again(transport: str) -> None:
    async with KernelManager(auto_restart=AutoRestart()) as manager:
        events = Events(manager)
        await started(manager, transport=transport)
        async with manager.client() as client:
            before = await pid(client)
            manager.signal(signal.SIGKILL)
            assert await events.next() == "restart"
            await manager.wait_ready(client=client)
            assert await pid(client) == manager.pid != before
        assert events.told.empty()


@on_every_wire
@pytest.mark.parametrize("auto_restart", [NEVER, AutoRestart()])
async def test_requests_end_with_the_kernel_that_worked_on_them(transport: str, auto_restart: AutoRestart) -> None:
    async with asyncio.timeout(PATIENCE), KernelManager(auto_restart=auto_restart) as manager:
        events = Events(manager)
        await started(manager, transport=transport)
        # Longer than this test may take: it is not the heartbeat that says so.
        async with manager.client(time_to_dead=10 * PATIENCE) as client:
            running = await executing(client)
            queued = asyncio.ensure_future(said(client, "pid"))
            manager.signal(signal.SIGKILL)
            for ended in (running, queued):
                with pytest.raises(KernelExited, match="signal 9"):
                    await ended
            assert await events.next() == ("dead" if auto_restart is NEVER else "restart")
            if auto_restart is NEVER:
                await manager.restart()
            assert await pid(client) == manager.pid


@on_every_wire
async def test_requests_end_with_a_planned_end(transport: str) -> None:
    async with asyncio.timeout(PATIENCE), KernelManager(patience=HASTY) as manager:
        await started(manager, transport=transport)
        async with manager.client(time_to_dead=10 * PATIENCE) as client:
            for now in (True, False):
                running = await executing(client)
                await manager.restart(now=now)
                with pytest.raises(KernelRestarted, match="restarted before it replied"):
                    await running
            running = await executing(client)
            await manager.kill()
            with pytest.raises(KernelDied, match="was killed"):
                await running
            await manager.restart()
            running = await executing(client)
            await manager.shutdown(restart=True)
            with pytest.raises(KernelDied, match="was shut down"):
                await running
            await manager.restart()
            running = await executing(client)
            await manager.shutdown()
            with pytest.raises(KernelDied, match="was shut down"):
                await running
            with pytest.raises((KernelDied, EndOfChannel)):  # and not after a time
                await client.kernel_info()


@on_every_wire
async def test_what_a_kernel_said_last_is_heard(transport: str) -> None:
    async with asyncio.timeout(PATIENCE), KernelManager(auto_restart=AutoRestart()) as manager:
        events = Events(manager)
        await started(manager, transport=transport)
        async with manager.client() as client:
            assert await said(client, "quit") == LAST_WORDS
            assert await events.next() == "restart"
            assert await pid(client) == manager.pid


async def test_a_client_that_was_too_early_for_a_kernel_that_moves(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE), KernelManager() as manager:
        await started(manager, "taken", tmp_path / "mark", timeout=None)
        async with manager.client() as early:
            asking = asyncio.ensure_future(early.kernel_info())
            with pytest.raises(ConnectionLost, match="another address"):
                await manager.wait_ready(client=early)
            await manager.wait_ready()
            with pytest.raises(KernelExited, match="in use"):
                await asking
        async with manager.client() as client:
            assert await pid(client) == manager.pid


@on_every_wire
async def test_channels(transport: str) -> None:
    async with asyncio.timeout(PATIENCE), KernelManager(patience=HASTY) as manager:
        with pytest.raises(LocalError, match=r"start\(\)"):
            await manager.start_channels()
        for _ in range(2):
            await started(manager, transport=transport)
            client = await manager.start_channels(stdin=False)
            assert client.allow_stdin is False
            assert await pid(client) == manager.pid
            await manager.restart()
            assert manager.channels is client
            assert await pid(client) == manager.pid
            await manager.stop_channels()
            assert not manager.channels_running
            again = await manager.start_channels()
            running = await executing(again)
            await manager.shutdown()
            assert manager.channels is None
            with pytest.raises(KernelDied, match="was shut down"):
                await running
        await started(manager, transport=transport)
        await manager.start_channels()
    assert manager.channels is None


async def test_channels_of_an_attached_one() -> None:
    async with asyncio.timeout(PATIENCE), KernelManager() as owner, KernelManager() as guest:
        await started(owner)
        await guest.attach(owner.info)
        assert await pid(await guest.start_channels()) == owner.pid
        await guest.detach()
        assert not guest.channels_running
        await guest.attach(owner.info)
        await guest.start_channels()
        await guest.shutdown()
        assert not guest.channels_running


async def test_is_started_again_only_so_often() -> None:
    async with KernelManager(auto_restart=AutoRestart(limit=3)) as manager:
        events = Events(manager)
        await started(manager, "exits", timeout=None)
        assert [await events.next() for _ in range(4)] == ["restart"] * 3 + ["dead"]
        with pytest.raises(KernelExited, match=LAST_WORDS):
            await manager.wait_ready()
        await manager.restart(argv=fake(), timeout=PATIENCE)  # and the count begins anew
        manager.signal(signal.SIGKILL)
        assert await events.next() == "restart"


async def test_one_that_was_stable_is_always_started_again() -> None:
    async with KernelManager(auto_restart=AutoRestart(limit=1, stable=0)) as manager:
        events = Events(manager)
        await started(manager, "exits", timeout=None)
        assert [await events.next() for _ in range(4)] == ["restart"] * 4


async def test_callbacks_that_fail_or_were_removed(caplog: pytest.LogCaptureFixture) -> None:
    async with KernelManager() as manager:

        def fail() -> None:
            raise RuntimeError("in the callback")

        def never() -> None:
            raise AssertionError

        manager.add_callback(never, "dead")
        manager.add_callback(fail, "dead")
        manager.remove_callback(never, "dead")
        manager.remove_callback(never, "dead")
        events = Events(manager)
        await started(manager)
        manager.signal(signal.SIGKILL)
        assert await events.next() == "dead"
        assert "in the callback" in caplog.text


async def test_one_that_cannot_be_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = tmp_path / "kernel"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    command.chmod(0o700)
    async with KernelManager(auto_restart=AutoRestart()) as manager:
        events = Events(manager)
        await started(manager, argv=[str(command), *fake()[1:]])
        command.unlink()
        manager.signal(signal.SIGKILL)
        assert await events.next() == "dead"
        assert "cannot be started" in caplog.text


@on_every_wire
@pytest.mark.parametrize("auto_restart", [NEVER, AutoRestart()])
async def test_one_that_exits_at_start(transport: str, auto_restart: AutoRestart) -> None:
    async with KernelManager(auto_restart=auto_restart) as manager:
        await started(manager, "exits", transport=transport, timeout=None)
        with pytest.raises(KernelExited, match=LAST_WORDS) as caught:
            await manager.wait_ready(PATIENCE)
        assert caught.value.exit_code == 1
        assert LAST_WORDS in caught.value.stderr
        await manager.shutdown()
        with pytest.raises(KernelExited, match=LAST_WORDS):
            await started(manager, "exits", transport=transport)
        assert not manager.has_kernel


async def test_one_that_dies_of_a_request() -> None:
    async with KernelManager() as manager:
        events = Events(manager)
        await started(manager)
        async with manager.client() as client:
            running = asyncio.ensure_future(said(client, "die"))
            assert await events.next() == "dead"
            for failing in (running, manager.interrupt()):
                with pytest.raises(KernelExited, match=LAST_WORDS) as caught:
                    await failing
                assert caught.value.exit_code == EXIT_CODE


async def test_one_that_never_answers() -> None:
    async with KernelManager(patience=HASTY) as manager:
        with pytest.raises(RequestTimeout, match=r"0\.5 s"):
            await started(manager, "mute", timeout=0.5)
        assert not manager.has_kernel
        spoken = asyncio.Event()
        await started(manager, "mute", timeout=None, launcher=LocalLauncher(pass_on=lambda _data: spoken.set()))
        async with asyncio.timeout(PATIENCE):
            await spoken.wait()
        with pytest.raises(RequestTimeout, match=rf"0\.2 s; it wrote:\n{LAST_WORDS}"):
            await manager.wait_ready(0.2)
        assert manager.is_alive() is True


@on_every_wire
async def test_a_port_that_was_taken(transport: str, tmp_path: Path) -> None:
    async with KernelManager() as manager:
        events = Events(manager)
        await started(manager, "taken", tmp_path / "mark", transport=transport)
        async with manager.client() as client:
            assert await pid(client) == manager.pid
        if transport == "tcp":
            assert manager.info.shell_port != int((tmp_path / "mark").read_text())
        assert connection_file.read(manager.connection_file) == manager.info
        assert events.told.empty()


class Thief(Launcher):
    """Takes a port of each kernel before that can."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.sockets: list[socket.socket] = []

    async def launch(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None) -> Process:
        if self.left:
            self.left -= 1
            fields = json.loads(Path(argv[2]).read_text())
            self.sockets.append(socket.create_server((fields["ip"], fields["iopub_port"])))
        return await QUIET.launch(argv, env, cwd)


@pytest.mark.parametrize(("times", "survives"), [(2, True), (PORT_TRIES + 1, False)])
async def test_a_port_that_is_really_taken(times: int, survives: bool) -> None:
    thief = Thief(times)
    try:
        async with KernelManager() as manager:
            with contextlib.nullcontext() if survives else pytest.raises(KernelExited, match=r"(?i)in use"):
                await started(manager, launcher=thief)
            assert manager.has_kernel is survives
            assert thief.left == 0
    finally:
        for each in thief.sockets:
            each.close()


async def test_one_that_does_not_speak_ipc_is_bridged_from_tcp() -> None:
    async with KernelManager() as manager:
        await started(manager, "tcp only", transport="inprocess")
        async with manager.client() as client:
            assert await pid(client) == manager.pid
            await manager.restart()
            assert await pid(client) == manager.pid


@pytest.mark.parametrize("ip", ["192.0.2.1", "no.such.host.invalid"])
async def test_an_address_that_is_not_here(ip: str) -> None:
    async with KernelManager() as manager:
        with pytest.raises(InvalidField, match="address of this machine") as caught:
            await started(manager, ip=ip)
        assert caught.value.field == "ip"
        assert not manager.has_kernel


async def test_every_address_of_this_machine() -> None:
    async with KernelManager() as manager:
        await started(manager, ip="*")
        assert json.loads(manager.connection_file.read_text())["ip"] == "0.0.0.0"
        async with manager.client() as client:
            assert await pid(client) == manager.pid


async def test_two_on_one_connection_file(runtime: Path) -> None:
    async with KernelManager() as one, KernelManager() as two:
        await started(one, connection_file=runtime / "mine.json")
        for transport in ("tcp", "inprocess"):
            with pytest.raises(ConnectionFileError, match=r"mine\.json: exists already; attach to the kernel"):
                await started(two, connection_file=runtime / "mine.json", transport=transport)
            assert not two.has_kernel
        assert connection_file.read(runtime / "mine.json") == one.info


async def test_what_cannot_be_started() -> None:
    async with KernelManager() as manager:
        with pytest.raises(LaunchFailed, match="no-such-command"):
            await started(manager, argv=["no-such-command-anywhere"])
        with pytest.raises(UnknownTransport):
            await started(manager, transport="carrier-pigeon")
        with pytest.raises(NoSuchKernelspec):
            await manager.start("no-such-kernel")
        with pytest.raises(NotSupported):
            await _without_a_kernel_end(manager)
        assert not manager.has_kernel


async def _without_a_kernel_end(manager: KernelManager) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kernelwire_inprocess.InProcessBackend.serve", _not_supported)
        await started(manager, transport="inprocess")


async def _not_supported(*_args: object) -> None:
    raise NotSupported("no kernel end")


async def test_a_connection_file_that_the_kernel_removed() -> None:
    async with KernelManager() as manager:
        await started(manager)
        manager.connection_file.unlink()
        await manager.restart()
        assert connection_file.read(manager.connection_file) == manager.info


@on_every_wire
async def test_attached(transport: str) -> None:
    async with KernelManager() as owner, KernelManager() as guest:
        await started(owner, transport=transport)
        await guest.attach(owner.info if transport == "inprocess" else owner.connection_file)
        assert guest.info == owner.info
        assert guest.has_kernel
        assert guest.pid is None
        await _known(guest, True)
        await guest.wait_ready()
        async with guest.client() as client:
            assert await pid(client) == owner.pid
            await _interrupted(guest, client)
        for forbidden in (guest.restart(), guest.kill()):
            with pytest.raises(NotSupported, match="attached"):
                await forbidden
        with pytest.raises(NotSupported, match="attached"):
            guest.signal(signal.SIGINT)
        with pytest.raises(NotSupported, match="attached"):
            _ = guest.connection_file
        await guest.detach()
        assert not guest.has_kernel
        assert owner.is_alive() is True
        await guest.attach(owner.info)
    assert not guest.has_kernel


async def _known(manager: KernelManager, alive: bool | None) -> None:
    async with asyncio.timeout(PATIENCE):
        while manager.is_alive() is not alive:
            await asyncio.sleep(0.01)


async def test_an_attached_one_is_only_asked_to_end() -> None:
    async with KernelManager() as owner:
        events = Events(owner)
        await started(owner)
        async with KernelManager() as guest:
            await guest.attach(owner.connection_file)
            assert guest.is_alive() is None
            await guest.shutdown(now=True)
            assert not guest.has_kernel
        assert await events.next() == "dead"
        assert owner.connection_file.exists()


async def test_an_attached_one_that_does_not_answer(tmp_path: Path) -> None:
    ports = dict(zip(PORT_FIELDS, range(1, 6), strict=True))
    nobody = ConnectionInfo("ipc", str(tmp_path / "k"), **ports)  # type: ignore[arg-type]
    async with KernelManager(patience=Patience(reply=0.2)) as guest:
        await guest.attach(nobody)
        for failing in (guest.shutdown(), guest.interrupt(), guest.wait_ready(0.2)):
            with pytest.raises(RequestTimeout):
                await failing
        assert guest.has_kernel


async def test_let_go() -> None:
    manager, launcher = KernelManager(), LocalLauncher(independent=True)
    await started(manager, launcher=launcher)
    process, info, file = psutil.Process(manager.pid), manager.info, manager.connection_file
    await manager.detach()
    assert not manager.has_kernel
    await manager.shutdown()
    async with connect(file) as client:
        assert await pid(client) == process.pid
        assert await said(client, "env JPY_PARENT_PID") == "-"
    async with KernelManager() as other:
        await other.attach(info)
        await other.shutdown()
    os.waitpid(process.pid, 0)
    file.unlink()
    await started(manager, transport="inprocess")
    with pytest.raises(NotSupported, match="bridge"):
        await manager.detach()
    await manager.shutdown()


async def test_calls_follow_each_other() -> None:
    async with KernelManager() as manager:
        await started(manager)
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(manager.restart(now=True))
        async with manager.client() as client:
            assert await pid(client) == manager.pid
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(manager.shutdown())
        assert not manager.has_kernel
