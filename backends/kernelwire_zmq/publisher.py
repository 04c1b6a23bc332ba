"""The kernel's side of iopub: an XPUB that counts what it must drop, and welcomes its subscribers."""

import asyncio
from collections import Counter
from typing import Final

import zmq

from kernelwire.channels import IOPubPublisher
from kernelwire.ends import KernelEnd
from kernelwire.errors import MessageTooLarge
from kernelwire.messages import Frame, WireMessage
from kernelwire.session import Session
from kernelwire_zmq import framing
from kernelwire_zmq.channels import LINGER
from kernelwire_zmq.wire import Wire

PATIENCE: Final = 1.0
"""Seconds that one full subscriber may hold up the others, once; from then on it loses messages until it reads."""

_SUBSCRIBED: Final = 1
_MAX_TOPICS: Final = 1000
_MAX_TOPIC_BYTES: Final = 1000
_NODROP: Final = int(zmq.XPUB_NODROP)


class Publisher(IOPubPublisher):
    """With XPUB_NODROP a send fails while any subscriber's queue is full. So a full queue is noticed: first the kernel
    waits a little, then it counts the message as dropped and sends it to all the others.

    That puts the full one aside: zmq passes it by from then on, without an error, until it has read half its queue,
    and does not tell when that is. So every message counts from the first loss on until all subscribers have left.
    How many there are is not asked: what subscribers say of themselves is not signed.

    Arguments:
        socket: a bound XPUB with XPUB_VERBOSER and XPUB_NODROP.
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
        self._aside = False
        self._subscriptions: Counter[bytes] = Counter()
        self._turn = asyncio.Lock()
        self._unwelcomed: set[bytes] = set()
        self._welcoming: asyncio.Task[None] | None = None
        self._wire = Wire(socket, self._take_subscription)

    async def send(self, message: WireMessage) -> None:
        size = message.size
        if size > self._max_bytes:
            raise MessageTooLarge(size, self._max_bytes)
        self._wire.check_loop()
        parts = framing.routed(message)
        async with self._turn:  # those who wait go first
            if self._wire.try_send(parts) or await self._sent_with_patience(parts):
                self._patient = True
                self.end.dropped += self._aside
            else:
                self._patient = False
                self.end.dropped += 1
                self._send_to_others(parts)
        self._wire.look()

    async def aclose(self) -> None:
        self._wire.check_loop()
        if self._welcoming is not None:
            self._welcoming.cancel()
        self._wire.close(LINGER)

    async def _sent_with_patience(self, parts: list[Frame]) -> bool:
        if not self._patient:
            return False
        try:
            async with asyncio.timeout(PATIENCE):
                await self._wire.send(parts)
        except TimeoutError:
            return self._wire.try_send(parts)
        return True

    def _send_to_others(self, parts: list[Frame]) -> None:
        self._aside = True
        self._wire.socket.setsockopt(_NODROP, 0)
        try:
            self._wire.try_send(parts)
        finally:
            self._wire.socket.setsockopt(_NODROP, 1)

    def _take_subscription(self) -> None:
        event = self._wire.socket.recv(zmq.NOBLOCK)
        if not event or event[0] > _SUBSCRIBED or len(event) > _MAX_TOPIC_BYTES:
            return
        topic = event[1:]
        if event[0] != _SUBSCRIBED:
            self._subscriptions -= Counter({topic: 1})  # never below zero, whatever is claimed
            self._aside = self._aside and bool(self._subscriptions)
            return
        if topic in self._subscriptions or len(self._subscriptions) < _MAX_TOPICS:
            self._subscriptions[topic] += 1
        if self.end.audible:
            self._welcome(topic)
        elif len(self._unwelcomed) < _MAX_TOPICS:
            self._unwelcomed.add(topic)
            if self._welcoming is None:
                self._welcoming = asyncio.create_task(self._welcome_later(), name="kernelwire iopub welcome")

    async def _welcome_later(self) -> None:
        await self.end.wait_audible()
        self._welcoming = None
        while self._unwelcomed:
            self._welcome(self._unwelcomed.pop())

    def _welcome(self, topic: bytes) -> None:
        welcome = self._session.message("iopub_welcome", {"subscription": topic.decode("utf-8", "replace")})
        # Best effort: a queue that is full of messages needs no welcome.
        self._wire.try_send(framing.routed(WireMessage(self._session.pack(welcome), topic)))
