"""What ends a request that gets no reply: another kernel, dropped output, a dropped reply, somebody who knows that the
kernel has ended. The rest of the router is tested through the client.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kernelwire import router
from kernelwire.channels import Channel
from kernelwire.client import KernelClient
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import (
    ChannelClosed,
    ConnectionLost,
    EndOfChannel,
    GapNotice,
    Incomplete,
    KernelDied,
    KernelRestarted,
    NoReply,
    OutcomeUnknown,
    RequestTimeout,
)
from kernelwire.execution import ExecuteResult, Execution, InputRequest
from kernelwire.messages import Message, WireMessage
from kernelwire.session import Session
from kernelwire_inprocess import InProcessBackend

from ._raw_kernel import RawKernel, nothing_is_left_of_requests, settle


@pytest.fixture
async def info() -> ConnectionInfo:
    return InProcessBackend({}).prepare(ConnectionInfo(transport="inprocess", key=b"a key for these tests"))


@pytest.fixture
async def backend() -> InProcessBackend:
    return InProcessBackend({})


@pytest.fixture
async def kernel(backend: InProcessBackend, info: ConnectionInfo) -> AsyncIterator[RawKernel]:
    async with await backend.serve(info) as end:
        yield RawKernel(end, info)


@pytest.fixture
async def client(backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel) -> AsyncIterator[KernelClient]:
    session = Session.of(info)
    end = await backend.connect(info, identity=session.session_id.encode())
    async with KernelClient(end, session, time_to_dead=60) as client:
        yield client
        await settle()
        assert nothing_is_left_of_requests(client)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that asks after a request at once."""
    monkeypatch.setattr(router, "SILENCE", 0.0)


def started(execution: Execution) -> "asyncio.Task[ExecuteResult]":
    async def run() -> ExecuteResult:
        return await execution

    return asyncio.create_task(run())


async def restarted(kernel: RawKernel, info: ConnectionInfo) -> None:
    """Another kernel takes the place of this one, and says so as ipykernel does."""
    kernel.session = Session.of(info)
    other = RawKernel(kernel.end, info)
    kernel.session = other.session
    await other._iopub.send(other.session.message("status", {"execution_state": "starting"}))


async def test_a_new_kernel_ends_what_the_old_one_was_at(
    client: KernelClient, kernel: RawKernel, info: ConnectionInfo
) -> None:
    running = started(client.execute("for ever"))
    request = await kernel.asked("execute_request")
    await kernel.publish(request, "status", execution_state="busy")
    await settle()
    await restarted(kernel, info)
    with pytest.raises(KernelRestarted):
        await running


async def test_what_no_kernel_has_begun_is_left_to_the_new_one(
    client: KernelClient, kernel: RawKernel, info: ConnectionInfo
) -> None:
    asking = asyncio.create_task(client.kernel_info())
    first = await kernel.asked("kernel_info_request")
    await kernel.reply(first)
    await asking
    waiting = started(client.execute("queued"))
    request = await kernel.asked("execute_request")
    await restarted(kernel, info)
    await settle()
    assert not waiting.done()
    other = RawKernel(kernel.end, info)
    other._peers = kernel._peers
    await other.reply(request)
    await other.idle(request)
    assert (await waiting).status == "ok"


async def test_what_the_old_kernel_said_last_may_come_after_the_new_one(
    client: KernelClient, kernel: RawKernel, info: ConnectionInfo
) -> None:
    old = kernel.session
    asking = asyncio.create_task(client.kernel_info())
    await kernel.reply(await kernel.asked())
    await asking
    late = asyncio.create_task(client.kernel_info())
    late_request = await kernel.asked()
    await restarted(kernel, info)
    await settle()
    new, kernel.session = kernel.session, old
    running = started(client.execute("on the new one"))
    request = await kernel.asked("execute_request")
    kernel.session = new
    on_new = RawKernel(kernel.end, info)
    on_new.session, on_new._peers = new, kernel._peers
    await kernel._iopub.send(new.message("status", {"execution_state": "busy"}, parent=request))
    await settle()
    reply = old.message("kernel_info_reply", {"status": "ok"}, parent=late_request)
    await kernel.shell.send(reply, kernel._peers[late_request.msg_id])
    await late
    assert not running.done()
    await kernel.shell.send(
        new.message("execute_reply", {"status": "ok"}, parent=request), kernel._peers[request.msg_id]
    )
    await kernel._iopub.send(new.message("status", {"execution_state": "idle"}, parent=request))
    assert (await running).status == "ok"


