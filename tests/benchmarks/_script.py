"""Running a benchmark as its user does."""

import subprocess
import sys
from pathlib import Path


def run(name: str, *arguments: str, cwd: Path, timeout: float = 100) -> str:
    """What it prints; it must end well and have no complaint."""
    command = [sys.executable, str(Path(__file__).with_name(name)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout
