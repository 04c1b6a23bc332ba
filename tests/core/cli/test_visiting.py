"""A client of a kernel that runs already is told when its process ends."""

import asyncio
import os
import signal
from typing import Any

import pytest

from kernelwire.cli import visiting
from kernelwire.cli.visiting import visit
from kernelwire.errors import KernelDied

PATIENCE = 60.0


def told(report: Any) -> str:
    return str(report["connection_file"])


async def test_a_kernel_that_dies_of_the_code(station: Any) -> None:
    report = await station.start_kernel("good")
    done = await station.run("exec", "--connect", told(report), "die")
    assert done == (3, "", "kernelwire: the kernel's process has ended\n")
    code, out, err = await station.run("exec", "--connect", told(report), "pid")
    assert (code, out) == (3, "")
    again = f"'kernelwire restart {told(report)}' starts it again"
    assert err.endswith(f"kernelwire: the kernel is dead: its process has ended; {again}\n")
    await station.stop(told(report))


async def test_a_kernel_that_is_started_again(station: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visiting, "_COMES_BACK", PATIENCE)
    report = await station.start_kernel("good")
    async with asyncio.timeout(PATIENCE), visit(told(report), timeout=PATIENCE, input_hook=None) as (client, interrupt):
        assert (await client.execute("pid")).text == str(report["pid"])
        async for message in (execution := client.execute("wait")):
            if message.msg_type == "stream":
                await interrupt()  # by SIGINT: it takes no message for that
        assert (await execution).status == "error"
        os.kill(report["pid"], signal.SIGKILL)
        with pytest.raises(KernelDied, match="process has ended"):
            await client.execute("wait")
        assert (await station.run("restart", told(report))).code == 0
        again = (await client.execute("pid")).text
        os.kill(int(again), signal.SIGKILL)  # which is watched by then, or was seen to have gone
        assert again != str(report["pid"])
        with pytest.raises(KernelDied, match="process has ended"):
            await client.execute("wait")
    await station.stop(told(report))


async def test_a_kernel_whose_process_is_not_known(kernel: Any) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        visit(str(kernel.file), timeout=PATIENCE, input_hook=None) as (client, interrupt),
    ):
        assert (await client.execute("hi")).text == "code 'hi'\n"
        await interrupt()
        assert kernel.scripted.interrupted.is_set()
