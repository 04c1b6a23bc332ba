"""The command ``kernelwire``. Subcommands are entry points of the group ``kernelwire.commands``.

A subcommand is a module with ``HELP`` (one line), ``add_arguments(parser)`` and ``run(arguments) -> exit code``. Only
the one that is asked for is imported.

Exit codes: 0 done; 1 the code that was run raised, or a transport did not pass; 2 the command line, a file or a setting
cannot be used; 3 the kernel cannot be reached, died or took too long; 130 interrupted.
"""

import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Final

from kernelwire.errors import ConfigurationError, KernelwireError

OK: Final = 0
RAISED: Final = 1
UNUSABLE: Final = 2
UNREACHABLE: Final = 3
INTERRUPTED: Final = 130

_OUTPUT_FAILED: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code. A user's mistake is one line on standard error, no traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _show_warning  # type: ignore[assignment] # fewer arguments are used than are given
    # A stream that the caller has closed is None, and print would take the other one for it.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 - as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    try:
        from kernelwire.cli.dispatch import dispatch  # here, so that Ctrl-C while it is imported is no traceback

        code = dispatch(arguments)
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


def _show_warning(message: Warning | str, *_where: object) -> None:
    print(f"kernelwire: warning: {message}", file=sys.stderr)