async def test_a_kernel_that_repeats_the_requests_session_is_always_the_same(
    client: KernelClient, kernel: RawKernel
) -> None:
    running = started(client.execute("slow"))
    request = await kernel.asked("execute_request")
    for session in (request.header["session"], "another client's"):
        parent = Message({**request.header, "session": session})
        status = kernel.session.message("status", {"execution_state": "busy"}, parent=parent)
        await kernel._iopub.send(Message({**status.header, "session": session}, parent.header, {}, status.content))
    await settle()
    assert not running.done()
    await kernel.reply(request)
    await kernel.idle(request)
    await running


@pytest.mark.usefixtures("impatient")
async def test_output_that_was_dropped_is_noticed(client: KernelClient, kernel: RawKernel) -> None:
    running = started(client.execute("print('lost')"))
    request = await kernel.asked("execute_request")
    await kernel.publish(request, "stream", name="stdout", text="heard")
    await kernel.reply(request, execution_count=7)
    probe = await kernel.asked("kernel_info_request")
    await kernel.reply(probe)
    await kernel.idle(probe)
    with pytest.raises(Incomplete) as raised:
        await running
    assert raised.value.result.text == "heard"
    assert raised.value.result.execution_count == 7


@pytest.mark.usefixtures("impatient")
async def test_the_question_after_a_request_does_not_count_as_one(client: KernelClient, kernel: RawKernel) -> None:
    running = started(client.execute("print('lost')"))
    request = await kernel.asked("execute_request")
    await kernel.reply(request)
    probe = await kernel.asked("kernel_info_request")
    assert client.pending == 1
    await kernel.idle(probe)  # its reply is still on the way
    with pytest.raises(Incomplete):
        await running
    assert client.pending == 0
    await kernel.reply(probe)


@pytest.mark.usefixtures("impatient")
async def test_a_reply_that_never_came_is_noticed(client: KernelClient, kernel: RawKernel) -> None:
    asking = asyncio.create_task(client.complete("x"))
    request = await kernel.asked("complete_request")
    await kernel.idle(request)
    probe = await kernel.asked("kernel_info_request")
    await kernel.idle(probe)
    await kernel.reply(probe)
    with pytest.raises(NoReply):
        await asking


@pytest.mark.usefixtures("impatient")
async def test_what_comes_late_is_no_loss(client: KernelClient, kernel: RawKernel) -> None:
    running = started(client.execute("print('late')"))
    request = await kernel.asked("execute_request")
    await kernel.reply(request)
    probe = await kernel.asked("kernel_info_request")
    await kernel.publish(request, "stream", name="stdout", text="late")
    await kernel.idle(request)
    assert (await running).text == "late"
    await kernel.reply(probe)
    await kernel.idle(probe)


# Messages are missing on a channel of replies


def tell_of_gap(channel: Any, count: int | None = None) -> None:
    channel._inbox.put_gap(GapNotice(count, None, "the wire says so"))


@pytest.mark.parametrize("count", [None, 3])
async def test_a_gap_among_replies_ends_what_waits_for_one_there(
    client: KernelClient, kernel: RawKernel, count: int | None
) -> None:
    running, asking = started(client.execute("may have run")), asyncio.create_task(client.complete("x"))
    on_control = asyncio.create_task(client.interrupt())
    for _ in range(2):
        await kernel.asked()
    request, wire = await kernel.control.receive_from()
    tell_of_gap(client.end.shell, count)
    for ended in (running, asking):
        with pytest.raises(OutcomeUnknown, match="the wire says so"):
            await ended
    assert not on_control.done()
    await kernel.control.send(kernel.session.message("interrupt_reply", {"status": "ok"}, parent=request), wire.peer)
    await on_control
    again = started(client.execute("goes on"))
    request = await kernel.asked("execute_request")
    await kernel.reply(request)
    await kernel.idle(request)
    assert (await again).status == "ok"
    assert client.broken is None


async def test_a_gap_on_control_ends_what_waits_there(client: KernelClient, kernel: RawKernel) -> None:
    asking = asyncio.create_task(client.interrupt())
    other = asyncio.create_task(client.complete("x"))
    await kernel.control.receive()
    tell_of_gap(client.end.control)
    with pytest.raises(OutcomeUnknown):
        await asking
    await kernel.reply(await kernel.asked())
    await other


async def test_output_that_came_before_a_gap_is_read_first(client: KernelClient, kernel: RawKernel) -> None:
    execution = client.execute("print('half')")
    messages = aiter(execution)
    reading = asyncio.ensure_future(anext(messages))
    request = await kernel.asked()
    await kernel.publish(request, "stream", name="stdout", text="half")
    assert (await reading).content["text"] == "half"
    tell_of_gap(client.end.shell)
    with pytest.raises(OutcomeUnknown):
        await anext(messages)


@pytest.mark.usefixtures("impatient")
async def test_what_has_its_reply_is_asked_after_as_ever(client: KernelClient, kernel: RawKernel) -> None:
    running = started(client.execute("print('lost')"))
    request = await kernel.asked()
    await kernel.reply(request)
    tell_of_gap(client.end.shell)
    probe = await kernel.asked("kernel_info_request")
    await kernel.reply(probe)
    await kernel.idle(probe)
    with pytest.raises(Incomplete):
        await running


