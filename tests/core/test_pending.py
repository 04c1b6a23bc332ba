"""The requests under way, and what they want of iopub."""

import pytest

from kernelwire.channels import IOPubChannel
from kernelwire.messages import Message, WireMessage
from kernelwire.pending import Pending
from kernelwire.requests import FlushRequest, PlainRequest, Request


class Deaf(IOPubChannel):
    async def receive(self) -> WireMessage:
        raise NotImplementedError

    async def ready(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


def message(msg_id: str) -> Message:
    return Message({"msg_id": msg_id, "msg_type": "some_request"})


@pytest.fixture
def iopub() -> Deaf:
    return Deaf()


@pytest.fixture
def pending(iopub: Deaf) -> Pending:
    return Pending(iopub)


async def test_finds_what_is_under_way(pending: Pending) -> None:
    one, two = Request(message("1")), PlainRequest(message("2"))
    pending.add(one)
    pending.add(two)
    assert (pending.get("1"), pending.get("2"), pending.get("3")) == (one, two, None)
    assert len(pending) == 2
    for each in pending:  # which may drop what it sees
        pending.drop(each)
        pending.drop(each)
    assert one not in pending
    assert not len(pending)


async def test_iopub_hurries_while_somebody_listens(pending: Pending, iopub: Deaf) -> None:
    assert not iopub.urgent
    plain, flush, other = PlainRequest(message("1")), FlushRequest(message("2")), Request(message("3"))
    pending.add(plain)
    assert not iopub.urgent
    pending.add(flush)
    pending.add(other)
    assert iopub.urgent
    pending.drop(flush)
    pending.drop(flush)
    assert iopub.urgent
    pending.drop(other)
    assert not iopub.urgent
    pending.drop(plain)
    assert not iopub.urgent


async def test_comms_listen_for_good(pending: Pending, iopub: Deaf) -> None:
    pending.listen()
    request = Request(message("1"))
    pending.add(request)
    pending.drop(request)
    assert iopub.urgent


def test_without_iopub_nothing_hurries() -> None:
    pending = Pending(None)
    request = Request(message("1"))
    pending.add(request)
    pending.drop(request)
    assert not len(pending)
