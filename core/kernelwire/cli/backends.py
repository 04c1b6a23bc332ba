"""List the transports that are installed, and what each can do."""

import argparse
import dataclasses
import json
from typing import Any, Final

from kernelwire import registry
from kernelwire.cli import OK
from kernelwire.errors import KernelwireError

HELP: Final = "list the transports that are installed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def run(arguments: argparse.Namespace) -> int:
    """Print the list."""
    rows = [_describe(backend) for backend in registry.installed()]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return OK
    width = max([len("TRANSPORT"), *(len(row["name"]) for row in rows)])
    print(f"{'TRANSPORT':{width}}  FROM")
    for row in rows:
        print(f"{row['name']:{width}}  {row['distribution']} {row['version']}  {_summary(row)}")
    return OK


def _describe(backend: registry.InstalledBackend) -> dict[str, Any]:
    row: dict[str, Any] = backend._asdict() | {"available": True, "error": None, "capabilities": None}
    try:
        row["capabilities"] = dataclasses.asdict(registry.load(backend.name).capabilities)
    except KernelwireError as error:
        row |= {"available": False, "error": str(error)}
    except Exception as error:  # noqa: BLE001 - somebody else's code, which must not hide the others
        row |= {"available": False, "error": f"{type(error).__name__}: {error}"}
    return row


def _summary(row: dict[str, Any]) -> str:
    if not row["available"]:
        return f"not available: {' '.join(row['error'].split())}"
    claims = [name for name, value in row["capabilities"].items() if value is True]
    return ", ".join(claims)
