"""The cells of a notebook, one after the other, and the notebook with their outputs."""

import argparse
import asyncio
import functools
import json
import sys
from pathlib import Path
from typing import Any, Final, Literal

from kernelwire import notebooks
from kernelwire.cli import INTERRUPTED, OK, RAISED, UNREACHABLE
from kernelwire.cli.output_file import OutputFile, StandardOutput
from kernelwire.cli.progress import Progress
from kernelwire.cli.run_kernel import RunKernel, open_kernel
from kernelwire.cli.running_code import (
    NOT_BEGUN,
    Interruption,
    interrupt_quietly,
    read_all,
    too_long,
)
from kernelwire.cli.terminal import Printer
from kernelwire.errors import ConfigurationError, KernelwireError, RequestTimeout
from kernelwire.execution import ExecuteResult, Execution
from kernelwire.messages import Message
from kernelwire.notebooks import Notebook

Status = Literal["ok", "error", "aborted", "timeout", "died", "interrupted"]

_CODES: Final[dict[Status, int]] = {
    "ok": OK,
    "error": RAISED,
    "aborted": RAISED,
    "timeout": UNREACHABLE,
    "died": UNREACHABLE,
    "interrupted": INTERRUPTED,
}
_HELD: Final = 10_000
"""Messages with text that are taken over into the notebook at once."""


async def run_notebook(arguments: argparse.Namespace, path: Path) -> int:
    """Run a notebook and write it, as far as it came. The exit code.

    Raises:
        ConfigurationError: it cannot be read, or not be written, or names no kernel.
        RequestFailed, ConnectionLost: the kernel cannot be reached.
    """
    notebook = _read(path)
    output = _output(arguments, path)
    name = arguments.kernel or notebook.kernel_name
    if name is None and arguments.connect is None:
        raise ConfigurationError(f"{path}: names no kernel (metadata.kernelspec.name): name one with --kernel")
    # Without a hook: nobody answers a notebook, as nobody would in a batch run of it.
    async with open_kernel(arguments, name or "", cwd=path.parent, input_hook=None) as kernel:
        info = (await kernel.client.ready(arguments.wait)).content  # also of a kernel that is busy
        notebook = notebook.of_kernel(info.get("language_info"), kernel.kernelspec if arguments.kernel else None)
        run = NotebookRun(notebook, kernel, timeout=arguments.timeout, allow_errors=arguments.allow_errors)
        try:
            async with Progress(path.name, 0 if arguments.json else len(notebook.to_run), sys.stderr) as progress:
                await run.through(progress)
        except asyncio.CancelledError:  # by a signal, and the notebook and the report still have their places to go
            run.end("interrupted", "it was ended by a signal")
        finally:
            output.write(notebooks.render(run.notebook))
    if arguments.json:
        print(json.dumps({**run.report(), "output": str(output.path)}))
    else:
        run.tell(str(output))
    return _CODES[run.status]