@pytest.mark.usefixtures("impatient")
async def test_a_question_after_a_request_that_is_lost_is_asked_again(client: KernelClient, kernel: RawKernel) -> None:
    running = started(client.execute("print('lost')"))
    request = await kernel.asked()
    await kernel.reply(request)
    await kernel.asked("kernel_info_request")  # which this kernel forgets
    tell_of_gap(client.end.shell)
    await settle()
    assert not running.done()
    probe = await kernel.asked("kernel_info_request")
    await kernel.reply(probe)
    await kernel.idle(probe)
    with pytest.raises(Incomplete):
        await running


@pytest.mark.usefixtures("impatient")
async def test_who_waits_for_a_reply_alone_is_not_asked_after_once_more(
    client: KernelClient, kernel: RawKernel
) -> None:
    running = started(client.execute("x"))
    request = await kernel.asked()
    await kernel.idle(request)
    await kernel.asked("kernel_info_request")
    tell_of_gap(client.end.shell)
    with pytest.raises(OutcomeUnknown):
        await running


async def test_what_was_not_sent_yet_is_sent_after_the_gap(client: KernelClient, kernel: RawKernel) -> None:
    kernel.end.audible = False
    running, asking = started(client.execute("later")), asyncio.create_task(client.complete("x"))
    await settle()
    tell_of_gap(client.end.shell)
    await settle()
    assert not running.done()
    assert not asking.done()
    kernel.end.audible = True
    for _ in range(2):
        request = await kernel.asked()
        await kernel.reply(request)
        await kernel.idle(request)
    await asking
    assert (await running).status == "ok"


