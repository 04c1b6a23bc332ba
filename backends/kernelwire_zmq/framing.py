"""A Jupyter message on a zmq socket.

``[*routing, <IDS|MSG>, signature, header, parent_header, metadata, content, *buffers]``

Source: "Messaging in Jupyter", section "The Wire Protocol".
"""

from collections.abc import Sequence
from typing import Final

import zmq

from kernelwire.messages import Frame, WireMessage
from kernelwire_zmq.wire import ZERO_COPY

DELIMITER: Final = b"<IDS|MSG>"

_NOBLOCK: Final = int(zmq.NOBLOCK)
_MAX_ROUTING: Final = 32
_SIGNED_FRAMES: Final = 5
_SEVERAL: Final = b"\0several\0"
"""Marks a peer of more than one routing frame. A single one seldom looks so: zmq's own are NUL and 4 bytes, and a
caller's must not start with NUL. One that does all the same is marked too, so that it names nobody else."""


def receive(socket: "zmq.Socket[bytes]", max_bytes: int) -> WireMessage:
    """Take one message off a socket that has one.

    What is no Jupyter message, or is over `max_bytes`, comes out as a message of no frames, which every session
    refuses and counts.

    Raises:
        zmq.Again: the socket has none.
    """
    # As zmq's own frames: they know whether more follows, which to ask the socket costs more than all the rest.
    recv = socket.recv
    native = recv(_NOBLOCK, False)
    routing: list[bytes] = []
    while (part := native.bytes) != DELIMITER:
        routing.append(part)
        if not native.more or len(routing) > _MAX_ROUTING:
            return _skip(socket, native)
        native = recv(_NOBLOCK, False)
    frames: list[Frame] = []
    left = max_bytes
    while native.more:
        native = recv(_NOBLOCK, False)
        size = len(native)
        left -= size
        if left < 0:
            return _skip(socket, native)
        frames.append(native.bytes if len(frames) < _SIGNED_FRAMES else _buffer(native))
    return WireMessage(frames, _to_peer(routing))


def receive_plain(socket: "zmq.Socket[bytes]", max_bytes: int, *, topics: bool) -> Sequence[WireMessage]:
    """As `receive`, in half the time, for a socket that is connected to one peer and no other.

    To ask after each frame whether more follow takes longer than to receive it. So as many are taken as the shortest
    message has; if they do not look like one, they may be of several, and are told apart. A peer that sends what looks
    like two messages in one may lose some of its own by that.

    Arguments:
        socket: with one peer.
        max_bytes: as `receive`.
        topics: whether messages have a frame in front of the delimiter.

    Returns:
        Mostly one message; before it one of no frames, if something came before it that is none.

    Raises:
        zmq.Again: the socket has none.
    """
    recv = socket.recv
    routing: list[Frame] = []
    delimiter = recv(_NOBLOCK)
    try:
        if delimiter != DELIMITER:
            routing.append(delimiter)
            delimiter = recv(_NOBLOCK)
        frames: list[Frame] = [recv(_NOBLOCK), recv(_NOBLOCK), recv(_NOBLOCK), recv(_NOBLOCK)]
        native = recv(_NOBLOCK, False)
    except zmq.Again:
        return (WireMessage(()),)  # fewer frames than one message has, and nothing behind them
    frames.append(native.bytes)
    _, header, parent, metadata, content = frames
    plain = delimiter == DELIMITER and header[:1] == parent[:1] == metadata[:1] == content[:1] == b"{"
    left = max_bytes - sum(map(len, frames))
    while native.more:
        native = recv(_NOBLOCK, False)
        left -= len(native)
        if left >= 0:
            frames.append(_buffer(native))
    if left < 0:
        return (WireMessage(()),)
    if not plain:
        return _told_apart([*routing, delimiter, *frames], topics=topics)
    return (WireMessage(frames, bytes(routing[0]) if routing and topics else b""),)


def routed(message: WireMessage) -> list[Frame]:
    """The parts to send from a kernel end: the peer's routing, or the topic, then the message."""
    return [*_to_routing(message.peer), DELIMITER, *message.frames]


def _told_apart(frames: list[Frame], *, topics: bool) -> Sequence[WireMessage]:
    """The last message in the frames of one or more; before it one of no frames, if there were more."""
    if DELIMITER not in frames[: _MAX_ROUTING + 1]:
        return (WireMessage(()),)
    start = first = frames.index(DELIMITER)
    while (later := _next_delimiter(frames, start, topics=topics)) is not None:
        start = later
    if start == first:
        return (WireMessage(frames[start + 1 :], _to_peer([*map(bytes, frames[:start])]) if topics else b""),)
    return WireMessage(()), WireMessage(frames[start + 1 :], bytes(frames[start - 1]) if topics else b"")


def _next_delimiter(frames: list[Frame], start: int, *, topics: bool) -> int | None:
    """Where the next message's delimiter is, if the one whose delimiter is at `start` has too few frames."""
    end = start + 1 + _SIGNED_FRAMES
    if topics and len(frames) > end and not bytes(frames[end - 1]).lstrip().startswith(b"{"):
        end += 1  # in the place of the content there is the next one's topic
    return frames.index(DELIMITER, start + 1, end) if DELIMITER in frames[start + 1 : end] else None


def _buffer(native: zmq.Frame) -> Frame:
    # A small view would keep a whole zmq frame alive; a large one saves the copy.
    return native.bytes if len(native) < ZERO_COPY else native.buffer.toreadonly()


def _skip(socket: "zmq.Socket[bytes]", native: zmq.Frame) -> WireMessage:
    while native.more:
        native = socket.recv(_NOBLOCK, False)
    return WireMessage(())


def _to_peer(routing: Sequence[bytes]) -> bytes:
    if len(routing) == 1 and not routing[0].startswith(_SEVERAL):
        return routing[0]
    if not routing:
        return b""
    return _SEVERAL + b"".join(len(frame).to_bytes(4, "big") + frame for frame in routing)


def _to_routing(peer: bytes) -> list[bytes]:
    if not peer:
        return []
    if not peer.startswith(_SEVERAL):
        return [peer]
    routing = []
    rest = peer[len(_SEVERAL) :]
    while rest:
        size = int.from_bytes(rest[:4], "big")
        routing.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    return routing
