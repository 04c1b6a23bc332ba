"""The conformance kit, and what tests of kernels and transports need. Imports no test framework."""

from kernelwire.testing import behaviours as behaviours
from kernelwire.testing.conformance import TransportConformance
from kernelwire.testing.harness import BackendHarness, BridgeHarness, Client, Harness, Kernel, Known, Pair
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
