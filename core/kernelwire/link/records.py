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
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Final, NamedTuple

import msgpack

from kernelwire.errors import LinkViolation

FRAME_LIMIT: Final = 65_535 - 16
"""Bytes of a frame's plaintext at the most: what Noise lets a frame have, less the seal's tag."""

DATA_HEADER: Final = 13
"""Bytes of a data record before its message's."""

_DATA, _CONTROL = 1, 2
_FINAL: Final = 2
_HEAD = struct.Struct(">IBQ")
_LENGTH = struct.Struct(">I")
_U64: Final = 2**64


class Lane(IntEnum):
    """A stream of messages of its own, one after the other. There are two each way.

    What must not wait behind bulk goes on C: control and stdin. Shell and iopub share D, since their order among each
    other counts.
    """

    C = 0
    D = 1


class Data(NamedTuple):
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

    received: int
    offset: int


class Lost(NamedTuple):
    """Messages of one channel that were not sent before a goodbye, or not to their end.

    Attributes:
        channel: as in the head of a message.
        messages: how many; None where nobody can know.
        size: bytes of their frames together; None where nobody can know.
    """

    channel: int
    messages: int | None
    size: int | None


class Control:
    """A control record: a dataclass whose fields, after `kind`, are the array's elements."""

    kind: ClassVar[int]

    def encode(self) -> bytes:
        """As a whole record."""
        body: bytes = msgpack.packb([self.kind, *vars(self).values()])
        return _LENGTH.pack(_CONTROL << 24 | len(body)) + body


@dataclass(frozen=True)
class Hello(Control):
    """A client's first record.

    Attributes:
        identity: the client's, 1 to 64 bytes, of which the first is not 0.
        resume_secret: 32 bytes that this client has chosen; who resumes must have them.
        epoch: what the last welcome said; 0 before the first.
        lanes: the client's positions, C then D.
        cursor: where to begin to hear iopub: a number of the host's log, or None for from now on. For a new client.
        attempt: greater than in all hellos before. One that was held up on the way must not undo what came after it.
    """

    kind = 1
    identity: bytes
    resume_secret: bytes
    epoch: int
    lanes: tuple[Position, Position]
    cursor: int | None = None
    attempt: int = 0


@dataclass(frozen=True)
class Welcome(Control):
    """The host's answer.

    Attributes:
        epoch: a number of this session's, that no other has, of this host or an earlier one; not 0.
        resumed: whether it knows the client; if not, both begin anew.
        lanes: the host's positions, C then D.
        cursor: where in the host's log a new client begins.
    """

    kind = 2
    epoch: int
    resumed: bool
    lanes: tuple[Position, Position]
    cursor: int


@dataclass(frozen=True)
class Status(Control):
    """A receiver's news of a lane.

    Attributes:
        lane: see there.
        handled: the number of the last message that was handed on: it need not be kept any more.
        granted: bytes of messages on this lane that may have been sent on this connection, since it began.
    """

    kind = 3
    lane: int
    handled: int
    granted: int


@dataclass(frozen=True)
class Ping(Control):
    """Asks whether the other end is there."""

    kind = 4
    number: int


@dataclass(frozen=True)
class Pong(Control):
    """The answer to a ping, with its number."""

    kind = 5
    number: int


@dataclass(frozen=True)
class Beat(Control):
    """Asks whether the kernel is alive."""

    kind = 6
    number: int


@dataclass(frozen=True)
class Beaten(Control):
    """It is; with the beat's number."""

    kind = 7
    number: int


@dataclass(frozen=True)
class Ready(Control):
    """What the kernel publishes can be heard from now on. From the host, once on each connection."""

    kind = 9


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


@dataclass(frozen=True)
class Bye(Control):
    """The last record of a connection.

    Attributes:
        reason: a :class:`Reason`.
        lost: what the other end should have got, and will not.
    """

    kind = 8
    reason: int
    lost: tuple[Lost, ...] = ()


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
        if end - at < 4:
            raise LinkViolation("a record is cut short")
        (head,) = _LENGTH.unpack_from(view, at)
        kind, size = head >> 24, head & 0xFFFFFF
        body = at + 4
        at = body + size
        if at > end:
            raise LinkViolation("a record is cut short")
        if kind == _DATA:
            if size < 9:
                raise LinkViolation("a data record is too short")
            _, flags, seq = _HEAD.unpack_from(view, body - 4)
            if flags > 3:
                raise LinkViolation("a data record has flags that mean nothing")
            yield Data(flags & 1, seq, flags >= _FINAL, view[body + 9 : at])
        elif kind == _CONTROL:
            yield _decode_control(view[body:at])
        else:
            raise LinkViolation(f"a record of type {kind}, which there is not")


def _decode_control(body: memoryview) -> Control:
    try:
        values = msgpack.unpackb(body, use_list=False, max_array_len=16, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException, RecursionError):
        values = None
    if not isinstance(values, tuple) or not values:
        raise LinkViolation("a control record is no msgpack array")
    shape = _SHAPES.get(values[0]) if type(values[0]) is int else None
    if shape is None:
        raise LinkViolation("a control record of a kind that there is not")
    kind, checks = shape
    if len(values) != len(checks) + 1 or not all(map(_fits, checks, values[1:])):
        raise LinkViolation(f"the fields of a {kind.__name__} record are not what they must be")
    fields = zip(checks, values[1:], strict=True)
    control: Control = kind(*(_MAKE[check](value) if check in _MAKE else value for check, value in fields))
    return control


def _positions(value: Any) -> tuple[Position, Position]:
    c, d = value
    return Position(*c), Position(*d)


def _losses(values: Any) -> tuple[Lost, ...]:
    return tuple(Lost(*value) for value in values)


_MAKE: Final[dict[str, Callable[[Any], Any]]] = {"lanes": _positions, "losses": _losses}


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < _U64


_CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "number": _is_number,
    "epoch": lambda value: _is_number(value) and value > 0,
    "number?": lambda value: value is None or _is_number(value),
    "flag": lambda value: type(value) is bool,
    "lane": lambda value: type(value) is int and value in (0, 1),
    "identity": lambda value: type(value) is bytes and 0 < len(value) <= 64 and value[0] != 0,
    "secret": lambda value: type(value) is bytes and len(value) == 32,
    "lanes": lambda value: (
        type(value) is tuple
        and len(value) == 2
        and all(type(each) is tuple and len(each) == 2 and all(map(_is_number, each)) for each in value)
    ),
}


def _is_loss(value: Any) -> bool:
    if type(value) is not tuple or len(value) != 3:
        return False
    channel, *amounts = value
    return type(channel) is int and 0 <= channel < 4 and all(each is None or _is_number(each) for each in amounts)


_CHECKS["losses"] = lambda value: type(value) is tuple and len(value) <= 4 and all(map(_is_loss, value))

_SHAPES: Final[dict[int, tuple[Any, tuple[str, ...]]]] = {
    1: (Hello, ("identity", "secret", "number", "lanes", "number?", "number")),
    2: (Welcome, ("epoch", "flag", "lanes", "number")),
    3: (Status, ("lane", "number", "number")),
    4: (Ping, ("number",)),
    5: (Pong, ("number",)),
    6: (Beat, ("number",)),
    7: (Beaten, ("number",)),
    8: (Bye, ("number", "losses")),
    9: (Ready, ()),
}


def _fits(check: str, value: Any) -> bool:
    return _CHECKS[check](value)
