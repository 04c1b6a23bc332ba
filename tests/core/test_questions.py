"""What the kernel asks, and who answers."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from kernelwire import questions as module
from kernelwire.client import KernelClient
from kernelwire.connection import ConnectionInfo
from kernelwire.execution import END_OF_INPUT, Execution, InputRequest
from kernelwire.message_channel import MessageChannel
from kernelwire.messages import Message
from kernelwire.questions import Questions
from kernelwire.requests import PlainRequest
from kernelwire.session import Session
from kernelwire.testing import Run, ScriptedKernel
from kernelwire_inprocess import InProcessBackend

from ._raw_kernel import RawKernel


async def script(run: Run) -> None:
    match run.code:
        case "ask":
            await run.stream(await run.input("name? "))
        case "say, then ask":
            await run.stream("first")
            await run.stream("second")
            await run.stream(await run.input("name? "))
        case "ask twice":
            await run.stream(await run.input("first? ") + await run.input("second? ", password=True))


@pytest.fixture
async def client() -> AsyncIterator[KernelClient]:
    backend = InProcessBackend({})
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=b"k"))
    session = Session.of(info)
    async with (
        await backend.serve(info) as end,
        ScriptedKernel(end, Session.of(info), script),
        KernelClient(
            await backend.connect(info, identity=session.session_id.encode()), session, time_to_dead=60
        ) as client,
    ):
        yield client


async def test_a_question_is_answered_by_its_executions_hook(client: KernelClient) -> None:
    asked: list[InputRequest] = []

    async def hook(request: InputRequest) -> str:
        asked.append(request)
        return "Ada"

    result = await client.execute("ask twice", input_hook=hook)
    assert result.text == "AdaAda"
    assert asked == [InputRequest("first? ", False), InputRequest("second? ", True)]


async def test_what_cannot_be_sent_ends_the_input(client: KernelClient, caplog: pytest.LogCaptureFixture) -> None:
    async def hook(_request: InputRequest) -> str:
        return object()  # type: ignore[return-value] # no text, and no JSON

    result = await client.execute("ask", input_hook=hook)
    assert result.text == END_OF_INPUT
    assert "cannot be sent" in caplog.text


class Stdin:
    """A channel whose questions the test asks."""

    def __init__(self) -> None:
        self.questions: asyncio.Queue[Message] = asyncio.Queue()
        self.answers: asyncio.Queue[Message] = asyncio.Queue()

    async def receive(self) -> Message:
        return await self.questions.get()

    async def send(self, message: Message) -> None:
        await self.answers.put(message)


async def test_a_new_question_takes_the_place_of_an_old_one() -> None:
    session = Session()
    stdin = Stdin()
    prompts: asyncio.Queue[str] = asyncio.Queue()
    given_up: list[str] = []

    async def hook(request: InputRequest) -> str:
        await prompts.put(request.prompt)
        try:
            return "new" if request.prompt == "again?" else await asyncio.Future[str]()
        finally:
            given_up.append(request.prompt)

    execution = Execution(session.message("execute_request"), Starter(), hook)
    questions = Questions(
        cast("MessageChannel", stdin),
        session,
        lambda question: execution if question.is_child_of(execution.message) else None,
        lambda work, *arguments: asyncio.ensure_future(work(*arguments)),
        flushed,
    )
    reading = [asyncio.create_task(questions.read()), asyncio.ensure_future(anext(aiter(execution)))]
    try:
        for prompt in ("once?", "again?"):
            await stdin.questions.put(session.message("input_request", {"prompt": prompt}, parent=execution.message))
            assert await prompts.get() == prompt
        assert (await stdin.answers.get()).content == {"value": "new"}
        assert given_up == ["once?", "again?"]
        assert stdin.answers.empty()
    finally:
        for each in reading:
            each.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


async def flushed(_request: PlainRequest, _seconds: None) -> None:
    """At once."""


async def overtaken(client: KernelClient, kernel: RawKernel, *, answers: bool) -> list[str]:
    """What comes in which order, if a question is here before the output that was published before it."""
    seen: list[str] = []

    async def hook(request: InputRequest) -> str:
        seen.append(request.prompt)
        return ""

    async def read() -> None:
        async for message in client.execute("1", input_hook=hook):
            await asyncio.sleep(0.02)  # it is shown slowly
            seen.append(str(message.content["text"]))

    reading = asyncio.create_task(read())
    request = await kernel.asked("execute_request")
    asking = asyncio.create_task(kernel.ask(request, prompt="who? "))
    if answers:
        flush, wire = await kernel.control.receive_from()
        await kernel.control.send(kernel.session.message("kernel_info_reply", {}, parent=flush), wire.peer)
        for text in "abc":
            await kernel.publish(request, "stream", name="stdout", text=text)
        await kernel.idle(flush)
    await asking
    if not answers:
        await kernel.ask(request, prompt="again? ")
    await kernel.reply(request)
    await kernel.idle(request)
    await reading
    return seen


@pytest.mark.parametrize("answers", [True, False])
async def test_output_comes_before_the_question(answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTPUT_TIME", 60.0 if answers else 0.02)
    backend = InProcessBackend({})
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=b"k"))
    session = Session.of(info)
    async with (
        await backend.serve(info) as end,
        KernelClient(await backend.connect(info, identity=session.session_id.encode()), session) as client,
        asyncio.timeout(60),
    ):
        kernel = RawKernel(end, info)
        seen = await overtaken(client, kernel, answers=answers)
        assert seen == (["a", "b", "c", "who? "] if answers else ["who? ", "again? "])


async def test_output_that_is_long_in_coming_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTPUT_TIME", 0.02)
    session = Session()
    stdin = Stdin()
    asked, here = asyncio.Event(), asyncio.Event()

    async def ask(request: PlainRequest, _seconds: None) -> None:
        request.replied = True
        asked.set()
        await here.wait()

    async def hook(_request: InputRequest) -> str:
        assert here.is_set()
        return "yes"

    execution = Execution(session.message("execute_request"), Starter(), hook)
    questions = Questions(
        cast("MessageChannel", stdin),
        session,
        lambda _question: execution,
        lambda work, *arguments: asyncio.ensure_future(work(*arguments)),
        ask,
    )
    reading = [asyncio.create_task(questions.read()), asyncio.ensure_future(anext(aiter(execution)))]
    await stdin.questions.put(session.message("input_request", {"prompt": "?"}, parent=execution.message))
    await asked.wait()
    await asyncio.sleep(3 * module.OUTPUT_TIME)
    here.set()
    assert (await stdin.answers.get()).content == {"value": "yes"}
    for each in reading:
        each.cancel()
    await asyncio.gather(*reading, return_exceptions=True)


async def test_output_that_nobody_reads_holds_up_no_question(
    client: KernelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OUTPUT_TIME", 0.02)
    asked = asyncio.Event()

    async def hook(_request: InputRequest) -> str:
        asked.set()
        return "Ada"

    execution = client.execute("say, then ask", input_hook=hook)
    async with asyncio.timeout(60):
        async for message in execution:
            assert message.content["text"] == "first"
            await asked.wait()
            break
        assert (await execution).text == "firstsecondAda"


class Starter:
    """Starts nothing."""

    def start(self, execution: Execution) -> None:
        pass

    def withdraw(self, execution: Execution) -> bool:
        return True
