"""The benchmark runs, and has all its rows; what it measures is for people to judge."""

import json
import subprocess
import sys
from pathlib import Path


def test_it_prints_every_row() -> None:
    script = Path(__file__).with_name("import_time.py")
    done = subprocess.run(
        [sys.executable, str(script), "--rounds", "1", "--json"], capture_output=True, text=True, check=True
    )
    medians = json.loads(done.stdout)
    assert set(medians) >= {"bare Python", "import kernelwire", "import jupyter_client"}
    assert all(value > 0 for value in medians.values())
