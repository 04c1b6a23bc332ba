"""What a published message is, at a glance: by words that stand in it, since nobody parses JSON on its way. Pure.

Whoever publishes one of these words in another message has it kept a little longer, or sent a little later, for
nothing. That does no harm.
"""

import re
from typing import Final

from kernelwire.link.envelope import Payload

_SMALL: Final = 64 * 1024
"""Bytes above which nothing is looked for."""

_stream = re.compile(rb'"msg_type": ?"stream"').search
_ends = re.compile(rb'"(?:idle|error|comm_close|shutdown_reply)"').search
_begins = re.compile(rb'"(?:busy|execute_input)"').search


def is_pinned(payload: Payload) -> bool:
    """Whether it ends a request or is a gap, and so stays in a log when older ones go."""
    if len(payload.pieces) == 1:  # a gap: what it stands for is not to be lost twice
        return True
    data = _frames(payload)
    return bool(data) and _ends(data) is not None


def can_wait(payload: Payload) -> bool:
    """Whether it only tells that work begins, or that it ended on a request that is over with its reply: then it may
    wait for company.
    """
    if len(payload.pieces) == 1:
        return False
    data = _frames(payload)
    if not data:
        return False
    if b'"idle"' in data:
        return b'"execute_request"' not in data
    return _begins(data) is not None


def _frames(payload: Payload) -> bytes | memoryview:
    """All of a small message's, in one piece: to look into each by itself takes longer. Nothing of a stream's, of which
    there are most: it is neither.
    """
    if payload.size > _SMALL:
        return b""
    data = payload.pieces[1] if len(payload.pieces) == 2 else b"".join(payload.pieces[1:])
    return b"" if _stream(data) else data
