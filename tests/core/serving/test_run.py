"""What an execution may publish."""

from typing import Any

import pytest

from kernelwire.client import KernelClient
from kernelwire.serving import Run
from kernelwire.serving.run import bundle


class Shows:
    async def execute(self, code: str, run: Run) -> object:
        match code:
            case "stream":
                await run.stream("out")
                await run.stream("err", "stderr")
            case "display":
                await run.display({"text/plain": "one"}, {"a": 1}, display_id="d")
                await run.display("two", display_id="d", update=True)
                await run.display("three", update=True)
            case "result":
                await run.result("shown", {"b": 2})
            case "clear":
                await run.clear_output(wait=True)
            case "error":
                await run.error("Oops", "it failed", ["line 1", "line 2"])
            case "reply":
                run.reply["payload"] = [{"source": "page"}]
                run.reply["user_expressions"] = {name: {"status": "ok"} for name in run.user_expressions}
            case "buffers":
                await run.publish("display_data", {"data": {}, "metadata": {}}, buffers=[b"abc"])
            case "number":
                return 42
            case "bundle":
                return {"text/html": "<b>42</b>"}
        return None


async def test_outputs(opened: Any) -> None:
    client: KernelClient = await opened(Shows())
    kinds = [(each.msg_type, each.content.get("text")) for each in (await client.execute("stream")).outputs]
    assert kinds == [("execute_input", None), ("stream", "out"), ("stream", "err")]
    assert (await client.execute("result")).data == {"text/plain": "shown"}
    assert (await client.execute("number")).data == {"text/plain": "42"}
    assert (await client.execute("bundle")).data == {"text/html": "<b>42</b>"}
    cleared = (await client.execute("clear")).outputs[-1]
    assert (cleared.msg_type, cleared.content) == ("clear_output", {"wait": True})
    assert bytes((await client.execute("buffers")).outputs[-1].buffers[0]) == b"abc"


async def test_displays_and_updates(opened: Any) -> None:
    client: KernelClient = await opened(Shows())
    result = await client.execute("display")
    _, shown, updated = result.outputs[:3]
    assert (shown.msg_type, shown.content["transient"]) == ("display_data", {"display_id": "d"})
    assert (updated.msg_type, updated.content["data"]) == ("update_display_data", {"text/plain": "two"})
    assert result.error is not None
    assert result.error[0] == "ValueError"


async def test_an_error_in_the_objects_own_words(opened: Any) -> None:
    client: KernelClient = await opened(Shows())
    result = await client.execute("error")
    assert result.error == ("Oops", "it failed", ["line 1", "line 2"])
    assert [each.msg_type for each in result.outputs] == ["execute_input", "error"]


async def test_more_for_the_reply(opened: Any) -> None:
    client: KernelClient = await opened(Shows())
    reply = (await client.execute("reply", user_expressions={"x": "1"})).reply.content
    assert (reply["payload"], reply["user_expressions"]) == ([{"source": "page"}], {"x": {"status": "ok"}})


async def test_a_silent_execution_shows_no_result_and_does_not_count(opened: Any) -> None:
    client: KernelClient = await opened(Shows())
    silent = await client.execute("number", silent=True)
    assert (silent.outputs, silent.execution_count) == ((), 1)
    assert (await client.execute("number")).execution_count == 1
    assert (await client.execute("number", store_history=False)).execution_count == 2
    assert (await client.execute("number")).execution_count == 2


@pytest.mark.parametrize(("data", "expected"), [("a", "a"), (1, "1"), ([1], "[1]")])
def test_bundles(data: object, expected: str) -> None:
    assert bundle(data) == {"text/plain": expected}
    assert bundle({"image/png": b"1"}) == {"image/png": b"1"}
