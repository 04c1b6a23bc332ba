"""Try the conformance kit on an installed transport.

The first line says how many behaviours of each level it shows. Exit code 0 only if every behaviour of the level core
ran and passed, and nothing that is claimed failed; 1 otherwise.

    kernelwire check tcp
    kernelwire check tcp --only order_is_kept_on_each_channel --seed 7
"""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Final

from kernelwire.cli import INTERRUPTED, OK, RAISED
from kernelwire.errors import ConfigurationError

if TYPE_CHECKING:
    from kernelwire.testing.suite import Report

HELP: Final = "try the conformance kit on a transport"

_LEVELS: Final = ("core", "reliable", "remote")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("name", metavar="NAME", help="the transport")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--seed", type=_natural, metavar="N", help="replay the random choices of a run")
    parser.add_argument("--repeat", type=_positive, default=1, metavar="N", help="try everything so often (1)")
    parser.add_argument("--only", action="append", default=[], metavar="BEHAVIOUR", help="only this one; repeatable")
    parser.add_argument(
        "--traceback", action="store_true", help="print the traceback of each failure to standard error"
    )
    parser.add_argument("--level", choices=_LEVELS, help="only this level")


def run(arguments: argparse.Namespace) -> int:
    """Try it."""
    try:
        from kernelwire.testing import Level, suite  # here, because other commands do not need it
        from kernelwire.testing.kit import SUITE, Outcome, Status
    except ImportError as error:
        raise ConfigurationError(f"the kit needs the module {error.name!r}: pip install 'kernelwire[link]'") from error

    def tell(outcome: Outcome) -> None:
        is_chosen = not arguments.only or outcome.behaviour.name in arguments.only or outcome.status is Status.FAIL
        if is_chosen and outcome.note != "not chosen":
            note = f": {outcome.note}" if outcome.note else ""
            label = outcome.status.upper()
            print(f"{label:7} {outcome.behaviour.name} ({outcome.seconds:.1f} s){note}", file=sys.stderr, flush=True)
        if arguments.traceback and outcome.error is not None:
            print(outcome, file=sys.stderr, flush=True)

    report = suite.try_all(
        suite.harness_of(arguments.name),
        seed=arguments.seed,
        repeat=arguments.repeat,
        only=arguments.only,
        level=None if arguments.level is None else Level(arguments.level),
        on_outcome=tell,
    )
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
        return _code(report)
    print(report.headline)
    source = f"{report.distribution} {report.version}".strip() or "not installed"
    print(f"transport {report.transport} ({source}), suite {SUITE}, {report.seconds:.0f} s")
    for outcome in report.outcomes:
        claims = f" (claims {', '.join(outcome.behaviour.requires)})" if outcome.behaviour.requires else ""
        line = f"{outcome.status.upper()} {outcome.behaviour.name}{claims}"
        if outcome.status is Status.FAIL:
            assert outcome.error is not None
            print(f"{line}: {outcome.note + ': ' if outcome.note else ''}{suite.reason(outcome.error)}")
            if place := suite.place(outcome.error):
                print(f"     at: {place}")
            if outcome.behaviour.name != "it_opens":
                replay = f"kernelwire check {report.transport} --only {outcome.behaviour.name} --seed {outcome.seed}"
                print(f"     again: {replay}")
        elif outcome.status is Status.KNOWN:
            print(f"{line}: {outcome.note}")
    return _code(report)


def _code(report: "Report") -> int:
    if report.interrupted:
        return INTERRUPTED
    return OK if report.passed else RAISED


def _natural(text: str) -> int:
    return _number(text, 0)


def _positive(text: str) -> int:
    return _number(text, 1)


def _number(text: str, least: int) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text}: a whole number from {least} on is needed")
    return int(text)
