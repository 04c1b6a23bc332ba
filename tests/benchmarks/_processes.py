"""What is measured of each client in a process of its own: how it starts, what it weighs; and a real kernel's start."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jupyter_client.connect import write_connection_file
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.manager import KernelManager as JupyterManager

from kernelwire import BlockingKernelManager, KernelManager

if TYPE_CHECKING:
    from benchmarks import _free_kernel as free
    from benchmarks._contestant import Info
    from benchmarks._measures import Measure, World, both
    from benchmarks._raw import Raw
    from benchmarks._rows import RowSpec, Target
    from benchmarks._scripts import FIRST_REPLY, READY
else:
    import _free_kernel as free  # beside this script, from wherever it is run
    from _contestant import Info
    from _measures import Measure, World, both
    from _raw import Raw
    from _rows import RowSpec, Target
    from _scripts import FIRST_REPLY, READY

KERNEL = "python3"
PATIENCE = 60


def large(world: World, name: str) -> Mapping[str, float]:
    """An output with one large buffer, from the request until the message is here."""
    done = _child(world, name, "large", world.size.large)
    return {"large buffer": done["rate"], "large buffer, growth": done["growth"]}


def memory(world: World, name: str) -> Mapping[str, float]:
    """What each further client takes, in one process."""
    return {"memory per client": _child(world, name, "memory", world.size.crowd)["memory"]}


def start(world: World, name: str) -> Mapping[str, float]:
    """From the start of a process to its first kernel_info reply, and to knowing that the kernel's output arrives."""
    file = str(world.info["connection_file"])
    return {
        "start to first reply": _script(FIRST_REPLY[name], file),
        "start to ready": _script(READY[name], file),
    }


def kernel_start(world: World, name: str) -> Mapping[str, float]:
    """From the start of a real ipykernel to a client that is ready. How long the kernel itself takes is the floor's."""
    transport = str(world.info["transport"])
    with silent():
        if name == "raw":
            seconds = _raw(transport)
        elif name == "jc blocking":
            seconds = _jupyter_blocking(transport)
        elif name == "jc async":
            seconds = asyncio.run(_jupyter_async(transport))
        elif name == "blocking":
            seconds = _blocking(transport)
        else:
            seconds = asyncio.run(_async(transport))
    return dict.fromkeys(("kernel start to ready", "beyond the kernel's own"), seconds * 1000)


@contextmanager
def silent() -> Iterator[None]:
    """Nothing on standard error, where kernels write warnings."""
    sys.stderr.flush()
    saved = os.dup(2)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _raw(transport: str) -> float:
    with tempfile.TemporaryDirectory(prefix="kw-bench-") as directory:
        file, info = write_connection_file(
            str(Path(directory, "connection.json")),
            key=free.KEY,
            transport=transport,
            ip=f"{directory}/k" if transport == "ipc" else "127.0.0.1",
        )
        start = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", file], stdout=subprocess.DEVNULL
        ) as kernel:
            try:
                client = Raw()
                client.reach(cast("Info", info))
                seconds = time.perf_counter() - start
                client.close()
            finally:
                kernel.kill()
        return seconds


def _jupyter_blocking(transport: str) -> float:
    start = time.perf_counter()
    manager = JupyterManager(kernel_name=KERNEL, transport=transport)  # from here on as start_new_kernel
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        return time.perf_counter() - start
    finally:
        client.stop_channels()
        client.context.destroy(0)
        manager.shutdown_kernel(now=True)


async def _jupyter_async(transport: str) -> float:
    start = time.perf_counter()
    manager = AsyncKernelManager(kernel_name=KERNEL, transport=transport)  # from here on as start_new_async_kernel
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=PATIENCE)
        return time.perf_counter() - start
    finally:
        client.stop_channels()
        client.context.destroy(0)
        await manager.shutdown_kernel(now=True)


async def _async(transport: str) -> float:
    start = time.perf_counter()
    async with KernelManager() as manager:
        await manager.start(KERNEL, transport=transport)
        async with manager.client() as client:
            await client.ready(timeout=PATIENCE)
            seconds = time.perf_counter() - start
        await manager.shutdown(now=True)
    return seconds


def _blocking(transport: str) -> float:
    start = time.perf_counter()
    with BlockingKernelManager() as manager:
        manager.start(KERNEL, transport=transport)
        with manager.client() as client:
            client.ready(timeout=PATIENCE)
            seconds = time.perf_counter() - start
        manager.shutdown(now=True)
    return seconds


def _script(script: str, file: str) -> float:
    """Milliseconds until it tells."""
    # What is imported is compiled once, for all alike, whatever the environment says and packages came with.
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(Path(file).parent / "pycache")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    command, pipe = [sys.executable, "-c", script, file], subprocess.PIPE
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            milliseconds = (time.perf_counter() - start) * 1000
            _, complaints = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    if said != "here\n" or process.returncode:
        raise RuntimeError(f"a client did not start: {complaints}")
    return milliseconds


def _child(world: World, name: str, task: str, number: int) -> dict[str, float]:
    script = str(Path(__file__).with_name("_child.py"))
    command = [sys.executable, script, name, str(world.info["connection_file"]), task, str(number)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}, {task}: {done.stderr}")
    return {key: float(value) for key, value in json.loads(done.stdout).items()}


PROCESS_MEASURES = (
    Measure(
        "large",
        large,
        (
            RowSpec("large buffer", "MB/s", both(1.5, 1.5, at_most=False)),
            RowSpec("large buffer, growth", "MB", (Target("async", "", 110), Target("blocking", "", 110))),
        ),
        lambda size: size.few,
    ),
    Measure(
        "start",
        start,
        (
            RowSpec("start to first reply", "ms", both(0.85, 0.85)),
            RowSpec("start to ready", "ms", both(0.45, 0.45)),
        ),
        lambda size: size.rounds,
    ),
    Measure(
        "kernel_start",
        kernel_start,
        (
            RowSpec("kernel start to ready", "ms"),
            RowSpec("beyond the kernel's own", "ms", both(0.45, 0.45), beyond="raw"),
        ),
        lambda size: size.few,
    ),
    Measure("memory", memory, (RowSpec("memory per client", "kB"),), lambda size: size.few),
)
