"""Real ipykernel processes, and bridges to them, for as long as a context lasts."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from kernelwire import registry
from kernelwire.bridge import TIME_TO_DEAD
from kernelwire.bridging import open_bridge
from kernelwire.channels import Channel
from kernelwire.client import KernelClient, connect
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile
from kernelwire.errors import KernelwireError

PATIENCE: Final = 60.0
"""Seconds for anything that takes one on an idle machine. No test asserts that anything is fast."""

_GRACE: Final = 10.0
"""Seconds that a kernel has for each way of being ended, before the next and harder one."""


class RealKernel:
    """An ipykernel that can be killed and started again on its connection file.

    Attributes:
        info: its connection.
        file: its connection file.
        process: None while it is not running.
    """

    def __init__(self, info: ConnectionInfo, file: Path) -> None:
        self.info = info
        self.file = file
        self.process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> asyncio.subprocess.Process:
        """The process of a kernel that runs."""
        assert self.process is not None
        return self.process

    async def start(self) -> None:
        assert self.process is None
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "ipykernel_launcher", "-f", str(self.file)),
            # With its parent's id a kernel ends by itself, should the tests be killed.
            env={**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", "JPY_PARENT_PID": str(os.getpid())},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # an interrupt of the tests is theirs alone
        )

    async def kill(self) -> None:
        """As a crash: it says goodbye to nobody."""
        self.running.kill()
        await self.running.wait()
        self.process = None

    async def stop(self) -> None:
        """Ask, then insist."""
        if self.process is None:
            return
        process, self.process = self.process, None
        try:
            if process.returncode is None:
                with suppress(KernelwireError):
                    async with connect(self.info) as client:
                        await client.request(
                            "shutdown_request", {"restart": False}, channel=Channel.CONTROL, timeout=_GRACE
                        )
                await _ended(process)
        finally:
            # Whatever the test broke, or a failure of the goodbye: no process stays behind.
            for insist in (process.terminate, process.kill):
                if process.returncode is None:
                    insist()
                    await _ended(process)


@asynccontextmanager
async def real_kernel(transport: str = "tcp", *, start: bool = True, **fields: Any) -> AsyncIterator[RealKernel]:
    """A kernel in a process of its own. With `start=False` it has its address and its file, and nobody is there yet."""
    backend = registry.load(transport)
    key = secrets.token_hex(16).encode("ascii")
    info = backend.prepare(ConnectionInfo(transport=transport, key=key, kernel_name="python3", **fields))
    try:
        with ConnectionFile.write(info) as file:
            kernel = RealKernel(info, file.path)
            try:
                if start:
                    await kernel.start()
                yield kernel
            finally:
                await kernel.stop()
    finally:
        backend.release(info)


@asynccontextmanager
async def bridged(
    info: ConnectionInfo, transports: Sequence[str], *, time_to_dead: float = TIME_TO_DEAD
) -> AsyncIterator[ConnectionInfo]:
    """The kernel at `info` through one bridge after another, each with a key of its own; the last address."""
    async with AsyncExitStack() as stack:
        for transport in transports:
            key = secrets.token_hex(16).encode("ascii")
            info = await stack.enter_async_context(
                open_bridge(info, ConnectionInfo(transport=transport, key=key), time_to_dead=time_to_dead)
            )
        yield info


@asynccontextmanager
async def ready_client(info: ConnectionInfo) -> AsyncIterator[KernelClient]:
    """A client whose kernel has answered."""
    async with connect(info) as client:
        await client.ready(PATIENCE)
        yield client


async def _ended(process: asyncio.subprocess.Process) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_GRACE):
            await process.wait()
