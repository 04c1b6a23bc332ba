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
        if size < ZERO_COPY or len(frames) < _SIGNED_FRAMES:
            frames.append(native.bytes)
        else:
            # A small view would keep a whole zmq frame alive; a large one saves the copy.
            frames.append(native.buffer.toreadonly())
    return WireMessage(frames, _to_peer(routing))


def routed(message: WireMessage) -> list[Frame]:
    """The parts to send from a kernel end: the peer's routing, or the topic, then the message."""
    return [*_to_routing(message.peer), DELIMITER, *message.frames]


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
