"""Events between an end and a relay. Pure, bytes in and out.

Each is a Socket.IO event in msgpack, ``{"type": 2, "data": [name, bytes], "nsp": "/"}``, in one binary message::

    name  from → to                         bytes
    d     client → relay, relay → client    what the pipe carries
    d     host → relay, relay → host        the pipe's number (4 octets, big-endian) · what it carries
    o     relay → host                      number: a client has come
    o     relay → client                    none: the host is there
    c     relay → host, host → relay        number: the client has gone, or is to go
    p     relay → host, host → relay        none: is this host there? it is
    r     relay → all                       none: the relay will be restarted

One event has one ``bytes``, because everything else costs more: attachments are messages of their own, and joining is
what the link above does already.
"""

import struct
from typing import Any, Final

import msgpack

VERSION: Final = 2
"""Of what ends and relays say to each other, the authentication included."""

LIMIT: Final = 200 * 1024
"""Bytes of a message at the most."""

PIECE: Final = 194 * 1024
"""Bytes that an end puts into one event at the most."""

DATA, OPEN, CLOSE, PROBE, RESTART = "d", "o", "c", "p", "r"

NUMBER: Final = struct.Struct(">I")
"""A pipe's number."""

_HEAD: Final = b"\x83\xa4type\x02\xa4data\x92\xa1"
TAIL: Final = b"\xa3nsp\xa1/"
_NAME: Final = len(_HEAD)
_KIND: Final = _NAME + 1
_U16, _U32 = struct.Struct(">H"), struct.Struct(">I")

Data = bytes | bytearray | memoryview


def encode(name: str, *data: Data, number: int | None = None) -> bytes:
    """An event, as python-socketio would write it.

    Arguments:
        name: one letter.
        data: its bytes, in pieces.
        number: a pipe's, to be put before them.
    """
    if number is not None:
        data = (NUMBER.pack(number), *data)
    return b"".join((head(name, sum(map(len, data))), *data, TAIL))


def head(name: str, size: int) -> bytes:
    """The beginning of an event with so many bytes; :data:`TAIL` is the end of all."""
    if size < 0x100:
        length = bytes((0xC4, size))
    elif size < 0x10000:
        length = b"\xc5" + _U16.pack(size)
    else:
        length = b"\xc6" + _U32.pack(size)
    return _HEAD + name.encode() + length


def decode(message: bytes) -> tuple[str, memoryview] | None:
    """The name and the bytes of an event; None for anything that is no such event."""
    if not (message.startswith(_HEAD) and message.endswith(TAIL)) or len(message) < _KIND + 2 + len(TAIL):
        return _decode_any(message)
    kind = message[_KIND]
    at = _KIND + 1
    try:
        if kind == 0xC4:
            size = message[at]
            at += 1
        elif kind == 0xC5:
            (size,) = _U16.unpack_from(message, at)
            at += 2
        elif kind == 0xC6:
            (size,) = _U32.unpack_from(message, at)
            at += 4
        else:
            return None
    except struct.error:
        return None
    end = at + size
    if end + len(TAIL) != len(message) or message[_NAME] >= 0x80:
        return None
    return chr(message[_NAME]), memoryview(message)[at:end]


def number_of(data: memoryview) -> int | None:
    """The pipe's number at the beginning of an event's bytes."""
    if len(data) < NUMBER.size:
        return None
    number: int = NUMBER.unpack_from(data)[0]
    return number


def unpack(message: bytes) -> Any:
    """What a msgpack message from a stranger holds: shallow, and with bounds for everything.

    Raises:
        ValueError: it cannot be read, or is larger than anything that an end has to say.
    """
    try:
        return msgpack.unpackb(
            message, max_str_len=LIMIT, max_bin_len=LIMIT, max_map_len=16, max_array_len=16, max_ext_len=1
        )
    except (ValueError, msgpack.UnpackException, RecursionError, OverflowError):
        raise ValueError("no msgpack that an end would send") from None


def _decode_any(message: bytes) -> tuple[str, memoryview] | None:
    """For peers that write their maps in another order."""
    try:
        packet = unpack(message)
    except ValueError:
        return None
    if not isinstance(packet, dict) or packet.get("type") != 2 or packet.get("nsp") != "/" or packet.get("id"):
        return None
    match packet.get("data"):
        case [str(name), bytes(data)] if len(name) == 1 and name.isascii():
            return name, memoryview(data)
    return None
