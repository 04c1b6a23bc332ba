"""Files for their owner alone. What a connection file makes of them is tested there."""

import os
import stat
import warnings
from pathlib import Path

import pytest

from kernelwire import private_file
from kernelwire.errors import ConnectionFileError, ConnectionFileNotFound
from kernelwire.private_file import InsecureFileWarning


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def write(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    os.close(private_file.write(path, data, overwrite=overwrite))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "directory" / "secret"
    write(path, b"some bytes")
    data, mode = private_file.read(path, 100)
    assert data == b"some bytes"
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    assert names(path.parent) == ["secret"]


def test_the_descriptor_is_of_the_file(tmp_path: Path) -> None:
    descriptor = private_file.write(tmp_path / "secret", b"x", overwrite=False)
    try:
        assert os.path.samestat(os.fstat(descriptor), (tmp_path / "secret").stat())
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("mask", [0o000, 0o777])
def test_no_umask_changes_the_mode(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "secret", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_file_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write(path, b"first")
    with pytest.raises(ConnectionFileError, match="exists already"):
        write(path, b"second")
    assert path.read_bytes() == b"first"
    write(path, b"third", overwrite=True)
    assert path.read_bytes() == b"third"
    assert names(tmp_path) == ["secret"]


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def refuse(descriptor: int) -> None:
        opened.append(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    closed: list[int] = []
    close = os.close

    def note(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)

    monkeypatch.setattr(os, "close", note)
    with pytest.raises(ConnectionFileError, match="No space left"):
        write(tmp_path / "secret", b"x")
    assert names(tmp_path) == []
    assert opened == closed


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "secret", b"0123456789")
    assert private_file.read(tmp_path / "secret", 4)[0] == b"01234"


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFileNotFound, match="no file"):
        private_file.read(tmp_path / "nothing", 10)
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe"):  # and nothing waits for somebody who writes
        with pytest.raises(ConnectionFileError):
            private_file.read(tmp_path / name, 10)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o666])
def test_a_mode_that_lets_others_in(mode: int) -> None:
    with pytest.warns(InsecureFileWarning, match=f"mode {mode:04o}.*holds a secret; fix: chmod 600 'a b'") as caught:
        private_file.warn_if_open(Path("a b"), stat.S_IFREG | mode, "a secret", stacklevel=1)
    assert caught[0].filename == __file__


def test_a_mode_that_does_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in (0o600, 0o400, 0o700):
            private_file.warn_if_open(Path("a"), stat.S_IFREG | mode, "a secret", stacklevel=1)
