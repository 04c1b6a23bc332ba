"""Records: what stands in one sealed frame. Pure, bytes in and out.

A frame's plaintext is records, one after the other::

    record  = type (1 octet) · length of the body (3 octets, big-endian) · body
    data    = type 1: flags (1 octet) · seq (8 octets, big-endian) · bytes of the message `seq` of its lane
    control = type 2: one msgpack array, whose first element says which

Flags of a data record: bit 0 is the lane, bit 1 says that these are the last bytes of the message. Bytes of one message
follow each other without overlap, so no record says where in the message it stands.
"""

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Annotated, Final, NamedTuple, get_args

from msgspec import DecodeError, Meta, Struct
from msgspec.msgpack import Decoder, Encoder

from kernelwire.errors import LinkViolation

FRAME_LIMIT: Final = 65_535 - 16
"""Bytes of a frame's plaintext at the most: what Noise lets a frame have, less the seal's tag."""

DATA_HEADER: Final = 13
"""Bytes of a data record before its message's."""

_DATA, _CONTROL = 1, 2
_FINAL: Final = 2
_HEAD = struct.Struct(">IBQ")
_LENGTH = struct.Struct(">I")
_FLAGS_SEQ = struct.Struct(">BQ")

# A control record is read by the types of its fields, and what does not fit them is no record. A generic reader would
# make whatever arrays somebody nests in it, and take memory for the lengths that they claim.
_Number = Annotated[int, Meta(ge=0)]
_Lane = Annotated[int, Meta(ge=0, le=1)]
_Identity = Annotated[bytes, Meta(min_length=1, max_length=64)]
_Secret = Annotated[bytes, Meta(min_length=32, max_length=32)]


class Lane(IntEnum):
    """A stream of messages of its own, one after the other. There are two each way.

    What must not wait behind bulk goes on C: control and stdin. Shell and iopub share D, since their order among each
    other counts.
    """

    C = 0
    D = 1


class Data(Struct, frozen=True, gc=False):
    """Bytes of a message.

    Attributes:
        lane: see there.
        seq: the message's number in its lane and direction; the first is 1.
        final: whether these are its last.
        chunk: the bytes.
    """

    lane: int
    seq: int
    final: bool
    chunk: memoryview


class Position(NamedTuple):
    """How far a receiver has come on a lane.

    Attributes:
        received: the number of the last message that it has whole, and has handed on.
        offset: how many bytes of the next one it has.
    """

    received: _Number
    offset: _Number


class Lost(NamedTuple):
    """Messages of one channel that were not sent before a goodbye, or not to their end.

    Attributes:
        channel: as in the head of a message.
        messages: how many; None where nobody can know.
        size: bytes of their frames together; None where nobody can know.
    """

    channel: Annotated[int, Meta(ge=0, lt=4)]
    messages: _Number | None
    size: _Number | None


