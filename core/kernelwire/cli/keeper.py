"""A keeper: the process that starts a kernel and stays until the kernel ends, and then removes what it had made.

A kernel on a transport that kernels do not speak needs one, for the bridge. On SIGUSR1 it restarts the kernel, on
SIGUSR2 it does so without asking the kernel first; the clients of its bridge stay.
"""

import asyncio
import dataclasses
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kernelwire.cli import OK
from kernelwire.cli.running import Record, RunningKernel, read
from kernelwire.errors import ConfigurationError, KernelDied, KernelExited, KernelwireError
from kernelwire.launcher import Launcher, Process
from kernelwire.manager import KernelManager
from kernelwire.processes import ProcessIdentity

RESTART: Final = signal.SIGUSR1
RESTART_NOW: Final = signal.SIGUSR2


async def keep(options: Mapping[str, Any], launcher: Launcher, on_start: Callable[[RunningKernel], None]) -> int:
    """Start a kernel, and stay until it ends; the exit code for that. If this is cancelled, the kernel is ended.

    Arguments:
        options: for :meth:`kernelwire.KernelManager.start`, with `cwd`, `env`, `arguments` and `timeout`.
        launcher: where it runs.
        on_start: called when the kernel answers, and other commands can deal with it.

    Raises:
        KernelExited: it ended, but nobody had asked it to.
        KernelwireError: as that start; or it could not be started again.
    """
    loop = asyncio.get_running_loop()
    wishes: asyncio.Queue[bool] = asyncio.Queue()
    loop.add_signal_handler(RESTART, wishes.put_nowait, False)
    loop.add_signal_handler(RESTART_NOW, wishes.put_nowait, True)
    watched = _Watched(launcher)
    try:
        async with KernelManager() as manager:
            await manager.start(**options, launcher=watched)
            kernel = started(manager, options, is_kept=True, private_file=watched.private_file)
            try:
                on_start(kernel)
                failure = await _stay(manager, watched, wishes, kernel)
            finally:
                _remove(kernel.path)
        if failure is not None:
            record, error = failure
            record.write(kernel.info, kernel.path)  # for whoever wanted the restart, and removes what is left
            raise error
        if (code := await watched.process.wait()) != 0:
            raise KernelExited(code, watched.process.stderr)
        return OK
    finally:
        loop.remove_signal_handler(RESTART)
        loop.remove_signal_handler(RESTART_NOW)


def started(
    manager: KernelManager, options: Mapping[str, Any], *, is_kept: bool = False, private_file: str | None = None
) -> RunningKernel:
    """Write into its connection file how a kernel was started, and return it.

    Arguments:
        manager: has started it.
        options: with these.
        is_kept: whether this process stays with it.
        private_file: as in :class:`Record`.

    Raises:
        KernelDied: it has ended already.
        ConnectionFileError: the file cannot be written.
    """
    process = None if manager.pid is None else ProcessIdentity.of(manager.pid)
    if process is None:
        raise KernelDied("the kernel ended as soon as it had answered")
    record = Record(
        kernel=process,
        interrupt_mode=manager.kernel_spec.interrupt_mode,
        cwd=options["cwd"],
        env=options["env"],
        arguments=tuple(options["arguments"]),
        keeper=ProcessIdentity.of(os.getpid()) if is_kept else None,
        private_file=private_file,
    )
    record.write(manager.info, manager.connection_file)
    return RunningKernel(manager.connection_file, manager.info, record)


class _Watched(Launcher):
    """Another launcher, whose last process can be watched.

    Attributes:
        process: that.
        private_file: the connection file that a process was given to which clients come by a bridge.
    """

    process: Process

    def __init__(self, launcher: Launcher) -> None:
        self.private_file: str | None = None
        self._launcher = launcher

    async def launch(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None) -> Process:
        """As the other."""
        self.private_file = next((word for word in argv if Path(word).name.startswith("bridged-")), None)
        self.process = await self._launcher.launch(argv, env, cwd)
        return self.process


async def _stay(
    manager: KernelManager, watched: _Watched, wishes: "asyncio.Queue[bool]", kernel: RunningKernel
) -> tuple[Record, KernelwireError] | None:
    """Until the kernel ends, other than for a restart. If it could not be started again: why, and what to write."""
    record = kernel.record
    assert record is not None
    while True:
        ended = asyncio.create_task(watched.process.wait())
        wished = asyncio.create_task(wishes.get())
        try:
            await asyncio.wait([ended, wished], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            wished.cancel()
        if not wished.done():
            return None
        failure: KernelwireError | None = None
        try:
            await manager.restart(now=wished.result())
        except KernelwireError as error:
            failure = error
        process = None if manager.pid is None else ProcessIdentity.of(manager.pid)
        record = dataclasses.replace(
            record, kernel=process or record.kernel, restarts=record.restarts + 1, error=str(failure or "")
        )
        if failure is not None and process is None:
            return record, failure
        record.write(manager.info, kernel.path)


def _remove(path: Path) -> None:
    """Remove the connection file, unless it is another kernel's by now."""
    try:
        record = read(path).record
    except ConfigurationError:
        return
    if record is not None and record.keeper == ProcessIdentity.of(os.getpid()):
        path.unlink(missing_ok=True)
