"""What `pip install .` brings: built for real, and looked into."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_it_holds_every_source_file_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    expected = {
        str(path.relative_to(ROOT / source_root))
        for source_root in ("core", "backends")
        for path in (ROOT / source_root).rglob("*")
        if path.is_file() and path.suffix in {".py", ".template", ".typed"}
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == expected
    assert "kernelwire_zmq/__init__.py" in packed


def test_it_registers_the_built_in_backends(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(name).decode()
    for line in (
        "[kernelwire.backends]",
        "inprocess = kernelwire_inprocess:InProcessBackend",
        "ipc = kernelwire_zmq:IpcBackend",
        "tcp = kernelwire_zmq:TcpBackend",
        "kernelwire = kernelwire.cli:main",
    ):
        assert line in text


def test_its_metadata_says_what_it_needs(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    text = wheel.read(name).decode()
    assert "License-Expression: BSD-3-Clause" in text
    assert "Requires-Python: >=3.11" in text
    assert "Requires-Dist: pyzmq" in text
    assert "Provides-Extra: all" in text
    assert any(entry.endswith("licenses/LICENSE") for entry in wheel.namelist())