class NotebookRun:
    """A notebook on its way through a kernel.

    Arguments:
        notebook: as it is before.
        kernel: runs its cells.
        timeout: seconds that each may take.
        allow_errors: whether to go on after one that raised.

    Attributes:
        notebook: as it is now.
        status: how it went.
    """

    def __init__(self, notebook: Notebook, kernel: RunKernel, *, timeout: float | None, allow_errors: bool) -> None:
        self.notebook = notebook
        self.status: Status = "ok"
        self._kernel = kernel
        self._timeout = timeout
        self._allow_errors = allow_errors
        self._ended = 0
        self._execution: Execution | None = None  # of the cell that runs
        self._at: int | None = None  # the cell that runs, or that ended the run
        self._error: tuple[str, str, list[str]] | None = None
        self._reason: str | None = None

    async def through(self, progress: Progress) -> None:
        """Run the cells, until one of them ends the run."""
        with Interruption(self._interrupt, lambda: self._execution is None or self._execution.begun) as interruption:
            try:
                await interruption.watch(self._cells(interruption, progress))
            except asyncio.CancelledError:
                if self._execution is not None and self._execution.begun:  # it is not to run on for nobody
                    await interrupt_quietly(self._interrupt)
                raise
        if interruption.given_up:
            has_begun = self._execution is not None and self._execution.begun
            self.end("interrupted", self._kernel.farewell if has_begun else NOT_BEGUN)
        elif interruption.happened:
            self.end("interrupted", "interrupted")

    async def _interrupt(self) -> None:
        if self._execution is not None:
            await self._kernel.interrupt()

    def report(self) -> dict[str, Any]:
        """For programs."""
        error = None if self._error is None else {"ename": self._error[0], "evalue": self._error[1]}
        return {
            "status": self.status,
            "cells": len(self.notebook.to_run),
            "cells_run": self._ended,
            "failed_cell": None if self.status == "ok" else self._at,
            "error": error,
            "reason": self._reason,
        }

    def tell(self, output: str) -> None:
        """For people, if there is something to tell."""
        if self._error is not None:
            Printer(sys.stdout, sys.stderr).show_error(*self._error)
        if self._reason is not None:
            print(f"kernelwire: {self._where()}{self._reason}", file=sys.stderr)
            print(f"kernelwire: as far as it came, the notebook is in {output}", file=sys.stderr)

    async def _cells(self, interruption: Interruption, progress: Progress) -> None:
        for index in self.notebook.to_run:
            if interruption.happened:
                break
            self._at = index
            self.notebook = self.notebook.begun(index)
            try:
                result = await self._cell(index)
            except RequestTimeout as error:
                return self.end("timeout", str(error))
            except KernelwireError as error:
                return self.end("died", str(error))
            self.notebook = self.notebook.ended(index, result.reply)
            self._ended += 1
            progress.advance()
            if result.status == "aborted":
                return self.end("aborted", "the kernel skipped it because an earlier request failed")
            if result.error is not None and not self._may_raise(index):
                self._error = result.error
                return self.end("error", f"it raised {result.error[0]}")
        return None

    async def _cell(self, index: int) -> ExecuteResult:
        source = self.notebook.cells[index].source
        execution = self._kernel.client.execute(source, stop_on_error=not self._may_raise(index), keep=False)
        self._execution = execution
        try:
            async with asyncio.timeout(self._timeout):
                result = await self._outputs(index, execution)
            self._execution = None
            return result
        except TimeoutError:
            rest = functools.partial(self._outputs, index, execution)  # what it says to that belongs to it
            raise await too_long("it", execution, self._kernel.interrupt, self._timeout, rest) from None

    async def _outputs(self, index: int, execution: Execution) -> ExecuteResult:
        held: list[Message] = []

        def take_over() -> None:
            self.notebook = self.notebook.after(index, held)
            held.clear()

        def take(message: Message) -> None:
            held.append(message)
            if message.msg_type != "stream" or len(held) >= _HELD:
                take_over()

        try:
            return await read_all(execution, take)
        finally:
            take_over()

    def _may_raise(self, index: int) -> bool:
        return self._allow_errors or notebooks.RAISES in self.notebook.cells[index].tags

    def end(self, status: Status, reason: str) -> None:
        """That, and why, the run has ended before its time."""
        self.status = status
        self._reason = reason

    def _where(self) -> str:
        if self._at is None:
            return ""
        cells = self.notebook.to_run
        return f"cell {cells.index(self._at) + 1} of {len(cells)}: "


def _output(arguments: argparse.Namespace, path: Path) -> OutputFile | StandardOutput:
    if arguments.output != "-":
        return OutputFile(path if arguments.output is None else arguments.output)
    if arguments.json:
        raise ConfigurationError("-o -: standard output cannot have the notebook and the report: leave out --json")
    return StandardOutput()


def _read(path: Path) -> Notebook:
    try:
        return notebooks.parse(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
