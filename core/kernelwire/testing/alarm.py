"""What interrupts a call that blocks the event loop: there, no watchdog of asyncio's gets a turn."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_AGAIN: Final = 0.5
"""Seconds until the next alarm, for those who take the first one for a failure of their call, and call again."""


class Blocked(Exception):
    """Raised in the call that blocks."""


@contextmanager
def alarm(seconds: float) -> Iterator[list[str]]:
    """Interrupt whatever the main thread is at after so many seconds, again and again, until the context is left.

    Yields a list, to which each alarm adds where that was. There is none in another thread, nor on a system without
    `setitimer`. Somebody else's alarm rings afterwards, if it was due meanwhile.

    Raises:
        Blocked: in the context, wherever it is.
    """
    interrupted: list[str] = []
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield interrupted
        return

    def ring(_number: int, frame: FrameType | None) -> None:
        interrupted.append(_place(frame))
        raise Blocked(interrupted[-1])

    others = signal.signal(signal.SIGALRM, ring)
    due, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    started = time.monotonic()
    try:
        yield interrupted
    except Blocked:  # it came where nobody takes errors, such as the loop's own wait
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, others or signal.SIG_DFL)  # None: not Python's own
        if due:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, due - (time.monotonic() - started)), interval)


def _place(frame: FrameType | None) -> str:
    if frame is None:
        return "a place that nobody knows"
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}, line {frame.f_lineno})"
