"""Run code in a kernel that is running.

What the code prints and displays goes to standard output; errors and status go to standard error. Ctrl-C interrupts
the code; a second one gives up waiting. Exit code 1 if the code raised.

    kernelwire exec --connect kernel-1234.json "6 * 7"
"""

import argparse
import sys
from typing import Final

from kernelwire.cli import signals
from kernelwire.cli.arguments import seconds
from kernelwire.cli.running_code import add_output_arguments, make_printer, run_code
from kernelwire.cli.terminal import read_line
from kernelwire.cli.visiting import visit
from kernelwire.errors import ConfigurationError

HELP: Final = "run code in a kernel that is running"

WAIT: Final = 60.0
"""Seconds to wait for a kernel."""

LEAST: Final = 5.0
"""Likewise for who has little time for the code: to reach a kernel that is far away takes some."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "--connect",
        required=True,
        metavar="FILE",
        help="the kernel's connection file: a path, or a name in Jupyter's runtime directory",
    )
    add_output_arguments(parser, json_help="print one JSON object with all outputs at the end")
    parser.add_argument(
        "--wait",
        type=seconds,
        metavar="S",
        help=f"seconds to wait for the kernel ({WAIT:g}, or --timeout if that is less, though not less than {LEAST:g})",
    )
    parser.add_argument("--timeout", type=seconds, metavar="S", help="seconds that the code may take (no limit)")
    parser.add_argument("code", metavar="CODE", help="what to run; - reads it from standard input")


def run(arguments: argparse.Namespace) -> int:
    """Run the code."""
    if arguments.code == "-":
        return signals.run(_run(arguments, _read()))
    return signals.run(_run(arguments, _text(arguments.code, sys.getfilesystemencoding(), "CODE")))


def _read() -> str:
    if sys.stdin is None:
        raise ConfigurationError("standard input is closed: there is no code to read")
    try:
        return _text(sys.stdin.read(), sys.stdin.encoding, "standard input")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"standard input is not {error.encoding}: {error.reason}") from None


def _text(text: str, encoding: str, what: str) -> str:
    """Text of which the locale did not know all characters: Python keeps their bytes as surrogates, at which kernels
    fail in many ways.
    """
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        pass
    try:
        return text.encode(encoding, "surrogateescape").decode("utf-8")
    except UnicodeError as error:
        raise ConfigurationError(f"{what} is not UTF-8: {getattr(error, 'reason', error)}") from None


async def _run(arguments: argparse.Namespace, code: str) -> int:
    printer = make_printer(arguments)
    input_hook = None if arguments.code == "-" else read_line
    async with visit(arguments.connect, timeout=_wait(arguments), input_hook=input_hook) as kernel:
        return await run_code(
            kernel.client.execute(code, keep=arguments.json),
            kernel.interrupt,
            printer=printer,
            timeout=arguments.timeout,
            farewell="not waiting any longer; the code may still run",
        )


def _wait(arguments: argparse.Namespace) -> float:
    """Whoever bounds the time of the code does not want to wait a minute for nobody."""
    if arguments.wait is not None:
        return float(arguments.wait)
    return WAIT if arguments.timeout is None else min(WAIT, max(arguments.timeout, LEAST))
