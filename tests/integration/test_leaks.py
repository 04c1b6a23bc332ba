"""Opening and closing leaves nothing behind: no file descriptor, thread, task or socket file."""

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from kernelwire import registry
from kernelwire.backend import Backend
from kernelwire.bridging import open_bridge
from kernelwire.client import connect
from kernelwire.connection import ConnectionInfo
from kernelwire.session import Session
from kernelwire.testing.scripted import ScriptedKernel

ROUNDS = 200

transports = pytest.mark.parametrize("transport", ["tcp", "ipc", "inprocess"])


class Held(NamedTuple):
    """What this process holds, beside memory."""

    descriptors: int
    threads: frozenset[str]
    tasks: frozenset[str]
    files: frozenset[str]

    @classmethod
    def now(cls, directory: Path) -> "Held":
        gc.collect()
        return cls(
            psutil.Process().num_fds(),
            frozenset(thread.name for thread in threading.enumerate()),
            frozenset(task.get_name() for task in asyncio.all_tasks()),
            frozenset(str(path) for path in directory.rglob("*")),
        )


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sockets' directories are made; a short one, since paths of sockets must be short."""
    directory = tmp_path_factory.mktemp("s")
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    return directory


@transports
async def test_both_ends(transport: str, directory: Path) -> None:
    backend = registry.load(transport)
    await _open_and_close(backend, transport, beat=True)
    before = Held.now(directory)
    async with asyncio.timeout(110):
        for n in range(ROUNDS):
            await _open_and_close(backend, transport, ready=n % 4 == 0, beat=n % 4 == 1, kernel_first=n % 2 == 0)
    assert Held.now(directory) == before


async def _open_and_close(
    backend: Backend, transport: str, *, ready: bool = False, beat: bool = False, kernel_first: bool = True
) -> None:
    info = backend.prepare(ConnectionInfo(transport=transport, key=b"a key"))
    try:
        kernel = await backend.serve(info)
        client = await backend.connect(info, identity=b"client")
        if ready:
            await client.iopub.ready()
        if beat:
            await client.heartbeat.beat(60)
        for end in (kernel, client) if kernel_first else (client, kernel):
            await end.aclose()
    finally:
        backend.release(info)


@transports
async def test_clients_and_bridges(transport: str, directory: Path) -> None:
    await _use_through_a_bridge(transport)
    before = Held.now(directory)
    async with asyncio.timeout(110):
        for _ in range(ROUNDS // 10):
            await _use_through_a_bridge(transport)
    assert Held.now(directory) == before


async def _use_through_a_bridge(transport: str) -> None:
    backend = registry.load(transport)
    info = backend.prepare(ConnectionInfo(transport=transport, key=b"a key"))
    try:
        async with (
            await backend.serve(info) as end,
            ScriptedKernel(end, Session.of(info)),
            open_bridge(info, ConnectionInfo(transport=transport, key=b"another")) as near,
            connect(near) as client,
        ):
            assert (await client.execute("text")).text == "text"
    finally:
        backend.release(info)


@transports
@pytest.mark.parametrize("close_early", [False, True])
async def test_cancelled_opening_and_closing(transport: str, close_early: bool, directory: Path) -> None:
    backend = registry.load(transport)
    await _open_and_close(backend, transport)
    before = Held.now(directory)
    async with asyncio.timeout(110):
        for n in range(20):
            await _cancel_something(backend, transport, turns=n % 5, close=close_early)
    _wait_for_threads(before.threads)
    assert Held.now(directory) == before


async def _cancel_something(backend: Backend, transport: str, *, turns: int, close: bool) -> None:
    info = backend.prepare(ConnectionInfo(transport=transport, key=b"a key"))
    try:
        async with await backend.serve(info):

            async def use() -> None:
                async with await backend.connect(info, identity=b"client") as client:
                    if not close:
                        await client.shell.receive()

            await _cancelled_after(use, turns)
        kernel = await backend.serve(info)
        await _cancelled_after(kernel.aclose, turns)
        await kernel.aclose()
    finally:
        backend.release(info)


async def _cancelled_after(call: Callable[[], Coroutine[Any, Any, None]], turns: int) -> None:
    task = asyncio.create_task(call())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


def _wait_for_threads(before: frozenset[str]) -> None:
    # A cancelled close does not wait for zmq's termination, which a thread goes on with.
    for thread in threading.enumerate():
        if thread.name not in before:
            thread.join(60)
