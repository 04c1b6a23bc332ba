"""A kernel that shares no code with ipykernel: xeus-python, written in C++, with zmq of its own."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration._kernels import PATIENCE
from kernelwire import kernelspecs
from kernelwire.client import KernelClient
from kernelwire.errors import KernelExited
from kernelwire.launch import AutoRestart
from kernelwire.launcher import LocalLauncher
from kernelwire.manager import KernelManager
from kernelwire.testing import Resources

NAME = "xpython"

# Its own SIGINT handler is one that ends the kernel, and an interrupt_request does nothing. With Python's it works.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"

FOR_EVER = "print('up', flush=True)\nimport time\nwhile True: time.sleep(0.05)"

QUIET = LocalLauncher(pass_on=lambda _data: None)

pytestmark = pytest.mark.skipif(NAME not in kernelspecs.find_all(), reason="xeus-python is not installed")

on_every_wire = pytest.mark.parametrize("transport", ["tcp", "ipc", "inprocess"])


@pytest.fixture(autouse=True)
async def _nothing_is_left(runtime: Path) -> AsyncIterator[None]:
    before = Resources.now()
    yield
    assert [*(runtime.iterdir() if runtime.exists() else ())] == []
    assert await before.settled() == []


@pytest.fixture
async def manager(_nothing_is_left: None) -> AsyncIterator[KernelManager]:
    async with asyncio.timeout(PATIENCE), KernelManager(auto_restart=AutoRestart()) as manager:
        yield manager


async def start(manager: KernelManager, transport: str) -> None:
    if transport == "ipc" and len(tempfile.gettempdir()) > len("/tmp"):
        pytest.skip("a socket here has too long a path for this kernel")
    await manager.start(NAME, transport=transport, launcher=QUIET, timeout=PATIENCE)


async def printed(client: KernelClient, code: str) -> str:
    return (await client.execute(code)).text.strip()


@on_every_wire
async def test_what_a_client_asks(manager: KernelManager, transport: str) -> None:
    await start(manager, transport)
    async with manager.client() as client:
        assert (await client.kernel_info()).content["implementation"] == "xeus-python"
        result = await client.execute("print('hello')\n6 * 7", user_expressions={"seven": "3 + 4"})
        assert (result.status, result.text.strip(), result.data) == ("ok", "hello", {"text/plain": "42"})
        failed = await client.execute("1 / 0")
        assert failed.error is not None
        assert "ZeroDivisionError" in failed.error[0]
        assert "operator" in (await client.complete("import op")).content["matches"]
        assert (await client.inspect("len")).content["found"] is True
        assert (await client.is_complete("for i in x:")).content["status"] == "incomplete"
        assert (await client.comm_info()).content["comms"] == {}
        await client.flush()
        # No more: on a busy machine it drops what goes beyond its queue of a thousand.
        lines = (await printed(client, "for i in range(100): print(i, flush=True)")).split()
        assert lines == [str(i) for i in range(100)]


@on_every_wire
async def test_input(manager: KernelManager, transport: str) -> None:
    async def answer(_question: object) -> str:
        return "Ada"

    await start(manager, transport)
    async with manager.client(input_hook=answer) as client:
        assert await printed(client, "print('hello', input('who? '))") == "hello Ada"


@on_every_wire
async def test_interrupt_and_restart(manager: KernelManager, transport: str) -> None:
    await start(manager, transport)
    async with manager.client() as client:
        assert (await client.execute(INTERRUPTIBLE)).status == "ok"
        execution = client.execute(FOR_EVER)
        async for message in execution:
            if message.msg_type == "stream":
                await manager.interrupt()
                break
        result = await execution
        assert result.error is not None
        assert "KeyboardInterrupt" in result.error[0]
        assert await printed(client, "x = 1; print(x)") == "1"
        before = manager.pid
        await manager.restart()
        assert (await client.execute("x")).status == "error"
        assert await printed(client, "import os; print(os.getpid())") == str(manager.pid) != str(before)
        await manager.restart(now=True)
        assert await printed(client, "print('again')") == "again"


async def test_an_interrupt_that_ends_it_is_no_hang(manager: KernelManager) -> None:
    again = asyncio.Event()
    manager.add_callback(again.set)
    await start(manager, "tcp")
    async with manager.client() as client:
        execution = client.execute(FOR_EVER)
        async for message in execution:
            if message.msg_type == "stream":
                await manager.interrupt()
                break
        with pytest.raises(KernelExited, match="exit code 0"):
            await execution
        await again.wait()
        assert await printed(client, "print('again')") == "again"
