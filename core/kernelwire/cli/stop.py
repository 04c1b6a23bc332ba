"""End kernels that are running.

A kernel is interrupted and asked to end. If it does not, it gets SIGTERM and then SIGKILL, provided that 'kernelwire
start' has started it; others are only asked. What a dead kernel has left is removed.

    kernelwire stop kernel-1234.json
"""

import argparse
import asyncio
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from kernelwire import control
from kernelwire.cli import OK, UNREACHABLE, UNUSABLE, signals
from kernelwire.cli.arguments import seconds
from kernelwire.cli.liveness import beats, nobody_listens, why_deaf
from kernelwire.cli.running import RunningKernel, find, taken
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ConfigurationError, KernelwireError, NotServed, RequestTimeout, WireError
from kernelwire.kernel_address import SPOKEN

HELP: Final = "end kernels that are running"

_BEAT: Final = 1.0
"""Seconds that a kernel has to answer a heartbeat."""

_LOOK: Final = 0.05
"""Seconds between two heartbeats of a kernel that is expected to end."""

_TOLD: Final = {
    "stopped": "stopped",
    "terminated": "stopped; it had to be terminated",
    "killed": "killed",
    "dead": "was dead already; its files are removed",
}

_OUTCOMES: Final = {0: "stopped", signal.SIGINT: "stopped", signal.SIGTERM: "terminated", signal.SIGKILL: "killed"}
"""By the last signal that it took."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--now", action="store_true", help="kill them at once")
    parser.add_argument(
        "--timeout", type=seconds, default=10.0, metavar="S", help="seconds that a kernel has until it is killed (10)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of lines")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a connection file: a path, or a name in Jupyter's runtime directory, or a part of one",
    )


def run(arguments: argparse.Namespace) -> int:
    """End them."""
    return signals.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    """All at once; one that cannot be ended does not keep the others."""
    stops = (_stop(each, now=arguments.now, patience=arguments.timeout) for each in dict.fromkeys(arguments.files))
    results = await asyncio.gather(*stops, return_exceptions=True)
    code = OK
    for error in (each for each in results if isinstance(each, BaseException)):
        if not isinstance(error, KernelwireError):
            raise error
        print(f"kernelwire: {error}", file=sys.stderr)
        code = max(code, UNUSABLE if isinstance(error, ConfigurationError) else UNREACHABLE)
    stopped = [each for each in results if isinstance(each, tuple)]
    if arguments.json:
        print(json.dumps([{"connection_file": str(path), "outcome": outcome} for path, outcome in stopped]))
    else:
        for path, outcome in stopped:
            print(f"{path}: {_TOLD[outcome]}")
    return code


async def _stop(text: str, *, now: bool, patience: float) -> tuple[Path, str]:
    path = find(text)
    with taken(path) as kernel:
        if await kernel.is_dead():
            if kernel.record is not None:
                await kernel.end(now=now, patience=patience)  # of what else it was: a group, a keeper
            outcome = "dead"
        elif kernel.record is not None and kernel.record.kernel.is_here:
            try:
                signum = await kernel.end(now=now, patience=patience)
            except asyncio.CancelledError:
                kernel.clean()
                raise
            outcome = _OUTCOMES[signum]
        else:
            await _ask(kernel, now=now, patience=patience)
            outcome = "stopped"
        if kernel.record is not None or kernel.info.transport in SPOKEN:  # not a ticket, which may be good again
            kernel.clean()
    return path, outcome


async def _ask(kernel: RunningKernel, *, now: bool, patience: float) -> None:
    """End a kernel whose process is not known here."""
    reason = f"{kernel.path}: 'kernelwire start' did not start this kernel here"
    if now:
        raise ConfigurationError(f"{reason}, so it can only be asked to end: leave out --now")
    try:
        async with asyncio.timeout(patience):
            with suppress(WireError):  # it may have ended before its reply was here
                ahead = ("interrupt_request",)
                await control.ask(kernel.info, "shutdown_request", {"restart": False}, timeout=patience, ahead=ahead)
            while await _is_there(kernel.info):  # noqa: ASYNC110 - no event
                await asyncio.sleep(_LOOK)
    except (TimeoutError, RequestTimeout):
        raise RequestTimeout(
            f"{reason}, and it has not ended within {patience:g} s after it was asked to; nothing was removed"
            f"{await why_deaf(kernel.info)}"
        ) from None


async def _is_there(info: ConnectionInfo) -> bool:
    if await nobody_listens(info):
        return False
    try:
        return bool(await beats(info, _BEAT))
    except NotServed:
        return False
