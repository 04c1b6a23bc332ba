"""What an end puts on a wire, looked at without the link's own code, and what it may keep meanwhile."""

from kernelwire.link.client import ClientLink
from kernelwire.link.peer import Peer
from kernelwire.link.records import Lane
from simulation._checker import Broken
from simulation._stage import Stage


def next_frame(machine: ClientLink | Peer, peer: Peer, stage: Stage) -> tuple[bytes, tuple[int, int]]:
    """What a machine has to send, its bytes of messages on C and D, and whether all is by the rules."""
    plaintext = machine.next_frame(stage.now)
    if not plaintext:
        if machine.has_frame(stage.now):
            raise Broken("idle", "a machine says that it has a frame, and has none")
        return b"", (0, 0)
    check_bounds(peer, stage)
    sizes = lane_bytes(plaintext)
    if sizes[Lane.D] and peer.out[Lane.C].has_more:
        raise Broken("priority", "lane D is served while something waits on lane C")
    return plaintext, sizes


def check_bounds(peer: Peer, stage: Stage) -> None:
    """What an end may keep of messages on their way."""
    out_c, out_d = peer.out
    if max(out_c.kept, out_d.kept) > stage.scale.kept + stage.largest:
        raise Broken("bound", f"{out_c.kept} and {out_d.kept} bytes are kept on the lanes")
    into_c, into_d = peer.into
    if max(into_c._assembly.size, into_d._assembly.size) > stage.largest:
        raise Broken("bound", f"{into_c.position.offset} and {into_d.position.offset} bytes of one message have come")


def lane_bytes(plaintext: bytes) -> tuple[int, int]:
    """Bytes of messages in a frame, on lanes C and D, by the wire's format."""
    sizes = [0, 0]
    at, end = 0, len(plaintext)
    while at < end:
        size = int.from_bytes(plaintext[at + 1 : at + 4], "big")
        if plaintext[at] == 1:
            sizes[plaintext[at + 4] & 1] += size - 9
        at += 4 + size
    return sizes[0], sizes[1]
