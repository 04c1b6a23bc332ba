"""From a command line to the subcommand that it names: an entry point of the group ``kernelwire.commands``."""

import argparse
import difflib
import logging
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Final, NoReturn

from kernelwire.cli import UNUSABLE
from kernelwire.errors import ConfigurationError

GROUP: Final = "kernelwire.commands"

_FIRST_STEPS: Final = """\
first steps:
  FILE=$(kernelwire start)                     a kernel that goes on by itself
  kernelwire exec --connect $FILE "6 * 7"      code in it
  kernelwire stop $FILE                        its end
  kernelwire run report.ipynb                  a notebook, or a program, in a kernel of its own

exit codes: 0 done, 1 the code raised, 2 something cannot be used, 3 the kernel cannot be reached, died or took too
long, 130 interrupted. 'kernelwire COMMAND --help' says more of each command.
"""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command line, as all other mistakes are told."""

    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"kernelwire: {message}; see {self.prog} --help\n")


def dispatch(arguments: Sequence[str]) -> int:
    """Run the subcommand, and return its exit code. Without arguments: help, where errors go.

    Raises:
        ConfigurationError: the subcommand cannot be loaded.
        SystemExit: the command line cannot be used, or asks for help.
        as the subcommand.
    """
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(logging.Formatter("kernelwire: %(message)s"))
    commands = {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
    parser = _Parser(
        prog="kernelwire",
        description="Jupyter kernels over any wire.",
        epilog=_FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kernelwire {metadata.version('kernelwire')}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked_for = next((argument for argument in arguments if not argument.startswith("-")), None)
    if asked_for is not None and asked_for not in commands:
        near = difflib.get_close_matches(asked_for, commands, 3, 0.5) or sorted(commands)
        parser.error(f"no command {asked_for!r}; there are: {', '.join(near)}")
    names = [asked_for] if asked_for is not None else [] if "--version" in arguments else sorted(commands)
    for name in names:
        try:
            module = commands[name].load()
        except Exception as error:
            problem = f"not available: {type(error).__name__}: {error}"
            if name == asked_for:
                raise ConfigurationError(f"the command {name!r} is {problem}") from error
            subparsers.add_parser(name, help=_literally(problem))  # one that is broken must not hide the others
            continue
        subparser = subparsers.add_parser(name, help=_literally(module.HELP), description=module.__doc__)
        subparser.formatter_class = argparse.RawDescriptionHelpFormatter
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    if not arguments:
        parser.print_help(sys.stderr)
        return UNUSABLE
    parsed = parser.parse_args(arguments)
    code: int = parsed.run(parsed)
    return code


def _literally(text: str) -> str:
    return text.replace("%", "%%")
