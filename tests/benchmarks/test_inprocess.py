"""The benchmark runs, and has all its rows; what it measures is for people to judge, but for copies."""

import json
import subprocess
import sys
from pathlib import Path


def test_it_has_every_row() -> None:
    script = Path(__file__).with_name("inprocess.py")
    done = subprocess.run(
        [sys.executable, str(script), "--rounds", "1", "--json", "5", "20", "3"],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    rows = json.loads(done.stdout)
    assert set(rows) == {"round trip", "iopub", "iopub, by request", "1+1 on IPython", "100 MB buffer"}
    assert all(row["ratio"] > 0 for row in rows.values() if "ratio" in row)
    assert rows["100 MB buffer"]["ours"] == 0
