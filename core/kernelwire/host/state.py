"""What a host has started, on disk: whoever is started after it was killed finds its kernels, and serves them again.

The file holds keys, so it is for its owner alone. It is there for as long as there is something to find.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from kernelwire import private_file
from kernelwire.connection_file import runtime_dir
from kernelwire.errors import ConfigurationError, ConnectionFileError, ConnectionFileNotFound
from kernelwire.processes import ProcessIdentity

VERSION: Final = 1

MAX_BYTES: Final = 4 * 1024 * 1024
"""Bound on a state file; a kernel needs about a thousand."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """A kernel that a host serves.

    Attributes:
        kernel_id: its name at this host.
        near: the connection information of its clients' side, with the host's own keys.
        kernel_file: the kernel's own connection file.
        file: the clients' connection file.
        process: the kernel's process; None for one that the host shares and has not started.
        kernel_name: the kernelspec.
        cwd: its working directory; None for the host's.
        env: what was added to its environment.
        lease: seconds that it may be without clients before it is ended; None for no end.
    """

    kernel_id: str
    near: Mapping[str, Any] = field(repr=False)
    kernel_file: str
    file: str | None = None
    process: ProcessIdentity | None = None
    kernel_name: str = ""
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    lease: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether its process is there; for one that is shared, whether its file is."""
        return Path(self.kernel_file).exists() if self.process is None else self.process.is_running


@dataclass(frozen=True, kw_only=True)
class State:
    """All that a host must know to go on where another one ended.

    Attributes:
        version: of this form.
        service: the connection information of the host itself, if it takes requests, with its own keys.
        kernels: those that it serves.
    """

    version: int = VERSION
    service: Mapping[str, Any] | None = field(default=None, repr=False)
    kernels: tuple[Hosted, ...] = ()


class StateFile:
    """A host's file; made by :meth:`taken`, which lets one host at a time have it.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @contextmanager
    def taken(cls, name: str) -> Iterator[Self]:
        """The state of the host `name`, for oneself for as long as the context lasts.

        Raises:
            ConfigurationError: another process has it, or the name cannot be used.
            ConnectionFileError: it cannot be made.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"host name {name!r}: up to 64 letters, digits and . _ - are needed")
        path = runtime_dir() / f"host-{name}.state"
        lock = path.with_suffix(".lock")
        descriptor = _lock(lock, name)
        try:
            yield cls(path)
        finally:
            if not path.exists():
                lock.unlink(missing_ok=True)  # while nobody else can have it
            os.close(descriptor)

    def read(self) -> State:
        """What it says; an empty state if there is none.

        Raises:
            ConnectionFileError: it cannot be read or understood.
        """
        import msgspec  # here, because most commands need it not at all

        try:
            data, mode = private_file.read(self.path, MAX_BYTES)
        except ConnectionFileNotFound:
            return State()
        if mode & 0o022 or self.path.stat().st_uid != os.geteuid():
            # Whoever can write it can have processes of ours ended, and commands run.
            raise ConnectionFileError(f"{self.path}: others may write to it; look at it, then remove it")
        try:
            state = msgspec.json.decode(data, type=State)
        except msgspec.MsgspecError:
            state = State(version=0)
        if state.version != VERSION:
            raise ConnectionFileError(
                f"{self.path}: not what this version writes; end the kernels that it may name, and remove it"
            )
        return state

    def write(self, state: State) -> None:
        """Write it; an empty state removes it.

        Raises:
            ConnectionFileError: it cannot be written.
        """
        import msgspec

        if not state.kernels and state.service is None:
            self.path.unlink(missing_ok=True)
            return
        os.close(private_file.write(self.path, msgspec.json.encode(state), overwrite=True))


def unfinished() -> list[str]:
    """Names of hosts that left something behind, whether or not they still run."""
    return sorted(path.stem.removeprefix("host-") for path in runtime_dir().glob("host-*.state"))


def _lock(lock: Path, name: str) -> int:
    try:
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), lock.stat()):
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                raise ConfigurationError(
                    f"a host of the name {name!r} runs already: end it first, or give this one another --name"
                ) from None
            except FileNotFoundError:  # its last owner has just removed it
                pass
            os.close(descriptor)
    except OSError as error:
        raise ConnectionFileError(f"{lock}: cannot be made: {error.strerror}") from error
