"""Run a file: a program in one go, or the cells of a notebook one after the other.

FILE.ipynb is a notebook; it gets the outputs of its cells, in place or, with -o, in another file. Any other file is
a program, whose output is shown as it comes. The kernel is started for the run and ended after it, or, with --connect,
is one that runs already. Without either, a notebook names its kernel itself, and FILE.py is for python3.

Ctrl-C interrupts the cell that runs, and ends the run; a second one ends the kernel too. Exit code 1 if code raised.

    kernelwire run analysis.py
    kernelwire run --timeout 600 report.ipynb -o done.ipynb
    kernelwire run --connect kernel-1234.json report.ipynb
"""

import argparse
import tokenize
from pathlib import Path
from typing import Final

from kernelwire import kernelspecs
from kernelwire.cli import signals
from kernelwire.cli.arguments import seconds
from kernelwire.cli.run_kernel import add_kernel_arguments, check_kernel_arguments, open_kernel
from kernelwire.cli.run_notebook import run_notebook
from kernelwire.cli.running_code import add_output_arguments, make_printer, run_code
from kernelwire.cli.terminal import read_line
from kernelwire.errors import ConfigurationError

HELP: Final = "run a program or a notebook in a kernel"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    add_kernel_arguments(parser)
    parser.add_argument("--timeout", type=seconds, metavar="S", help="seconds that each cell may take (no limit)")
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="write the notebook there, - for standard output (in place)"
    )
    parser.add_argument("--allow-errors", action="store_true", help="go on with a notebook after a cell that raised")
    add_output_arguments(parser, json_help="print one JSON object at the end")
    parser.add_argument("file", metavar="FILE", help="the program or the notebook")


def run(arguments: argparse.Namespace) -> int:
    """Run the file."""
    check_kernel_arguments(arguments)
    path = Path(arguments.file)
    if path.suffix == ".ipynb":
        if arguments.images is not None:
            raise ConfigurationError("--images is for programs: a notebook keeps its images itself")
        return signals.run(run_notebook(arguments, path))
    for option, given in (("-o", arguments.output is not None), ("--allow-errors", arguments.allow_errors)):
        if given:
            raise ConfigurationError(f"{option} is for notebooks, and {path} is none")
    return signals.run(_run_program(arguments, path))


async def _run_program(arguments: argparse.Namespace, path: Path) -> int:
    code = _read(path)
    name = arguments.kernel or (kernelspecs.NATIVE if path.suffix == ".py" else None)
    if name is None and arguments.connect is None:
        raise ConfigurationError(f"{path}: name the kernel for it with --kernel or --connect")
    printer = make_printer(arguments)
    async with open_kernel(arguments, name or "", cwd=None, input_hook=read_line) as kernel:
        return await run_code(
            kernel.client.execute(code, keep=arguments.json),
            kernel.interrupt,
            printer=printer,
            timeout=arguments.timeout,
            farewell=kernel.farewell,
            is_program=True,
        )


def _read(path: Path) -> str:
    """A program, in the encoding that it declares as Python does, else UTF-8."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (SyntaxError, UnicodeDecodeError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else f"not {error.encoding}: {error.reason}"
        raise ConfigurationError(f"{path}: not text: {reason}") from None
