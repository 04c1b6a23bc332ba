"""Frames in a stream of bytes. Sans-I/O.

::

    stream = preamble · frame · frame · ...
    preamble = "kernelwire link" · 0 · version (1 octet)
    frame = length (4 octets, big-endian) · that many bytes

Both ends send the preamble first, so that each can say which version the other speaks. It is part of what the handshake
binds: who alters it on the way only breaks the connection.
"""

import struct
from typing import Final

from kernelwire.errors import LinkViolation

VERSION: Final = 1
MAGIC: Final = b"kernelwire link\0"
PREAMBLE: Final = MAGIC + bytes([VERSION])

_LENGTH = struct.Struct(">I")


class WrongVersion(LinkViolation):
    """The other end speaks another version of the link's protocol.

    Attributes:
        version: that one.
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"the other end speaks version {version} of the link's protocol, and this one {VERSION}")
        self.version = version


def head(data: bytes) -> bytes:
    """What makes bytes a frame, before them."""
    return _LENGTH.pack(len(data))


def frame(data: bytes) -> bytes:
    """Bytes as a frame."""
    return head(data) + data


class Deframer:
    """Takes the stream in pieces, and gives frames.

    Attributes:
        limit: bytes of a frame at the most. To be kept small until the other end has shown who it is.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._pieces: list[bytes | memoryview] = []  # of what is not whole yet
        self._held = 0
        self._need = 1  # so much must be here before there is anything to do
        self._greeted = False

    def feed(self, data: bytes | memoryview) -> list[memoryview]:
        """The frames that are whole now: views, so that they cost no copy where each piece is a frame.

        Raises:
            LinkViolation: this is no such stream, or a frame is too large.
            WrongVersion: it is one of another version.
        """
        # A caller's buffer may become something else under a view.
        lasts = type(data) is bytes or (type(data) is memoryview and type(data.obj) is bytes)
        self._pieces.append(data if lasts else bytes(data))
        self._held += len(data)
        if self._held < self._need:
            return []
        view = memoryview(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
        at, end, frames = 0, self._held, []
        if not self._greeted:
            at = self._greet(view)
        self._need = 4 if self._greeted else end + 1
        while self._greeted and end - at >= 4:
            (size,) = _LENGTH.unpack_from(view, at)
            if size > self.limit:
                raise LinkViolation("a frame that is too large")
            if end - at - 4 < size:
                self._need = 4 + size
                break
            frames.append(view[at + 4 : at + 4 + size])
            at += 4 + size
        self._held = end - at
        self._pieces = [bytes(view[at:])] if self._held else []
        return frames

    def _greet(self, view: memoryview) -> int:
        """Look at the preamble; bytes of it that are done with."""
        seen = bytes(view[: len(MAGIC)])
        if not MAGIC.startswith(seen):
            raise LinkViolation("the other end does not speak the link's protocol")
        if len(view) < len(PREAMBLE):
            return 0
        if (version := view[len(MAGIC)]) != VERSION:
            raise WrongVersion(version)
        self._greeted = True
        return len(PREAMBLE)
