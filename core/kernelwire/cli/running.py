"""Kernels that run for themselves: which one is meant, what is known of it, and what is left of it.

``kernelwire start`` adds one field to the connection file, named by :data:`FIELD`, with what the other commands must
know: the kernel's process, and how it was started. Other programs leave it as it is.
"""

import dataclasses
import fcntl
import functools
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Self
from uuid import uuid4

from kernelwire import connection_file as connection_files
from kernelwire import control, registry
from kernelwire.cli.liveness import nobody_listens
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile
from kernelwire.errors import ConfigurationError, ConnectionFileError, KernelwireError, RequestTimeout
from kernelwire.launcher import end_process
from kernelwire.processes import ProcessIdentity, RunningProcess

FIELD: Final = "kernelwire"

KEEPER_PATIENCE: Final = 10.0
"""Seconds that a keeper has to clean up after its kernel's end, before it is killed: half of them before SIGTERM."""

_TELLING: Final = 4
"""Letters of a name from which on it tells a kernel: fewer may be a slip, and stand in any name."""

_STARTS: Final = 30.0
"""Seconds that a file may be old without a kernel that listens: it may be starting."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the connection file of a kernel says that ``kernelwire start`` has started.

    Attributes:
        kernel: its process.
        interrupt_mode: of its kernelspec.
        cwd: its working directory.
        env: what was added to its environment.
        arguments: words that were added to its command.
        keeper: the process that must stay for as long as the kernel lives; None if none must.
        private_file: the kernel's own connection file, where clients come in by a bridge.
        restarts: how often its keeper has tried to start it again.
        error: why it could not the last time, if that is so.
    """

    kernel: ProcessIdentity
    interrupt_mode: str
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    arguments: tuple[str, ...] = ()
    keeper: ProcessIdentity | None = None
    private_file: str | None = None
    restarts: int = 0
    error: str = ""

    @classmethod
    def of(cls, info: ConnectionInfo) -> Self | None:
        """What a connection file says; None if it says nothing that can be understood."""
        import msgspec  # here, because most commands need it not at all

        try:
            return msgspec.convert(info.extra.get(FIELD), cls)
        except msgspec.ValidationError:
            return None

    def added_to(self, info: ConnectionInfo) -> ConnectionInfo:
        """What the connection file says then."""
        return info.replace(**{FIELD: dataclasses.asdict(self)})

    def write(self, info: ConnectionInfo, path: Path) -> None:
        """Write the connection file with this in it, in the place of the one that is there.

        Raises:
            ConnectionFileError: it cannot be written.
        """
        ConnectionFile.write(self.added_to(info), path, overwrite=True)


class Hold:
    """That one command has a kernel's life for itself: a lock on its connection file.

    Arguments:
        path: the connection file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptors: list[int] = []

    def take(self, path: Path) -> bool:
        """Lock a file; False if it is gone, or is not the one at its path any more.

        Raises:
            ConfigurationError: another command has it, or it cannot be opened.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise ConnectionFileError(f"{path}: cannot be opened: {error.strerror}") from error
        self._descriptors.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"{path}: another command is stopping or restarting this kernel") from None
        return _is(descriptor, path)

    def write(self, info: ConnectionInfo) -> None:
        """Write the connection file anew. It is locked before anybody can find it in its place.

        Raises:
            ConnectionFileError: it cannot be written.
        """
        hidden = self._path.with_name(f".{uuid4().hex}.json")
        file = ConnectionFile.write(info, hidden)
        try:
            self.take(hidden)
            hidden.replace(self._path)
        except OSError as error:
            raise ConnectionFileError(f"{self._path}: cannot be written: {error.strerror}") from error
        finally:
            file.remove()  # if it is still there

    def release(self) -> None:
        """Leave it to others."""
        while self._descriptors:
            os.close(self._descriptors.pop())


