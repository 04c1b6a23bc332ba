"""Connection files on disk: read one safely, write one that nobody sees half done, find the one that was meant.

A connection file holds the kernel's key, and whoever has that runs code as the kernel's user. So files are made for
their owner alone, under any umask; one that others can open is read with a warning; no error shows what a file holds.
"""

import glob
import os
import stat
import weakref
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from kernelwire import jsoncodec, private_file
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import (
    ConnectionFileError,
    ConnectionFileNotFound,
    InvalidField,
    InvalidMessage,
    MalformedMessage,
    TicketError,
)
from kernelwire.private_file import InsecureFileWarning as InsecureFileWarning

MAX_BYTES: Final = 1024 * 1024
"""Bound on a connection file; real ones have a few hundred bytes."""

_MAX_NAMES: Final = 5


def read(path: str | os.PathLike[str]) -> ConnectionInfo:
    """What the connection file at `path` says; it may hold a kernel's ticket in place of the JSON object.

    Warns with :class:`InsecureFileWarning` if the file's mode gives group or others any access.

    Raises:
        ConnectionFileNotFound: nothing is there; the text names similar ones of that directory, or its newest.
        ConnectionFileError: no regular file, not readable, over 1 MiB, or not a JSON object in UTF-8.
        InvalidField: a field cannot be used; the text says of which file.
        TicketError: a ticket that is mangled, of another version, or of a host.
    """
    path = Path(path)
    try:
        data, mode = private_file.read(path, MAX_BYTES)
    except ConnectionFileNotFound as error:
        raise ConnectionFileNotFound(f"{error}{_what_is_there(path.name, [path.parent])}") from error.__cause__
    fields = None if _is_ticket(data) else _json_object(data, path)
    private_file.warn_if_open(path, mode, "a ticket" if fields is None else "the kernel's key", stacklevel=2)
    try:
        return _of_ticket(data) if fields is None else ConnectionInfo.from_dict(fields)
    except (InvalidField, TicketError) as error:
        error.args = (f"{error} (in {path})",)
        raise


class ConnectionFile:
    """A connection file that this process wrote; made by :meth:`write`. As a context manager it removes the file.

    The file outlives the object unless :meth:`remove` is called. Safe to use after a change of directory.

    Attributes:
        path: where it is, absolute.
        info: what was written.
    """

    def __init__(self, path: Path, info: ConnectionInfo, descriptor: int) -> None:
        self.path = path
        self.info = info
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self._identity = (status.st_dev, status.st_ino)
        self._pid = os.getpid()
        # While the descriptor is open no other file gets this inode number; file systems hand freed ones out at once.
        self._release = weakref.finalize(self, os.close, descriptor)
        self._release.atexit = False  # somebody's exit handler may still want to remove the file

    @classmethod
    def write(
        cls, info: ConnectionInfo, path: str | os.PathLike[str] | None = None, *, overwrite: bool = False
    ) -> Self:
        """Write `info` to a file of mode 0600, under any umask. Who reads `path` meanwhile finds all or nothing.

        Arguments:
            info: what to write, unknown fields included.
            path: where; by default a new ``kernel-<uuid>.json`` in :func:`runtime_dir`. Directories that are missing
                are made with mode 0700.
            overwrite: whether to take the place of a file that is there.

        Raises:
            ConnectionFileError: `path` exists and may not be overwritten, or cannot be written, or `info` holds
                what JSON cannot say or is over 1 MiB. Nothing is left behind then.
        """
        target = (runtime_dir() / f"kernel-{uuid4()}.json" if path is None else Path(path)).absolute()
        try:
            data = jsoncodec.encode(info.to_dict(), "connection information") + b"\n"
        except InvalidMessage as error:
            raise ConnectionFileError(f"{target}: cannot be written: {error}") from error
        if len(data) > MAX_BYTES:
            raise ConnectionFileError(f"{target}: {len(data)} bytes; a connection file has at most {MAX_BYTES}")
        return cls(target, info, private_file.write(target, data, overwrite=overwrite))

    def remove(self) -> bool:
        """Remove the file; whether it was removed now.

        False, and nothing touched, where the file at `path` is not the very one that this object wrote (somebody
        replaced or removed it), in a forked child, and after it was removed. False too where the system does not allow
        it; then it can be tried again.
        """
        if os.getpid() != self._pid or not self._release.alive:
            return False
        try:
            status = self.path.lstat()
            ours = (status.st_dev, status.st_ino) == self._identity
            if ours:
                self.path.unlink()
        except OSError:
            return False
        self._release()
        return ours

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"<ConnectionFile {self.path}>"


