"""``kernelwire host``, with real relays, hosts, kernels and clients, each in a process of its own."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kernelwire import ticket
from kernelwire.client import KernelClient, connect
from kernelwire.connection_file import read
from kernelwire.errors import KernelwireError, OutcomeUnknown
from kernelwire.host.remote import RemoteHost
from kernelwire.processes import ProcessIdentity

from ._station import WAITING
from .conftest import PATIENCE, Command, Done

COUNTING = "runs += 1; print('begun', flush=True); import time; time.sleep(3)"

RELAY_READY = re.compile(r"https?://\S+")


class Network:
    """A relay, and the commands that use it.

    Attributes:
        url: the relay's.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self.url = ""
        self.relay: asyncio.subprocess.Process

    async def open(self, port: int = 0) -> None:
        self.relay = await self.command.start("relay", "--port", str(port), stderr=asyncio.subprocess.DEVNULL)
        assert self.relay.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = (await self.relay.stdout.readline()).decode()
        found = RELAY_READY.search(line)
        assert found is not None, line
        self.url = found.group()

    async def host(self, *arguments: str) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
        """A host; what it says when it is ready."""
        host = await self.command.start("host", "--relay", self.url, "--json", *arguments)
        return host, await self.event(host, "ready")

    async def event(self, host: asyncio.subprocess.Process, name: str) -> dict[str, Any]:
        """The next event of that name."""
        assert host.stdout is not None
        assert host.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while line := await host.stdout.readline():
                event: dict[str, Any] = json.loads(line)
                if event["event"] == name:
                    return event
            raise AssertionError((await host.stderr.read()).decode())

    async def end(self, process: asyncio.subprocess.Process, signum: int = signal.SIGTERM) -> Done:
        with suppress(ProcessLookupError):
            process.send_signal(signum)
        return await self.command.end(process)


@pytest.fixture
async def network(real_kernels: Command, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Network]:
    network = Network(real_kernels)
    await network.open()
    yield network
    await network.end(network.relay)


async def test_a_kernel_behind_a_relay(network: Network) -> None:
    output = network.command.directory / "kernel.json"
    host, ready = await network.host("--kernel", "python3", "--output", str(output))
    assert ready["connection_file"] == str(output)
    assert output.stat().st_mode & 0o777 == 0o600
    assert "host_private_key" not in output.read_text()
    done = await network.command.run(
        "exec", "--connect", str(output), "x = 6 * 7; import os; os.getppid(), os.getpid()"
    )
    assert done.code == 0, done.err
    assert f"{ready['pid']})" in done.out
    assert await network.command.run("exec", "--connect", str(output), "x") == Done(0, "42\n", "")
    ended = await network.end(host, signal.SIGINT)
    assert (ended.code, ended.err.replace(WAITING, "")) == (130, "")
    assert ProcessIdentity.of(ready["pid"]) is None
    assert not output.exists()


async def test_a_second_client_attaches_while_code_runs(network: Network) -> None:
    output = network.command.directory / "kernel.json"
    host, _ = await network.host("--output", str(output))
    async with connect(output) as first, connect(output) as second:
        await first.ready(PATIENCE)
        await second.ready(PATIENCE)
        execution = first.execute("name = input('name? ')") if first.allow_stdin else first.execute("print(1)")
        assert (await execution).reply is not None
        assert (await second.execute("6 * 7")).data == {"text/plain": "42"}
    await network.end(host)


async def test_a_host_that_was_killed_finds_its_kernel_again(network: Network) -> None:
    output = network.command.directory / "kernel.json"
    host, ready = await network.host("--output", str(output))
    info = read(output)
    async with connect(info) as client:
        await client.ready(PATIENCE)
        assert (await client.execute("runs = 1")).error is None
        begun = asyncio.Event()
        counting = asyncio.create_task(_how_it_ends(client, COUNTING, begun))
        await begun.wait()
        await network.end(host, signal.SIGKILL)
        assert ProcessIdentity.of(ready["pid"]) is not None
        host, again = await network.host("--output", str(output))
        assert again["pid"] == ready["pid"]
        assert read(output) == info
        await client.ready(PATIENCE)
        assert isinstance(await counting, OutcomeUnknown)
        assert (await client.execute("runs")).data == {"text/plain": "2"}, "nothing ran twice"
    await network.end(host)
    assert ProcessIdentity.of(ready["pid"]) is None


