"""Requests as values: what comes back changes them, and says when they are done."""

import pytest

from kernelwire.channels import Channel
from kernelwire.errors import Incomplete, KernelwireError, NoReply
from kernelwire.messages import Message
from kernelwire.requests import FlushRequest, PlainRequest, Probe, Request

ASKED = Message({"msg_id": "asked", "msg_type": "kernel_info_request"})
REPLY = Message({"msg_id": "reply", "msg_type": "kernel_info_reply"}, ASKED.header)
BUSY = Message({"msg_id": "busy", "msg_type": "status"}, ASKED.header, content={"execution_state": "busy"})
IDLE = Message({"msg_id": "idle", "msg_type": "status"}, ASKED.header, content={"execution_state": "idle"})


def test_a_request_is_done_with_its_reply() -> None:
    request = Request(ASKED)
    assert request.channel is Channel.SHELL
    assert not request.done
    assert not request.half_done
    request.on_output(BUSY, 1)
    assert not request.half_done
    request.on_output(IDLE, 1)
    assert request.half_done
    request.on_reply(REPLY)
    assert request.done
    assert not request.half_done


async def test_a_plain_request_has_its_reply() -> None:
    request = PlainRequest(ASKED, Channel.CONTROL)
    request.on_reply(REPLY)
    request.fail(NoReply("too late"))
    request.on_reply(ASKED)
    assert await request.reply is REPLY


async def test_a_plain_request_that_fails_says_so_once() -> None:
    request = PlainRequest(ASKED)
    request.fail(NoReply("first"))
    request.fail(NoReply("second"))
    request.on_reply(REPLY)
    with pytest.raises(NoReply, match="first"):
        await request.reply


@pytest.mark.parametrize("order", ["reply first", "idle first"])
async def test_a_flush_waits_for_both(order: str) -> None:
    request = FlushRequest(ASKED)
    events = [lambda: request.on_reply(REPLY), lambda: request.on_output(IDLE, 1)]
    if order == "idle first":
        events.reverse()
    events[0]()
    assert not request.reply.done()
    assert request.half_done
    events[1]()
    assert await request.reply is REPLY
    assert request.done


class Ended:
    """Collects what a probe convicts."""

    def __init__(self, suspect: Request) -> None:
        self.errors: list[KernelwireError] = []
        self.probe = Probe(ASKED, Channel.SHELL, [suspect], lambda _, error: self.errors.append(error))


async def test_a_probe_convicts_one_whose_idle_was_dropped() -> None:
    suspect = FlushRequest(ASKED)
    suspect.on_reply(REPLY)
    ended = Ended(suspect)
    ended.probe.on_output(BUSY, 1)
    ended.probe.on_reply(REPLY)
    assert not ended.errors
    ended.probe.on_output(IDLE, 1)
    assert [type(error) for error in ended.errors] == [Incomplete]
    assert ended.probe.done


async def test_a_probe_convicts_one_whose_reply_was_dropped() -> None:
    suspect = PlainRequest(ASKED)
    suspect.on_output(IDLE, 1)
    ended = Ended(suspect)
    ended.probe.on_output(IDLE, 1)
    assert not ended.errors
    ended.probe.on_reply(REPLY)
    assert [type(error) for error in ended.errors] == [NoReply]


async def test_a_probe_acquits_one_that_came_after_all() -> None:
    suspect = FlushRequest(ASKED)
    suspect.on_reply(REPLY)
    ended = Ended(suspect)
    suspect.on_output(IDLE, 1)
    ended.probe.on_reply(REPLY)
    ended.probe.on_output(IDLE, 1)
    assert not ended.errors
