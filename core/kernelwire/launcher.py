"""Starting a kernel's process, and holding on to it: its end is an event, its last words are kept.

A :class:`Launcher` is where kernels run: on this machine with :class:`LocalLauncher`, elsewhere with somebody's own.
"""

import asyncio
import contextlib
import errno
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from kernelwire.errors import KernelwireError, LaunchFailed, WrongLoop

_log = logging.getLogger(__name__)

KEPT: Final = 64 * 1024
"""Bytes of what a process wrote to stderr that are kept for errors: the last ones."""

_CHUNK: Final = 64 * 1024
_LAST_CHUNKS: Final = 16
_LOOK: Final = 0.2
"""Seconds between two looks at what a process has written to a file."""

_KILLED: Final = 10.0
"""Seconds within which a process ends that was killed, unless the system itself holds it."""


class Process(ABC):
    """A process that was started. It belongs to the event loop that it was started in.

    Attributes:
        pid: its process id, where there is one on this machine.
    """

    pid: int | None = None

    @abstractmethod
    async def wait(self) -> int:
        """Until it ends: its exit code, or the negative number of the signal that ended it. Any number of tasks may
        wait, and a cancelled wait does no harm.
        """

    @abstractmethod
    def poll(self) -> int | None:
        """The exit code if it has ended by now, else None. Never waits."""

    @abstractmethod
    def send_signal(self, signum: int) -> None:
        """Send a signal to it and what it has started. Nothing happens if it has ended."""

    @abstractmethod
    def abandon(self) -> None:
        """Let go of it without ending it: `wait` need not return any more."""

    @property
    @abstractmethod
    def stderr(self) -> str:
        """The last that it wrote to stderr, for people."""

    async def has_written(self, pattern: "re.Pattern[str]") -> None:
        """Until what it writes to stderr has something that fits, or it ends. If nobody reads it as it comes: until it
        ends.
        """
        await self.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Launcher(ABC):
    """Where kernels run."""

    @abstractmethod
    async def launch(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None) -> Process:
        """Start a process.

        Arguments:
            argv: the command, complete.
            env: the whole environment.
            cwd: the working directory; this process's own if None.

        Raises:
            LaunchFailed: it cannot be started; the text says why.
        """


class LocalLauncher(Launcher):
    """On this machine, in a session of its own, so that a Ctrl-C in this terminal is not the kernel's.

    What the process writes to stdout and stderr goes to this process's stderr. Signals go to its whole process group,
    and what is left of that when the process ends is killed: it may hold the kernel's ports.

    Arguments:
        independent: for a kernel that outlives this process. It is not told of this process (others get
            ``JPY_PARENT_PID``, and many end when that does), and what it writes is kept, but not passed on.
        pass_on: gets what the process writes instead of stderr.
    """

    def __init__(self, *, independent: bool = False, pass_on: Callable[[bytes], None] | None = None) -> None:
        self._independent = independent
        self._pass_on = pass_on or _to_stderr

    async def launch(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None) -> Process:
        """Start a process; see :meth:`Launcher.launch`."""
        env = dict(env)
        env.pop("JPY_PARENT_PID", None)
        if not self._independent:
            env["JPY_PARENT_PID"] = str(os.getpid())
        for process in [each for each in _abandoned if each.poll() is not None]:
            _abandoned.remove(process)
        output = _File() if self._independent else _Pipe(self._pass_on)
        try:
            # Not asyncio's own, which kills what is let go, and waits for whoever else holds the pipes.
            popen = subprocess.Popen(  # noqa: ASYNC220, S603 - it blocks until exec only; to run commands is our work
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output.write_end,
                stderr=output.write_end,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
            output.close()
            raise LaunchFailed(_why(argv, cwd, error)) from error
        return _LocalProcess(popen, output)


async def end_process(process: Process, ask: Callable[[], Awaitable[object]] | None, patience: float) -> int | None:
    """End a process: ask, then insist. It has ended when this returns, even if this was cancelled.

    Arguments:
        process: which one.
        ask: asks it politely; None to kill it at once. If asking fails with a KernelwireError, nothing is waited for.
        patience: seconds altogether that it has before it is killed, half of them after it was asked, half after
            SIGTERM.

    Returns:
        Its exit code; None in the one case that the system does not let go of a process that was killed.
    """
    try:
        if ask is not None and process.poll() is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience / 2):
                    await _asked(process, ask)
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(patience / 2):
                        await process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KILLED):
                    await process.wait()
    if (code := process.poll()) is None:
        _log.error("process %s was killed and does not end", process.pid)
    return code


