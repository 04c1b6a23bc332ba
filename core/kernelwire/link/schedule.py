"""What goes into the next frame: control records, then lane C, then lane D, as much as fits. Sans-I/O.

Small messages share a frame; a large one fills many, and what has come on lane C meanwhile goes before its next piece.
"""

from collections.abc import Sequence
from typing import Final

from kernelwire.link.records import DATA_HEADER, FRAME_LIMIT, Control, data_header
from kernelwire.link.resume import OutLane

_WORTHWHILE: Final = 1024
"""Bytes of a frame that are left over rather than filled with a splinter of a large message."""


def fill(controls: Sequence[Control], lanes: Sequence[OutLane], limit: int = FRAME_LIMIT) -> bytes:
    """A frame's plaintext.

    Arguments:
        controls: those that are to go, all of them: they are few and small.
        lanes: in the order of their importance.
        limit: bytes at the most, unless the controls alone are more.
    """
    parts: list[bytes | memoryview] = [control.encode() for control in controls]
    left = limit - sum(map(len, parts))
    for lane in lanes:
        number = lane.number
        while left > _WORTHWHILE:
            chunk = lane.next_chunk(left - DATA_HEADER)
            if chunk is None:
                break
            size = chunk.size
            parts.append(data_header(number, chunk.seq, size, final=chunk.final))
            parts += chunk.pieces
            left -= DATA_HEADER + size
    return b"".join(parts)
