"""The benchmark works; how fast anything is, is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("bridge.py")
ROWS = ["round trip", "without busy and idle", "iopub drain"]


def run(*arguments: str, cwd: Path) -> str:
    command = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_json(tmp_path: Path) -> None:
    rows = json.loads(run("--quick", "--json", cwd=tmp_path))
    assert [row["measure"] for row in rows] == ROWS
    assert all(row[name] > 0 for row in rows for name in ("direct", "bridged"))


def test_help(tmp_path: Path) -> None:
    assert "--quick" in run("--help", cwd=tmp_path)
