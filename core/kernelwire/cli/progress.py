"""A progress bar, where there is a terminal to draw it on and tqdm to draw it."""

import asyncio
import shutil
import threading
from types import TracebackType
from typing import Any, Final, Self, TextIO

_FORMAT: Final = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} cells [{elapsed}<{remaining}]"
_TICK: Final = 1.0
"""Seconds after which the bar is drawn anew, for the time that it shows."""


class Progress:
    """Use as an async context manager; the bar stays on the terminal as it was last.

    Arguments:
        title: what it is the progress of.
        total: how many steps there are.
        stream: the terminal; nothing is drawn on anything else.
    """

    def __init__(self, title: str, total: int, stream: TextIO) -> None:
        self._bar: Any = None
        self._ticking: asyncio.Task[None] | None = None
        if total and stream.isatty():
            # Given, because tqdm draws nothing on a terminal that does not tell its size.
            columns, lines = shutil.get_terminal_size()
            self._bar = _bar(desc=title, total=total, file=stream, bar_format=_FORMAT, ncols=columns, nrows=lines)

    async def __aenter__(self) -> Self:
        if self._bar is not None:
            self._ticking = asyncio.create_task(self._tick(), name="kernelwire progress")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
            self._bar.close()

    def advance(self) -> None:
        """One more step is done."""
        if self._bar is not None:
            self._bar.update()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._bar.refresh()


def _bar(**options: Any) -> Any:
    try:
        from tqdm import tqdm  # here, because it takes 60 ms
    except ImportError:
        return None  # it is a comfort only
    # Neither a thread that watches over the bar nor a lock that other processes could share: one task draws it.
    tqdm.monitor_interval = 0
    tqdm.set_lock(threading.RLock())
    return tqdm(**options)
