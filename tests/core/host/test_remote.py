"""A remote kernel, with the calls of a local one."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kernelwire import registry, ticket
from kernelwire.errors import KernelExited, KernelspecError, LocalError, NotSupported, TicketError
from kernelwire.host.host import Host
from kernelwire.host.journal import Fate
from kernelwire.host.remote import RemoteHost
from kernelwire.host.service import Service
from kernelwire.host.state import StateFile
from kernelwire.manager import KernelManager

from .conftest import Machine

PATIENCE = 60.0


@pytest.fixture
async def there(machine: Machine) -> AsyncIterator[tuple[Host, RemoteHost]]:
    with StateFile.taken("mine") as state:
        async with machine.host(state) as host:
            near = host.new_address()
            path = machine.directory / "host.ticket"
            ticket.write(path, registry.load("pipes").for_clients(near), kind="host")
            async with Service(host, near, ["good", "exits"]):
                yield host, RemoteHost.of(path)


async def test_a_manager_of_a_remote_kernel(there: tuple[Host, RemoteHost]) -> None:
    host, remote = there
    async with KernelManager() as manager:
        await manager.start("good", host=remote, env={"A": "1"}, timeout=PATIENCE)
        assert manager.has_kernel
        (kernel,) = host.kernels.values()
        async with manager.client() as client:
            await manager.wait_ready(PATIENCE, client=client)
            assert manager.is_alive()
            result = await client.execute("env A")
            assert result.text == "1"
            msg_id = result.reply.parent_header["msg_id"]
            fates = [await remote.fate(kernel.kernel_id, each) for each in (msg_id, "x")]
            assert fates == [Fate.ANSWERED, Fate.NEVER]
            await manager.interrupt()
            pid = kernel.pid
            await manager.restart()
            assert kernel.pid != pid
            assert (await client.execute("pid")).text == str(kernel.pid)
        with pytest.raises(NotSupported):
            manager.signal(signal.SIGINT)
        with pytest.raises(NotSupported, match="only be restarted as it is"):
            await manager.restart(newports=True)
        await manager.shutdown()
        assert not manager.has_kernel
        assert host.kernels == {}
        await manager.start("good", host=remote)
    assert host.kernels == {}, "a manager ends what it has started"


async def test_a_kernel_may_be_gone_when_it_is_to_end(there: tuple[Host, RemoteHost]) -> None:
    host, remote = there
    async with KernelManager() as manager:
        await manager.start("good", host=remote)
        await host.end(*host.kernels)


async def test_its_exit_is_told(there: tuple[Host, RemoteHost]) -> None:
    host, remote = there
    kernel = await remote.spawn("good", keep=True)
    assert [each["kernel_id"] for each in await remote.kernels()] == [kernel.kernel_id]
    pid = host.kernels[kernel.kernel_id].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await host.wait_end(kernel.kernel_id)
    status = await remote.status(kernel.kernel_id)
    assert (status["state"], status["exit_code"]) == ("ended", -signal.SIGKILL)
    assert "by signal 9" in status["reason"]
    with pytest.raises(KernelExited):
        await remote.interrupt(kernel.kernel_id)
    await remote.shutdown(kernel.kernel_id)
    with pytest.raises(LocalError):
        await remote.shutdown(kernel.kernel_id)


async def test_what_the_host_refuses(there: tuple[Host, RemoteHost]) -> None:
    host, remote = there
    assert [each["name"] for each in await remote.kernelspecs()] == ["good", "exits"]
    with pytest.raises(KernelspecError, match="allows good, exits"):
        await remote.spawn("mute")
    with pytest.raises(KernelExited, match="not meant to live") as info:
        await remote.spawn("exits")
    assert info.value.exit_code == 1
    async with KernelManager() as manager:
        with pytest.raises(NotSupported, match="argv, ip: not for a kernel that a host starts"):
            await manager.start("good", host=remote, argv=["x"], ip="*")
        assert not manager.has_kernel
    assert host.kernels == {}


async def test_a_kernels_ticket_is_no_hosts(there: tuple[Host, RemoteHost], tmp_path: Path) -> None:
    ticket.write(tmp_path / "t", there[1].info)
    with pytest.raises(TicketError, match="that of a host is needed"):
        RemoteHost.of(tmp_path / "t")
