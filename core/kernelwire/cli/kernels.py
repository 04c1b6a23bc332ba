"""List the kernels that can be started, and those that run.

The first are the kernelspecs; the second are the connection files in Jupyter's runtime directory, with what can be
found out about their kernels in a short time.

    kernelwire kernels
"""

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from kernelwire import connection_file, kernelspecs
from kernelwire.cli import OK, remote, signals
from kernelwire.cli.liveness import beats, nobody_listens
from kernelwire.cli.running import RunningKernel, read
from kernelwire.connection import PORT_FIELDS
from kernelwire.errors import ConnectionFileNotFound, KernelspecError, KernelwireError

HELP: Final = "list the kernels that can be started, and those that run"

_BEAT: Final = 2.0
"""Seconds that a kernel has to answer a heartbeat."""

_AT_ONCE: Final = 50
"""Kernels that are asked at once: each costs descriptors."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--host", metavar="FILE", help=remote.HELP)
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the lists."""
    if arguments.host is not None:
        return signals.run(remote.kernels(arguments))
    return signals.run(_run(as_json=arguments.json))


async def _run(*, as_json: bool) -> int:
    specs = _specs()
    directory = connection_file.runtime_dir()
    turn = asyncio.Semaphore(_AT_ONCE)
    described = await asyncio.gather(*(_describe(path, turn) for path in _files(directory)))
    kernels = [each for each in described if each is not None]
    if as_json:
        print(json.dumps({"kernelspecs": specs, "kernels": kernels}, indent=2))
        return OK
    titles = {"name": "KERNELSPEC", "language": "LANGUAGE", "display_name": "NAME", "directory": "DIRECTORY"}
    _print_table([each | {"directory": each["error"] or each["directory"]} for each in specs], titles)
    print(f"\nConnection files in {directory}:" if kernels else f"\nNo connection files in {directory}.")
    if kernels:
        titles = {"file": "FILE", "transport": "TRANSPORT", "kernel_name": "KERNELSPEC", "pid": "PID", "state": "STATE"}
        _print_table(
            [each | {"file": Path(each["connection_file"]).name, "state": _state(each)} for each in kernels], titles
        )
    return OK


def _specs() -> list[dict[str, Any]]:
    problems: list[dict[str, Any]] = []

    def on_problem(name: str, error: KernelspecError) -> None:
        problems.append({"name": name, "language": "", "display_name": "", "directory": None, "error": str(error)})

    found = [
        {
            "name": spec.name,
            "language": spec.language,
            "display_name": spec.display_name,
            "directory": None if spec.resource_dir is None else str(spec.resource_dir),
            "error": None,
        }
        for spec in kernelspecs.find_all(on_problem).values()
    ]
    return sorted(found + problems, key=lambda row: str(row["name"]))


def _files(directory: Path) -> list[Path]:
    """Newest last. Those in the place of which a bridge serves are left out."""
    files = [path for path in directory.glob("*.json") if not path.name.startswith((".", "bridged-"))]
    return sorted(files, key=_modified)


def _modified(path: Path) -> tuple[float, str]:
    with suppress(OSError):
        return path.stat().st_mtime, path.name
    return 0.0, path.name


async def _describe(path: Path, turn: asyncio.Semaphore) -> dict[str, Any] | None:
    """One row; None for a file that is gone by now, or another program's."""
    row: dict[str, Any] = {
        "connection_file": str(path),
        "transport": None,
        "kernel_name": None,
        "pid": None,
        "state": "unknown",
        "error": None,
    }
    async with turn:
        is_kernels = path.name.startswith("kernel-")
        try:
            kernel = read(path)
            if not is_kernels and kernel.record is None and not any(getattr(kernel.info, each) for each in PORT_FIELDS):
                return None  # the state of a Jupyter server, for example
            row |= {"transport": kernel.info.transport, "kernel_name": kernel.info.kernel_name}
            if kernel.record is not None and kernel.record.kernel.is_here:
                row["pid"] = kernel.record.kernel.pid
            row["state"] = await _find_out(kernel)
        except (ConnectionFileNotFound, FileNotFoundError):
            return None
        except KernelwireError as error:
            if not is_kernels and row["transport"] is None:
                return None
            row["error"] = str(error)
    return row


async def _find_out(kernel: RunningKernel) -> str:
    if kernel.is_gone or await nobody_listens(kernel.info):
        return "dead"
    beating = await beats(kernel.info, _BEAT)
    return "unknown" if beating is None else "beats" if beating else "does not answer"


def _state(row: Mapping[str, Any]) -> str:
    return str(row["state"]) if row["error"] is None else f"{row['state']}: {' '.join(row['error'].split())}"


def _print_table(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> None:
    lines = [list(titles.values()), *([str(row[name] or "-") for name in titles] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
