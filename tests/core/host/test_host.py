"""A host's kernels: each is written down while it lives, and answered for until its end."""

import asyncio
import os
import signal

import pytest

from integration._kernels import real_kernel
from kernelwire import connection_file, registry
from kernelwire.client import connect
from kernelwire.errors import AddressInUse, KernelExited, LocalError, NoSuchKernelspec, RequestTimeout
from kernelwire.host.host import reach
from kernelwire.host.journal import Fate
from kernelwire.host.state import StateFile
from kernelwire.message_channel import MessageChannel
from kernelwire.session import Session

from .conftest import Machine

PATIENCE = 60.0


async def test_started_reached_and_ended(machine: Machine) -> None:
    with StateFile.taken("mine") as state:
        async with machine.host(state) as host:
            kernel = await host.start("good", env={"A": "1"}, cwd=str(machine.directory))
            (record,) = state.read().kernels
            assert (record.kernel_id, record.kernel_name, record.is_running) == (kernel.kernel_id, "good", True)
            assert record.file is not None
            async with connect(record.file) as client:
                assert (await client.execute("env A")).text == "1"
                assert (await client.execute("env JPY_PARENT_PID")).text == "-"
                assert kernel.clients == 1
            await host.restart(kernel.kernel_id)
            assert state.read().kernels[0].process != record.process
            await host.end(kernel.kernel_id)
            assert state.read().kernels == ()
            with pytest.raises(LocalError, match="no kernel"):
                host.kernel(kernel.kernel_id)
        assert machine.told == []


async def test_the_clients_file_has_nothing_that_only_a_host_may_know(machine: Machine) -> None:
    with StateFile.taken("mine") as state:
        async with machine.host(state) as host:
            await host.start("good")
            (record,) = state.read().kernels
            assert record.near["host_private_key"]
            assert record.file is not None
            assert "host_private_key" not in connection_file.read(record.file).extra


async def test_what_cannot_be_started_leaves_nothing(machine: Machine) -> None:
    with StateFile.taken("mine") as state:
        async with machine.host(state) as host:
            with pytest.raises(NoSuchKernelspec):
                await host.start("no-such-kernel")
            with pytest.raises(KernelExited, match="I was not meant to live"):
                await host.start("exits")
            with pytest.raises(RequestTimeout):
                await host.start("mute", timeout=0.5)
            assert host.kernels == {}
            assert not state.path.exists()
            assert machine.processes() == []


async def test_the_end_of_a_kernel_is_told(machine: Machine) -> None:
    with StateFile.taken("mine") as state:
        async with machine.host(state) as host:
            kernel = await host.start("good")
            assert kernel.pid is not None
            os.kill(kernel.pid, signal.SIGKILL)
            reason = await host.wait_end(kernel.kernel_id)
            assert isinstance(reason, KernelExited)
            assert reason.exit_code == -signal.SIGKILL
            assert [name for name, _ in machine.told] == ["ended"]
            await host.restart(kernel.kernel_id)
            assert host.ended == {}
            assert await kernel.wait_ready(PATIENCE)


async def test_a_lease_runs_out_when_nobody_is_there(machine: Machine) -> None:
    with StateFile.taken("mine") as state:
        async with machine.host(state) as host:
            kernel = await host.start("good", lease=0.3)
            async with connect(kernel.info) as client:
                await client.ready(PATIENCE)
                await asyncio.sleep(0.9)  # three times as long as without a client
                assert (await client.execute("env A")).text == "-"
            assert await host.wait_end(kernel.kernel_id) is None
            assert host.kernels == {}
            assert [name for name, _ in machine.told] == ["lease"]


async def test_taken_over_by_the_next_host(machine: Machine) -> None:
    with StateFile.taken("mine") as state:
        async with machine.host(state) as host:
            kernel = await host.start("good")
            info, pid = kernel.info, kernel.pid
            dead = (await host.start("good")).pid
            assert dead is not None
            host.keep = True
        os.kill(dead, signal.SIGKILL)
    with StateFile.taken("mine") as state:
        async with connect(info) as client, machine.host(state) as host:
            (adopted,) = await host.resume()
            assert (adopted.kernel_id, adopted.pid, adopted.info) == (kernel.kernel_id, pid, info)
            assert len(state.read().kernels) == 1
            await client.ready(PATIENCE)
            assert (await client.execute("pid")).text == str(pid)
            await host.restart(adopted.kernel_id)
            assert (await client.execute("pid")).text == str(adopted.pid) != str(pid)
    assert not state.path.exists()


async def test_the_next_host_knows_what_became_of_requests(machine: Machine) -> None:
    with StateFile.taken("mine") as state:
        async with machine.host(state) as host:
            kernel = await host.start("good")
            session = Session.of(kernel.info)
            answered, passed = (session.message("execute_request", {"code": code}) for code in ("pid", "wait"))
            async with await registry.load("pipes").connect(kernel.info, identity=b"c") as end:
                shell = MessageChannel(end.shell, session)
                await shell.send(answered)
                assert (await shell.receive()).parent_header["msg_id"] == answered.msg_id
                await shell.send(passed)
                async with asyncio.timeout(PATIENCE):
                    while kernel.journal.fate(passed.msg_id) is Fate.NEVER:
                        await asyncio.sleep(0.01)
            host.keep = True
        async with machine.host(state) as host:
            (adopted,) = await host.resume()
            fates = [adopted.journal.fate(msg_id) for msg_id in (answered.msg_id, passed.msg_id, "another")]
            assert fates == [Fate.ANSWERED, Fate.PASSED, Fate.NEVER]
            assert passed.msg_id in host.unanswered[adopted.kernel_id]


async def test_the_end_of_a_kernel_that_was_taken_over(machine: Machine) -> None:
    with StateFile.taken("mine") as state:
        async with machine.host(state) as host:
            await host.start("good")
            host.keep = True
        async with machine.host(state) as host:
            (kernel,) = await host.resume()
            assert kernel.pid is not None
            os.kill(kernel.pid, signal.SIGKILL)
            assert "how is not known" in str(await host.wait_end(kernel.kernel_id))


async def test_a_kernel_goes_on_if_it_cannot_be_taken_over(machine: Machine) -> None:
    with StateFile.taken("mine") as state:
        async with machine.host(state) as host:
            port = (await host.start("good")).info.shell_port
            host.keep = True
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
        before = state.path.read_bytes()
        with pytest.raises(AddressInUse):
            async with machine.host(state) as host:
                await host.resume()
        assert state.path.read_bytes() == before
        taken.close()
        await taken.wait_closed()
        async with machine.host(state) as host:
            assert len(await host.resume()) == 1


async def test_shared(machine: Machine) -> None:
    async with real_kernel() as kernel:
        with StateFile.taken("mine") as state:
            async with machine.host(state) as host:
                info = await host.share(kernel.file)
                await reach(info, PATIENCE)
                host.keep = True  # as if it was killed
            async with machine.host(state) as host:
                assert await host.resume() == []
                assert host.shared == [info]
                await reach(info, PATIENCE)
        async with connect(kernel.file) as client:
            assert await client.ready(PATIENCE)
