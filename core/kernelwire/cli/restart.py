"""Restart a kernel that 'kernelwire start' has started.

The new one has the same connection file, address and key, and is started in the same way: kernelspec, working directory
and variables of --env. A kernel that has died is started again.

    kernelwire restart kernel-1234.json
    kernelwire restart --host host.ticket remote.json    # one that 'kernelwire start --host' has started
"""

import argparse
import asyncio
import dataclasses
import shlex
from pathlib import Path
from typing import Final

from kernelwire import kernelspecs
from kernelwire.cli import OK, remote, signals
from kernelwire.cli.arguments import seconds, telling
from kernelwire.cli.keeper import RESTART, RESTART_NOW
from kernelwire.cli.running import Record, RunningKernel, find, read, taken
from kernelwire.client import connect
from kernelwire.errors import ConfigurationError, KernelDied, KernelExited, RequestTimeout
from kernelwire.kernel_address import SPOKEN
from kernelwire.kernelspecs import KernelSpec
from kernelwire.launcher import LocalLauncher, Process, end_process
from kernelwire.processes import ProcessIdentity, RunningProcess

HELP: Final = "restart a kernel that 'kernelwire start' has started"

_PATIENCE: Final = 10.0
"""Seconds that the kernel has to end before it is killed."""

_LOOK: Final = 0.05
"""Seconds between two looks at what a keeper has written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--now", action="store_true", help="kill it at once instead of asking it to end")
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="S", help="seconds until it must answer (60)")
    parser.add_argument("--host", metavar="FILE", help=remote.HELP)
    parser.add_argument(
        "file",
        metavar="FILE",
        help="the connection file: a path, or a name in Jupyter's runtime directory, or a part of one",
    )


def run(arguments: argparse.Namespace) -> int:
    """Restart it."""
    if arguments.host is not None:
        return signals.run(remote.restart(arguments))
    return signals.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    with taken(find(arguments.file)) as kernel, telling():
        record = _known(kernel)
        spec = kernelspecs.get(kernel.info.kernel_name or "")  # before the kernel is ended: does it exist?
        if record.keeper is None:
            await kernel.end(now=arguments.now, restart=True, patience=_PATIENCE)
            await _start_again(kernel, record, spec, arguments.timeout)
        elif record.keeper.is_running:
            await _have_it_restarted(kernel, record, record.keeper, now=arguments.now, timeout=arguments.timeout)
        else:
            raise KernelDied(
                f"{kernel.path}: the process that kept this kernel is gone; 'kernelwire stop' removes what is left, "
                "then start another"
            )
    return OK


def _known(kernel: RunningKernel) -> Record:
    """How it was started.

    Raises:
        ConfigurationError: that is not known here.
    """
    if kernel.record is not None and kernel.record.kernel.is_here:
        return kernel.record
    file, name = shlex.quote(str(kernel.path)), kernel.info.kernel_name
    if remote.KERNEL_ID in kernel.info.extra:
        raise ConfigurationError(
            f"{kernel.path}: this kernel runs at a host, and only that can start it again: kernelwire restart "
            f"--host TICKET {file}"
        )
    if kernel.info.transport not in SPOKEN:
        raise ConfigurationError(
            f"{kernel.path}: this kernel runs at a host that takes no requests, so it can be started again only there: "
            "end 'kernelwire host' and run it again; one with --allow would restart kernels for its clients"
        )
    instead = f"kernelwire start --kernel {shlex.quote(name)}" if name else "kernelwire start"
    raise ConfigurationError(
        f"{kernel.path}: 'kernelwire start' did not start this kernel here, so how to start it again is not known, and "
        f"nothing was done; for another in its place: kernelwire stop {file}; {instead} --connection-file {file}"
    )


async def _start_again(kernel: RunningKernel, record: Record, spec: KernelSpec, timeout: float) -> None:
    """Start a kernel in the place of one that has ended. If that fails, the connection file stays for another try."""
    assert kernel.hold is not None
    kernel.hold.write(kernel.info)  # many kernels remove it at their end
    launcher = LocalLauncher(independent=True)
    command = spec.command(kernel.path, record.arguments)
    process = await launcher.launch(command, spec.environment(record.env), record.cwd)
    try:
        await _ready(kernel, process, timeout)
        identity = ProcessIdentity.of(process.pid or 0)
        if identity is None:
            raise KernelExited(await process.wait(), process.stderr)
        record = dataclasses.replace(record, kernel=identity, interrupt_mode=spec.interrupt_mode)
        kernel.hold.write(record.added_to(kernel.info))
    except BaseException:
        await end_process(process, None, 0)
        raise
    process.abandon()


async def _ready(kernel: RunningKernel, process: Process, timeout: float) -> None:
    async with connect(kernel.info) as client:
        tasks = asyncio.create_task(client.ready(timeout)), asyncio.create_task(process.wait())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[1].done():
                raise KernelExited(tasks[1].result(), process.stderr)
            tasks[0].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _have_it_restarted(
    kernel: RunningKernel, record: Record, keeper: ProcessIdentity, *, now: bool, timeout: float
) -> None:
    """Tell its keeper, which must do it: clients come in by its bridge. It writes down what came of it."""
    process = RunningProcess(keeper)
    process.send_signal(RESTART_NOW if now else RESTART)
    try:
        async with asyncio.timeout(timeout):
            while True:
                is_gone = process.poll() is not None  # before what it has written is read: that may be its last
                after = _written(kernel.path)
                if after is not None and after.restarts != record.restarts:
                    break
                if is_gone:
                    raise KernelDied(f"{kernel.path}: the process that kept this kernel is gone, and so is the kernel")
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        raise RequestTimeout(f"the kernel was not there again within {timeout:g} s; it may still come") from None
    if after.error:
        if not after.kernel.is_running:
            await RunningKernel(kernel.path, kernel.info, after).end(now=True, patience=_PATIENCE)
            kernel.clean()
        raise KernelDied(after.error)


def _written(path: Path) -> Record | None:
    try:
        return read(path).record
    except ConfigurationError:  # removed, for a moment or for good
        return None
