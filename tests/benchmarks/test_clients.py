"""The benchmark works: every row is there, and sane. How fast anything is, is not asserted."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks._script import run

SCRIPT = "clients.py"
ALL = {"raw", "jc blocking", "jc async", "blocking", "async"}
ROWS = {
    "kernel_info, no status": ALL,
    "kernel_info": ALL,
    "execute to idle": ALL,
    "iopub drain": ALL,
    "CPU per 10,000": ALL,
    "iopub live": ALL,
    "CPU per 10,000, live": ALL,
    "one at a time": ALL - {"blocking"},
    "many in flight": ALL - {"blocking"},
    "CPU, one at a time": ALL - {"blocking"},
    "CPU, many in flight": ALL - {"blocking"},
    "one client": ALL,
    "many clients": ALL,
    "CPU, one client": ALL,
    "CPU, many clients": ALL,
    "kernel_info request": ALL,
    "execute request": ALL,
    "large buffer": ALL,
    "large buffer, growth": ALL,
    "start to first reply": ALL,
    "start to ready": ALL,
    "kernel start to ready": ALL,
    "beyond the kernel's own": ALL - {"raw"},
    "memory per client": ALL,
}
MAY_BE_ANYTHING = {"large buffer, growth", "beyond the kernel's own", "memory per client"}


@pytest.mark.timeout(240)
def test_every_row(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = json.loads(
        run(SCRIPT, "--quick", "--json", "--transport", "tcp", cwd=tmp_path, timeout=200)
    )
    assert {row["measure"]: set(row["medians"]) for row in rows} == ROWS
    for row in rows:
        assert row["transport"] == "tcp"
        assert row["measure"] in MAY_BE_ANYTHING or all(value > 0 for value in row["medians"].values())
        for verdict in row["verdicts"]:
            assert verdict["ours"] in row["medians"]
            assert isinstance(verdict["met"], bool)
    assert sum(len(row["verdicts"]) for row in rows) == 26
    assert not [child for child in psutil.Process().children() if "_free_kernel.py" in " ".join(child.cmdline())]
    assert not list(tmp_path.iterdir())


def test_table_of_one_measure(tmp_path: Path) -> None:
    lines = run(SCRIPT, "--quick", "--only", "execute", cwd=tmp_path).splitlines()
    assert all(name in lines[0] for name in ALL)
    for transport, line in zip(("tcp", "ipc"), lines[1::3], strict=True):
        assert line.startswith(f"{transport}  execute to idle")
    assert all(line.endswith((": met", ": missed")) for line in lines[2::3])


def test_an_unknown_measure(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name(SCRIPT)), "--only", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "--only" in done.stderr
    assert "Traceback" not in done.stderr
