"""Which kernel is meant, what its file says, and whose it is at the moment."""

import dataclasses
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.cli import running
from kernelwire.cli.running import FIELD, Record, RunningKernel
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile
from kernelwire.errors import ConfigurationError, ConnectionFileError, ConnectionFileNotFound
from kernelwire.processes import ProcessIdentity

INFO = ConnectionInfo(transport="ipc", ip="/nowhere/k", control_port=1, kernel_name="x", key=b"k")

identities = st.builds(ProcessIdentity, pid=st.integers(2, 2**22), began=st.text(), system=st.text())
records = st.builds(
    Record,
    kernel=identities,
    interrupt_mode=st.sampled_from(["signal", "message"]),
    cwd=st.text(),
    env=st.dictionaries(st.text(), st.text()),
    arguments=st.lists(st.text()).map(tuple),
    keeper=st.none() | identities,
    private_file=st.none() | st.text(),
    restarts=st.integers(0, 1000),
    error=st.text(),
)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runtime").mkdir(0o700)
    return tmp_path / "runtime"


def record(pid: int | None = None) -> Record:
    """Of a process that lives, or of one that does not."""
    identity = ProcessIdentity.of(os.getpid())
    assert identity is not None
    identity = identity if pid is None else dataclasses.replace(identity, pid=pid, began="0")
    return Record(kernel=identity, interrupt_mode="signal", cwd="/", env={"A": "a secret"})


# The record


@given(records)
def test_a_record_is_read_as_it_was_written(written: Record) -> None:
    info = INFO.replace(**{FIELD: dataclasses.asdict(written)})
    assert Record.of(info) == written


@pytest.mark.parametrize(
    "value",
    [None, "text", {}, {"kernel": 1}, {"kernel": {"pid": "1", "began": "", "system": ""}}, [1]],
)
def test_what_is_no_record(value: Any) -> None:
    assert Record.of(INFO.replace(**{FIELD: value})) is None
    assert Record.of(INFO) is None


def test_a_record_keeps_the_rest_of_the_file_and_its_secrets(runtime: Path) -> None:
    path = ConnectionFile.write(INFO.replace(note="kept"), runtime / "kernel-1.json").path
    record().write(running.read(path).info, path)
    kernel = running.read(path)
    assert kernel.record == record()
    assert kernel.info.extra["note"] == "kept"
    assert kernel.info.replace(extra={}) == INFO
    assert path.stat().st_mode & 0o777 == 0o600
    assert "secret" not in repr(kernel)


@pytest.mark.filterwarnings("ignore:.*others may open it")
@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_says_nothing(runtime: Path, mode: int) -> None:
    path = runtime / "kernel-1.json"
    record().write(INFO, path)
    path.chmod(mode)
    assert running.read(path).record is None


# Which one


def test_finding(runtime: Path, tmp_path: Path) -> None:
    names = ("kernel-12.json", "kernel-13.json", "kernel-2468-ace.json")
    for path in (*(runtime / name for name in names), runtime / "mine.json", tmp_path / "here.json"):
        ConnectionFile.write(INFO, path)
    assert running.find("here.json") == tmp_path / "here.json"
    assert running.find(str(runtime / "mine.json")) == runtime / "mine.json"
    assert running.find("mine.json") == runtime / "mine.json"
    assert running.find("kernel-12.json") == runtime / "kernel-12.json"
    assert running.find("12") == runtime / "kernel-12.json"
    with pytest.raises(ConfigurationError, match=r"'1' is a part of several names: kernel-12.json, kernel-13.json$"):
        running.find("1")
    assert running.find("68-a") == runtime / "kernel-2468-ace.json"
    for slip in ("a", "ace"):  # it would end that kernel, and stands in many a name
        with pytest.raises(ConfigurationError, match=f"^'{slip}' is too small a part of kernel-2468-ace.json: give 4"):
            running.find(slip)
    with pytest.raises(ConnectionFileNotFound, match="kernel-12"):
        running.find("14")
    with pytest.raises(ConnectionFileNotFound):
        running.find("mine")  # unlike a kernel's own name, this is too little to go by
    with pytest.raises(ConnectionFileNotFound):
        running.find("nowhere/kernel-12.json")
    with pytest.raises(ConnectionFileError, match="too long"):
        running.find("x" * 300)


# Whose it is


def test_only_one_has_it(runtime: Path) -> None:
    path = ConnectionFile.write(INFO, runtime / "kernel-1.json").path
    with running.taken(path) as kernel:
        assert kernel == RunningKernel(path, INFO, None, kernel.hold)
        with pytest.raises(ConfigurationError, match="another command is stopping or restarting"), running.taken(path):
            pass
        # Also when it is gone, as many kernels have it at their end, and is written anew.
        path.unlink()
        newer = INFO.replace(kernel_name="newer")
        assert kernel.hold is not None
        kernel.hold.write(newer)
        with pytest.raises(ConfigurationError, match="another command is stopping or restarting"), running.taken(path):
            pass
    with running.taken(path) as kernel:
        assert kernel.info == newer
        ConnectionFile.write(INFO, path, overwrite=True)
    with running.taken(path):
        pass
    assert list(runtime.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_replaced_while_it_is_taken(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ConnectionFile.write(INFO, runtime / "kernel-1.json").path
    newer = INFO.replace(kernel_name="newer")
    lock = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        lock(descriptor, operation)
        monkeypatch.setattr(fcntl, "flock", lock)
        ConnectionFile.write(newer, path, overwrite=True)

    monkeypatch.setattr(fcntl, "flock", flock)
    with running.taken(path) as kernel:
        assert kernel.info == newer


def test_a_file_that_is_gone(runtime: Path) -> None:
    with pytest.raises(ConnectionFileNotFound), running.taken(runtime / "kernel-1.json"):
        pass
    with pytest.raises(ConnectionFileError), running.taken(runtime):
        pass


# Whether it lives, and what is left


async def test_whether_it_is_dead(runtime: Path) -> None:
    path = ConnectionFile.write(INFO, runtime / "kernel-1.json").path
    assert not await RunningKernel(path, INFO, record()).is_dead()
    assert await RunningKernel(path, INFO, record(pid=2**22)).is_dead()
    elsewhere = dataclasses.replace(record().kernel, system="another")
    assert not await RunningKernel(path, INFO, dataclasses.replace(record(), kernel=elsewhere)).is_dead()
    assert not await RunningKernel(path, INFO, None).is_dead()  # it may be starting
    os.utime(path, (0, 0))
    assert await RunningKernel(path, INFO, None).is_dead()


def test_cleaning(runtime: Path, tmp_path: Path) -> None:
    for name in ("k-1", "k-2"):
        os.mknod(tmp_path / name, 0o140600)  # as a socket that somebody left
    info = INFO.replace(ip=str(tmp_path / "k"))
    path = ConnectionFile.write(info, runtime / "kernel-1.json").path
    private = ConnectionFile.write(info.replace(control_port=2), runtime / "bridged-1.json").path
    RunningKernel(path, info, dataclasses.replace(record(), private_file=str(private))).clean()
    assert list(runtime.iterdir()) == []
    assert [each.name for each in tmp_path.iterdir()] == ["runtime"]


def test_cleaning_removes_nothing_else(runtime: Path) -> None:
    (runtime / "thesis").write_text("years of work")
    info = INFO.replace(transport="unheard-of")
    path = runtime / "kernel-1.json"
    RunningKernel(path, info, dataclasses.replace(record(), private_file=str(runtime / "thesis"))).clean()
    assert [each.name for each in runtime.iterdir()] == ["thesis"]