class RunningKernel(NamedTuple):
    """A kernel that was found.

    Attributes:
        path: its connection file, absolute.
        info: what that says.
        record: what it says beside that; None if somebody else has started the kernel.
        hold: that this command has it for itself; None if it has not.
    """

    path: Path
    info: ConnectionInfo
    record: Record | None
    hold: Hold | None = None

    @property
    def is_gone(self) -> bool:
        """Whether its process has ended, as far as that can be seen from here."""
        return self.record is not None and self.record.kernel.is_here and not self.record.kernel.is_running

    async def is_dead(self) -> bool:
        """Whether it is certain that there is no kernel (any more)."""
        if self.record is not None and self.record.kernel.is_here:
            return self.is_gone
        return await nobody_listens(self.info) and time.time() - self.path.stat().st_mtime > _STARTS

    async def end(self, *, now: bool, restart: bool = False, patience: float) -> int:
        """End a kernel that has a record, and its keeper: interrupt and ask it, then SIGTERM, then SIGKILL.

        Both have ended too if this was cancelled.

        Arguments:
            now: kill it at once.
            restart: what to tell it.
            patience: seconds that it has before it is killed.

        Returns:
            The last signal that the kernel was sent; SIGINT if it ended because it was asked to, or 0.

        Raises:
            RequestTimeout: the system does not let go of it.
        """
        assert self.record is not None

        async def wait() -> None:
            """A keeper sees for itself that its kernel has ended."""

        kernel = RunningProcess(self.record.kernel, group=True)
        mode = self.record.interrupt_mode
        ask = functools.partial(control.shut_down, self.info, kernel, mode, restart=restart, timeout=patience)
        await _end(kernel, None if now else ask, patience)
        kernel.end_group()
        if self.record.keeper is not None:
            keeper = RunningProcess(self.record.keeper)
            await _end(keeper, wait, KEEPER_PATIENCE)
            await keeper.forgotten()
        if not restart:
            await kernel.forgotten()
        return kernel.signalled

    def clean(self) -> None:
        """Remove the files of a kernel that has ended."""
        if self.record is not None and self.record.private_file is not None:
            _clean(Path(self.record.private_file))
        _release(self.info)
        self.path.unlink(missing_ok=True)


def find(text: str) -> Path:
    """The connection file that is meant, for commands after which there is no way back.

    Arguments:
        text: a path, a name in the runtime directory, or a part of a name there that only one file has: all of what
            stands between ``kernel-`` and ``.json``, or four letters of it.

    Raises:
        ConfigurationError: it is empty, a part of several names, or too small a part of one.
        ConnectionFileNotFound: there is no such file; the text names similar ones.
    """
    if not text:
        raise ConfigurationError("FILE is empty: the connection file of a kernel is needed")
    if os.path.exists(text):  # noqa: PTH110 - which answers, where pathlib raises: a directory that is not to be read
        return Path(text).absolute()
    directory = connection_files.runtime_dir()
    if not os.path.dirname(text):  # noqa: PTH120 - "" for a bare name, where pathlib has "."
        for name in (text, f"kernel-{text}.json"):
            if os.path.isfile(directory / name):  # noqa: PTH113 - likewise
                return directory / name
        found = sorted(path for path in directory.glob("kernel-*.json") if text in path.name)
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:5])
            raise ConfigurationError(f"{text!r} is a part of several names: {names}{', ...' if found[5:] else ''}")
        if found and len(text) < _TELLING:
            raise ConfigurationError(f"{text!r} is too small a part of {found[0].name}: give {_TELLING} letters of it")
        if found:
            return found[0]
        text = str(directory / text)
    connection_files.read(text)
    return Path(text).absolute()  # it has come into being just now


def read(path: Path) -> RunningKernel:
    """What a connection file says, and what is added to that.

    Raises:
        ConnectionFileError, InvalidField: as :func:`kernelwire.connection_file.read`.
    """
    info = connection_files.read(path)
    status = path.stat()
    # Whoever can write what is written there can have processes of ours killed, and commands run.
    is_ours = status.st_uid == os.geteuid() and not status.st_mode & 0o022
    return RunningKernel(path, info, Record.of(info) if is_ours else None)


@contextmanager
def taken(path: Path) -> Iterator[RunningKernel]:
    """Have a kernel's life for oneself; of two commands that would end it or start it, the second is refused.

    Raises:
        ConfigurationError: another command has it; or as `read`.
    """
    hold = Hold(path)
    try:
        while True:
            kernel = read(path)  # if it is gone, this is what says so
            if hold.take(path):
                yield kernel._replace(hold=hold)
                return
            hold.release()  # it was replaced meanwhile
    finally:
        hold.release()


async def _end(process: RunningProcess, ask: Callable[[], Awaitable[object]] | None, patience: float) -> None:
    if await end_process(process, ask, patience) is None:
        raise RequestTimeout(f"process {process.pid} was killed and does not end")


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _clean(path: Path) -> None:
    with suppress(KernelwireError):  # not what it was, and so nothing of ours
        _release(connection_files.read(path))
        path.unlink(missing_ok=True)


def _release(info: ConnectionInfo) -> None:
    with suppress(KernelwireError):  # what cannot be loaded has left nothing that could be removed
        registry.load(info.transport).release(info)