async def test_what_waits_to_be_sent_is_not_sent_after_it_was_given_up(
    client: KernelClient, kernel: RawKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = asyncio.Event()
    outlet = client.end.shell._outlet  # type: ignore[attr-defined]
    transmit = outlet._transmit

    async def wait_for_room(channel: Channel, message: WireMessage) -> None:
        await full.wait()
        await transmit(channel, message)

    monkeypatch.setattr(outlet, "_transmit", wait_for_room)
    running, asking = started(client.execute("never")), asyncio.create_task(client.complete("x"))
    await settle()
    tell_of_gap(client.end.shell)
    for ended in (running, asking):
        with pytest.raises(OutcomeUnknown):
            await ended
    full.set()
    asking = asyncio.create_task(client.kernel_info())
    await kernel.reply(await kernel.asked("kernel_info_request"))  # the first one that it hears
    await asking


async def test_a_gap_on_stdin_ends_nothing(backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel) -> None:
    async def hook(_: InputRequest) -> str:
        return "answer"

    session = Session.of(info)
    end = await backend.connect(info, identity=session.session_id.encode())
    async with KernelClient(end, session, input_hook=hook, time_to_dead=60) as client:
        running = started(client.execute("input()"))
        request = await kernel.asked()
        tell_of_gap(client.end.stdin)
        reply = await kernel.ask(request, prompt="?")
        assert reply.content["value"] == "answer"
        await kernel.reply(request)
        await kernel.idle(request)
        assert (await running).status == "ok"
        assert client.broken is None


# Somebody knows that the kernel has ended


DIED = KernelDied("it was seen to die")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that waits for nobody's last words."""
    monkeypatch.setattr(router, "LAST_WORDS", 0.0)


async def test_a_kernel_that_ended_ends_its_requests(client: KernelClient, kernel: RawKernel) -> None:
    running, asking = started(client.execute("for ever")), asyncio.create_task(client.complete("x"))
    for _ in range(2):
        await kernel.asked()
    client.on_kernel_end(DIED)
    for ended in (running, asking):
        with pytest.raises(KernelDied, match="seen to die"):
            await ended
    again = asyncio.create_task(client.kernel_info())  # the next one may serve the address
    await kernel.reply(await kernel.asked("kernel_info_request"))
    await again
    assert client.broken is None


async def test_what_has_arrived_by_then_is_read(client: KernelClient, kernel: RawKernel) -> None:
    running = started(client.execute("the last"))
    asking = asyncio.create_task(client.complete("x"))
    requests = [await kernel.asked(), await kernel.asked()]
    execution, completion = sorted(requests, key=lambda each: each.msg_type, reverse=True)
    client.on_kernel_end(DIED)
    await kernel.publish(execution, "stream", name="stdout", text="words")
    await kernel.reply(execution)
    await kernel.idle(execution)
    await kernel.reply(completion, matches=["xx"])
    assert (await running).text == "words"
    assert (await asking).content["matches"] == ["xx"]


async def test_it_is_read_even_if_the_loop_was_held_up(
    client: KernelClient, kernel: RawKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "LAST_WORDS", 0.02)
    asking = asyncio.create_task(client.complete("x"))
    request = await kernel.asked()
    client.on_kernel_end(DIED)
    replying = asyncio.create_task(kernel.reply(request))
    time.sleep(0.05)  # the time is over before anybody has had a turn
    assert (await asking).content["status"] == "ok"
    await replying


@pytest.mark.usefixtures("hasty")
async def test_a_reply_without_all_of_its_output(client: KernelClient, kernel: RawKernel) -> None:
    running = started(client.execute("print('half')"))
    request = await kernel.asked()
    await kernel.publish(request, "stream", name="stdout", text="half")
    await kernel.reply(request)
    await settle()
    client.on_kernel_end(DIED)
    with pytest.raises(Incomplete, match="ended before") as caught:
        await running
    assert caught.value.result.text == "half"


@pytest.mark.usefixtures("hasty")
async def test_the_first_who_knows_is_right(client: KernelClient, kernel: RawKernel, info: ConnectionInfo) -> None:
    running = started(client.execute("for ever"))
    request = await kernel.asked()
    await kernel.publish(request, "status", execution_state="busy")
    await settle()
    client.on_kernel_end(DIED)
    client.on_kernel_end(KernelRestarted("later"))
    await restarted(kernel, info)
    client.end_requests(ConnectionLost("later still"))
    with pytest.raises(KernelDied, match="seen to die"):
        await running


@pytest.mark.usefixtures("hasty")
async def test_what_was_not_sent_yet_ends_and_is_never_sent(client: KernelClient, kernel: RawKernel) -> None:
    kernel.end.audible = False
    running, asking = started(client.execute("not sent")), asyncio.create_task(client.complete("x"))
    await settle()
    client.on_kernel_end(DIED)
    for ended in (running, asking):
        with pytest.raises(KernelDied):
            await ended
    kernel.end.audible = True
    asking = asyncio.create_task(client.kernel_info())
    await kernel.reply(await kernel.asked("kernel_info_request"))  # the first one that it hears
    await asking


@pytest.mark.usefixtures("hasty")
async def test_a_kernel_that_is_gone_for_good(client: KernelClient, kernel: RawKernel) -> None:
    kernel.end.audible = False
    ready = asyncio.create_task(client.ready())
    await settle()
    client.on_kernel_end(DIED, for_good=True)
    with pytest.raises(KernelDied):
        await ready
    kernel.end.audible = True
    for late in (client.ready(), client.kernel_info(), started(client.execute("1")), client.open_comm("x")):
        with pytest.raises(KernelDied, match="seen to die"):
            await late
    assert isinstance(client.broken, KernelDied)
    client.on_kernel_end(ConnectionLost("later"), for_good=True)
    assert isinstance(client.broken, KernelDied)


async def test_ready_ends_with_the_client(backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel) -> None:
    kernel.end.audible = False
    session = Session.of(info)
    async with KernelClient(await backend.connect(info, identity=session.session_id.encode()), session) as client:
        ready = asyncio.create_task(client.ready())
        with pytest.raises(RequestTimeout):
            await client.ready(0.01)
        assert not ready.done()
    with pytest.raises(ChannelClosed):
        await ready


@pytest.mark.parametrize("use", ["open", "expect"])
async def test_output_is_urgent_while_somebody_waits_for_it(client: KernelClient, kernel: RawKernel, use: str) -> None:
    iopub = client.end.iopub
    assert not iopub.urgent
    execution = started(client.execute("1"))
    request = await kernel.asked("execute_request")
    assert iopub.urgent
    await kernel.reply(request)
    await kernel.idle(request)
    await execution
    plain = asyncio.create_task(client.kernel_info())
    request = await kernel.asked("kernel_info_request")
    assert not iopub.urgent
    await kernel.reply(request)
    await plain
    if use == "open":
        await client.open_comm("target")
    else:
        client.on_comm("target", lambda comm: None)
    assert iopub.urgent


async def test_its_comms_end_too(client: KernelClient, kernel: RawKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "LAST_WORDS", 0.01)
    comm = await client.open_comm("of the old one")
    opened = await kernel.asked("comm_open")
    client.on_kernel_end(DIED)
    next_comm = await client.open_comm("of the next one")
    await kernel.publish(opened, "comm_msg", comm_id=comm.comm_id, data={"last": "words"})
    assert (await comm.receive()).content["data"] == {"last": "words"}
    with pytest.raises(KernelDied):
        await comm.receive()
    opened = await kernel.asked("comm_open")
    await kernel.publish(opened, "comm_close", comm_id=next_comm.comm_id)
    with pytest.raises(EndOfChannel):
        await next_comm.receive()
