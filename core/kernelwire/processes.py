"""Processes that are no children of ours. A number alone does not tell which: systems hand them out again. So a process
is known by its number, the time when it began, and the system that counts it.
"""

import asyncio
import functools
import os
import platform
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from kernelwire.launcher import Process

_PROC: Final = Path("/proc")
_LOOK: Final = 0.02
"""Seconds between two looks at what nobody tells of: the end of a process, which only its parent learns."""

_BURIAL: Final = 3.0
"""Seconds that a process which has ended may stay on the system's table: some parents look at their children rarely."""


@dataclass(frozen=True)
class ProcessIdentity:
    """Which process is meant, on which system, at which time.

    Attributes:
        pid: its number.
        began: when it began, as the system says it.
        system: what counts: this machine since it was started, and the namespace of its numbers.
    """

    pid: int
    began: str
    system: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has this number now; None if none has."""
        began = _began(pid)
        return None if began is None else cls(pid, began, _system())

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process that can be seen from here. If not, nothing is known of it."""
        return self.system == _system()

    @property
    def is_running(self) -> bool:
        """Whether it is a process of this system that has not ended."""
        return self.is_here and self.pid > 1 and _began(self.pid) == self.began


class RunningProcess(Process):
    """A handle on a process that another process started.

    Arguments:
        identity: which one.
        group: whether it leads a group, and signals go to all of that.

    Attributes:
        signalled: the last signal that it was sent; 0 if none was.
    """

    def __init__(self, identity: ProcessIdentity, *, group: bool = False) -> None:
        self.pid: int = identity.pid
        self.signalled = 0
        self._identity = identity
        self._group = group

    async def wait(self) -> int:
        """Until it ends. Always 0: only its parent is told how."""
        descriptor = _opened(self.pid)
        if descriptor is None:
            await until(lambda: self.poll() is not None)
            return 0
        try:
            if self.poll() is None:  # so it is this one that was opened
                await _readable(descriptor)
        finally:
            os.close(descriptor)
        return 0

    def poll(self) -> int | None:
        """0 if it has ended by now, else None."""
        return None if self._identity.is_running else 0

    def send_signal(self, signum: int) -> None:
        """Send it a signal; nothing happens if it has ended, or is not ours to signal."""
        if self.poll() is None:
            self.signalled = signum
            self._send(signum)

    def abandon(self) -> None:
        """Nothing is held."""

    @property
    def stderr(self) -> str:
        """Nothing: it is read elsewhere."""
        return ""

    def end_group(self) -> None:
        """After its end: end what is left of its group."""
        # The system gives a number to nobody while a group has it.
        if self._group and self._identity.is_here and _began(self.pid) is None:
            self._send(signal.SIGKILL)

    async def forgotten(self) -> None:
        """After its end: wait until the system has forgotten it and its group, though not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_BURIAL):
                await until(lambda: not self._is_on_the_table() or _began(self.pid) is not None)

    def _is_on_the_table(self) -> bool:
        try:
            (os.killpg if self._group else os.kill)(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    def _send(self, signum: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            (os.killpg if self._group else os.kill)(self.pid, signum)


def _opened(pid: int) -> int | None:
    """A descriptor that can be read from when a process has ended (Linux); None if there is none to be had."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # it is gone, or an old kernel, or a strict sandbox
        return None


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    while not condition():  # noqa: ASYNC110 - no event
        await asyncio.sleep(_LOOK)


def _began(pid: int) -> str | None:
    """When the process of this number began, in the system's own words; None if there is none, or it has ended."""
    if not (_PROC / "self" / "stat").exists():
        return _began_elsewhere(pid)
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of the command, in brackets, may have anything in it. After it: the state, and the 19th is the time.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _began_elsewhere(pid: int) -> str | None:
    """Where there is no /proc: macOS and other systems."""
    ps = subprocess.run(  # noqa: S603 - a number
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],  # noqa: S607 - wherever it is
        env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    state, _, began = ps.stdout.strip().partition(" ")
    return None if not began or state.startswith("Z") else began.strip()


@functools.cache
def _system() -> str:
    try:
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(_PROC / 'self' / 'ns' / 'pid').readlink()}"
    except OSError:
        return platform.node()
