"""Being interrupted by a signal, for work that must clean up after itself."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from kernelwire.cli import INTERRUPTED

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine in an event loop of its own, and return what it returns: an exit code.

    Ctrl-C, SIGTERM and SIGHUP cancel it, once: while it cleans up, further ones change nothing. Then the exit code is
    that of an interruption. Signals that this process was started to ignore, it ignores.
    """
    return asyncio.run(_guarded(work))


async def _guarded(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.ensure_future(work)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            task.cancel()

    with heeded(interrupt):
        try:
            return await task
        except asyncio.CancelledError:
            if not interrupted:
                raise
            return INTERRUPTED


@contextmanager
def heeded(call: Callable[[], object], *signums: int) -> Iterator[None]:
    """Have a function called in the running loop when a signal comes. Those that this process was started to ignore,
    it ignores. Afterwards they do what they do in a new process: a closed loop may leave its handlers behind.

    Arguments:
        call: what to call.
        signums: the signals; by default Ctrl-C, SIGTERM and SIGHUP.
    """
    loop = asyncio.get_running_loop()
    chosen = [each for each in signums or _SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
    for signum in chosen:
        loop.add_signal_handler(signum, call)
    try:
        yield
    finally:
        for signum in chosen:
            loop.remove_signal_handler(signum)
