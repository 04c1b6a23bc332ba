"""Interrupt what a kernel executes.

By SIGINT or by a message, as its kernelspec wants it; a kernel that 'kernelwire start' did not start, by a message.

    kernelwire interrupt kernel-1234.json
"""

import argparse
from typing import Final

from kernelwire import control
from kernelwire.cli import OK, signals
from kernelwire.cli.arguments import seconds
from kernelwire.cli.liveness import why_deaf
from kernelwire.cli.running import RunningKernel, find, read
from kernelwire.errors import KernelDied, RequestTimeout
from kernelwire.processes import RunningProcess

HELP: Final = "interrupt what a kernel executes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "--timeout", type=seconds, default=10.0, metavar="S", help="seconds that the kernel has to answer (10)"
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help="the connection file: a path, or a name in Jupyter's runtime directory, or a part of one",
    )


def run(arguments: argparse.Namespace) -> int:
    """Interrupt it."""
    return signals.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    kernel = read(find(arguments.file))
    if await kernel.is_dead():
        raise KernelDied(f"{kernel.path}: the kernel is dead; 'kernelwire stop' removes what is left of it")
    try:
        await _interrupt(kernel, arguments.timeout)
    except RequestTimeout as error:
        raise RequestTimeout(f"{error}{await why_deaf(kernel.info)}") from None
    return OK


async def _interrupt(kernel: RunningKernel, timeout: float) -> None:
    record = kernel.record
    if record is not None and record.kernel.is_here:
        process = RunningProcess(record.kernel, group=True)
        await control.interrupt(kernel.info, process, record.interrupt_mode, timeout=timeout)
    else:
        await control.ask(kernel.info, "interrupt_request", {}, timeout=timeout)
