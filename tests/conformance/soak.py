"""No false alarm: the whole kit over good transports, again and again. ``make soak`` runs it; arguments are names.

The in-process transport 100 times, the others five times, with other seeds each time; and chains of bridges once. A
name with arrows is a chain: ``tcp→inprocess``.
"""

import sys

from kernelwire import registry
from kernelwire.testing import BridgeHarness, Group, Harness, Outcome, Status, suite

TIMES = {"inprocess": 100}
OTHERS = 5
CHAINS = ["inprocess→tcp", "tcp→inprocess", "ipc→tcp→inprocess", "tcp→ipc→tcp→ipc"]


def counts(outcome: Outcome, name: str) -> bool:
    """A chain claims what its weakest link does: its kernel's end may show more."""
    return not (outcome.behaviour.group is Group.CLAIMS and "→" in name)


def harness_of(name: str) -> Harness:
    return BridgeHarness(*name.split("→")) if "→" in name else suite.harness_of(name)


def main() -> int:
    failures = 0
    for name in sys.argv[1:] or [*sorted({each.name for each in registry.installed()}), *CHAINS]:
        times = 1 if "→" in name else TIMES.get(name, OTHERS)
        report = suite.try_all(harness_of(name), repeat=times)
        tried = sum(each.status in (Status.PASS, Status.FAIL) for each in report.outcomes)
        failed = [each for each in report.failures if counts(each, name)]
        for each in failed:
            print(each, flush=True)
        print(f"{name}: {len(failed)} of {tried} failed, {report.seconds:.0f} s", flush=True)
        failures += len(failed)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
