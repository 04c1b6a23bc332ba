"""Requests whose replies are lost: which they are, and what is said in their place."""

from typing import Any

import pytest

from kernelwire import unanswered as module
from kernelwire.channels import Channel
from kernelwire.messages import Message, WireMessage
from kernelwire.session import Session
from kernelwire.unanswered import Unanswered, answer, is_unknown

KEY = b"a key"
CLIENT, KERNEL = Session(KEY), Session(KEY)


def asked(unanswered: Unanswered, msg_type: str = "execute_request", channel: Channel = Channel.SHELL) -> Message:
    request = CLIENT.message(msg_type, {"code": "secret"})
    unanswered.on_request(channel, CLIENT.pack(request))
    return request


def test_what_was_answered_is_not_lost() -> None:
    unanswered = Unanswered()
    first, second = asked(unanswered), asked(unanswered, "complete_request")
    unanswered.on_reply(KERNEL.pack(KERNEL.message("execute_reply", parent=first)))
    assert [each.header for each in unanswered.lose(Channel.SHELL)] == [second.header]
    assert list(unanswered.lose(Channel.SHELL)) == []


def test_each_channel_loses_its_own() -> None:
    unanswered = Unanswered()
    asked(unanswered)
    control = asked(unanswered, "interrupt_request", Channel.CONTROL)
    assert [each.msg_id for each in unanswered.lose(Channel.CONTROL)] == [control.msg_id]
    assert len(unanswered) == 1


def test_what_is_no_request_gets_no_reply() -> None:
    unanswered = Unanswered()
    asked(unanswered, "comm_msg")
    assert list(unanswered.lose(Channel.SHELL)) == []
    assert len(unanswered) == 0


@pytest.mark.parametrize("header", [b"", b"[]", b"{}", b"\xff", b'{"msg_id": 7}', b'{"msg_id": "a", "msg_type": {'])
def test_headers_that_are_none_do_no_harm(header: bytes) -> None:
    unanswered = Unanswered()
    unanswered.on_request(Channel.SHELL, [b"", header, header, b"{}", b"{}"])
    unanswered.on_reply([b"", header, header, b"{}", b"{}"])
    assert list(unanswered.lose(Channel.SHELL)) == []


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    unanswered = Unanswered()
    requests = [asked(unanswered) for _ in range(5)]
    assert [each.msg_id for each in unanswered.lose(Channel.SHELL)] == [each.msg_id for each in requests[2:]]


def read(wire: WireMessage) -> tuple[str, dict[str, Any]]:
    message = Session(KEY).unpack(wire.frames)
    assert is_unknown(message)
    return message.msg_type, dict(message.content)


def test_an_execution_ends_with_its_error_its_idle_and_its_reply() -> None:
    request = CLIENT.message("execute_request", {"code": "secret"})
    reply, published = answer(KERNEL, request, b"peer", "the host was started anew")
    assert reply.peer == b"peer"
    assert [read(each)[0] for each in (*published, reply)] == ["error", "status", "execute_reply"]
    content = read(reply)[1]
    assert content == {
        "status": "error",
        "ename": "OutcomeUnknown",
        "evalue": "it may have run, or not: the host was started anew",
        "traceback": [],
    }
    for each in (*published, reply):
        message = Session(KEY).unpack(each.frames)
        assert message.parent_header == request.header
        assert message.header["session"] == request.header["session"]  # so that nobody takes it for another kernel


def test_other_requests_have_no_error_among_their_output() -> None:
    reply, published = answer(KERNEL, CLIENT.message("kernel_info_request"), b"peer", "why")
    assert [read(each)[0] for each in (*published, reply)] == ["status", "kernel_info_reply"]


def test_a_kernels_own_reply_is_known() -> None:
    assert not is_unknown(KERNEL.message("execute_reply", {"status": "error", "ename": "OutcomeUnknown"}))
