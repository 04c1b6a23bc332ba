"""One request on the control channel, and the pulse, without a client."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from kernelwire import registry
from kernelwire.connection import ConnectionInfo
from kernelwire.control import Pulse, ask
from kernelwire.ends import KernelEnd
from kernelwire.errors import InvalidField, NotServed, RequestTimeout
from kernelwire.message_channel import MessageChannel
from kernelwire.session import Session
from kernelwire.testing import Resources, ScriptedKernel

PATIENCE = 60.0
INFO = ConnectionInfo("inprocess", key=b"a key", extra={"name": "controlled"})


@pytest.fixture(autouse=True)
async def _nothing_is_left() -> AsyncIterator[None]:
    before = Resources.now()
    yield
    assert await before.settled() == []


@pytest.fixture
async def end(_nothing_is_left: None) -> AsyncIterator[KernelEnd]:
    async with await registry.load(INFO.transport).serve(INFO) as end:
        yield end


async def test_the_reply(end: KernelEnd) -> None:
    async with ScriptedKernel(end, Session.of(INFO)) as kernel:
        reply = await ask(INFO, "shutdown_request", {"restart": True}, timeout=PATIENCE)
        assert reply.msg_type == "shutdown_reply"
        assert reply.content["restart"] is True
        assert not kernel.interrupted.is_set()


async def test_what_is_for_others_is_not_the_reply(end: KernelEnd) -> None:
    session = Session.of(INFO)
    control = MessageChannel(end.control, session)
    asking = asyncio.create_task(ask(INFO, "interrupt_request", {}, timeout=PATIENCE))
    request, wire = await control.receive_from()
    await control.send(session.message("interrupt_reply", {"status": "late"}), wire.peer)
    await control.send(session.message("interrupt_reply", {"status": "ok"}, parent=request), wire.peer)
    assert (await asking).content["status"] == "ok"


async def test_no_reply(end: KernelEnd) -> None:
    with pytest.raises(RequestTimeout, match=r"interrupt_request within 0\.05 s"):
        await ask(INFO, "interrupt_request", {}, timeout=0.05)


async def test_nobody_there() -> None:
    with pytest.raises(NotServed):
        await ask(INFO, "interrupt_request", {}, timeout=PATIENCE)
    with pytest.raises(NotServed):
        await Pulse(INFO).open()
    with pytest.raises(InvalidField):
        await Pulse(ConnectionInfo("tcp")).open()


async def test_the_pulse(end: KernelEnd) -> None:
    pulse = Pulse(INFO)
    assert pulse.is_beating is None
    await pulse.open()
    async with asyncio.timeout(PATIENCE):
        while not pulse.is_beating:
            await asyncio.sleep(0.01)
    await end.aclose()
    await pulse.aclose()
    await pulse.aclose()
