"""The benchmark works; how fast anything is, is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).with_name("link.py")
MEASURES = [
    "small message, out",
    "small message, in",
    "1 MiB message, out",
    "1 MiB message, in",
    "iopub drain, TCP",
]


def run(*arguments: str, cwd: Path) -> str:
    command = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_table(tmp_path: Path) -> None:
    lines = run("--quick", cwd=tmp_path).splitlines()
    assert len(lines) == 1 + len(MEASURES)
    for line, measure in zip(lines[1:], MEASURES, strict=True):
        assert line.startswith(measure)
    assert not [child for child in psutil.Process().children() if "_link_host.py" in " ".join(child.cmdline())]


def test_json(tmp_path: Path) -> None:
    rows = json.loads(run("--quick", "--json", cwd=tmp_path))
    assert [row["measure"] for row in rows] == MEASURES
    assert all(row[name] > 0 for row in rows for name in ("ours", "ours_p90"))
    assert [row["ratio"] is None for row in rows] == [True] * 4 + [False]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(tmp_path: Path, option: str) -> None:
    assert "--quick" in run(option, cwd=tmp_path)
