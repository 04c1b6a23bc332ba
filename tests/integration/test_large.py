"""A 100 MB buffer arrives bit by bit, and no process that it passes through holds it more than once."""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from kernelwire import registry
from kernelwire.connection import ConnectionInfo
from kernelwire.session import Session

from . import _bridge_process
from ._bridge_process import LargeClient, LargeKernel
from ._kernels import PATIENCE

LIMIT = 110_000_000
"""Bytes that the peak may grow by: once the buffer, and a little."""

CHAINS = {"tcp": ["tcp"], "ipc": ["ipc"], "three bridges": ["tcp", "ipc", "tcp", "ipc"]}
"""The kernel's transport, then the near one of each bridge."""

needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are measured by /proc")


class Peak:
    """How much more memory a process holds at its peak than it held when this was made."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        (self._process / "clear_refs").write_text("5")  # sets the peak to what is held now
        self._before = self._field("VmRSS")

    def growth(self) -> int:
        return self._field("VmHWM") - self._before

    def _field(self, name: str) -> int:
        for line in (self._process / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name} for {self._process}")


class Part:
    """A part of the chain in its own process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self._process = process

    async def ask(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        return await self.line()

    async def line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()


@asynccontextmanager
async def part(name: str, *infos: ConnectionInfo) -> AsyncIterator[Part]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, _bridge_process.__file__, name, *(json.dumps(info.to_dict()) for info in infos)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        made = Part(process)
        assert await made.line() == "ready"
        yield made
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@needs_proc
@pytest.mark.parametrize("chain", CHAINS)
async def test_across_processes(chain: str, record_property: Callable[[str, object], None]) -> None:
    async with asyncio.timeout(110), AsyncExitStack() as stack:
        infos = []
        for transport in CHAINS[chain]:
            backend = registry.load(transport)
            key = secrets.token_hex(16).encode("ascii")
            infos.append(backend.prepare(ConnectionInfo(transport=transport, key=key)))
            stack.callback(backend.release, infos[-1])
        parts = [await stack.enter_async_context(part("kernel", infos[0]))]
        for far, near in pairwise(infos):
            parts.append(await stack.enter_async_context(part("bridge", far, near)))
        client = await stack.enter_async_context(part("client", infos[-1]))
        parts.append(client)
        await client.ask("prepare")
        # All against what was held before the first, so that what one leaves behind shows in the next one's peak.
        peaks = [Peak(each.pid) for each in parts]
        for direction in ("up", "down", "up", "down"):
            sent, received = (await client.ask(direction)).split()
            assert sent == received
            growths = [peak.growth() for peak in peaks]
            record_property(f"{direction}: growth in MB from kernel to client", [g // 1_000_000 for g in growths])
            print(direction, growths)
            assert max(growths) <= LIMIT, growths


@needs_proc
async def test_in_one_process(record_property: Callable[[str, object], None]) -> None:
    backend = registry.load("inprocess")
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=b"a key"))
    async with asyncio.timeout(PATIENCE), await backend.serve(info) as end:
        running = asyncio.create_task(LargeKernel(end, Session.of(info)).run())
        client = LargeClient(info)
        await client("prepare")
        peak = Peak(os.getpid())
        for direction in ("up", "down", "up", "down"):
            sent, received = (await client(direction)).split()
            assert sent == received
            record_property(f"{direction}: growth in MB", peak.growth() // 1_000_000)
            assert peak.growth() <= LIMIT
        running.cancel()
        await asyncio.wait([running])