class Control(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A control record. Its fields are the array's elements, after the tag, which says what it is."""

    def encode(self) -> bytes:
        """As a whole record."""
        body = _encode(self)
        return _LENGTH.pack(_CONTROL << 24 | len(body)) + body


class Hello(Control, frozen=True, tag=1):
    """A client's first record.

    Attributes:
        identity: the client's, 1 to 64 bytes, of which the first is not 0.
        resume_secret: 32 bytes that this client has chosen; who resumes must have them.
        epoch: what the last welcome said; 0 before the first.
        lanes: the client's positions, C then D.
        cursor: where to begin to hear iopub: a number of the host's log, or None for from now on. For a new client.
        attempt: greater than in all hellos before. One that was held up on the way must not undo what came after it.
    """

    identity: _Identity
    resume_secret: _Secret
    epoch: _Number
    lanes: tuple[Position, Position]
    cursor: _Number | None
    attempt: _Number

    def __post_init__(self) -> None:
        if self.identity.startswith(b"\0"):
            raise ValueError("an identity that begins with 0")


class Welcome(Control, frozen=True, tag=2):
    """The host's answer.

    Attributes:
        epoch: a number of this session's, that no other has, of this host or an earlier one; not 0.
        resumed: whether it knows the client; if not, both begin anew.
        lanes: the host's positions, C then D.
        cursor: where in the host's log a new client begins.
    """

    epoch: Annotated[int, Meta(gt=0)]
    resumed: bool
    lanes: tuple[Position, Position]
    cursor: _Number


class Status(Control, frozen=True, tag=3):
    """A receiver's news of a lane.

    Attributes:
        lane: see there.
        handled: the number of the last message that was handed on: it need not be kept any more.
        granted: bytes of messages on this lane that may have been sent on this connection, since it began.
    """

    lane: _Lane
    handled: _Number
    granted: _Number


class Ping(Control, frozen=True, tag=4):
    """Asks whether the other end is there."""

    number: _Number


class Pong(Control, frozen=True, tag=5):
    """The answer to a ping, with its number."""

    number: _Number


class Beat(Control, frozen=True, tag=6):
    """Asks whether the kernel is alive."""

    number: _Number


class Beaten(Control, frozen=True, tag=7):
    """It is; with the beat's number."""

    number: _Number


class Ready(Control, frozen=True, tag=9):
    """What the kernel publishes can be heard from now on. From the host, once on each connection."""


class Reason(IntEnum):
    """Why an end says goodbye."""

    CLOSED = 0
    """It is done: the session ends."""
    CONFLICT = 1
    """The identity is another client's."""
    FULL = 2
    """It has no room for another client now."""
    VIOLATION = 3
    """The other end broke the rules."""
    OVERFLOW = 4
    """The client fell so far behind that its replies would not fit any more: the session ends."""


class Bye(Control, frozen=True, tag=8):
    """The last record of a connection.

    Attributes:
        reason: a :class:`Reason`.
        lost: what the other end should have got, and will not.
    """

    reason: _Number
    lost: Annotated[tuple[Lost, ...], Meta(max_length=4)]


def data_header(lane: int, seq: int, size: int, *, final: bool) -> bytes:
    """What stands before `size` bytes of a message."""
    return _HEAD.pack(_DATA << 24 | (size + 9), lane | (_FINAL if final else 0), seq)


def decode(plaintext: bytes) -> Iterator[Data | Control]:
    """The records of a frame, one by one.

    Raises:
        LinkViolation: it does not consist of whole and valid records.
    """
    view = memoryview(plaintext)
    at, end = 0, len(view)
    while at < end:
        body = at + 4
        if body > end:
            raise LinkViolation("a record is cut short")
        (head,) = _LENGTH.unpack_from(view, at)
        kind, at = head >> 24, body + (head & 0xFFFFFF)
        if at > end:
            raise LinkViolation("a record is cut short")
        if kind == _DATA:
            if at < body + 9:
                raise LinkViolation("a data record is too short")
            flags, seq = _FLAGS_SEQ.unpack_from(view, body)
            if flags > 3:
                raise LinkViolation("a data record has flags that mean nothing")
            yield Data(flags & 1, seq, flags >= _FINAL, view[body + 9 : at])
        elif kind == _CONTROL:
            yield _decode_control(view[body:at])
        else:
            raise LinkViolation(f"a record of type {kind}, which there is not")


def _decode_control(body: memoryview) -> Control:
    try:
        return _decode(body)
    except (DecodeError, UnicodeDecodeError):
        raise LinkViolation("a control record that is not what it must be") from None


_Any = Hello | Welcome | Status | Ping | Pong | Beat | Beaten | Bye | Ready

CONTROLS: Final[tuple[type[Control], ...]] = get_args(_Any)
"""All control records there are, by their tags."""

_encode: Final = Encoder().encode
_decode: Final[Callable[[memoryview], Control]] = Decoder(_Any).decode
