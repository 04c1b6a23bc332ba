"""What an end puts on a wire, looked at without the link's own code, and what it may keep meanwhile."""

import struct
from typing import Final

from kernelwire.link.client import ClientLink
from kernelwire.link.peer import Peer
from simulation._checker import Broken
from simulation._stage import Stage


def next_frame(machine: ClientLink | Peer, peer: Peer, stage: Stage) -> tuple[bytes, tuple[int, int]]:
    """What a machine has to send, its bytes of messages on C and D, and whether all is by the rules."""
    if not machine.has_frame(stage.now):
        return b"", (0, 0)
    plaintext = machine.next_frame(stage.now)
    if not plaintext:
        raise Broken("idle", "a machine says that it has a frame, and has none")
    out_c, out_d = peer.out
    most = stage.scale.kept + stage.largest
    if out_c.kept > most or out_d.kept > most:
        raise Broken("bound", f"{out_c.kept} and {out_d.kept} bytes are kept on the lanes")
    sizes = lane_bytes(plaintext)
    if sizes[1] and out_c.has_more:
        raise Broken("priority", "lane D is served while something waits on lane C")
    return plaintext, sizes


def check_halves(peer: Peer, stage: Stage) -> None:
    """What an end may have of messages that have come in part, after each frame that has come."""
    into_c, into_d = peer.into
    if into_c._assembly.size > stage.largest or into_d._assembly.size > stage.largest:
        raise Broken("bound", f"{into_c.position.offset} and {into_d.position.offset} bytes of one message have come")


def has_half(peer: Peer) -> bool:
    """Whether a message has come to an end in part."""
    into_c, into_d = peer.into
    return bool(into_c._assembly.size or into_d._assembly.size)


def lane_bytes(plaintext: bytes) -> tuple[int, int]:
    """Bytes of messages in a frame, on lanes C and D, by the wire's format."""
    sizes = [0, 0]
    at, end = 0, len(plaintext)
    while at < end:
        kind, high, low, lane = _HEAD.unpack_from(plaintext, at)
        size = high << 16 | low
        if kind == 1:
            sizes[lane & 1] += size - 9
        at += 4 + size
    return sizes[0], sizes[1]


_HEAD: Final = struct.Struct(">BBHB")
"""Of a record: type, length in three octets; and of its body the first octet, which every record has."""
