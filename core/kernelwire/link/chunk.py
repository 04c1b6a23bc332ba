"""Large messages in pieces, and back. Pure.

A piece goes into one frame. A message whose pieces have come in part survives the connection: the receiver keeps what
it has, and says how much that is when it resumes.
"""

from collections.abc import Sequence
from typing import Final

from kernelwire.errors import LinkViolation
from kernelwire.link.envelope import Payload
from kernelwire.messages import Frame


def cut(payload: Payload, offset: int, size: int) -> Sequence[Frame]:
    """The `size` bytes of `payload` from `offset` on, in pieces, without a copy."""
    if offset == 0 and size == payload.size:
        return payload.pieces
    pieces: list[Frame] = []
    for piece in payload.pieces:
        length = len(piece)
        if offset >= length:
            offset -= length
            continue
        part = memoryview(piece)[offset : offset + size]
        pieces.append(part)
        offset = 0
        size -= len(part)
        if not size:
            break
    return pieces


_LOOSE: Final = 4 * 1024 * 1024
"""Bytes of pieces that are kept as they came. Up to there one copy is made of them, at the end; a buffer that grows is
copied whenever it has to move, but holds nothing twice at the end.
"""

_LOOSE_PIECES: Final = 128
"""Pieces likewise: each is a view, and keeps the whole frame in which it came."""


class Assembly:
    """The message that is coming in on a lane.

    Arguments:
        limit: bytes of a message at the most.

    Attributes:
        size: bytes that are here.
    """

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._pieces: list[memoryview] = []
        self._loose = 0  # bytes of them
        self._data = bytearray()  # before them

    def add(self, chunk: memoryview, *, final: bool) -> memoryview | None:
        """Take the next bytes; return the whole message if they are its last.

        Raises:
            LinkViolation: it is over the limit. What was here before still is.
        """
        size = self.size + len(chunk)
        if size > self._limit:
            raise LinkViolation("a message that is too large")
        if final and not self.size:  # the usual case: it came in one piece
            return chunk
        self.size = size
        if chunk:
            self._pieces.append(chunk)
            self._loose += len(chunk)
        if final and not self._data:
            message = memoryview(b"".join(self._pieces))
            self.clear()
            return message
        if final or self._loose >= _LOOSE or len(self._pieces) >= _LOOSE_PIECES:
            for piece in self._pieces:
                self._data += piece
            self._pieces.clear()
            self._loose = 0
        if not final:
            return None
        message = memoryview(self._data).toreadonly()
        self.clear()
        return message

    def clear(self) -> None:
        """Forget what is here."""
        self.size = self._loose = 0
        self._pieces.clear()
        self._data = bytearray()