async def _how_it_ends(client: KernelClient, code: str, begun: asyncio.Event) -> BaseException | None:
    try:
        async for message in client.execute(code):
            if message.msg_type == "stream":
                begun.set()
    except KernelwireError as error:
        return error
    return None


async def test_kept_and_resumed_by_name(network: Network) -> None:
    host, ready = await network.host("--name", "mine", "--keep", "--ticket")
    kernel = ticket.decode(ready["ticket"]).info
    second = await network.command.run("host", "--relay", network.url, "--name", "mine")
    assert (second.code, "'mine' runs already" in second.err) == (2, True)
    assert (await network.end(host)).code == 130
    assert ProcessIdentity.of(ready["pid"]) is not None
    host, again = await network.host("--resume", "--ticket")
    assert ticket.decode(again["ticket"]).info == kernel
    await network.end(host)
    assert ProcessIdentity.of(ready["pid"]) is None
    nothing = await network.command.run("host", "--relay", network.url, "--resume")
    assert (nothing.code, nothing.err) == (2, "kernelwire: --resume: no host has left anything\n")


async def test_the_end_of_the_kernel_is_the_end_of_the_host(network: Network) -> None:
    output = network.command.directory / "kernel.json"
    host, ready = await network.host("--output", str(output))
    os.kill(ready["pid"], signal.SIGKILL)
    done = await network.command.end(host)
    assert done.code == 3
    assert "the kernel's process ended by signal 9" in done.err
    host, _ = await network.host("--output", str(output))
    done = await network.command.run("exec", "--connect", str(output), "exit()")
    assert (await network.command.end(host)).code == 0
    assert not output.exists()


async def test_shared(network: Network) -> None:
    started = await network.command.run("start")
    file = started.out.strip()
    host, ready = await network.host("--existing", file, "--output", str(network.command.directory / "k.json"))
    assert await network.command.run("exec", "--connect", ready["connection_file"], "1 + 1") == Done(0, "2\n", "")
    await network.end(host)
    assert await network.command.run("exec", "--connect", file, "1 + 1") == Done(0, "2\n", "")
    assert (await network.command.run("stop", file)).code == 0


async def test_on_request(network: Network) -> None:
    output = network.command.directory / "host.ticket"
    host, _ = await network.host("--allow", "python3", "--output", str(output), "--lease", "600")
    assert output.stat().st_mode & 0o777 == 0o600
    remote = RemoteHost.of(output)
    kernel = await remote.spawn("python3")
    async with connect(kernel.info) as client:
        await client.ready(PATIENCE)
        await client.execute("x = 42")
        pid = (await remote.status(kernel.kernel_id))["pid"]
        await network.end(host, signal.SIGKILL)
        host, _ = await network.host("--allow", "python3", "--output", str(output))
        assert RemoteHost.of(output).info == remote.info
        assert (await remote.status(kernel.kernel_id))["pid"] == pid
        await client.ready(PATIENCE)
        assert (await client.execute("x")).data == {"text/plain": "42"}
    await network.end(host)
    assert ProcessIdentity.of(pid) is None


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--kernel", "no-such-kernel"], 2, "no-such-kernel"),
        (["--allow", "no-such-kernel"], 2, "no-such-kernel"),
        (["--allow", ","], 2, "--allow: the names of kernelspecs"),
        (["--existing", "no-such-file"], 2, "no-such-file"),
        (["--transport", "tcp"], 2, "needs no host"),
        (["--relay", "nonsense"], 2, "'relay'"),
        (["--host-token", "no-such-file"], 2, "--host-token no-such-file: No such file"),
        (["--name", "../x"], 2, "host name '../x'"),
        (["--resume"], 2, "no host has left anything"),
        (["--name", "x", "--resume"], 2, "nothing to resume of a host 'x'"),
    ],
)
async def test_what_cannot_be(real_kernels: Command, arguments: list[str], code: int, says: str) -> None:
    relay = [] if "--relay" in arguments else ["--relay", "http://127.0.0.1:9"]
    done = await real_kernels.run("host", *relay, *arguments)
    assert done.code == code
    assert says in done.err
    assert done.err.count("\n") == 1


async def test_no_relay_there(real_kernels: Command) -> None:
    done = await real_kernels.run("host", "--relay", "http://127.0.0.1:9", "--output", "k.json")
    assert done.code == 3
    assert "cannot be reached" in done.err
    assert not Path(real_kernels.directory / "k.json").exists()
