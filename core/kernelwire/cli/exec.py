"""Run code in a kernel that is running.

What the code prints and displays goes to standard output; errors and status go to standard error. Ctrl-C interrupts
the code; a second one gives up waiting. Exit code 1 if the code raised.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from typing import Any, Final

from kernelwire.cli import INTERRUPTED, OK, RAISED
from kernelwire.cli.terminal import Printer, read_line
from kernelwire.client import KernelClient, connect
from kernelwire.errors import ConfigurationError, GapNotice, KernelwireError, RequestTimeout
from kernelwire.execution import Execution

HELP: Final = "run code in a kernel that is running"

_PATIENCE: Final = 2.0
"""Seconds of waiting for a kernel after which the user is told."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "--connect",
        required=True,
        metavar="FILE",
        help="the kernel's connection file: a path, or a name in Jupyter's runtime directory",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object with all outputs at the end")
    parser.add_argument("--wait", type=_seconds, default=60.0, metavar="S", help="seconds to wait for the kernel (60)")
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="seconds that the code may take (no limit)")
    parser.add_argument("code", metavar="CODE", help="what to run; - reads it from standard input")


def run(arguments: argparse.Namespace) -> int:
    """Run the code."""
    try:
        code = sys.stdin.read() if arguments.code == "-" else arguments.code
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"standard input is not {error.encoding}: {error.reason}") from None
    return asyncio.run(_run(arguments, code))


async def _run(arguments: argparse.Namespace, code: str) -> int:
    input_hook = None if arguments.code == "-" else read_line
    async with connect(arguments.connect, input_hook=input_hook) as client:
        await _wait_for_kernel(client, arguments.wait)
        execution = client.execute(code, keep=arguments.json)
        interruption = _Interruption(client)
        try:
            async with asyncio.timeout(arguments.timeout):
                status = await interruption.watch(_show(execution, as_json=arguments.json))
        except TimeoutError:
            await _interrupt_quietly(client)
            raise RequestTimeout(f"the code took longer than {arguments.timeout:g} s; it was interrupted") from None
    if interruption.happened:
        return INTERRUPTED
    return OK if status == "ok" else RAISED


async def _wait_for_kernel(client: KernelClient, seconds: float) -> None:
    def tell() -> None:
        print("kernelwire: waiting for the kernel to answer (Ctrl-C to give up)", file=sys.stderr)

    telling = asyncio.get_running_loop().call_later(_PATIENCE, tell)
    try:
        await client.ready(seconds)
    finally:
        telling.cancel()


async def _show(execution: Execution, *, as_json: bool) -> str:
    """Print the outputs as they come, or all at the end; return the status."""
    printer = Printer(sys.stdout, sys.stderr)
    while True:
        try:
            async for message in execution:
                if not as_json:
                    printer.show(message)
            break
        except GapNotice as notice:
            print(f"kernelwire: {notice}", file=sys.stderr)
    result = await execution
    if as_json:
        report = {"status": result.status, "execution_count": result.execution_count, "outputs": result.cell_outputs}
        print(json.dumps(report))
    elif result.status == "aborted":
        print("kernelwire: the kernel skipped this request because an earlier one failed", file=sys.stderr)
    elif result.error is not None:
        printer.show_error(*result.error)
    return result.status


class _Interruption:
    """Ctrl-C while code runs: the first is for the kernel, the second for us."""

    def __init__(self, client: KernelClient) -> None:
        self.happened = False
        self._client = client
        self._given_up = False
        self._asking: asyncio.Task[None] | None = None

    async def watch(self, showing: Coroutine[Any, Any, str]) -> str:
        loop = asyncio.get_running_loop()
        work = asyncio.create_task(showing)
        loop.add_signal_handler(signal.SIGINT, self._on_signal, work)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._given_up:
                raise
            print("kernelwire: not waiting any longer; the code may still run", file=sys.stderr)
            return ""
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            if self._asking is not None and self._given_up:
                self._asking.cancel()

    def _on_signal(self, work: "asyncio.Task[str]") -> None:
        if self.happened:
            self._given_up = True
            work.cancel()
            return
        self.happened = True
        self._asking = asyncio.ensure_future(_interrupt_quietly(self._client))


async def _interrupt_quietly(client: KernelClient) -> None:
    try:
        await client.interrupt(timeout=5)
    except KernelwireError as error:
        print(f"kernelwire: the kernel did not take the interrupt: {error}", file=sys.stderr)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: a number of seconds above 0 is needed")
    return seconds
