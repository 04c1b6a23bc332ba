"""The benchmark works; how fast anything is, is not asserted."""

import json
from pathlib import Path

import psutil
import pytest

from benchmarks._script import run

SCRIPT = "link.py"
MEASURES = [
    "small message, out",
    "small message, in",
    "1 MiB message, out",
    "1 MiB message, in",
    "iopub drain, TCP",
]


def test_table(tmp_path: Path) -> None:
    lines = run(SCRIPT, "--quick", cwd=tmp_path).splitlines()
    assert len(lines) == 1 + len(MEASURES)
    for line, measure in zip(lines[1:], MEASURES, strict=True):
        assert line.startswith(measure)
    assert not [child for child in psutil.Process().children() if "_link_host.py" in " ".join(child.cmdline())]


def test_json(tmp_path: Path) -> None:
    rows = json.loads(run(SCRIPT, "--quick", "--json", cwd=tmp_path))
    assert [row["measure"] for row in rows] == MEASURES
    assert all(row[name] > 0 for row in rows for name in ("ours", "ours_p90"))
    assert [row["ratio"] is None for row in rows] == [True] * 4 + [False]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(tmp_path: Path, option: str) -> None:
    assert "--quick" in run(SCRIPT, option, cwd=tmp_path)
