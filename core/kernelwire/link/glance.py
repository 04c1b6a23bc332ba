"""What a message of a kernel is, at a glance: by words that stand in it, since nobody parses JSON on its way. Pure.

Whoever puts one of these words into another message has it kept a little longer, or sent a little later, for
nothing. That does no harm.
"""

import re
from typing import Final

from msgspec import Struct

from kernelwire.link.envelope import Payload
from kernelwire.messages import WireMessage

_SMALL: Final = 64 * 1024
"""Bytes above which nothing is looked for."""

_stream = re.compile(rb'"msg_type": ?"stream"').search
_ends = re.compile(rb'"(?:idle|error|comm_close|shutdown_reply)"').search
_begins = re.compile(rb'"(?:busy|execute_input)"').search


class Glance(Struct, frozen=True, gc=False):
    """What was seen.

    Attributes:
        is_pinned: whether it ends a request or is a gap, and so stays in a log when older ones go.
        can_wait: whether it only tells that work begins, or that it ended on a request that is over with its reply:
            then it may wait for company.
    """

    is_pinned: bool
    can_wait: bool


_SEEN: Final = {(pins, waits): Glance(pins, waits) for pins in (False, True) for waits in (False, True)}
_PLAIN: Final = _SEEN[False, False]
_GAP: Final = _SEEN[True, False]  # what it stands for is not to be lost twice


def look(payload: Payload) -> Glance:
    """See the module."""
    pieces = payload.pieces
    if len(pieces) == 1:
        return _GAP
    if payload.size > _SMALL:
        return _PLAIN
    # In one piece: to look into each frame by itself takes longer.
    data = pieces[1] if len(pieces) == 2 else b"".join(pieces[1:])
    if _stream(data):  # most are, and none of these is anything else
        return _PLAIN
    waits = b'"execute_request"' not in data if b'"idle"' in data else _begins(data) is not None
    return _SEEN[_ends(data) is not None, waits]


def is_half_an_end(reply: WireMessage) -> bool:
    """Whether who waits for a reply waits for a status too, which follows it at once."""
    header = reply.frames[1] if len(reply.frames) > 1 else b""
    return len(header) <= _SMALL and b'"execute_reply"' in bytes(header)
