"""Connection fields, and what is recorded where."""

from pathlib import Path
from typing import Any

import pytest

from kernelwire import ConnectionInfo, registry
from kernelwire.errors import InvalidField, NotServed, NotSupported
from kernelwire_recorder import RecorderBackend, RecordingError, record, replay
from kernelwire_recorder.backend import VARIABLE


def info(**fields: Any) -> ConnectionInfo:
    return ConnectionInfo(transport="recorder", key=b"key", extra=fields)


def test_it_is_installed() -> None:
    assert isinstance(registry.load("recorder"), RecorderBackend)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"mode": "listen"}, "mode"),
        ({"inner": {}}, "recording"),
        ({"recording": 3, "inner": {}}, "recording"),
        ({"recording": "\0", "inner": {}}, "recording"),
        ({"recording": "r"}, "inner"),
        ({"recording": "r", "inner": "tcp"}, "inner"),
        ({"recording": "r", "inner": {"transport": "recorder"}}, "inner"),
        ({"recording": "r", "inner": {"transport": "tcp", "shell_port": "x"}}, "'inner'.*'shell_port'"),
        ({"recording": "r", "inner": {"transport": "tcp"}}, "'inner'.*'shell_port'"),
    ],
)
async def test_a_field_that_cannot_be_used(
    fields: dict[str, Any], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidField, match=named):
        await RecorderBackend().connect(info(**fields), identity=b"me")
    assert list(tmp_path.iterdir()) == []


def test_a_new_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = RecorderBackend()
    prepared = backend.prepare(info())
    assert prepared.extra["inner"]["transport"] == "tcp"
    assert "key" not in prepared.extra["inner"]
    folder = Path(prepared.extra["recording"]).parent
    assert folder.is_dir()
    backend.release(prepared)
    assert not folder.exists()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine.jsonl"))
    prepared = backend.prepare(info(inner={"transport": "ipc"}))
    assert prepared.extra["recording"] == str(tmp_path / "mine.jsonl")
    (tmp_path / "mine.jsonl").touch()
    backend.release(prepared)
    assert (tmp_path / "mine.jsonl").exists()


async def test_a_replay_is_no_kernel_s_end(tmp_path: Path) -> None:
    backend, recording = RecorderBackend(), replay(tmp_path / "r")
    with pytest.raises(NotSupported):
        await backend.serve(recording)
    with pytest.raises(NotSupported):
        backend.prepare(recording)
    assert backend.for_clients(recording) is recording
    backend.release(recording)


async def test_a_kernel_that_is_not_there(tmp_path: Path) -> None:
    kernel = ConnectionInfo(transport="inprocess", key=b"key", extra={"name": "nobody"})
    with pytest.raises(NotServed):
        await RecorderBackend().connect(record(kernel, tmp_path / "r"), identity=b"me")
    assert not (tmp_path / "r").exists()


async def test_a_recording_that_cannot_be_written(tmp_path: Path) -> None:
    # That nobody is there is no error on this transport.
    kernel = registry.load("ipc").prepare(ConnectionInfo(transport="ipc", ip=str(tmp_path / "s"), key=b"key"))
    with pytest.raises(RecordingError, match="cannot be written"):
        await RecorderBackend().connect(record(kernel, tmp_path / "no" / "r"), identity=b"me")
    (tmp_path / "other").write_text("something else\n")
    with pytest.raises(RecordingError, match="no recording"):
        await RecorderBackend().connect(record(kernel, tmp_path / "other"), identity=b"me")
    assert (tmp_path / "other").read_text() == "something else\n"
