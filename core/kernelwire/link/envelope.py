"""Messages and gaps as bytes of a lane, and back. Pure.

::

    message = length of the head (4 octets, big-endian) · head · the frames, one after the other
    head    = msgpack array: [channel, peer, [length of each frame]]
            | msgpack array: [9, channel, count or nil, size or nil, reason]

A channel is 0 for shell, 1 control, 2 stdin, 3 iopub. The second form says that messages of that channel are missing
here; it has no frames.

The frames are Jupyter's own, with their signature; the link does not look into them. `peer` is the topic on iopub, and
empty elsewhere: who the client is, the connection says.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

from msgspec import DecodeError, Meta, Struct
from msgspec.msgpack import Decoder, Encoder

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice, InvalidMessage, LinkViolation
from kernelwire.link.records import Lane, Lost
from kernelwire.messages import Frame, WireMessage

CHANNELS: Final = (Channel.SHELL, Channel.CONTROL, Channel.STDIN, Channel.IOPUB)
LANE_OF: Final = {Channel.SHELL: Lane.D, Channel.CONTROL: Lane.C, Channel.STDIN: Lane.C, Channel.IOPUB: Lane.D}

_NUMBERS: Final = {channel: number for number, channel in enumerate(CHANNELS)}
_GAP: Final = 9
_LENGTH = struct.Struct(">I")

HEAD_LIMIT: Final = 1024 * 1024
"""Bytes of a head at the most."""

FRAMES_LIMIT: Final = 64 * 1024
"""Frames of a message at the most."""

# A head is read by its types: a generic reader would make whatever arrays somebody nests in it, and take memory for
# the lengths that they claim.
_Number = Annotated[int, Meta(ge=0, lt=len(CHANNELS))]
_Size = Annotated[int, Meta(ge=0)]
_Sizes = Annotated[tuple[_Size, ...], Meta(max_length=FRAMES_LIMIT)]
_encode, _decode = Encoder().encode, Decoder().decode
_MESSAGE_HEAD = Decoder(tuple[_Number, bytes, _Sizes])
_GAP_HEAD = Decoder(tuple[Literal[9], _Number, _Size | None, _Size | None, str])


MESSAGE_LIMIT: Final = 257 * 1024 * 1024
"""Bytes of a message at the most, for all ends of this version: 256 MiB of frames, and a head. A sender may set
itself a lower one; a receiver may not, or a message that it refuses would come again for ever."""


_SMALL: Final = 32 * 1024
"""Bytes under which frames are copied: into one piece on their way out, since pieces cost more than bytes; and out of
what came in, since a view would keep the whole message alive.
"""


class Payload(Struct, frozen=True, gc=False):
    """What a lane carries: bytes in several pieces, so that nobody has to copy them together.

    Attributes:
        pieces: the bytes.
        size: how many.
    """

    pieces: Sequence[Frame]
    size: int


class Item(Struct, frozen=True):
    """What a lane brought.

    Attributes:
        channel: where it belongs.
        content: a message, or a notice that messages are missing here.
    """

    channel: Channel
    content: WireMessage | GapNotice


def pack(channel: Channel, message: WireMessage) -> Payload:
    """A message for a lane.

    Raises:
        InvalidMessage: it has more than :data:`FRAMES_LIMIT` frames, or a topic that makes its head too large.
    """
    frames = message.frames
    lengths = [*map(len, frames)]
    size = sum(lengths)
    peer = message.peer if channel is Channel.IOPUB else b""
    head = _encode((_NUMBERS[channel], peer, lengths))
    if len(lengths) > FRAMES_LIMIT or len(head) > HEAD_LIMIT:
        raise InvalidMessage(f"a message of {len(lengths)} frames, or with a topic of {len(peer)} bytes: too much here")
    body = frames if size >= _SMALL else (b"".join(frames),)
    return Payload((_LENGTH.pack(len(head)) + head, *body), 4 + len(head) + size)


def pack_gap(channel: Channel, count: int | None, size: int | None, reason: str) -> Payload:
    """A gap for a lane."""
    head = _encode((_GAP, _NUMBERS[channel], count, size, reason))
    return Payload((_LENGTH.pack(len(head)) + head,), 4 + len(head))


def account(payloads: Iterable[Payload]) -> tuple[Lost, ...]:
    """How much of each channel these are, gaps with what they stand for."""
    losses: dict[int, Lost] = {}
    for payload in payloads:
        head = payload.pieces[0]
        number, *rest = _decode(head[4:])
        loss = Lost(number, 1, payload.size - len(head))
        if number == _GAP:
            loss = Lost(*rest[:3])
        before = losses.get(loss.channel, Lost(loss.channel, 0, 0))
        losses[loss.channel] = Lost(loss.channel, _sum(before.messages, loss.messages), _sum(before.size, loss.size))
    return tuple(losses[number] for number in sorted(losses))


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def unpack(lane: int, data: memoryview) -> Item:
    """What a lane brought. Frames are views of `data`, except small ones.

    Raises:
        LinkViolation: it is neither a message nor a gap, or not one of this lane.
    """
    end = len(data)
    if end < 4:
        raise LinkViolation("a message without a head")
    (size,) = _LENGTH.unpack_from(data)
    start = 4 + size
    if start > end or size > HEAD_LIMIT:
        raise LinkViolation("a message whose head is cut short, or too large")
    source = data.tobytes() if end < _SMALL else data  # pieces of bytes are made faster than those of a view
    head = source[4:start]
    try:
        number, peer, lengths = _MESSAGE_HEAD.decode(head)
    except (DecodeError, UnicodeDecodeError):
        item = _unpack_gap(head, end - start)
    else:
        item = Item(CHANNELS[number], WireMessage(_frames(source, start, lengths), peer))
        if peer and item.channel is not Channel.IOPUB:
            raise LinkViolation("a message that says who its peer is, which the connection does")
    if LANE_OF[item.channel] != lane:
        raise LinkViolation(f"a message of {item.channel} on the other lane")
    return item


def _unpack_gap(head: Frame, behind: int) -> Item:
    try:
        _, number, count, size, reason = _GAP_HEAD.decode(head)
    except (DecodeError, UnicodeDecodeError):
        raise LinkViolation("a message whose head is not what it must be") from None
    if behind:
        raise LinkViolation("a gap that has frames")
    return Item(CHANNELS[number], GapNotice(count, size, reason))


def _frames(data: Frame, at: int, lengths: Sequence[int]) -> list[Frame]:
    """Those that begin there."""
    if at + sum(lengths) != len(data):
        raise LinkViolation("frames that are not as long as the message")
    frames: list[Frame] = []
    for length in lengths:
        end = at + length
        frame = data[at:end]
        frames.append(frame if length >= _SMALL or type(frame) is bytes else bytes(frame))
        at = end
    return frames
