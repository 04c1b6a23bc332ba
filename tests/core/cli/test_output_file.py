"""A file that is written at the end: tried at the beginning, whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from kernelwire.cli.output_file import OutputFile
from kernelwire.errors import ConfigurationError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file(tmp_path: Path) -> None:
    file = OutputFile(tmp_path / "new.txt")
    assert list(tmp_path.iterdir()) == []  # it was tried, and nothing is left of that
    file.write(b"content")
    assert file.path.read_bytes() == b"content"
    umask = os.umask(0)
    os.umask(umask)
    assert mode(file.path) == 0o666 & ~umask
    assert list(tmp_path.iterdir()) == [file.path]


def test_a_file_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "there.txt"
    path.write_text("before")
    path.chmod(0o640)
    before = path.stat()
    file = OutputFile(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.read_text() == "before"
    file.write(b"after")
    assert path.read_text() == "after"
    assert mode(path) == 0o640
    assert path.stat().st_ino != before.st_ino  # who has it open reads on in the old one
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "link.txt", tmp_path / "far" / "target.txt"
    link.symlink_to(target)
    for content in ("first", "second"):
        OutputFile(link).write(content.encode())
        assert link.is_symlink()
        assert target.read_text() == content


def test_another_directory_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = OutputFile("here.txt")
    monkeypatch.chdir("/")
    file.write(b"x")
    assert (tmp_path / "here.txt").exists()


def test_what_cannot_be_written_is_known_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name, reason in (
        ("missing/x", "No such file or directory"),
        ("file/x", "Not a directory"),
        ("", "not a regular file"),
        ("pipe", "not a regular file"),
        ("n" * 300, "File name too long"),
    ):
        with pytest.raises(ConfigurationError, match=f"cannot be written: {reason}"):
            OutputFile(tmp_path / name)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        OutputFile(os.devnull)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_what_is_forbidden(tmp_path: Path) -> None:
    path = tmp_path / "there.txt"
    path.touch(0o400)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        OutputFile(path)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "there.txt"
    path.write_text("before")
    file = OutputFile(path)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        file.write(b"after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EACCES])
def test_where_nothing_can_take_its_place_it_is_written_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "mounted.txt"
    path.write_text("before")
    file = OutputFile(path)

    def busy(_self: Path, _target: Path) -> Path:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", busy)
    file.write(b"after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]
    path.unlink()
    with pytest.raises(ConfigurationError):  # it is not there any more: nothing to write into
        file.write(b"after")
