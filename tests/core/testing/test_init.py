"""The testing package: its names, and no test framework among what it needs."""

import inspect
import subprocess
import sys

from kernelwire import testing

PUBLIC = [
    "BEHAVIOURS",
    "SUITE",
    "BackendHarness",
    "Behaviour",
    "BridgeHarness",
    "Client",
    "Group",
    "Hanging",
    "Harness",
    "Kernel",
    "Known",
    "LeftBehind",
    "Level",
    "Outcome",
    "Pair",
    "Resources",
    "Run",
    "Script",
    "ScriptedKernel",
    "Status",
    "TransportConformance",
    "run",
    "summary",
]


def test_the_list() -> None:
    assert testing.__all__ == PUBLIC
    for name in PUBLIC:
        value = getattr(testing, name)
        assert inspect.getdoc(value) or name in ("SUITE", "Script")


def test_it_imports_no_test_framework() -> None:
    script = """
import sys
from kernelwire import testing
assert testing.BEHAVIOURS
outcome = testing.run(testing.BackendHarness("inprocess"), testing.BEHAVIOURS[0])
assert outcome.status == "pass", outcome
print({"pytest", "_pytest", "pluggy", "hypothesis", "unittest"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")
