"""The benchmark works; how fast anything is, is not asserted."""

import json
from pathlib import Path

from benchmarks._script import run

SCRIPT = "bridge.py"
ROWS = ["round trip", "without busy and idle", "iopub drain"]


def test_json(tmp_path: Path) -> None:
    rows = json.loads(run(SCRIPT, "--quick", "--json", cwd=tmp_path))
    assert [row["measure"] for row in rows] == ROWS
    assert all(row[name] > 0 for row in rows for name in ("direct", "bridged"))


def test_help(tmp_path: Path) -> None:
    assert "--quick" in run(SCRIPT, "--help", cwd=tmp_path)
