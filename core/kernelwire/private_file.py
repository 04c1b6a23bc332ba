"""Files for their owner alone: reading one without waiting, writing one that nobody sees half done.

For all that holds a secret. What stands in a file is never shown in an error.
"""

import os
import shlex
import stat
import warnings
from pathlib import Path
from uuid import uuid4

from kernelwire.errors import ConnectionFileError, ConnectionFileNotFound


class InsecureFileWarning(UserWarning):
    """Users other than the owner can open a file that holds a secret, and so the kernel."""


def read(path: Path, limit: int) -> tuple[bytes, int]:
    """What stands in the file at `path`, of which at most `limit` + 1 bytes are read; and its mode.

    Raises:
        ConnectionFileNotFound: nothing is there.
        ConnectionFileError: no regular file, or not readable.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ConnectionFileError(f"{path}: not a regular file")
            return file.read(limit + 1), mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConnectionFileNotFound(f"no file {path}") from error
    except (OSError, ValueError) as error:
        raise ConnectionFileError(f"{path}: cannot be read: {_reason(error)}") from error


def warn_if_open(path: Path, mode: int, holds: str, *, stacklevel: int) -> None:
    """Warn with :class:`InsecureFileWarning` if `mode` gives group or others any access to `path`.

    Arguments:
        path: the file.
        mode: its mode.
        holds: what is in it, for people.
        stacklevel: as for ``warnings.warn``, counted from the caller.
    """
    if mode & 0o077:
        text = f"{path}: others may open it (mode {stat.S_IMODE(mode):04o}), and it holds {holds}"
        fix = f"chmod 600 {shlex.quote(str(path))}"
        warnings.warn(f"{text}; fix: {fix}", InsecureFileWarning, stacklevel=stacklevel + 1)


def write(target: Path, data: bytes, *, overwrite: bool) -> int:
    """Write `data` to a file of mode 0600, under any umask. Who reads it meanwhile finds all or nothing.

    Arguments:
        target: where, absolute. Directories that are missing are made with mode 0700.
        data: all that the file will hold.
        overwrite: whether to take the place of a file that is there.

    Returns:
        The file's descriptor, open for writing; it is the caller's to close.

    Raises:
        ConnectionFileError: `target` exists and may not be overwritten, or cannot be written. Nothing is left behind.
    """
    try:
        _make_directory(target.parent)
        return _write(target, data, overwrite=overwrite)
    except FileExistsError as error:
        raise ConnectionFileError(f"{target}: exists already; overwrite=True replaces it") from error
    except (OSError, ValueError) as error:
        raise ConnectionFileError(f"{target}: cannot be written: {_reason(error)}") from error


def _write(target: Path, data: bytes, *, overwrite: bool) -> int:
    # Hidden, so that no pattern finds it; in the same directory, because only there can it be put in place at once.
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # a umask may have taken the owner's bits too
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(descriptor)
        if overwrite:
            temporary.replace(target)
        else:
            target.hardlink_to(temporary)
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return descriptor


def _open_without_waiting(path: str, flags: int) -> int:
    # Without O_NONBLOCK the opening of a named pipe waits until somebody writes to it.
    return os.open(path, flags | os.O_NONBLOCK)


def _make_directory(directory: Path) -> None:
    """Like ``mkdir -p -m 700``, but the mode holds for the parents too."""
    if not directory.is_dir():
        _make_directory(directory.parent)
        directory.mkdir(0o700, exist_ok=True)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
