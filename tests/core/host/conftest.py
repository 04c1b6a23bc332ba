"""A host's machine, with kernelspecs of its own; nothing may be left on it. Clients come over pipes of TCP."""

import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from integration._fake_kernel import fake
from kernelwire.host.host import Host
from kernelwire.host.state import StateFile

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


class Machine:
    """Where kernels run.

    Attributes:
        runtime: its runtime directory.
        told: what its hosts have told, name and details.
    """

    def __init__(self, directory: Path, runtime: Path) -> None:
        self.directory = directory
        self.runtime = runtime
        self.told: list[tuple[str, Any]] = []

    def install(self, name: str, argv: Sequence[str], **fields: Any) -> None:
        """A kernelspec."""
        directory = self.directory / "kernels" / name
        directory.mkdir(parents=True, exist_ok=True)
        fields = {"argv": list(argv), "display_name": f"The {name} one", "language": "fake", **fields}
        (directory / "kernel.json").write_text(json.dumps(fields))

    def host(self, state: StateFile) -> Host:
        return Host(state, "pipes", {}, on_event=lambda name, details: self.told.append((name, details)))

    def processes(self) -> "list[psutil.Process]":
        """The kernels that run."""
        mine = str(self.runtime)
        return [each for each in psutil.process_iter(["cmdline"]) if mine in " ".join(each.info["cmdline"] or ())]


@pytest.fixture
def pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The backend of ``docs/examples/tcp_pipe_backend.py``, as if it were installed; the directory that makes it so."""
    site = tmp_path / "site"
    metadata = site / "kernelwire_pipes-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: kernelwire-pipes\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[kernelwire.backends]\npipes = tcp_pipe_backend:TcpPipeBackend\n")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("tcp_pipe_backend", None)


@pytest.fixture
async def machine(
    tmp_path: Path, pipes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Machine]:
    runtime = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(runtime))
    machine = Machine(tmp_path, runtime)
    for behaviour in ("good", "exits", "mute"):
        machine.install(behaviour, fake(behaviour))
    yield machine
    assert machine.processes() == []
    assert list(runtime.iterdir()) == []
