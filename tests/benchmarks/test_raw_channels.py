"""The benchmark works; how fast anything is, is not asserted."""

import json
from pathlib import Path

import psutil
import pytest

from benchmarks._script import run

SCRIPT = "raw_channels.py"
ROWS = [(transport, measure) for transport in ("tcp", "ipc") for measure in ("round trip", "iopub drain")]


def test_table(tmp_path: Path) -> None:
    lines = run(SCRIPT, "--quick", cwd=tmp_path).splitlines()
    assert len(lines) == 1 + len(ROWS)
    for line, row in zip(lines[1:], ROWS, strict=True):
        assert line.startswith(" ".join(row))
    assert not [child for child in psutil.Process().children() if "_kernel.py" in " ".join(child.cmdline())]


def test_json(tmp_path: Path) -> None:
    rows = json.loads(run(SCRIPT, "--quick", "--json", cwd=tmp_path))
    assert [(row["transport"], row["measure"]) for row in rows] == ROWS
    assert all(row[name] > 0 for row in rows for name in ("ours", "ours_p90", "raw", "raw_p90", "ratio"))


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(tmp_path: Path, option: str) -> None:
    assert "--quick" in run(SCRIPT, option, cwd=tmp_path)
