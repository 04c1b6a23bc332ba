"""A file that is written at the end of a long run: whether it can be is known before, and it is never half written."""

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Final
from uuid import uuid4

from kernelwire.errors import ConfigurationError

_NOT_BESIDE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})
"""What the system says where a file can be written, but none be put in its place: a mount of that one file, say."""


class StandardOutput:
    """In the place of a file.

    Attributes:
        path: what stands for it.
    """

    path = Path("-")

    def __str__(self) -> str:
        return "standard output"

    def write(self, data: bytes) -> None:
        """Write this. Raises OSError if it cannot be."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()


class OutputFile:
    """Made before the run, which tries it and changes nothing.

    Arguments:
        path: where; a link is followed.

    Attributes:
        path: as given.

    Raises:
        ConfigurationError: it cannot be written, or is there and no regular file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._target = Path(os.path.realpath(path))
        try:
            if not self._target.exists():
                temporary = self._temporary()
                temporary.touch(exist_ok=False)
                temporary.unlink()
            elif not self._target.is_file():
                raise ConfigurationError(f"{self.path}: cannot be written: not a regular file")
            else:
                self._target.open("ab").close()  # only trying tells
        except OSError as error:
            raise self._failure(error) from error

    def __str__(self) -> str:
        return str(self.path)

    def write(self, data: bytes) -> None:
        """Put a file with this content there at once; one that was there keeps its mode.

        Raises:
            ConfigurationError: it cannot be written now; what was there is there still.
        """
        try:
            try:
                self._replace(data)
            except OSError as error:
                if error.errno not in _NOT_BESIDE or not self._target.exists():
                    raise
                self._target.write_bytes(data)
        except OSError as error:
            raise self._failure(error) from error

    def _replace(self, data: bytes) -> None:
        temporary = self._temporary()
        try:
            with temporary.open("xb") as file:
                if self._target.exists():
                    os.fchmod(file.fileno(), stat.S_IMODE(self._target.stat().st_mode))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._target)
        finally:
            temporary.unlink(missing_ok=True)

    def _temporary(self) -> Path:
        # In the same directory, because only there can it be put in place at once.
        return self._target.with_name(f".{uuid4().hex}.tmp")

    def _failure(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(f"{self.path}: cannot be written: {error.strerror}")
