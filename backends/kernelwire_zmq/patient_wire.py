"""A wire that is read a little later, and then much at once, while nobody waits for what comes.

A kernel publishes a busy and an idle status for each request. To wake up for each of them would make every reply wait,
and takes longer than to deal with a heap of them.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import zmq

from kernelwire_zmq.wire import Wire

_LATER: Final = 0.02
"""Seconds: too short for anybody to notice, and long beside a request."""


class PatientWire(Wire):
    """As :class:`~kernelwire_zmq.wire.Wire`.

    Arguments:
        socket, take: as there.
        may_wait: whether nobody waits for what comes just now.
    """

    def __init__(self, socket: "zmq.Socket[bytes]", take: Callable[[], None], may_wait: Callable[[], bool]) -> None:
        self._may_wait = may_wait
        self._later: asyncio.TimerHandle | None = None
        super().__init__(socket, take)

    def hurry(self) -> None:
        """Somebody waits from now on: read what was put off."""
        if self._later is not None:
            self._later.cancel()
            self._read_again()

    def close(self, linger: int) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        super().close(linger)

    def _stirred(self) -> None:
        if not self._may_wait():
            self._pump()
            return
        # The descriptor says so again and again until somebody looks at the socket.
        self.loop.remove_reader(self._fd)
        self._later = self.loop.call_later(_LATER, self._read_again)

    def _read_again(self) -> None:
        self._later = None
        self.loop.add_reader(self._fd, self._stirred)
        self.kick()
