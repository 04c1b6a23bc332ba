"""The link's floor: its machines do no I/O and tell no time, and nobody pays for a link who has none."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kernelwire.link

FOLDER = Path(kernelwire.link.__file__).parent
SHELL = {"backend", "beating", "dialer", "pump", "sealed", "line", "server", "waking"}
"""What runs on asyncio. Everything else is bytes and numbers in, bytes and events out."""
MACHINES = sorted(path for path in FOLDER.glob("*.py") if path.stem not in SHELL)


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.stem)
def test_a_machine_does_no_io_and_tells_no_time(path: Path) -> None:
    assert not imported(path) & {"asyncio", "socket", "time", "threading", "random", "select"}
    assert not {name.rpartition(".")[2] for name in imported(path) if name.startswith("kernelwire.link.")} & SHELL


def test_the_shell_is_where_it_is_said_to_be() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} >= SHELL


def test_kernelwire_alone_imports_no_link() -> None:
    code = "import sys, kernelwire; sys.exit(any(name.startswith('kernelwire.link') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
