"""The kernel's side of the heartbeat."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

import zmq

from kernelwire.ends import KernelEnd
from kernelwire_zmq.wire import Wire

_HELD: Final = 1000
"""Pings that wait for a kernel to beat (again); beyond it the oldest go."""


class Echo:
    """Sends back what comes in, as soon as the kernel's end is beating. A ping that waited is answered then: whoever
    sent it learns at once that the kernel is there, and whoever has given it up does not listen for it any more.

    Attributes:
        end: whose `beating` decides; set by whoever assembles the kernel's end.
    """

    end: KernelEnd

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._held: deque[list[bytes]] = deque(maxlen=_HELD)
        self._answering: asyncio.Task[None] | None = None
        self._wire = Wire(socket, self._take)

    def close(self) -> None:
        """Beat no more."""
        if self._answering is not None:
            self._answering.cancel()
        self._wire.close(0)

    def _take(self) -> None:
        ping = self._wire.socket.recv_multipart(zmq.NOBLOCK)
        if self.end.beating:
            self._answer(ping)
            return
        self._held.append(ping)
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer_later(), name="kernelwire heartbeat echo")

    async def _answer_later(self) -> None:
        await self.end.wait_beating()
        self._answering = None
        while self._held:
            self._answer(self._held.popleft())
        self._wire.look()

    def _answer(self, ping: list[bytes]) -> None:
        # Whoever does not read its pongs, or is gone, has no use for this one; the next ping is somebody else's.
        with suppress(zmq.ZMQError):
            self._wire.socket.send_multipart(ping, zmq.NOBLOCK)