async def _asked(process: Process, ask: Callable[[], Awaitable[object]]) -> None:
    """Ask; return when the process has ended, or when asking has failed."""

    async def asking() -> bool:
        try:
            await ask()
        except KernelwireError as error:
            _log.debug("a kernel cannot be asked to end: %s", error)
            return False
        return True

    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(asking()), asyncio.create_task(process.wait())]
    asked, ended = tasks
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # Whether it answered or died before that: what matters is that it ends.
        if not ended.done() and asked.result():
            await ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Pipe:
    """Reads what the process writes, for as long as it runs; what it started must not keep this open after that."""

    def __init__(self, pass_on: Callable[[bytes], None]) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._kept = bytearray()
        self._more = asyncio.Event()
        self._pass_on = pass_on
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._read_end, self._read)

    def started(self) -> None:
        """The process has its own copy of the write end."""
        os.close(self.write_end)
        self.write_end = -1

    def tail(self) -> bytes:
        for _ in range(_LAST_CHUNKS):
            if self._read_end < 0 or not self._read():
                break
        return bytes(self._kept)

    async def more(self) -> None:
        """Until something was written since the last time."""
        await self._more.wait()
        self._more.clear()

    def close(self) -> None:
        """Take what is there, and no more."""
        if self.write_end >= 0:
            self.started()
        self.tail()
        self._close_read_end()

    def _read(self) -> bool:
        try:
            data = os.read(self._read_end, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._close_read_end()
            return False
        self._more.set()
        self._kept += data
        del self._kept[:-KEPT]
        try:
            self._pass_on(data)
        except Exception:  # noqa: BLE001 - a stderr that is closed must not end the kernel
            _log.debug("a kernel's output cannot be passed on", exc_info=True)
        return True

    def _close_read_end(self) -> None:
        if self._read_end >= 0:
            self._loop.remove_reader(self._read_end)
            os.close(self._read_end)
            self._read_end = -1


class _File:
    """A file without a name: unlike a pipe, it does not break when this process ends before the other."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed when the process ends
        self.write_end = self._file.fileno()
        self._kept = b""

    def started(self) -> None:
        pass

    def tail(self) -> bytes:
        if not self._file.closed:
            size = os.fstat(self.write_end).st_size
            self._kept = os.pread(self.write_end, KEPT, max(0, size - KEPT))
        return self._kept

    async def more(self) -> None:
        """Until it is time to look again: a file does not tell."""
        await asyncio.sleep(_LOOK)

    def close(self) -> None:
        self.tail()
        self._file.close()


class _LocalProcess(Process):
    """Watched without a thread where the system can (Linux), else by a thread that ends with it."""

    def __init__(self, popen: "subprocess.Popen[bytes]", output: _Pipe | _File) -> None:
        self.pid: int = popen.pid
        self._popen = popen
        self._parent = os.getpid()
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._descriptor: int | None = None
        self._abandoned = False
        output.started()
        self._watch()

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def poll(self) -> int | None:
        if os.getpid() != self._parent:
            # Whose child it is not, and the system would say that there is no such child (any more).
            raise WrongLoop("started before a fork: only the process that has started a kernel can end or watch it")
        if not self._ended.done() and not self._abandoned and _has_ended(self.pid, os.WNOHANG):
            self._on_end()
        return self._ended.result() if self._ended.done() else None

    def send_signal(self, signum: int) -> None:
        # Not once it was waited for: the number may be another process's by now.
        if self.poll() is None and not self._abandoned:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signum)

    def abandon(self) -> None:
        if not self._ended.done() and not self._abandoned:
            self._abandoned = True
            self._stop_watching()
            self._output.close()
            _abandoned.append(self._popen)

    @property
    def stderr(self) -> str:
        return self._output.tail().decode("utf-8", "replace")

    async def has_written(self, pattern: "re.Pattern[str]") -> None:
        while not pattern.search(self.stderr) and not self._ended.done():
            more = asyncio.create_task(self._output.more())
            try:
                waits: list[asyncio.Future[Any]] = [more, self._ended]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                more.cancel()
                await asyncio.gather(more, return_exceptions=True)

    def _watch(self) -> None:
        if hasattr(os, "pidfd_open"):
            try:
                self._descriptor = os.pidfd_open(self.pid)
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.EPERM):  # an old kernel, a strict sandbox
                    raise
            else:
                self._loop.add_reader(self._descriptor, self._on_end)
                return
        threading.Thread(target=self._wait_in_thread, name=f"kernelwire process {self.pid}", daemon=True).start()

    def _wait_in_thread(self) -> None:
        _has_ended(self.pid, 0)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._on_end)

    def _on_end(self) -> None:
        if self._ended.done() or self._abandoned:
            return
        # Its number is its own until it is waited for, and so is the group's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._ended.set_result(self._popen.wait())
        self._stop_watching()
        self._output.close()

    def _stop_watching(self) -> None:
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


_abandoned: "list[subprocess.Popen[bytes]]" = []
"""Processes that were let go; those that have ended meanwhile are taken off the system's table at the next launch."""


def _has_ended(pid: int, flags: int) -> bool:
    """Whether a child has ended, without taking it off the system's table; waits for it if `flags` is 0."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | flags) is not None
    except ChildProcessError:  # somebody else waited for it
        return True


def _to_stderr(data: bytes) -> None:
    sys.stderr.write(data.decode("utf-8", "replace"))
    sys.stderr.flush()


def _why(argv: Sequence[str], cwd: str | os.PathLike[str] | None, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    command = argv[0] if argv else "an empty command"
    if cwd is not None and getattr(error, "filename", None) == os.fspath(cwd):
        return f"{command} cannot be started in {os.fspath(cwd)}: {reason}"
    return f"{command} cannot be started: {reason}"
