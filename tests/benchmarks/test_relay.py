"""The benchmark works: every row is there, and sane. How fast anything is, is not asserted."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

SCRIPT = Path(__file__).with_name("relay.py")
WITH_RELAY = {"opaque", "jupyter_server", "relay"}
ALL = WITH_RELAY | {"direct zmq"}
ROWS = {
    "kernel_info": ALL | {"js as shipped"},
    "execute to idle": ALL | {"js as shipped"},
    "drain": ALL,
    "relay CPU per 10,000": WITH_RELAY,
    "host CPU per 10,000": {"opaque", "relay"},
    "client CPU per 10,000": ALL,
    "2 x 1 MB": ALL,
    "2 x 1 MB, growth": WITH_RELAY,
    "1 x 2 MB": ALL,
    "1 x 2 MB, growth": WITH_RELAY,
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="it reads what Linux tells of processes")
@pytest.mark.timeout(240)
def test_every_row(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    command = [sys.executable, str(SCRIPT), "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    assert {row["measure"]: set(row["medians"]) for row in rows} == ROWS
    for row in rows:
        assert "growth" in row["measure"] or all(value > 0 for value in row["medians"].values())
    assert sum(len(row["verdicts"]) for row in rows) == 10
    assert set(psutil.Process().children()) <= before
    assert not list(tmp_path.iterdir())
