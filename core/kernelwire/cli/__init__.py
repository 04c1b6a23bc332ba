"""The command ``kernelwire``. Subcommands are entry points of the group ``kernelwire.commands``.

A subcommand is a module with ``HELP`` (one line), ``add_arguments(parser)`` and ``run(arguments) -> exit code``. Only
the one that is asked for is imported.

Exit codes: 0 done; 1 the code that was run raised, or a transport did not pass; 2 the command line, a file or a setting
cannot be used; 3 the kernel cannot be reached, died or took too long; 130 interrupted.
"""

import argparse
import contextlib
import difflib
import errno
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Final

from kernelwire.errors import ConfigurationError, KernelwireError

OK: Final = 0
RAISED: Final = 1
UNUSABLE: Final = 2
UNREACHABLE: Final = 3
INTERRUPTED: Final = 130

_OUTPUT_FAILED: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code. A user's mistake is one line on standard error, no traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _show_warning  # type: ignore[assignment] # fewer arguments are used than are given
    # A stream that the caller has closed is None, and print would take the other one for it.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 - as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()  # now, while it can still be answered for
        return code
    except ConfigurationError as error:
        print(f"kernelwire: {error}", file=sys.stderr)
        return UNUSABLE
    except KernelwireError as error:
        print(f"kernelwire: {error}", file=sys.stderr)
        return UNREACHABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough (`| head`). The interpreter must not fail on it again at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return RAISED
    except OSError as error:
        if error.errno not in _OUTPUT_FAILED:
            raise
        with contextlib.suppress(OSError):
            print(f"kernelwire: {error.strerror or error}", file=sys.stderr)
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNUSABLE


def _dispatch(arguments: Sequence[str]) -> int:
    commands = {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
    parser = argparse.ArgumentParser(
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
        parser.error(f"no command {asked_for!r}; there are: {', '.join(near)} (see kernelwire --help)")
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
    parsed = parser.parse_args(arguments)
    code: int = parsed.run(parsed)
    return code


def _literally(text: str) -> str:
    return text.replace("%", "%%")


def _show_warning(message: Warning | str, *_where: object) -> None:
    print(f"kernelwire: warning: {message}", file=sys.stderr)
