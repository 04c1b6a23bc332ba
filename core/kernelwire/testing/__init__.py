"""The conformance kit, and what tests of kernels and transports need. Imports no test framework."""

from kernelwire.testing import behaviours as behaviours
from kernelwire.testing.harness import BackendHarness, BridgeHarness, Client, Harness, Kernel, Pair
from kernelwire.testing.kit import (
    BEHAVIOURS,
    SUITE,
    Behaviour,
    Group,
    Hanging,
    LeftBehind,
    Level,
    Outcome,
    Status,
    run,
    summary,
)
from kernelwire.testing.leaks import Resources
from kernelwire.testing.scripted import Run, Script, ScriptedKernel

__all__ = [
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
    "LeftBehind",
    "Level",
    "Outcome",
    "Pair",
    "Resources",
    "Run",
    "Script",
    "ScriptedKernel",
    "Status",
    "run",
    "summary",
]
