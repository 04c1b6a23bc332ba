"""Being interrupted by a signal, for work that must clean up after itself."""

import asyncio
import signal
from collections.abc import Coroutine
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
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            task.cancel()

    heeded = [each for each in _SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
    for signum in heeded:
        loop.add_signal_handler(signum, interrupt)
    try:
        return await task
    except asyncio.CancelledError:
        if not interrupted:
            raise
        return INTERRUPTED
    finally:
        for signum in heeded:
            loop.remove_signal_handler(signum)
