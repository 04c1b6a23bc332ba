"""A pipe whose frames are sealed: the handshake, then frames in and out."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

from kernelwire.errors import ConnectionLost
from kernelwire.link.framing import PREAMBLE, Deframer, WrongVersion, frame, head
from kernelwire.link.pipe import Pipe
from kernelwire.link.records import FRAME_LIMIT
from kernelwire.link.seal import TAG_SIZE, Handshake, Seal

HANDSHAKE_TIME: Final = 5.0
"""Seconds that a handshake may take."""

_HANDSHAKE_LIMIT: Final = 1024


@dataclass(frozen=True)
class Secrets:
    """What an end needs to know for the seal.

    Attributes:
        link_secret: 32 bytes that both ends have.
        host_key: the host's public key; a client's way to know it.
        private_key: the host's own; None at a client.
        room: bound by the handshake, so that pipes of two rooms cannot be crossed.
    """

    link_secret: bytes = field(repr=False)
    host_key: bytes
    private_key: bytes | None = field(default=None, repr=False)
    room: bytes = b""

    @property
    def prologue(self) -> bytes:
        """What both ends must agree on beside the keys."""
        return PREAMBLE + self.room


class SealedPipe:
    """Made by :meth:`dial` or :meth:`answer`; the pipe below is the caller's to close."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._deframer = Deframer(_HANDSHAKE_LIMIT)
        self._frames: list[memoryview] = []
        self._seal: Seal

    @classmethod
    async def dial(cls, pipe: Pipe, secrets: Secrets) -> Self:
        """A client's side of the handshake.

        Raises:
            SealBroken, LinkViolation: the other end is not the host, or does not speak this protocol.
            ConnectionLost: it did not answer in time.
            whatever the pipe raises.
        """
        handshake = Handshake.initiator(
            secret=secrets.link_secret, host_key=secrets.host_key, prologue=secrets.prologue
        )
        sealed = cls(pipe)
        async with sealed._in_time():
            await pipe.send(PREAMBLE + frame(handshake.write()))
            handshake.read(await sealed._next())
        sealed._finish(handshake)
        return sealed

    @classmethod
    async def answer(cls, pipe: Pipe, secrets: Secrets) -> Self:
        """A host's side of the handshake. Raises as `dial`.

        What a stranger can repeat is over then, and nothing has come of it; only the first frame that opens shows that
        the client is there.
        """
        assert secrets.private_key is not None
        handshake = Handshake.responder(
            secret=secrets.link_secret, private_key=secrets.private_key, prologue=secrets.prologue
        )
        sealed = cls(pipe)
        async with sealed._in_time():
            try:
                first = await sealed._next()
            except WrongVersion:
                await pipe.send(PREAMBLE)  # so that the client can say so as well
                raise
            handshake.read(first)
            await pipe.send(PREAMBLE + frame(handshake.write()))
        sealed._finish(handshake)
        return sealed

    async def send(self, plaintext: bytes) -> None:
        """Seal and send a frame. Raises whatever the pipe raises."""
        await self._pipe.send(frame(self._seal.seal(plaintext)))

    def send_now(self, plaintexts: Sequence[bytes]) -> Coroutine[Any, Any, None] | None:
        """Seal and send frames, as one piece.

        Returns:
            What to wait for before more is sent, and until then nothing may be gone; None where the pipe has taken it.
        """
        pieces: list[bytes] = []
        for plaintext in plaintexts:
            sealed = self._seal.seal(plaintext)
            pieces += (head(sealed), sealed)
        return None if self._pipe.send_now(pieces) else self._pipe.send(b"".join(pieces))

    async def receive(self) -> bytes:
        """The next frame's plaintext.

        Raises:
            SealBroken, LinkViolation: it was not sealed by the other end, or not at this place.
            whatever the pipe raises.
        """
        return self._seal.open(await self._next())

    def pour(self, sink: Callable[[Sequence[bytes]], None]) -> bool:
        """As :meth:`kernelwire.link.pipe.Pipe.pour`, with all plaintexts that come in one piece. Raises, and has the
        pipe raise, as `receive`, once those before have been handed over.

        What came in one piece with the handshake goes to `sink` in any case.
        """
        unseal, deframe = self._seal.open, self._deframer.feed

        def take(data: bytes | memoryview) -> None:
            plaintexts: list[bytes] = []
            try:
                for sealed in deframe(data):
                    plaintexts.append(unseal(sealed))  # not at once: those before one that does not open count
            finally:
                if plaintexts:
                    sink(plaintexts)

        while self._frames:
            sink((unseal(self._frames.pop()),))
        return self._pipe.pour(take)

    async def _next(self) -> memoryview:
        while not self._frames:
            data = await self._pipe.receive()
            if not data:  # as the end of a stream reads; to ask again and again would hold up the loop
                raise ConnectionLost("the pipe ended")
            self._frames = self._deframer.feed(data)
            self._frames.reverse()
        return self._frames.pop()

    def _finish(self, handshake: Handshake) -> None:
        self._seal = handshake.split()
        self._deframer.limit = FRAME_LIMIT + TAG_SIZE

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(HANDSHAKE_TIME):
                yield
        except TimeoutError:
            raise ConnectionLost(f"no handshake within {HANDSHAKE_TIME:g} s") from None
