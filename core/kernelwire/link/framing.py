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


def frame(data: bytes) -> bytes:
    """Bytes as a frame."""
    return _LENGTH.pack(len(data)) + data


class Deframer:
    """Takes the stream in pieces, and gives frames.

    Attributes:
        limit: bytes of a frame at the most. To be kept small until the other end has shown who it is.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._data = bytearray()
        self._greeted = False

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole now.

        Raises:
            LinkViolation: this is no such stream, or a frame is too large.
            WrongVersion: it is one of another version.
        """
        self._data += data
        if not self._greeted and not self._greet():
            return []
        frames: list[bytes] = []
        at, end = 0, len(self._data)
        with memoryview(self._data) as view:
            while end - at >= 4:
                (size,) = _LENGTH.unpack_from(view, at)
                if size > self.limit:
                    raise LinkViolation("a frame that is too large")
                if end - at - 4 < size:
                    break
                frames.append(bytes(view[at + 4 : at + 4 + size]))
                at += 4 + size
        del self._data[:at]
        return frames

    def _greet(self) -> bool:
        seen = bytes(self._data[: len(MAGIC)])
        if not MAGIC.startswith(seen):
            raise LinkViolation("the other end does not speak the link's protocol")
        if len(self._data) < len(PREAMBLE):
            return False
        if (version := self._data[len(MAGIC)]) != VERSION:
            raise WrongVersion(version)
        del self._data[: len(PREAMBLE)]
        self._greeted = True
        return True
