"""The scripted kernel, as another test would use it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from kernelwire.channels import Channel
from kernelwire.testing import BackendHarness, Client, Pair, Run, Script, ScriptedKernel


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with BackendHarness("inprocess").open() as pair:
        yield pair


def scripted(pair: Pair, script: Script | None = None) -> ScriptedKernel:
    return ScriptedKernel(pair.kernel.end, pair.kernel.session, script)


async def ask(client: Client, msg_type: str, channel: str = "shell", **content: object) -> Mapping[str, Any]:
    request = client.session.message(msg_type, content)
    await getattr(client, channel).send(request)
    reply = await getattr(client, channel).receive()
    assert reply.is_child_of(request)
    assert reply.msg_type == msg_type.replace("_request", "_reply")
    content_of_reply: Mapping[str, Any] = reply.content
    return content_of_reply


async def published(client: Client, count: int) -> list[tuple[str, Any]]:
    seen = []
    for _ in range(count):
        message = await client.iopub.receive()
        seen.append((message.msg_type, message.content.get("execution_state", message.content.get("text"))))
    return seen


async def test_it_prints_its_code_unless_told_otherwise(pair: Pair) -> None:
    client = await pair.connect()
    async with scripted(pair):
        assert await ask(client, "execute_request", code="abc") == {
            "status": "ok",
            "execution_count": 1,
            "user_expressions": {},
        }
        assert await published(client, 3) == [("status", "busy"), ("stream", "abc"), ("status", "idle")]
        assert (await ask(client, "execute_request", code="d"))["execution_count"] == 2


async def test_requests_that_it_knows(pair: Pair) -> None:
    client = await pair.connect()
    async with scripted(pair) as kernel:
        assert (await ask(client, "kernel_info_request"))["implementation"] == "scripted"
        completed = await ask(client, "complete_request", code="abc def", cursor_pos=3)
        assert (completed["matches"], completed["cursor_end"]) == (["abc_completed"], 3)
        assert (await ask(client, "shutdown_request", "control", restart=True)) == {"status": "ok", "restart": True}
        assert not kernel.interrupted.is_set()
        assert (await ask(client, "interrupt_request", "control")) == {"status": "ok"}
        assert kernel.interrupted.is_set()
        assert [message.msg_type for message in kernel.received[Channel.SHELL]] == [
            "kernel_info_request",
            "complete_request",
        ]


async def test_a_request_that_it_does_not_know(pair: Pair) -> None:
    client = await pair.connect()
    async with scripted(pair):
        reply = await ask(client, "strange_request")
        assert (reply["status"], reply["evalue"]) == ("error", "strange_request")


async def test_a_script_may_publish_fail_and_add_to_the_reply(pair: Pair) -> None:
    async def script(run: Run) -> Mapping[str, Any] | None:
        if run.code == "fail":
            raise LookupError("not found")
        await run.stream("to err", "stderr")
        await run.publish("display_data", {"text": run.code})
        return {"payload": [1], "peer": run.peer.decode()}

    client = await pair.connect()
    async with scripted(pair, script):
        reply = await ask(client, "execute_request", code="abc")
        assert (reply["status"], reply["payload"], bool(reply["peer"])) == ("ok", [1], True)
        assert (await published(client, 4))[1:3] == [("stream", "to err"), ("display_data", "abc")]
        reply = await ask(client, "execute_request", code="fail")
        assert (reply["status"], reply["ename"], reply["evalue"]) == ("error", "LookupError", "not found")
        assert [kind for kind, _ in await published(client, 3)] == ["status", "error", "status"]


async def test_a_question_is_answered_with_any_parent_or_none(pair: Pair) -> None:
    async def script(run: Run) -> Mapping[str, Any]:
        return {"answers": [await run.input(), await run.input("two? ", password=True), await run.input()]}

    client = await pair.connect()
    async with scripted(pair, script) as kernel:
        request = client.message(code="input()")
        await client.shell.send(request)
        for answer in ("first", "second", "third"):
            question = await client.stdin.receive()
            parent = {"first": question, "second": request}.get(answer)
            assert question.content["password"] is (answer == "second")
            stray = client.session.message("input_reply", {"value": "stray"}, parent=client.message())
            await client.stdin.send(stray)
            await client.stdin.send(client.session.message("input_reply", {"value": answer}, parent=parent))
        assert (await client.shell.receive()).content["answers"] == ["first", "second", "third"]
        assert len(kernel.received[Channel.STDIN]) == 6
        assert not kernel._questions


async def test_control_does_not_wait_for_shell(pair: Pair) -> None:
    async def script(run: Run) -> None:
        await kernel.interrupted.wait()

    client = await pair.connect()
    async with scripted(pair, script) as kernel:
        await client.shell.send(client.message(code="wait"))
        await ask(client, "interrupt_request", "control")
        assert (await client.shell.receive()).content["status"] == "ok"


async def test_a_client_that_left_does_not_stop_it(pair: Pair) -> None:
    going = asyncio.Event()

    async def script(run: Run) -> None:
        if run.code == "slow":
            await going.wait()

    leaves, stays = await pair.connect(), await pair.connect()
    async with scripted(pair, script):
        await leaves.shell.send(leaves.message(code="slow"))
        await leaves.end.aclose()
        going.set()
        assert (await ask(stays, "execute_request", code="next"))["status"] == "ok"


async def test_it_ends_when_told_and_when_its_end_closes(pair: Pair) -> None:
    async with scripted(pair) as kernel:
        tasks = kernel._tasks
        assert not any(task.done() for task in tasks)
    assert all(task.done() for task in tasks)
    async with scripted(pair) as again:
        await pair.kernel.end.aclose()
        await asyncio.wait(again._tasks)
