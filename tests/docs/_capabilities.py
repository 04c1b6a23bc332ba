"""The table of docs/reference/capabilities.md: what is claimed, and what the kit makes of it. Prints it when run."""

import dataclasses
from collections.abc import Iterator

from kernelwire import registry
from kernelwire.backend import Capabilities
from kernelwire.testing import BEHAVIOURS, Level, Status, suite
from kernelwire.testing.absences import ABSENCES

TRANSPORTS = ("tcp", "ipc", "inprocess", "socketio", "recorder")

NEVER_KNOWN = {"lossless_iopub", "gap_notice"}
"""Capabilities whose absence nobody can verify."""

NEED_A_MIDDLE = {"resume", "encrypted"}
"""Likewise, unless the harness has power over the wire."""


def cells(transport: str) -> Iterator[str]:
    """A column, from the top down."""
    claim = registry.load(transport).capabilities
    for field in dataclasses.fields(Capabilities):
        value = getattr(claim, field.name)
        if field.name == "max_message_bytes":
            yield f"{value >> 20} MiB"
        elif value in (False, "none"):
            yield _absence(transport, field.name)
        else:
            yield "yes" if value is True else value
    for level in Level:
        of_level = [each for each in BEHAVIOURS if each.level is level]
        claimed = [each for each in of_level if each.applies_to(claim)]
        yield f"{len(claimed)}/{len(claimed)}" if claimed else "not claimed"


def _absence(transport: str, name: str) -> str:
    if name in NEVER_KNOWN | NEED_A_MIDDLE:
        return "—"
    outcome = suite.try_one(suite.harness_of(transport), ABSENCES[name])
    assert outcome.status is Status.NOT_APPLICABLE, str(outcome)
    return "no" if outcome.note == "absence verified" else "—"


def table() -> str:
    """For the page."""
    rows = [f"`{field.name}`" for field in dataclasses.fields(Capabilities)] + [f"level *{level}*" for level in Level]
    columns = [rows, *(list(cells(name)) for name in TRANSPORTS)]
    head = ["| | " + " | ".join(f"`{name}`" for name in TRANSPORTS) + " |", "|---" * len(columns) + "|"]
    return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in zip(*columns, strict=True))]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
