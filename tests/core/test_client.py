"""The client, over the in-process transport: every request ends with its own reply, or with an error that says why."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kernelwire import registry
from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.client import KernelClient, connect
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile
from kernelwire.ends import KernelEnd
from kernelwire.errors import (
    ChannelClosed,
    ConfigurationError,
    ConnectionFileError,
    ConnectionFileNotFound,
    ConnectionLost,
    EndOfChannel,
    GapNotice,
    InvalidField,
    InvalidMessage,
    KernelDied,
    KernelwireError,
    MessageTooLarge,
    NotServed,
    NotSupported,
    RequestTimeout,
    UnknownTransport,
)
from kernelwire.execution import Execution, InputHook, InputRequest
from kernelwire.messages import Message, WireMessage
from kernelwire.session import Session
from kernelwire.testing import Run, ScriptedKernel
from kernelwire_inprocess import InProcessBackend

from ._raw_kernel import RawKernel, nothing_is_left_of_requests, settle

KEY = b"a key for these tests"


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def backend() -> InProcessBackend:
    return InProcessBackend({})


@pytest.fixture
def info(backend: InProcessBackend) -> ConnectionInfo:
    return backend.prepare(ConnectionInfo(transport="inprocess", key=KEY))


@pytest.fixture
async def kernel(backend: InProcessBackend, info: ConnectionInfo) -> AsyncIterator[RawKernel]:
    async with await backend.serve(info) as end:
        yield RawKernel(end, info)


@pytest.fixture
async def client(backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel) -> AsyncIterator[KernelClient]:
    async with await new_client(backend, info) as client:
        yield client


async def new_client(
    backend: InProcessBackend, info: ConnectionInfo, *, time_to_dead: float = 60, input_hook: InputHook | None = None
) -> KernelClient:
    session = Session.of(info)
    end = await backend.connect(info, identity=session.session_id.encode())
    client = KernelClient(end, session, input_hook=input_hook, time_to_dead=time_to_dead)
    client.heartbeat._interval = min(1.0, time_to_dead / 5)
    return client


def start(execution: Execution) -> "asyncio.Task[Any]":
    async def result() -> Any:
        return await execution

    return asyncio.create_task(result())


# Replies


async def test_replies_out_of_order_find_their_requests(client: KernelClient, kernel: RawKernel) -> None:
    first, second, third = (asyncio.create_task(client.complete(code)) for code in ("a", "bb", "ccc"))
    requests = {(request := await kernel.asked("complete_request")).content["code"]: request for _ in range(3)}
    for code in ("ccc", "a", "bb"):
        await kernel.reply(requests[code], matches=[code + "!"])
    for asked, code in ((first, "a"), (second, "bb"), (third, "ccc")):
        assert (await asked).content["matches"] == [code + "!"]
    assert [requests[code].content["cursor_pos"] for code in ("a", "bb", "ccc")] == [1, 2, 3]
    assert nothing_is_left_of_requests(client)


async def test_a_cursor_may_be_given(client: KernelClient, kernel: RawKernel) -> None:
    asked = asyncio.create_task(client.complete("abc", 0))
    request = await kernel.asked()
    assert request.content == {"code": "abc", "cursor_pos": 0}
    await kernel.reply(request)
    await asked


async def test_interrupt_goes_on_control(client: KernelClient, kernel: RawKernel) -> None:
    asked = asyncio.create_task(client.interrupt())
    request, wire = await kernel.control.receive_from()
    assert request.msg_type == "interrupt_request"
    await kernel.control.send(kernel.session.message("interrupt_reply", {"status": "ok"}, parent=request), wire.peer)
    assert (await asked).is_child_of(request)


async def test_a_request_goes_on_shell_or_control_only(client: KernelClient) -> None:
    for channel in (Channel.STDIN, Channel.IOPUB, Channel.HEARTBEAT):
        with pytest.raises(NotSupported, match=channel):
            await client.request("kernel_info_request", channel=channel)


async def test_a_request_that_cannot_be_sent(client: KernelClient, kernel: RawKernel) -> None:
    with pytest.raises(InvalidMessage):
        await client.request("odd_request", {"what": object()})
    with pytest.raises(InvalidMessage):
        await client.execute("1", user_expressions={"what": object()})  # type: ignore[dict-item]
    await settle()
    assert nothing_is_left_of_requests(client)
    asked = asyncio.create_task(client.kernel_info())
    await kernel.reply(await kernel.asked())
    await asked


async def test_ready_waits_for_an_answer(client: KernelClient, kernel: RawKernel) -> None:
    kernel.end.audible = False
    ready = asyncio.create_task(client.ready())
    await settle()
    kernel.end.audible = True
    await kernel.reply(await kernel.asked("kernel_info_request"), implementation="raw")
    assert (await ready).content["implementation"] == "raw"


@pytest.mark.parametrize("audible", [False, True])
async def test_ready_has_a_time_limit(client: KernelClient, kernel: RawKernel, audible: bool) -> None:
    kernel.end.audible = audible
    with pytest.raises(RequestTimeout, match="did not answer within"):
        await client.ready(0.01)
    assert nothing_is_left_of_requests(client)


async def test_a_time_limit_ends_the_request_and_not_the_client(client: KernelClient, kernel: RawKernel) -> None:
    with pytest.raises(RequestTimeout, match=r"kernel_info_request within 0\.01 s"):
        await client.kernel_info(0.01)
    late = await kernel.asked()
    asked = asyncio.create_task(client.kernel_info())
    await kernel.reply(late)
    await kernel.reply(await kernel.asked(), implementation="in time")
    assert (await asked).content["implementation"] == "in time"
    assert nothing_is_left_of_requests(client)


async def test_a_cancelled_request_leaves_nothing(client: KernelClient, kernel: RawKernel) -> None:
    asked = asyncio.create_task(client.kernel_info())
    request = await kernel.asked()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert nothing_is_left_of_requests(client)
    await kernel.reply(request)  # to nobody any more
    again = asyncio.create_task(client.kernel_info())
    await kernel.reply(await kernel.asked())
    await again


async def test_two_clients_get_their_own(
    backend: InProcessBackend, info: ConnectionInfo, client: KernelClient, kernel: RawKernel
) -> None:
    async with await new_client(backend, info) as other:
        ours, theirs = start(client.execute("ours")), start(other.execute("theirs"))
        requests = [await kernel.asked("execute_request") for _ in range(2)]
        for request in reversed(requests):
            await kernel.publish(request, "stream", name="stdout", text=request.content["code"])
            await kernel.reply(request)
            await kernel.idle(request)
        assert (await ours).text == "ours"
        assert (await theirs).text == "theirs"
        assert client.session.session_id != other.session.session_id


async def test_junk_is_counted_and_skipped(client: KernelClient, kernel: RawKernel) -> None:
    asked = start(client.execute("1"))
    request = await kernel.asked()
    peer = kernel._peers[request.msg_id]
    stranger = Session(b"another key")
    forged = stranger.pack(stranger.message("execute_reply", {"status": "ok"}, parent=request))
    genuine = kernel.session.pack(kernel.session.message("stream", {"name": "stdout", "text": "x"}, parent=request))
    for channel in (kernel.end.shell, kernel.end.control, kernel.end.stdin):
        for frames in ([], [b"junk"], forged):
            await channel.send(WireMessage(frames, peer))
    await kernel.end.iopub.send(WireMessage(forged))
    await kernel.end.iopub.send(WireMessage(genuine))
    await kernel.end.iopub.send(WireMessage(genuine))  # a replay
    await kernel.reply(request)
    await kernel.idle(request)
    assert (await asked).text == "x"
    expected = {"MalformedMessage": 6, "InvalidSignature": 4, "DuplicateSignature": 1}
    await settle()
    assert client.session.rejected == expected


# Executions


@pytest.mark.parametrize("idle_first", [False, True])
async def test_an_execution_needs_reply_and_idle(client: KernelClient, kernel: RawKernel, idle_first: bool) -> None:
    running = start(client.execute("1 + 1"))
    request = await kernel.asked("execute_request")
    await kernel.publish(request, "status", execution_state="busy")
    await kernel.publish(request, "stream", name="stdout", text="a")
    await kernel.publish(request, "stream", name="stderr", text="not this")
    await kernel.publish(request, "execute_result", data={"text/plain": "2"}, metadata={}, execution_count=7)
    first, second = kernel.reply(request, execution_count=7), kernel.idle(request)
    if idle_first:
        await second
        await settle()
        assert not running.done()
        await first
    else:
        await first
        await settle()
        assert not running.done()
        await kernel.publish(request, "stream", name="stdout", text="b")  # shell and iopub do not wait for each other
        await second
    result = await running
    assert result.status == "ok"
    assert result.text == ("a" if idle_first else "ab")
    assert result.data == {"text/plain": "2"}
    assert result.execution_count == 7
    assert result.error is None
    assert nothing_is_left_of_requests(client)


async def test_an_aborted_execution_needs_no_idle(client: KernelClient, kernel: RawKernel) -> None:
    running = start(client.execute("1"))
    await kernel.reply(await kernel.asked(), status="aborted")
    result = await running
    assert (result.status, result.execution_count, result.error, result.text) == ("aborted", None, None, "")


async def test_the_request_says_what_was_asked(client: KernelClient, kernel: RawKernel) -> None:
    plain = start(client.execute("a"))
    special = start(
        client.execute("b", silent=True, user_expressions={"x": "1"}, stop_on_error=False, input_hook=end_of_input)
    )
    first, second = await kernel.asked(), await kernel.asked()
    assert first.content == {
        "code": "a",
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }
    assert second.content == {
        "code": "b",
        "silent": True,
        "store_history": False,
        "user_expressions": {"x": "1"},
        "allow_stdin": True,
        "stop_on_error": False,
    }
    for request in (first, second):
        await kernel.reply(request)
        await kernel.idle(request)
    await asyncio.gather(plain, special)


async def test_nothing_is_sent_before_it_is_asked_for(client: KernelClient, kernel: RawKernel) -> None:
    execution = client.execute("later")
    info = asyncio.create_task(client.kernel_info())
    await kernel.reply(await kernel.asked("kernel_info_request"))
    await info
    running = start(execution)
    request = await kernel.asked("execute_request")
    await kernel.reply(request)
    await kernel.idle(request)
    await running


async def test_iterate_first_then_await(client: KernelClient, kernel: RawKernel) -> None:
    execution = client.execute("loop")

    async def read() -> list[str]:
        texts = []
        async for message in execution:
            texts.append(message.content["text"])
            if len(texts) == 2:
                break
        return texts

    reading = asyncio.create_task(read())
    request = await kernel.asked()
    for number in range(5):
        await kernel.publish(request, "stream", name="stdout", text=str(number))
    assert await reading == ["0", "1"]
    rest = start(execution)
    await kernel.reply(request)
    await kernel.idle(request)
    result = await rest
    assert result.text == "01234"
    assert await execution == result  # and once more
    assert [message async for message in execution] == []


async def test_a_gap_reaches_the_iteration_which_goes_on(
    client: KernelClient, kernel: RawKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = client.end.iopub.receive
    gaps = [GapNotice(3, 30, "a test")]

    async def with_a_gap() -> WireMessage:
        message = await receive()
        if gaps and b'"after"' in bytes(message.frames[4]):
            put_back.append(message)
            raise gaps.pop()
        return message

    put_back: list[WireMessage] = []

    async def receive_or_put_back() -> WireMessage:
        return put_back.pop() if put_back else await with_a_gap()

    monkeypatch.setattr(client.end.iopub, "receive", receive_or_put_back)
    execution = client.execute("1")
    other = start(client.execute("2"))
    texts: list[str] = []

    async def read() -> None:
        async for message in execution:
            texts.append(message.content["text"])

    reading = asyncio.create_task(read())
    requests = {(request := await kernel.asked()).content["code"]: request for _ in range(2)}
    for text in ("wakes the reader that began before the patch", "before", "after"):
        await kernel.publish(requests["1"], "stream", name="stdout", text=text)
    with pytest.raises(GapNotice) as caught:
        await reading
    assert (caught.value.count, caught.value.size) == (3, 30)
    assert texts[-1] == "before"
    again = asyncio.create_task(read())
    for request in requests.values():
        await kernel.reply(request)
        await kernel.idle(request)
    await again
    assert texts[-1] == "after"
    assert (await execution).status == "ok"
    with pytest.raises(GapNotice):  # what is missing may have been the other's
        await other


async def test_output_of_others_is_not_ours(client: KernelClient, kernel: RawKernel) -> None:
    running = start(client.execute("1"))
    request = await kernel.asked()
    stranger = Session(KEY)
    await kernel.publish(stranger.message("execute_request"), "stream", name="stdout", text="not ours")
    await kernel.idle(stranger.message("execute_request"))
    await kernel.publish(request, "stream", name="stdout", text="ours")
    await kernel.reply(request)
    await kernel.idle(request)
    assert (await running).text == "ours"


async def test_a_cancelled_reader_may_read_on(client: KernelClient, kernel: RawKernel) -> None:
    execution = client.execute("1")
    first = start(execution)
    request = await kernel.asked()
    await kernel.publish(request, "stream", name="stdout", text="a")
    await settle()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = start(execution)
    await kernel.publish(request, "stream", name="stdout", text="b")
    await kernel.reply(request)
    await kernel.idle(request)
    assert (await second).text == "ab"


# Input


async def end_of_input(_request: InputRequest) -> str:
    raise EOFError


async def broken_hook(_request: InputRequest) -> str:
    raise RuntimeError("the hook's own fault")


async def test_a_hook_answers(client: KernelClient, kernel: RawKernel) -> None:
    asked: list[InputRequest] = []

    async def hook(request: InputRequest) -> str:
        asked.append(request)
        return "Grüße"

    running = start(client.execute("input()", input_hook=hook))
    request = await kernel.asked()
    assert (await kernel.ask(request, prompt="who? ", password=False)).content == {"value": "Grüße"}
    assert (await kernel.ask(request, prompt="secret: ", password=True)).content == {"value": "Grüße"}
    assert (await kernel.ask(request)).content == {"value": "Grüße"}
    await kernel.reply(request)
    await kernel.idle(request)
    await running
    assert asked == [InputRequest("who? ", False), InputRequest("secret: ", True), InputRequest("", False)]


async def unsendable(_request: InputRequest) -> str:
    return object()  # type: ignore[return-value]


@pytest.mark.parametrize(("hook", "logged"), [(end_of_input, False), (broken_hook, True), (unsendable, True)])
async def test_a_hook_that_has_no_answer(
    client: KernelClient, kernel: RawKernel, hook: InputHook, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    running = start(client.execute("input()", input_hook=hook))
    request = await kernel.asked()
    with caplog.at_level(logging.ERROR, "kernelwire"):
        assert (await kernel.ask(request, prompt="")).content == {"value": "\x04"}
    assert bool(caplog.records) is logged
    await kernel.reply(request)
    await kernel.idle(request)
    assert (await running).status == "ok"


async def test_an_answer_that_is_too_large_ends_nothing_else(
    client: KernelClient, kernel: RawKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = client.end.stdin.send

    async def narrow(message: WireMessage) -> None:
        if message.size > 1000:
            raise MessageTooLarge(message.size, 1000)
        await send(message)

    async def hook(_request: InputRequest) -> str:
        return "x" * 1000

    monkeypatch.setattr(client.end.stdin, "send", narrow)
    running = start(client.execute("input()", input_hook=hook))
    request = await kernel.asked()
    assert (await kernel.ask(request)).content == {"value": "\x04"}
    await kernel.reply(request)
    await kernel.idle(request)
    assert (await running).status == "ok"


async def test_the_clients_hook_is_for_all_its_executions(
    backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel
) -> None:
    async def hook(request: InputRequest) -> str:
        return request.prompt.upper()

    async with await new_client(backend, info, input_hook=hook) as client:
        running = start(client.execute("input()"))
        request = await kernel.asked()
        assert request.content["allow_stdin"] is True
        assert (await kernel.ask(request, prompt="a")).content == {"value": "A"}
        await kernel.reply(request)
        await kernel.idle(request)
        await running


async def test_a_question_to_nobody_is_passed_over(client: KernelClient, kernel: RawKernel) -> None:
    running = start(client.execute("1"))
    request = await kernel.asked()
    assert request.content["allow_stdin"] is False
    question = kernel.session.message("input_request", {"prompt": "?"}, parent=request)
    await kernel.stdin.send(question, kernel._peers[request.msg_id])
    await kernel.reply(request)
    await kernel.idle(request)
    assert (await running).status == "ok"


async def test_a_hook_that_waits_ends_with_the_client(
    backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel
) -> None:
    waiting = asyncio.Event()
    ended = asyncio.Event()

    async def hook(_request: InputRequest) -> str:
        waiting.set()
        try:
            await asyncio.get_running_loop().create_future()
            return "never"
        finally:
            ended.set()

    async with await new_client(backend, info, input_hook=hook) as client:
        running = start(client.execute("input()"))
        request = await kernel.asked()
        await kernel.stdin.send(
            kernel.session.message("input_request", {}, parent=request), kernel._peers[request.msg_id]
        )
        await waiting.wait()
    assert ended.is_set()
    with pytest.raises(ChannelClosed):
        await running


# Ends


async def test_the_kernels_end_closes(client: KernelClient, kernel: RawKernel) -> None:
    running = start(client.execute("1"))
    asked = asyncio.create_task(client.kernel_info())
    control = asyncio.create_task(client.interrupt())
    await kernel.asked()
    await kernel.asked()
    await kernel.end.aclose()
    for request in (running, asked, control):
        with pytest.raises(EndOfChannel):
            await request
    for later in (client.kernel_info, client.interrupt, client.ready):
        with pytest.raises(EndOfChannel):
            await later()
    with pytest.raises(EndOfChannel):
        await client.execute("2")
    assert nothing_is_left_of_requests(client)


async def test_what_came_before_the_end_counts(client: KernelClient, kernel: RawKernel) -> None:
    running = start(client.execute("exit()"))
    asked = asyncio.create_task(client.kernel_info())
    requests = [await kernel.asked() for _ in range(2)]
    execute = next(request for request in requests if request.msg_type == "execute_request")
    await kernel.reply(next(request for request in requests if request is not execute))
    await kernel.reply(execute)
    for number in range(500):
        await kernel.publish(execute, "stream", name="stdout", text=f"{number} ")
    await kernel.idle(execute)
    await kernel.end.aclose()
    assert (await running).text.split() == [str(number) for number in range(500)]
    assert (await asked).content["status"] == "ok"


@pytest.mark.parametrize("name", ["shell", "control", "stdin", "iopub"])
async def test_one_channel_breaks(
    backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks = asyncio.Event()

    async def broken() -> WireMessage:
        await breaks.wait()
        raise ConnectionLost("the wire broke")

    monkeypatch.setattr("kernelwire.router.WIND_UP", 0.01)
    client = await new_client(backend, info)
    monkeypatch.setattr(getattr(client.end, name), "receive", broken)
    async with client:
        running, asked = start(client.execute("1")), asyncio.create_task(client.kernel_info())
        await kernel.asked()
        await kernel.asked()
        breaks.set()
        for request in (running, asked):
            with pytest.raises(ConnectionLost):
                await request
        with pytest.raises(ConnectionLost):
            await client.kernel_info()
        with pytest.raises(ConnectionLost):
            await client.execute("2")


async def test_closing_the_client_ends_what_others_wait_for(
    backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel
) -> None:
    async with await new_client(backend, info) as client:
        requests = [start(client.execute("1")), asyncio.create_task(client.kernel_info())]
        await kernel.asked()
        await kernel.asked()
    for request in requests:
        with pytest.raises(ChannelClosed):
            await request
    with pytest.raises(ChannelClosed):
        await client.kernel_info()
    with pytest.raises(ChannelClosed):
        await client.end.shell.receive()


async def test_closing_may_be_cancelled(backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel) -> None:
    for turns in range(6):
        client = await new_client(backend, info)
        await client.__aenter__()
        closing = asyncio.create_task(client.__aexit__())
        await settle(turns)
        closing.cancel()
        with suppress(asyncio.CancelledError):
            await closing
        if turns == 0:  # it never began
            await client.__aexit__()
        await settle()
        with pytest.raises(ChannelClosed):
            await client.end.shell.receive()
        # The fixture sees to it that no task is left.


# The heartbeat


async def test_a_kernel_that_stops_beating_has_died_and_may_come_back(
    backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel
) -> None:
    async with await new_client(backend, info, time_to_dead=0.05) as client:
        for _ in range(2):
            await client.heartbeat.wait_beating()
            requests = [start(client.execute("1")), asyncio.create_task(client.kernel_info())]
            for _request in requests:
                await kernel.asked()
            kernel.end.beating = False
            for request in requests:
                with pytest.raises(KernelDied):
                    await request
            with pytest.raises(KernelDied):
                await client.kernel_info()
            await kernel.asked()
            kernel.end.beating = True
            await client.heartbeat.wait_beating()
            asked = asyncio.create_task(client.kernel_info())
            await kernel.reply(await kernel.asked())
            await asked
            assert nothing_is_left_of_requests(client)


async def test_ready_waits_for_a_kernel_that_died(
    backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel
) -> None:
    async with await new_client(backend, info, time_to_dead=0.02) as client:
        await client.heartbeat.wait_beating()
        kernel.end.beating = False
        ready = asyncio.create_task(client.ready())
        await kernel.asked()
        unanswered = await kernel.asked()  # it asked again, so the first question had been given up
        assert not ready.done()
        kernel.end.beating = True
        await kernel.reply(unanswered)
        while not ready.done():
            receiving = asyncio.create_task(kernel.asked())
            await asyncio.wait([receiving, ready], return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                await kernel.reply(receiving.result())
            receiving.cancel()
        assert (await ready).content["status"] == "ok"


async def test_a_kernel_that_never_beat_may_be_starting(
    backend: InProcessBackend, info: ConnectionInfo, kernel: RawKernel
) -> None:
    kernel.end.beating = False
    async with await new_client(backend, info, time_to_dead=0.01) as client:
        asked = asyncio.create_task(client.kernel_info())
        await client.heartbeat.wait_beating(False)
        await settle()
        assert not asked.done()
        await kernel.reply(await kernel.asked())
        await asked


async def test_a_request_that_waits_for_room_dies_with_the_kernel() -> None:
    backend = InProcessBackend({}, held=1)
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=KEY))
    async with await backend.serve(info) as end, await new_client(backend, info, time_to_dead=0.05) as client:
        await client.heartbeat.wait_beating()
        requests = [asyncio.create_task(client.kernel_info()) for _ in range(5)]
        requests += [asyncio.create_task(client.kernel_info(60)) for _ in range(5)]
        executions = [start(client.execute("1")) for _ in range(5)]
        await settle()
        end.beating = False
        for request in (*requests, *executions):
            with pytest.raises(KernelDied):
                await request
        assert nothing_is_left_of_requests(client)


# A kernel of protocol v4, as IPython 2 was


class KernelV4:
    """Answers in v4, written out by hand: no version in its headers, and the old names of things."""

    def __init__(self, end: KernelEnd, info: ConnectionInfo) -> None:
        self.session = Session.of(info)
        self.end = end
        self.seen: list[tuple[str, Mapping[str, Any]]] = []
        self._count = 0

    def wire(self, msg_type: str, content: object, parent: Mapping[str, Any], peer: bytes = b"") -> WireMessage:
        self._count += 1
        header = {"msg_id": f"v4-{self._count}", "username": "kernel", "session": "v4", "msg_type": msg_type}
        parts = [json.dumps(part).encode() for part in (header, parent, {}, content)]
        return WireMessage([self.session.signer.sign(parts), *parts], peer)

    async def run(self) -> None:
        with suppress(EndOfChannel, ChannelClosed):
            while True:
                wire = await self.end.shell.receive()
                header, _, _, content = (json.loads(bytes(frame)) for frame in wire.frames[1:5])
                self.seen.append((header["msg_type"], content))
                await self.publish("status", {"execution_state": "busy"}, header)
                reply = header["msg_type"].replace("_request", "_reply")
                await self.end.shell.send(self.wire(reply, await self.answer(header, content), header, wire.peer))
                await self.publish("status", {"execution_state": "idle"}, header)

    async def publish(self, msg_type: str, content: object, parent: Mapping[str, Any]) -> None:
        await self.end.iopub.send(self.wire(msg_type, content, parent))

    async def answer(self, header: Mapping[str, Any], content: Mapping[str, Any]) -> object:
        match header["msg_type"]:
            case "kernel_info_request":
                return {"protocol_version": [4, 1], "language": "python", "language_version": [2, 7, 6]}
            case "complete_request":
                return {"status": "ok", "matches": ["range", "raw_input"], "matched_text": content["text"] or "ra"}
            case "object_info_request":
                return {"found": True, "oname": content["oname"], "docstring": "what it does"}
            case "execute_request":
                await self.publish("pyin", {"code": content["code"], "execution_count": 1}, header)
                await self.publish("stream", {"name": "stdout", "data": "printed"}, header)
                if content["code"] == "1/0":
                    error = {"ename": "ZeroDivisionError", "evalue": "", "traceback": ["a line"]}
                    await self.publish("pyerr", error, header)
                    return {"status": "error", "execution_count": 1, **error}
                await self.publish("pyout", {"data": {"text/plain": "2"}, "metadata": {}, "execution_count": 1}, header)
                return {
                    "status": "ok",
                    "execution_count": 1,
                    "user_variables": {},
                    "user_expressions": {},
                    "payload": [],
                }
        raise AssertionError(header)


async def test_a_v4_kernel(backend: InProcessBackend, info: ConnectionInfo) -> None:
    async with await backend.serve(info) as end:
        kernel = KernelV4(end, info)
        running = asyncio.create_task(kernel.run())
        async with await new_client(backend, info) as client:
            language = (await client.ready()).content["language_info"]
            assert language == {"name": "python", "version": "2.7.6"}
            completions = (await client.complete("for i in ra")).content
            assert completions["matches"] == ["range", "raw_input"]
            assert completions["cursor_start"] == -2
            inspected = await client.request("inspect_request", {"code": "abc.def", "cursor_pos": 7, "detail_level": 0})
            assert inspected.msg_type == "inspect_reply"
            assert inspected.content["data"] == {"text/plain": "what it does"}
            result = await client.execute("1+1")
            assert [message.msg_type for message in result.outputs] == ["execute_input", "stream", "execute_result"]
            assert (result.text, result.data, result.execution_count) == ("printed", {"text/plain": "2"}, 1)
            failed = await client.execute("1/0")
            assert failed.error == ("ZeroDivisionError", "", ["a line"])
            assert [message.msg_type for message in failed.outputs] == ["execute_input", "stream", "error"]
            assert not client.session.rejected
    await running
    # Once it is known to speak v4 it is spoken to in v4.
    types = [msg_type for msg_type, _ in kernel.seen]
    assert types[0] == "kernel_info_request"
    assert types[-4:] == ["complete_request", "object_info_request", "execute_request", "execute_request"]
    assert kernel.seen[-4][1]["line"] == "for i in ra"
    assert kernel.seen[-3][1]["oname"] == "abc.def"
    assert kernel.seen[-2][1]["user_variables"] == []


# connect()


@pytest.fixture
async def served() -> AsyncIterator[ConnectionInfo]:
    """A scripted kernel under a name of the process, as connect() finds it."""

    async def script(run: Run) -> None:
        await run.stream(f"ran {run.code}")

    backend = InProcessBackend()
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=KEY))
    async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info), script):
        yield info


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    runtime = tmp_path / "runtime"
    runtime.mkdir(0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    return runtime


Naming = Callable[[ConnectionInfo, Path], "ConnectionInfo | str | os.PathLike[str]"]


@pytest.mark.parametrize(
    "naming",
    [
        pytest.param(lambda info, _: info, id="information"),
        pytest.param(lambda _, path: path, id="path"),
        pytest.param(lambda _, path: str(path), id="path as text"),
        pytest.param(lambda _, path: path.name, id="name"),
        pytest.param(lambda _, path: "abc", id="part of a name"),
        pytest.param(lambda _, path: "kernel-*.json", id="pattern"),
    ],
)
async def test_connect(served: ConnectionInfo, runtime: Path, naming: Naming) -> None:
    with ConnectionFile.write(served, runtime / "kernel-abc.json") as file:
        async with connect(naming(served, file.path)) as client:
            assert (await client.execute("it")).text == "ran it"
    with pytest.raises(ChannelClosed):
        await client.kernel_info()


async def test_connect_with_a_hook(served: ConnectionInfo) -> None:
    async with connect(served, input_hook=end_of_input) as client:
        for allow_stdin in (True, False):
            execution = client.execute("input()", allow_stdin=allow_stdin)
            assert execution.message.content["allow_stdin"] is allow_stdin
            await execution


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        pytest.param(None, ConnectionFileNotFound, "no file", id="missing"),
        pytest.param(b"{", ConnectionFileError, "JSON", id="no JSON"),
        pytest.param(b"[]", ConnectionFileError, "no object", id="no object"),
        pytest.param(b'{"transport": "tpc"}', UnknownTransport, "did you mean 'tcp'", id="unknown transport"),
        pytest.param(b'{"shell_port": "1"}', InvalidField, "shell_port", id="odd field"),
        pytest.param(b'{"ip": "127.0.0.1"}', InvalidField, "shell_port", id="missing port"),
        pytest.param(b'{"transport": "inprocess"}', InvalidField, "name", id="missing name"),
        pytest.param(b'{"transport": "inprocess", "name": "x"}', NotServed, "'x'", id="not served"),
        pytest.param(b'{"signature_scheme": "rot13"}', InvalidField, "signature_scheme", id="scheme"),
    ],
)
async def test_connect_says_what_is_wrong(
    runtime: Path, content: bytes | None, error: type[KernelwireError], says: str
) -> None:
    path = runtime / "kernel-odd.json"
    if content is not None:
        path.touch(0o600)
        path.write_bytes(content)
    with pytest.raises(error, match=says) as caught:
        async with connect(path):
            pass
    assert isinstance(caught.value, ConfigurationError)


# Some channels only


@pytest.fixture(params=["inprocess", "tcp"])
async def on_a_wire(request: pytest.FixtureRequest) -> AsyncIterator[ConnectionInfo]:
    """A scripted kernel. The in-process backend opens all channels, whichever it is asked for; the other does not."""
    backend = registry.load(request.param)
    info = backend.prepare(ConnectionInfo(transport=request.param, key=KEY))
    async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info)):
        yield info


def without(*names: Channel) -> frozenset[Channel]:
    return ALL_CHANNELS - set(names)


async def test_a_client_without_iopub(on_a_wire: ConnectionInfo) -> None:
    async with connect(on_a_wire, channels=without(Channel.IOPUB)) as client:
        assert client.end.channels == without(Channel.IOPUB)
        assert (await client.ready()).content["status"] == "ok"
        assert (await client.complete("x")).content["matches"] == ["x_completed"]
        for impossible in (start(client.execute("1")), client.flush(), client.open_comm("x")):
            with pytest.raises(NotSupported, match=r"iopub channel was not opened: name it in connect\(channels"):
                await impossible
        assert nothing_is_left_of_requests(client)


async def test_a_client_without_shell(on_a_wire: ConnectionInfo) -> None:
    async with connect(on_a_wire, channels=without(Channel.SHELL)) as client:
        assert (await client.ready()).content["status"] == "ok"
        assert (await client.interrupt()).content["status"] == "ok"
        for impossible in (start(client.execute("1")), client.flush(), client.open_comm("x"), client.kernel_info()):
            with pytest.raises(NotSupported, match="shell channel"):
                await impossible
        assert nothing_is_left_of_requests(client)


async def test_a_client_without_control(on_a_wire: ConnectionInfo) -> None:
    async with connect(on_a_wire, channels=without(Channel.CONTROL)) as client:
        assert (await client.ready()).content["status"] == "ok"
        assert (await client.execute("1")).text == "1"
        with pytest.raises(NotSupported, match="control channel"):
            await client.interrupt()


async def test_a_client_without_stdin_may_not_be_asked(on_a_wire: ConnectionInfo) -> None:
    async with connect(on_a_wire, channels=without(Channel.STDIN), input_hook=end_of_input) as client:
        assert client.allow_stdin is False
        execution = client.execute("1")
        assert execution.message.content["allow_stdin"] is False
        assert (await execution).text == "1"
        with pytest.raises(NotSupported, match="stdin channel"):
            await client.execute("1", input_hook=end_of_input)
    async with connect(on_a_wire, input_hook=end_of_input) as client:
        assert client.allow_stdin is True
    async with connect(on_a_wire) as client:
        assert client.allow_stdin is False


async def test_a_client_without_a_heartbeat(on_a_wire: ConnectionInfo) -> None:
    async with connect(on_a_wire, channels=without(Channel.HEARTBEAT)) as client:
        with pytest.raises(NotSupported, match="hb channel"):
            _ = client.heartbeat
        assert (await client.execute("1")).text == "1"
        client.on_kernel_end(KernelDied("it was seen to die"))


async def test_a_client_with_a_heartbeat_alone(on_a_wire: ConnectionInfo) -> None:
    async with connect(on_a_wire, channels={Channel.HEARTBEAT}) as client:
        await client.heartbeat.wait_beating()
        with pytest.raises(NotSupported):
            await client.ready()


# Every request of the protocol


@pytest.mark.parametrize(
    ("ask", "msg_type", "content"),
    [
        (lambda c: c.kernel_info(), "kernel_info_request", {}),
        (lambda c: c.complete("ab", 1), "complete_request", {"code": "ab", "cursor_pos": 1}),
        (lambda c: c.inspect("ab"), "inspect_request", {"code": "ab", "cursor_pos": 2, "detail_level": 0}),
        (lambda c: c.is_complete("if x:"), "is_complete_request", {"code": "if x:"}),
        (
            lambda c: c.history(n=3),
            "history_request",
            {"hist_access_type": "tail", "raw": True, "output": False, "n": 3},
        ),
        (
            lambda c: c.history(hist_access_type="search", pattern="im*", n=None),
            "history_request",
            {"hist_access_type": "search", "raw": True, "output": False, "pattern": "im*"},
        ),
        (lambda c: c.comm_info(), "comm_info_request", {}),
        (lambda c: c.comm_info("widgets"), "comm_info_request", {"target_name": "widgets"}),
        (lambda c: c.request("vendor_request", {"a": 1}), "vendor_request", {"a": 1}),
    ],
)
async def test_requests_on_shell(
    client: KernelClient,
    kernel: RawKernel,
    ask: Callable[[KernelClient], Coroutine[Any, Any, Message]],
    msg_type: str,
    content: Mapping[str, Any],
) -> None:
    asking = asyncio.create_task(ask(client))
    request = await kernel.asked(msg_type)
    assert request.content == content
    await kernel.reply(request, found=True)
    assert (await asking).content["found"] is True


@pytest.mark.parametrize(
    ("ask", "msg_type", "content", "answer", "expected"),
    [
        (lambda c: c.interrupt(), "interrupt_request", {}, {}, None),
        (lambda c: c.shutdown(restart=True), "shutdown_request", {"restart": True}, {}, None),
        (
            lambda c: c.debug("threads", seq=4),
            "debug_request",
            {"type": "request", "seq": 4, "command": "threads", "arguments": {}},
            {"success": True},
            None,
        ),
        (lambda c: c.create_subshell(), "create_subshell_request", {}, {"subshell_id": "s"}, "s"),
        (lambda c: c.delete_subshell("s"), "delete_subshell_request", {"subshell_id": "s"}, {}, None),
        (lambda c: c.list_subshells(), "list_subshell_request", {}, {"subshell_id": ["s"]}, ["s"]),
    ],
)
async def test_requests_on_control(
    client: KernelClient,
    kernel: RawKernel,
    ask: Callable[[KernelClient], Coroutine[Any, Any, Any]],
    msg_type: str,
    content: Mapping[str, Any],
    answer: Mapping[str, Any],
    expected: object,
) -> None:
    asking = asyncio.create_task(ask(client))
    request, wire = await kernel.control.receive_from()
    assert request.msg_type == msg_type
    assert request.content == content
    reply = kernel.session.message(msg_type.replace("_request", "_reply"), answer, parent=request)
    await kernel.control.send(reply, wire.peer)
    outcome = await asking
    assert outcome == reply if expected is None else outcome == expected


async def test_requests_may_name_a_subshell(client: KernelClient, kernel: RawKernel) -> None:
    asking = asyncio.create_task(client.request("kernel_info_request", subshell_id="s"))
    request = await kernel.asked()
    assert request.header["subshell_id"] == "s"
    await kernel.reply(request)
    await asking
    for subshell_id in ("s", None):
        execution = client.execute("1", subshell_id=subshell_id)
        assert execution.message.header.get("subshell_id") == subshell_id
        running = start(execution)
        await kernel.reply(await kernel.asked("execute_request"), status="aborted")
        await running


async def test_a_flush_waits_for_what_was_published_before(client: KernelClient, kernel: RawKernel) -> None:
    flushing = asyncio.create_task(client.flush())
    request = await kernel.asked("kernel_info_request")
    await kernel.reply(request)
    await settle()
    assert not flushing.done()
    await kernel.idle(request)
    await flushing


async def test_code_and_expressions_must_be_text(client: KernelClient) -> None:
    bad: Any = 5
    for call in (client.complete, client.inspect, client.is_complete):
        with pytest.raises(InvalidMessage, match="code: int where text is needed"):
            await call(bad)
    with pytest.raises(InvalidMessage, match="code: int"):
        client.execute(bad)
    for expressions in ({1: "a"}, {"a": 1}, ["a"], "a", 5):
        wrong: Any = expressions
        with pytest.raises(InvalidMessage, match="user_expressions"):
            client.execute("1", user_expressions=wrong)


# What was given up


async def test_an_answer_that_comes_too_late_is_no_answer_to_the_next_question(
    client: KernelClient, kernel: RawKernel
) -> None:
    release = asyncio.Event()

    async def slow(_: InputRequest) -> str:
        await release.wait()
        return "to the first"

    async def quick(_: InputRequest) -> str:
        return "to the second"

    first = start(client.execute("input('delete everything? ')", input_hook=slow))
    request = await kernel.asked("execute_request")
    question = kernel.session.message("input_request", {"prompt": "delete everything? "}, parent=request)
    await kernel.stdin.send(question, kernel._peers[request.msg_id])
    await settle()
    await kernel.reply(request, status="error", ename="KeyboardInterrupt", evalue="")
    await kernel.idle(request)
    assert (await first).status == "error"
    second = start(client.execute("input('second? ')", input_hook=quick))
    request = await kernel.asked("execute_request")
    release.set()
    assert (await kernel.ask(request, prompt="second? ")).content == {"value": "to the second"}
    await kernel.reply(request)
    await kernel.idle(request)
    await second


async def test_a_hook_that_cancels_itself_is_the_end_of_input(client: KernelClient, kernel: RawKernel) -> None:
    async def cancels(_: InputRequest) -> str:
        raise asyncio.CancelledError

    running = start(client.execute("input()", input_hook=cancels))
    request = await kernel.asked("execute_request")
    assert (await kernel.ask(request, prompt="")).content == {"value": "\x04"}
    await kernel.reply(request)
    await kernel.idle(request)
    await running


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_what_is_given_up_while_there_is_no_kernel_does_not_reach_the_next(transport: str) -> None:
    backend = registry.load(transport)
    info = backend.prepare(ConnectionInfo(transport=transport, key=KEY))
    try:
        async with connect(info) as client:
            with pytest.raises(RequestTimeout):
                await client.shutdown(timeout=0.05)
            execution = client.execute("open('/tmp/forgotten', 'w')")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(start(execution), 0.05)
            waiting = asyncio.create_task(client.complete("wanted"))
            async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info)) as kernel:
                await waiting
                await client.kernel_info()
                types = {m.msg_type for name in (Channel.SHELL, Channel.CONTROL) for m in kernel.received[name]}
                # What asks whether the kernel is there is the transport's own, and harmless.
                assert types == {"complete_request", "kernel_info_request"}
                assert (await execution).text == execution.message.content["code"]
    finally:
        backend.release(info)


async def test_a_kernel_whose_messages_we_refuse_may_have_another_key(client: KernelClient, kernel: RawKernel) -> None:
    asking = asyncio.create_task(client.ready(0.2))
    request = await kernel.asked()
    reply = kernel.session.message("kernel_info_reply", parent=request)
    frames = Session(b"another key").pack(reply)
    await kernel.end.shell.send(WireMessage(frames, kernel._peers[request.msg_id]))
    with pytest.raises(RequestTimeout, match=r"; messages came whose signature is wrong \(1\): is it the right key"):
        await asking


async def test_a_kernel_of_another_key_is_not_waited_for(client: KernelClient, kernel: RawKernel) -> None:
    asking = asyncio.create_task(client.ready())
    await kernel.asked()
    stream = kernel.session.message("stream", {"name": "stdout", "text": "somebody else's"})
    await kernel.end.iopub.send(WireMessage(Session(b"another key").pack(stream), b"stream"))
    with pytest.raises(InvalidField, match=r"^connection field 'key': the kernel .* signs with another one"):
        await asking
    assert nothing_is_left_of_requests(client)


async def test_a_kernel_that_beats_and_says_nothing(client: KernelClient, kernel: RawKernel) -> None:
    await client.heartbeat.wait_beating()
    with pytest.raises(RequestTimeout, match=r"0\.1 s; its heartbeat answers: it is busy, or has another key"):
        await client.ready(0.1)
