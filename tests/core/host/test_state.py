"""A host's file: for one at a time, for its owner alone, and there only while there is something to find."""

import os
from pathlib import Path

import pytest

from kernelwire.errors import ConfigurationError, ConnectionFileError
from kernelwire.host.state import Hosted, State, StateFile, unfinished
from kernelwire.processes import ProcessIdentity


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "r"))
    return tmp_path / "r"


def hosted(**changes: object) -> Hosted:
    me = ProcessIdentity.of(os.getpid())
    fields = {"kernel_id": "a", "near": {"link_secret": "the-secret"}, "kernel_file": "/nowhere", "process": me}
    return Hosted(**{**fields, **changes})  # type: ignore[arg-type]


def test_written_and_read(runtime: Path) -> None:
    state = State(service={"transport": "x"}, kernels=(hosted(env={"A": "the-value"}, lease=3.0), hosted(process=None)))
    with StateFile.taken("mine") as file:
        assert file.read() == State()
        file.write(state)
        assert file.read() == state
        assert file.path.stat().st_mode & 0o777 == 0o600
    assert unfinished() == ["mine"]
    assert "the-" not in repr(state)
    with StateFile.taken("mine") as file:
        file.write(State())
    assert list(runtime.iterdir()) == []


def test_one_host_at_a_time() -> None:
    again = pytest.raises(ConfigurationError, match="'mine' runs already")
    with StateFile.taken("mine"), StateFile.taken("other"), again, StateFile.taken("mine"):
        pass
    with StateFile.taken("mine"):
        pass


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", ".x", "a" * 65, "a b"])
def test_a_name_that_cannot_be_used(name: str) -> None:
    with pytest.raises(ConfigurationError, match="host name"), StateFile.taken(name):
        pass


@pytest.mark.parametrize("text", ["", "{}x", '{"version": 2}', '{"kernels": 3}', '{"kernels": [{"kernel_id": "a"}]}'])
def test_a_file_that_cannot_be_understood_is_left_alone(text: str) -> None:
    with StateFile.taken("mine") as file:
        file.path.write_text(text)
        file.path.chmod(0o600)
        with pytest.raises(ConnectionFileError, match="remove it"):
            file.read()
        assert file.path.read_text() == text


def test_a_file_that_others_may_write_is_not_believed() -> None:
    with StateFile.taken("mine") as file:
        file.write(State(kernels=(hosted(),)))
        file.path.chmod(0o666)
        with pytest.raises(ConnectionFileError, match="others may write"):
            file.read()


def test_which_kernels_run(tmp_path: Path) -> None:
    assert hosted().is_running
    assert not hosted(process=ProcessIdentity(os.getpid(), "another time", "here")).is_running
    assert not hosted(process=None).is_running
    assert hosted(process=None, kernel_file=str(tmp_path)).is_running
