"""What `exec` and `run` share: code that runs, its output as it comes, Ctrl-C, and a time limit."""

import argparse
import asyncio
import functools
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from kernelwire.cli import INTERRUPTED, OK, RAISED
from kernelwire.cli.display import Folder
from kernelwire.cli.terminal import Printer
from kernelwire.errors import GapNotice, KernelwireError, RequestTimeout
from kernelwire.execution import ExecuteResult, Execution
from kernelwire.messages import Message

R = TypeVar("R")

NOT_BEGUN: Final = "the kernel is at work on something else, which was not interrupted; the code will run after it"
"""What becomes of code that is not waited for any longer, and that the kernel has not come to."""

INTERRUPT_TIME: Final = 5.0
"""Seconds that a kernel has to answer an interrupt_request."""


def add_output_arguments(parser: argparse.ArgumentParser, *, json_help: str) -> None:
    """Declare how output is shown."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--json", action="store_true", help=json_help)
    group.add_argument(
        "--images", metavar="DIR", help="save the images that are displayed there, and print their paths"
    )


def make_printer(arguments: argparse.Namespace) -> Printer | None:
    """What shows the output; None for a JSON object at the end.

    Raises:
        ConfigurationError: images cannot be saved.
    """
    if arguments.json:
        return None
    return Printer(sys.stdout, sys.stderr, None if arguments.images is None else Folder(arguments.images))


class Interruption:
    """Ctrl-C while code runs: the first is for the kernel, the second for us. So is the first if the kernel has not
    come to our code yet: what it is at work on is somebody else's. Use as a context manager.

    Arguments:
        interrupt: interrupts the kernel.
        may_interrupt: whether what the kernel executes is ours.

    Attributes:
        happened: whether Ctrl-C was pressed.
        given_up: whether that was for us.
    """

    def __init__(
        self, interrupt: Callable[[], Awaitable[object]], may_interrupt: Callable[[], bool] = lambda: True
    ) -> None:
        self.happened = False
        self.given_up = False
        self._interrupt = interrupt
        self._may_interrupt = may_interrupt
        self._asking: asyncio.Task[None] | None = None
        self._work: asyncio.Future[Any] | None = None

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, self._before)  # the loop's own, which ends us in good order
        if self._asking is not None and self.given_up:
            self._asking.cancel()

    async def watch(self, work: Coroutine[Any, Any, R]) -> R | None:
        """Do the work; None if it was given up."""
        self._work = task = asyncio.create_task(work)
        try:
            return await task
        except asyncio.CancelledError:
            if not self.given_up:
                raise
            return None

    def _on_signal(self) -> None:
        first, self.happened = not self.happened, True
        if first and self._may_interrupt():
            self._asking = asyncio.ensure_future(interrupt_quietly(self._interrupt))
        elif self._work is not None:
            self.given_up = True
            self._work.cancel()


async def too_long(
    what: str,
    execution: Execution,
    interrupt: Callable[[], Awaitable[object]],
    timeout: float | None,
    rest: Callable[[], Awaitable[object]],
) -> RequestTimeout:
    """Interrupt code that takes too long, unless the kernel is at work on something else.

    Arguments:
        what: the code, for people.
        execution: of it.
        interrupt: interrupts the kernel.
        timeout: seconds that it had.
        rest: reads what it says to the interrupt, and returns when it has ended.

    Returns:
        The error that says what came of it.
    """
    if not execution.begun:
        return RequestTimeout(f"{what} had not begun after {timeout:g} s; {NOT_BEGUN}")
    await interrupt_quietly(interrupt)
    came = "it was interrupted"
    try:
        async with asyncio.timeout(INTERRUPT_TIME):
            await rest()
    except TimeoutError:
        came = "it was interrupted, but goes on"
    except KernelwireError as error:
        came = f"it was interrupted; {error}"
    return RequestTimeout(f"{what} took longer than {timeout:g} s; {came}")


async def interrupt_quietly(interrupt: Callable[[], Awaitable[object]]) -> None:
    """Interrupt the kernel; one that cannot be is told of, not raised for."""
    try:
        await interrupt()
    except KernelwireError as error:
        print(f"kernelwire: the kernel did not take the interrupt: {error}", file=sys.stderr)


async def read_all(execution: Execution, take: Callable[[Message], None]) -> ExecuteResult:
    """Hand on the messages of an execution as they come; tell the user where some are missing. The result."""
    while True:
        try:
            async for message in execution:
                take(message)
            return await execution
        except GapNotice as notice:
            print(f"kernelwire: {notice}", file=sys.stderr)


async def run_code(
    execution: Execution,
    interrupt: Callable[[], Awaitable[object]],
    *,
    printer: Printer | None,
    timeout: float | None,
    farewell: str,
    is_program: bool = False,
) -> int:
    """Run code to its end.

    Arguments:
        execution: of the code; kept for the result if there is no printer.
        interrupt: interrupts the kernel.
        printer: shows what comes; None to print a JSON object at the end.
        timeout: seconds after which it is interrupted.
        farewell: what to say when the user does not want to wait any longer.
        is_program: whether ``sys.exit(0)`` in it is no error.

    Returns:
        The exit code.

    Raises:
        RequestTimeout: it took longer than `timeout`.
        RequestFailed, ConnectionLost: as the execution.
        OSError: what it prints cannot be written; it was interrupted, as it is if this is cancelled.
    """
    with Interruption(interrupt, lambda: execution.begun) as interruption:
        try:
            async with asyncio.timeout(timeout):
                status = await interruption.watch(_show(execution, printer, is_program=is_program))
        except TimeoutError:
            rest = functools.partial(read_all, execution, _leave)
            raise await too_long("the code", execution, interrupt, timeout, rest) from None
        except (OSError, asyncio.CancelledError):
            if execution.begun and not execution.done:  # it is not to run on for nobody
                await interrupt_quietly(interrupt)
            raise
        if interruption.given_up:
            print(f"kernelwire: {farewell if execution.begun else NOT_BEGUN}", file=sys.stderr)
    if interruption.happened:
        return INTERRUPTED
    return OK if status == "ok" else RAISED


async def _show(execution: Execution, printer: Printer | None, *, is_program: bool) -> str:
    """Print the outputs as they come, or all at the end; return the status."""
    result = await read_all(execution, printer.show if printer else _leave)
    has_exited = is_program and _has_exited(result)
    status = "ok" if has_exited else result.status
    if printer is None:
        report = {"status": status, "execution_count": result.execution_count, "outputs": result.cell_outputs}
        print(json.dumps(report))
    elif status == "aborted":
        print("kernelwire: the kernel skipped this request because an earlier one failed", file=sys.stderr)
    elif result.error is not None and not has_exited:
        printer.show_error(*result.error)
    if printer is not None:
        printer.show_pages(result.reply.content.get("payload"))
    return status


def _has_exited(result: ExecuteResult) -> bool:
    """Whether a Python program has ended itself, and well."""
    return result.error is not None and result.error[0] == "SystemExit" and result.error[1] in ("", "0", "None")


def _leave(_message: Message) -> None:
    """The result will have it."""
