"""``--host``: kernels of another machine, as a real host has them."""

import asyncio
import json
import sys
from pathlib import Path

from kernelwire.processes import ProcessIdentity

from .conftest import Command
from .test_host import Network, network

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "remote_kernel.py"

__all__ = ["network"]  # a fixture


async def test_started_listed_used_and_stopped_there(network: Network) -> None:
    run = network.command.run
    host, _ = await network.host("--allow", "python3", "--output", str(network.command.directory / "host.ticket"))
    started = await run("start", "--host", "host.ticket", "--connection-file", "k.json", "--env", "A=1", "--json")
    assert started.code == 0, started.err
    report = json.loads(started.out)
    code = "import os; print(os.environ['A'])"
    assert (await run("exec", "--connect", "k.json", code))[:2] == (0, "1\n")
    listed = json.loads((await run("kernels", "--host", "host.ticket", "--json")).out)
    assert [each["name"] for each in listed["kernelspecs"]] == ["python3"]
    (kernel,) = listed["kernels"]
    assert (kernel["kernel_id"], kernel["state"]) == (report["kernel_id"], "running")
    shown = (await run("kernels", "--host", "host.ticket")).out
    assert f"{kernel['kernel_id']}  python3  running\n" in shown
    again = await run("start", "--host", "host.ticket", "--connection-file", "k.json")
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "--connection-file k.json: exists already; choose another name" in again.err
    assert len(json.loads((await run("kernels", "--host", "host.ticket", "--json")).out)["kernels"]) == 1
    refused = await run("start", "--host", "host.ticket", "--kernel", "other")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "'other' is not one that this host allows" in refused.err
    without = await run("restart", "k.json")
    assert (without.code, without.err.count("\n")) == (2, 1)
    assert "kernelwire restart --host TICKET" in without.err
    pids = {kernel["pid"]}
    for name in ("k.json", report["kernel_id"]):
        restarted = await run("restart", "--host", "host.ticket", name)  # which may say that it takes a while
        assert (restarted.code, restarted.out) == (0, ""), restarted.err
        done = await run("exec", "--connect", "k.json", code + "; print(os.getpid())")
        assert done.code == 0, done.err
        value, pid = done.out.split()
        assert value == "1"
        pids.add(int(pid))
    assert len(pids) == 3
    unknown = await run("restart", "--host", "host.ticket", "0123456789abcdef")
    assert unknown == (3, "", "kernelwire: this host has no kernel '0123456789abcdef' (any more)\n")
    stopped = await run("stop", "k.json")
    assert stopped.code == 0, stopped.err
    example = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(EXAMPLE), "host.ticket"),
        cwd=network.command.directory,
        env=network.command.environment,
        stdout=asyncio.subprocess.PIPE,
    )
    assert (await example.communicate())[0].decode().splitlines()[:2] == [
        "{'text/plain': '42'}",
        "{'text/plain': '43'}",
    ]
    await network.end(host)
    assert ProcessIdentity.of(kernel["pid"]) is None


async def test_what_makes_no_sense_there(real_kernels: Command) -> None:
    done = await real_kernels.run("start", "--host", "host.ticket", "--transport", "ipc")
    assert (done.code, done.err) == (2, "kernelwire: --transport: not with --host, which decides that itself\n")
    for command in (("kernels",), ("restart", "x.json")):
        done = await real_kernels.run(*command, "--host", "no-such-file")
        assert (done.code, done.err.count("\n")) == (2, 1)
    done = await real_kernels.run("kernels", "--host", "no-such-file")
    assert done.code == 2
