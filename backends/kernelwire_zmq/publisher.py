"""The kernel's side of iopub: an XPUB that counts what it must drop, and welcomes its subscribers."""

import asyncio
from typing import Final

import zmq

from kernelwire.backend import KernelEnd
from kernelwire.channels import IOPubPublisher
from kernelwire.errors import MessageTooLarge
from kernelwire.messages import WireMessage
from kernelwire.session import Session
from kernelwire_zmq import framing
from kernelwire_zmq.channels import LINGER
from kernelwire_zmq.wire import Wire

PATIENCE: Final = 1.0
"""Seconds that one full subscriber may hold up the others, once; from then on it loses messages until it reads."""

_SUBSCRIBED: Final = 1
_NODROP: Final = int(zmq.XPUB_NODROP)


class Publisher(IOPubPublisher):
    """With XPUB_NODROP a send fails while any subscriber's queue is full. So a full queue is noticed: first the kernel
    waits a little, then it counts the message as dropped and sends it to all the others.

    Arguments:
        socket: a bound XPUB with XPUB_VERBOSE and XPUB_NODROP.
        session: signs the welcomes.
        max_bytes: bound on a message.

    Attributes:
        end: whose `dropped` counts; set by whoever assembles the kernel's end.
    """

    end: KernelEnd

    def __init__(self, socket: "zmq.Socket[bytes]", session: Session, *, max_bytes: int) -> None:
        self._session = session
        self._max_bytes = max_bytes
        self._patient = True
        self._wire = Wire(socket, self._take_subscription)

    async def send(self, message: WireMessage) -> None:
        size = message.size
        if size > self._max_bytes:
            raise MessageTooLarge(size, self._max_bytes)
        parts = framing.routed(message)
        if self._patient:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._wire.send(parts)
                return
            except TimeoutError:
                self._patient = False
        self._wire.check_loop()
        if self._wire.try_send(parts):
            self._patient = True
            return
        self.end.dropped += 1
        self._wire.socket.setsockopt(_NODROP, 0)
        try:
            self._wire.try_send(parts)
        finally:
            self._wire.socket.setsockopt(_NODROP, 1)

    async def aclose(self) -> None:
        self._wire.check_loop()
        self._wire.close(LINGER)

    def _take_subscription(self) -> None:
        event = self._wire.socket.recv(zmq.NOBLOCK)
        if not event or event[0] != _SUBSCRIBED:
            return
        topic = event[1:]
        welcome = self._session.message("iopub_welcome", {"subscription": topic.decode("utf-8", "replace")})
        # Best effort: a queue that is full of messages needs no welcome.
        self._wire.try_send(framing.routed(WireMessage(self._session.pack(welcome), topic)))
