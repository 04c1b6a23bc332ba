"""The command line that benchmarks share: all of it or a little, as a table or as JSON."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

R = TypeVar("R")


def run(description: str | None, measure: Callable[[bool], list[R]], table: Callable[[list[R]], str]) -> None:
    """Measure and print.

    Arguments:
        description: of the benchmark, for its help.
        measure: returns the rows, which are dataclasses; is told whether a little is enough.
        table: the rows, for people.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="a few rounds only: shows that it works, not how fast")
    arguments = parser.parse_args()
    rows: list[Any] = measure(arguments.quick)
    print(json.dumps([asdict(row) for row in rows], indent=2) if arguments.json else table(rows))
