"""What a message is, at a glance."""

import pytest

from kernelwire.channels import Channel
from kernelwire.link.envelope import Payload, pack, pack_gap
from kernelwire.link.glance import is_half_an_end, look
from kernelwire.messages import Frame, WireMessage

EXECUTE = b'{"msg_id":"1","msg_type":"execute_request"}'
INFO = b'{"msg_id":"1","msg_type":"kernel_info_request"}'


def published(kind: bytes, content: bytes, parent: bytes = EXECUTE, *buffers: bytes) -> Payload:
    header = b'{"msg_type":"%b"}' % kind
    return pack(Channel.IOPUB, WireMessage((b"5ig", header, parent, b"{}", content, *buffers), b"topic"))


@pytest.mark.parametrize(
    ("payload", "pinned", "waits"),
    [
        (published(b"status", b'{"execution_state":"busy"}'), False, True),
        (published(b"execute_input", b'{"code":"1"}'), False, True),
        (published(b"status", b'{"execution_state": "idle"}'), True, False),
        (published(b"status", b'{"execution_state":"idle"}', INFO), True, True),
        (published(b"status", b'{"execution_state":"busy"}', INFO), False, True),
        (published(b"stream", b'{"name":"stdout","text":"busy"}'), False, False),
        (published(b"display_data", b'{"data":{"what":"busy"}}'), False, True),
        (published(b"stream", b'{"name":"stdout","text":"\\"busy\\" idle"}'), False, False),
        (published(b"error", b'{"ename":"E"}'), True, False),
        (published(b"comm_close", b"{}"), True, False),
        (published(b"shutdown_reply", b"{}"), True, False),
        (published(b"display_data", b"{}", EXECUTE, b'"idle"' * 20_000), False, False),
        (published(b"display_data", b"{}", EXECUTE, b'"idle"' * 6_000), True, False),
        (pack_gap(Channel.IOPUB, 1, 2, '"busy"'), True, False),
    ],
)
def test_words_say_what_a_message_is(payload: Payload, pinned: bool, waits: bool) -> None:
    assert look(payload).is_pinned == pinned
    assert look(payload).can_wait == waits


@pytest.mark.parametrize(
    ("frames", "is_half"),
    [
        ((b"5ig", b'{"msg_type": "execute_reply"}', EXECUTE, b"{}", b"{}"), True),
        ((b"5ig", memoryview(b'{"msg_type":"execute_reply"}')), True),
        ((b"5ig", b'{"msg_type":"kernel_info_reply"}', EXECUTE, b"{}", b'"execute_reply"'), False),
        ((b"5ig", b'"execute_reply"' * 6_000), False),
        ((b'"execute_reply"',), False),
    ],
)
def test_an_execution_ends_with_reply_and_idle(frames: tuple[Frame, ...], is_half: bool) -> None:
    assert is_half_an_end(WireMessage(frames)) == is_half
