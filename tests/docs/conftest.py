"""A real kernel for the examples, and the example backend as if it were installed."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kernelwire import registry
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "docs" / "examples"

_GRACE: Final = 10.0
"""Seconds that the kernel has to end before it is killed."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For child processes: directories of these tests' own, and this Python's commands before all others."""
    scratch = tmp_path_factory.mktemp("docs")
    return {
        **os.environ,
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),
        "IPYTHONDIR": str(scratch / "ipython"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


@pytest.fixture(scope="module")
def kernel(environment: dict[str, str]) -> Iterator[Path]:
    """The connection file of an ipykernel that runs for the tests of one module: ``first.json``, as on the pages."""
    backend = registry.load("tcp")
    info = backend.prepare(ConnectionInfo(key=secrets.token_hex(16).encode()))
    with ConnectionFile.write(info, Path(environment["JUPYTER_RUNTIME_DIR"]) / "first.json") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", str(file.path)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield file.path
        finally:
            process.terminate()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    backend.release(info)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What ``pip install`` does for the backend of ``docs/examples/queue_backend.py``: a module and its metadata."""
    site = tmp_path_factory.mktemp("site")
    metadata = site / "kernelwire_queues-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: kernelwire-queues\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[kernelwire.backends]\nqueues = queue_backend:QueueBackend\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        patch.syspath_prepend(str(site))
        yield
        sys.modules.pop("queue_backend", None)
