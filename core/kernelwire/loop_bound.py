"""What belongs to one event loop, and says so when it is used from another."""

import asyncio
import os

from kernelwire.errors import WrongLoop


class LoopBound:
    """Something that belongs to the event loop in which it was made.

    Raises:
        RuntimeError: made outside a running loop.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._pid = os.getpid()

    def check_loop(self) -> None:
        """Raises:
        WrongLoop: called from another event loop, from none, or from a forked child.
        """
        # The private name never raises and never asks the operating system; both matter on every message.
        if asyncio._get_running_loop() is not self.loop:  # noqa: SLF001
            raise self._wrong_loop()

    def _wrong_loop(self) -> WrongLoop:
        if os.getpid() != self._pid:
            return WrongLoop("opened before a fork: a child process must open its own connection")
        return WrongLoop("belongs to another event loop: use it in the loop that opened it")
