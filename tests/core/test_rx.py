"""Observables: what observers get, how subscriptions end, and that nothing of them stays."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from reactivex import Observable
from reactivex import operators as ops

from kernelwire import registry, rx
from kernelwire.channels import Channel
from kernelwire.client import KernelClient, connect
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ChannelClosed, EndOfChannel, GapNotice, KernelDied, NotSupported, WrongLoop
from kernelwire.messages import Message
from kernelwire.raw_channels import RawChannels, open_channels
from kernelwire.session import Session
from kernelwire.testing import Run, ScriptedKernel

from ._raw_kernel import settle

PATIENCE = 60.0


async def script(run: Run) -> Mapping[str, Any] | None:
    match run.code:
        case "fail":
            raise ZeroDivisionError("division by zero")
        case "hang":
            await run.stream("hanging")
            await asyncio.Event().wait()
        case _:
            for number in range(3):
                await run.stream(f"{run.code} {number}")
    return None


@pytest.fixture
async def kernel() -> AsyncIterator[ScriptedKernel]:
    backend = registry.load("inprocess")
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=b"a key for these tests"))
    async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info), script) as kernel:
        kernel.info = info  # type: ignore[attr-defined]
        yield kernel
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not rx._tasks


@pytest.fixture
async def info(kernel: ScriptedKernel) -> ConnectionInfo:
    return kernel.info  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
async def channels(info: ConnectionInfo) -> AsyncIterator[RawChannels]:
    async with open_channels(info) as channels:
        yield channels


@pytest.fixture
async def client(info: ConnectionInfo) -> AsyncIterator[KernelClient]:
    async with connect(info) as client:
        yield client


class Observer:
    """Writes down what it is told.

    Attributes:
        seen: the text of streams, the type of other messages.
        over: done with the error, or with None, when it has ended.
    """

    def __init__(self, messages: Observable[Message]) -> None:
        self.seen: list[str] = []
        self.over: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.subscription = messages.subscribe(self._next, self.over.set_result, lambda: self.over.set_result(None))

    def _next(self, message: Message) -> None:
        self.seen.append(str(message.content.get("text", message.msg_type)))


LINES = ["a 0", "a 1", "a 2"]


# Channels


async def test_several_observers_of_a_channel(channels: RawChannels) -> None:
    request = channels.session.message("execute_request", {"code": "a"})
    streams = Observer(rx.observable(channels.iopub, msg_type="stream", parent=request))
    everything = Observer(rx.observable(channels.iopub))
    replies = Observer(rx.observable(channels.shell).pipe(ops.take(1)))
    await channels.shell.send(request)
    assert await replies.over is None
    await settle()
    assert streams.seen == LINES
    assert everything.seen == ["status", *LINES, "status"]
    assert replies.seen == ["execute_reply"]
    for observer in (streams, everything):
        observer.subscription.dispose()
        assert not observer.over.done()


async def test_operators(channels: RawChannels) -> None:
    request = channels.session.message("execute_request", {"code": "a"})

    def runs(message: Message) -> bool:
        return message.content.get("execution_state") != "idle"

    def text(message: Message) -> str:
        return str(message.content.get("text"))

    messages = rx.observable(channels.iopub, parent=request)
    texts = messages.pipe(ops.take_while(runs), ops.skip(1), ops.map(text), ops.to_list())
    found: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    texts.subscribe(found.set_result, found.set_exception)
    await channels.shell.send(request)
    assert await found == LINES


async def test_nothing_is_read_before_somebody_subscribes_nor_after(channels: RawChannels) -> None:
    messages = rx.observable(channels.shell)
    await channels.shell.send(channels.session.message("kernel_info_request"))
    await settle()
    assert (await channels.shell.receive()).msg_type == "kernel_info_reply"
    Observer(messages).subscription.dispose()
    await settle()
    await channels.shell.send(channels.session.message("kernel_info_request"))
    assert (await channels.shell.receive()).msg_type == "kernel_info_reply"


async def test_it_completes_when_either_end_closes(channels: RawChannels, kernel: ScriptedKernel) -> None:
    ours = Observer(rx.observable(channels.shell))
    await settle()
    await channels.end.shell.aclose()
    assert await ours.over is None
    its = Observer(rx.observable(channels.iopub))
    await settle()
    await kernel.end.aclose()
    assert await its.over is None


async def test_a_gap_ends_it_or_is_told(channels: RawChannels, monkeypatch: pytest.MonkeyPatch) -> None:
    receive = channels.iopub.receive_from

    async def with_gaps() -> Any:
        message, wire = await receive()
        if message.content.get("text") == "a 1":
            raise GapNotice(1, 10, "a test")
        return message, wire

    monkeypatch.setattr(channels.iopub, "receive_from", with_gaps)
    notices: list[GapNotice] = []
    ended = Observer(rx.observable(channels.iopub, msg_type="stream"))
    told = Observer(rx.observable(channels.iopub, msg_type="stream", on_gap=notices.append))
    await channels.shell.send(channels.session.message("execute_request", {"code": "a"}))
    assert isinstance(await ended.over, GapNotice)
    await settle()
    assert ended.seen == ["a 0"]
    assert told.seen == ["a 0", "a 2"]
    assert len(notices) == 1
    told.subscription.dispose()


async def test_another_thread_may_dispose(channels: RawChannels) -> None:
    observer = Observer(rx.observable(channels.iopub))
    await settle()
    await asyncio.to_thread(observer.subscription.dispose)
    await settle()
    assert not rx._tasks


# Executions


async def test_an_execution(client: KernelClient) -> None:
    observer = Observer(rx.execute(client, "a"))
    assert await observer.over is None
    assert observer.seen == [*LINES, "execute_reply"]
    assert client.pending == 0


async def test_an_error_of_the_code_is_a_message(client: KernelClient) -> None:
    observer = Observer(rx.execute(client, "fail"))
    assert await observer.over is None
    assert observer.seen == ["error", "execute_reply"]


async def test_each_subscription_runs_the_code_unless_it_is_shared(
    client: KernelClient, kernel: ScriptedKernel
) -> None:
    code = rx.execute(client, "a")
    observers = [Observer(code), Observer(code)]
    shared = code.pipe(ops.share())
    observers += [Observer(shared), Observer(shared)]
    for observer in observers:
        await observer.over
        assert observer.seen == [*LINES, "execute_reply"]
    assert len(kernel.received[Channel.SHELL]) == 3


async def test_how_it_fails(client: KernelClient, info: ConnectionInfo) -> None:
    observer = Observer(rx.execute(client, "hang"))
    await settle()
    client.end_requests(KernelDied("a test"))
    assert isinstance(await observer.over, KernelDied)
    assert observer.seen == ["hanging"]
    async with connect(info, channels={Channel.CONTROL}) as other:
        assert isinstance(await Observer(rx.execute(other, "a")).over, NotSupported)
    assert isinstance(await Observer(rx.execute(other, "a")).over, ChannelClosed)


async def test_gaps_of_an_execution(client: KernelClient, monkeypatch: pytest.MonkeyPatch) -> None:
    execute = client.execute

    def with_a_gap(code: str, **options: Any) -> Any:
        execution = execute(code, **options)
        execution.on_gap(GapNotice(1, 10, "a test"))
        return execution

    monkeypatch.setattr(client, "execute", with_a_gap)
    notices: list[GapNotice] = []
    told = Observer(rx.execute(client, "a", on_gap=notices.append))
    assert await told.over is None
    assert (told.seen, len(notices)) == ([*LINES, "execute_reply"], 1)
    assert isinstance(await Observer(rx.execute(client, "a")).over, GapNotice)


async def test_disposing_ends_the_reading(client: KernelClient, kernel: ScriptedKernel) -> None:
    observer = Observer(rx.execute(client, "hang"))
    await settle()
    assert observer.seen == ["hanging"]
    observer.subscription.dispose()
    await settle()
    assert not rx._tasks
    assert not observer.over.done()
    assert (await client.interrupt()).content["status"] == "ok"


# Observers that fail, and where there is no loop


async def test_what_an_observer_raises_ends_its_subscription_alone(channels: RawChannels) -> None:
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))

    def fail(_: object) -> None:
        raise ZeroDivisionError

    other = Observer(rx.observable(channels.shell))
    rx.observable(channels.shell).subscribe(fail)
    for _ in range(2):
        await channels.shell.send(channels.session.message("kernel_info_request"))
    await settle()
    assert other.seen == ["kernel_info_reply"] * 2
    assert [type(each) for each in raised] == [ZeroDivisionError]
    rx.observable(channels.iopub).subscribe(on_completed=lambda: fail(None))
    await channels.end.aclose()
    assert await other.over is None
    await settle()
    assert [type(each) for each in raised] == [ZeroDivisionError] * 2


async def test_an_error_without_anybody_to_take_it(client: KernelClient) -> None:
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
    rx.execute(client, "hang").subscribe()
    await settle()
    client.end_requests(EndOfChannel("a test"))
    await settle()
    assert [type(each) for each in raised] == [EndOfChannel]


async def test_without_a_loop(channels: RawChannels) -> None:
    def subscribe() -> list[Exception]:
        errors: list[Exception] = []
        rx.observable(channels.iopub).subscribe(on_error=errors.append)
        return errors

    (error,) = await asyncio.to_thread(subscribe)
    assert isinstance(error, WrongLoop)


def test_the_extra_is_named_where_it_is_missing() -> None:
    script = """
import sys
sys.modules["reactivex"] = None
try:
    import kernelwire.rx
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "kernelwire.rx needs reactivex: pip install 'kernelwire[rx]'\n"


def test_nothing_else_imports_it() -> None:
    script = """
import sys
from kernelwire import *
import kernelwire.blocking
print("reactivex" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