def find(name: str | os.PathLike[str] | None = None) -> Path:
    """The connection file that `name` means; of several, the one modified last.

    Arguments:
        name: one of these, the first that fits: a path with a directory in it, or of a file, as it stands; the name
            of a file in the runtime directory; a glob pattern, or a part of a name (of ``kernel-*.json`` before
            any other), in the current and in the runtime directory. None means the newest ``kernel-*.json`` in the
            runtime directory.

    Raises:
        ConnectionFileNotFound: no such file; the text says where it looked and what is there.
    """
    if name is None:
        wanted, directories, patterns = "kernel-*.json", [runtime_dir()], ["kernel-*.json"]
    else:
        wanted = os.fspath(name)
        if _modified(Path(wanted)) is not None:
            return Path(wanted)
        directories = [Path.cwd(), runtime_dir()]
        if _modified(directories[1] / wanted) is not None:
            return directories[1] / wanted
        is_pattern = any(character in wanted for character in "*?[")
        if not is_pattern and os.path.dirname(wanted):  # noqa: PTH120 - "" for a bare name, where pathlib has "."
            return Path(wanted)  # reading it says what is wrong with it
        patterns = [wanted] if is_pattern else [f"kernel-*{wanted}*.json", f"*{wanted}*"]
    for pattern in patterns:
        if found := _newest(directories, pattern):
            return found[0]
    looked = " or ".join(map(str, directories))
    raise ConnectionFileNotFound(f"no file {wanted!r} in {looked}{_what_is_there(wanted, directories)}")


def runtime_dir() -> Path:
    """Jupyter's directory for the connection files of running kernels; ``JUPYTER_RUNTIME_DIR`` sets another."""
    from jupyter_core.paths import jupyter_runtime_dir  # here, because it takes 30 ms

    return Path(jupyter_runtime_dir())


def _is_ticket(data: bytes) -> bool:
    if data.lstrip().startswith(b"{"):  # as of nearly all files
        return False
    from kernelwire import ticket  # here, because a client of any other file starts without it

    return ticket.is_ticket(data)


def _of_ticket(data: bytes) -> ConnectionInfo:
    from kernelwire import ticket

    found = ticket.decode(data)
    if found.kind != "kernel":
        raise TicketError("a host's ticket, and that names no kernel; a kernel's is needed")
    return found.info


def _json_object(data: bytes, path: Path) -> dict[str, Any]:
    value: object = None
    problem = ""
    if len(data) > MAX_BYTES:
        problem = f"over {MAX_BYTES} bytes, which no connection file is"
    elif not data.strip():
        problem = "empty"
    else:
        try:
            data.decode("utf-8")  # the codec alone would replace what is no UTF-8
            value = jsoncodec.decode(data, "connection file")
        except UnicodeDecodeError:
            problem = "not UTF-8"
        except MalformedMessage as error:
            problem = str(error)
        if not problem and not isinstance(value, dict):
            problem = f"JSON, but no object (Python reads it as {type(value).__name__})"
    # Raised here, where no error is being handled: those hold the content, and would travel as the context.
    if problem:
        raise ConnectionFileError(f"{path}: {problem}")
    assert isinstance(value, dict)
    return value


def _modified(path: Path) -> int | None:
    """When a regular file was modified; None where there is none (any more)."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns if stat.S_ISREG(status.st_mode) else None


def _newest(directories: Iterable[Path], pattern: str) -> list[Path]:
    """The regular files in `directories` that fit, newest first."""
    # Unlike Path.glob, glob.glob leaves out hidden files and takes absolute patterns.
    paths = {d / name for d in directories for name in glob.glob(pattern, root_dir=d)}  # noqa: PTH207
    times = {path: time for path in paths if (time := _modified(path)) is not None}
    return sorted(times, key=lambda path: (times[path], path), reverse=True)


def _what_is_there(wanted: str, directories: Iterable[Path]) -> str:
    """The end of an error's text: names like `wanted`, else the newest; empty where there is nothing."""
    import difflib  # here, because a client starts without it

    there = [path.name for path in _newest(directories, "*.json")]
    # A part of a name is far from every whole one, so compare it as what it would be a part of.
    whole = wanted if wanted.endswith(".json") else f"kernel-{wanted}.json"
    names = difflib.get_close_matches(whole, there, _MAX_NAMES) or there[:_MAX_NAMES]
    return f"; there: {', '.join(names)}" if names else "; no .json file is there"
