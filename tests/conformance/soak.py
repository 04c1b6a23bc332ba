"""No false alarm: the whole kit over good transports, again and again. ``make soak`` runs it; arguments are names.

The in-process transport 100 times, the others five times; with other seeds each time.
"""

import sys

from kernelwire import registry
from kernelwire.testing import Outcome, Status, suite

TIMES = {"inprocess": 100}
OTHERS = 5


def tell(outcome: Outcome) -> None:
    if outcome.status is Status.FAIL:
        print(outcome, flush=True)


def main() -> int:
    failures = 0
    for name in sys.argv[1:] or sorted({each.name for each in registry.installed()}):
        report = suite.try_all(suite.harness_of(name), repeat=TIMES.get(name, OTHERS), on_outcome=tell)
        tried = sum(each.status in (Status.PASS, Status.FAIL) for each in report.outcomes)
        print(f"{name}: {len(report.failures)} of {tried} failed, {report.seconds:.0f} s", flush=True)
        failures += len(report.failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
