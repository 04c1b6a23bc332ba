"""The benchmark works; how fast anything is, is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).with_name("raw_channels.py")
ROWS = [(transport, measure) for transport in ("tcp", "ipc") for measure in ("round trip", "iopub drain")]


def run(*arguments: str, cwd: Path) -> str:
    command = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_table(tmp_path: Path) -> None:
    lines = run("--quick", cwd=tmp_path).splitlines()
    assert len(lines) == 1 + len(ROWS)
    for line, row in zip(lines[1:], ROWS, strict=True):
        assert line.startswith(" ".join(row))
    assert not [child for child in psutil.Process().children() if "_kernel.py" in " ".join(child.cmdline())]


def test_json(tmp_path: Path) -> None:
    rows = json.loads(run("--quick", "--json", cwd=tmp_path))
    assert [(row["transport"], row["measure"]) for row in rows] == ROWS
    assert all(row[name] > 0 for row in rows for name in ("ours", "ours_p90", "raw", "raw_p90", "ratio"))


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(tmp_path: Path, option: str) -> None:
    assert "--quick" in run(option, cwd=tmp_path)
