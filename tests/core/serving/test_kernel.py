"""A served object's requests: order, errors, interrupts, restarts, and ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from kernelwire.channels import Channel
from kernelwire.client import KernelClient
from kernelwire.errors import EndOfChannel, InvalidKernel, KernelRestarted, MessageTooLarge
from kernelwire.messages import WireMessage
from kernelwire.serving import Run, ServedKernel
from kernelwire.testing import BackendHarness, Client, Pair


class Obeys:
    """Does what its code says.

    Attributes:
        started: set when code ``wait`` runs.
        going: what it waits for.
    """

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.going = asyncio.Event()
        self.ran: list[str] = []
        self.cancelled = 0

    async def execute(self, code: str, run: Run) -> object:
        self.ran.append(code)
        match code:
            case "wait" | "wait and fail":
                self.started.set()
                try:
                    await self.going.wait()
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise
                if code == "wait and fail":
                    raise LookupError("as asked")
            case "survive":
                self.started.set()
                try:
                    await self.going.wait()
                except asyncio.CancelledError:
                    return "survived"
            case "fail":
                raise LookupError("as asked")
            case "exit":
                raise SystemExit(3)
            case "ctrl-c":
                raise KeyboardInterrupt
            case "unsendable":
                return {"text/plain": object()}
            case "bad reply":
                run.reply["payload"] = object()
        return code

    async def complete(self, code: str, cursor_pos: int) -> Mapping[str, object]:
        if code == "fail":
            raise LookupError("as asked")
        return {"matches": 3 if code == "odd" else ["a"]}


class Restarts(Obeys):
    def __init__(self) -> None:
        super().__init__()
        self.restarts = self.interrupts = self.ends = 0

    async def restart(self) -> None:
        self.restarts += 1
        if self.restarts == 2:
            raise LookupError("not a second time")

    async def interrupt(self) -> None:
        self.interrupts += 1
        self.going.set()

    async def shutdown(self) -> None:
        self.ends += 1


@asynccontextmanager
async def served(served: object) -> AsyncIterator[tuple[ServedKernel, Client, Pair]]:
    async with (
        BackendHarness("inprocess").open() as pair,
        ServedKernel(served, pair.kernel.end, pair.kernel.session) as kernel,
    ):
        yield kernel, await pair.connect(), pair


async def ask(client: Client, msg_type: str, channel: str = "shell", **content: object) -> Mapping[str, Any]:
    request = client.session.message(msg_type, content)
    await getattr(client, channel).send(request)
    reply = await getattr(client, channel).receive()
    assert reply.is_child_of(request)
    answer: Mapping[str, Any] = reply.content
    return answer


async def test_busy_input_result_reply_idle() -> None:
    async with served(Obeys()) as (_, client, _):
        reply = await ask(client, "execute_request", code="a")
        assert reply == {"status": "ok", "execution_count": 1, "user_expressions": {}, "payload": []}
        seen = [await client.iopub.receive() for _ in range(4)]
        assert [each.msg_type for each in seen] == ["status", "execute_input", "execute_result", "status"]
        assert [seen[0].content["execution_state"], seen[3].content["execution_state"]] == ["busy", "idle"]
        assert seen[1].content == {"code": "a", "execution_count": 1}
        assert seen[2].content == {"execution_count": 1, "data": {"text/plain": "a"}, "metadata": {}}
        assert (await ask(client, "execute_request", code="a"))["execution_count"] == 2


async def test_what_the_object_raises_becomes_a_reply_and_the_kernel_lives(opened: Any) -> None:
    client: KernelClient = await opened(Obeys())
    failed = await client.execute("fail")
    assert failed.error is not None
    name, value, traceback = failed.error
    assert (name, value, traceback[-1]) == ("LookupError", "as asked", "LookupError: as asked")
    assert not any("serving/kernel.py" in line for line in traceback)
    assert [each.msg_type for each in failed.outputs] == ["execute_input", "error"]
    for code, expected in (("exit", "SystemExit"), ("ctrl-c", "KeyboardInterrupt"), ("unsendable", "InvalidMessage")):
        error = (await client.execute(code)).error
        assert error is not None
        assert error[0] == expected
    assert (await client.execute("bad reply")).error is not None
    assert (await client.complete("fail")).content["ename"] == "LookupError"
    assert (await client.complete("odd")).content["matches"] == 3
    assert (await client.execute("a")).status == "ok"


async def test_an_output_that_is_too_large(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Large:
        async def execute(self, code: str, run: Run) -> None:
            raise MessageTooLarge(2, 1)

    client: KernelClient = await opened(Large())
    error = (await client.execute("")).error
    assert error is not None
    assert error[0] == "MessageTooLarge"


async def test_unknown_requests_and_requests_on_the_wrong_channel(opened: Any) -> None:
    client: KernelClient = await opened(Obeys())
    strange = (await client.request("strange_request")).content
    assert (strange["status"], strange["ename"]) == ("error", "NotImplementedError")
    assert "strange_request" in strange["evalue"]
    misplaced = (await client.request("complete_request", {"code": ""}, channel=Channel.CONTROL)).content
    assert misplaced["evalue"] == "complete_request: send it on shell"
    for channel in (Channel.SHELL, Channel.CONTROL):
        info = (await client.request("kernel_info_request", channel=channel)).content
        assert info["implementation"] == "Obeys"


async def test_messages_that_are_none_change_nothing() -> None:
    async with served(Obeys()) as (_, client, _):
        await client.end.shell.send(WireMessage([b"", b"{}", b"{}", b"{}", b"{}"]))
        assert (await ask(client, "execute_request", code="a"))["status"] == "ok"


async def test_an_error_aborts_what_the_client_has_waiting(opened: Any) -> None:
    obeys = Obeys()
    async with served(obeys) as (_, client, pair):
        other = await pair.connect()
        requests = [client.message(code=code) for code in ("wait and fail", "never", "never either")]
        info = client.session.message("kernel_info_request")
        for request in (*requests[:2], info, requests[2]):
            await client.shell.send(request)
        await obeys.started.wait()
        await other.shell.send(other.message(code="other"))
        obeys.going.set()
        replies = [await client.shell.receive() for _ in range(4)]
        assert [each.content["status"] for each in replies] == ["error", "aborted", "ok", "aborted"]
        assert replies[2].content["implementation"] == "Obeys"
        assert (await other.shell.receive()).content["status"] == "ok"
        assert obeys.ran == ["wait and fail", "other"]
        assert (await ask(client, "execute_request", code="after"))["status"] == "ok"


async def test_an_error_that_aborts_nothing() -> None:
    obeys = Obeys()
    async with served(obeys) as (_, client, _):
        await client.shell.send(client.session.message("execute_request", {"code": "fail", "stop_on_error": False}))
        await client.shell.send(client.message(code="next"))
        assert (await client.shell.receive()).content["status"] == "error"
        assert (await client.shell.receive()).content["status"] == "ok"


async def test_an_interrupt_cancels_what_runs_and_nothing_else(opened: Any) -> None:
    obeys = Obeys()
    client: KernelClient = await opened(obeys)
    await client.interrupt()  # nothing runs
    waiting = asyncio.create_task(result_of(client, "wait"))
    await obeys.started.wait()
    await client.interrupt()
    error = (await waiting).error
    assert error is not None
    assert (error[0], obeys.cancelled) == ("KeyboardInterrupt", 1)
    assert (await client.execute("next")).status == "ok"


async def test_a_method_may_survive_an_interrupt(opened: Any) -> None:
    obeys = Obeys()
    client: KernelClient = await opened(obeys)
    waiting = asyncio.create_task(result_of(client, "survive"))
    await obeys.started.wait()
    await client.interrupt()
    assert (await waiting).data == {"text/plain": "survived"}


async def test_an_object_that_interrupts_itself(opened: Any) -> None:
    restarts = Restarts()
    client: KernelClient = await opened(restarts)
    waiting = asyncio.create_task(result_of(client, "wait"))
    await restarts.started.wait()
    await client.interrupt()
    assert (await waiting).status == "ok"
    assert (restarts.interrupts, restarts.cancelled) == (1, 0)


async def test_control_does_not_wait_for_shell(opened: Any) -> None:
    obeys = Obeys()
    client: KernelClient = await opened(obeys)
    waiting = asyncio.create_task(result_of(client, "wait"))
    await obeys.started.wait()
    await client.request("kernel_info_request", channel=Channel.CONTROL)
    obeys.going.set()
    assert (await waiting).status == "ok"


async def test_shutdown_replies_and_ends() -> None:
    obeys = Obeys()
    async with served(obeys) as (kernel, client, _):
        await client.shell.send(client.message(code="wait"))
        await obeys.started.wait()
        assert await ask(client, "shutdown_request", "control", restart=True) == {"status": "ok", "restart": True}
        await kernel.wait()
        assert obeys.cancelled == 1
        seen = []
        while "shutdown_reply" not in seen:
            seen.append((await client.iopub.receive()).msg_type)


@pytest.mark.parametrize("channel", [Channel.SHELL, Channel.CONTROL])
async def test_a_restart_is_another_kernel_at_the_same_address(opened: Any, channel: Channel) -> None:
    restarts = Restarts()
    client: KernelClient = await opened(restarts)
    before = await client.request("kernel_info_request")
    assert (await client.execute("a")).execution_count == 1
    reply = await client.request("shutdown_request", {"restart": True}, channel=channel)
    assert (reply.content["status"], reply.header["session"]) == ("ok", before.header["session"])
    result = await client.execute("a")
    assert (result.execution_count, restarts.restarts) == (1, 1)
    assert result.reply.header["session"] != before.header["session"]
    await client.request("shutdown_request", {"restart": True}, channel=channel)  # fails, and the kernel lives
    assert (await client.execute("a")).execution_count == 1


async def test_a_restart_ends_what_runs_and_aborts_what_waits(opened: Any) -> None:
    restarts = Restarts()
    client: KernelClient = await opened(restarts)
    running = asyncio.create_task(result_of(client, "wait"))
    await restarts.started.wait()
    waiting = asyncio.create_task(result_of(client, "never"))
    await client.request("kernel_info_request", channel=Channel.CONTROL)
    await client.request("shutdown_request", {"restart": True}, channel=Channel.CONTROL)
    assert (await waiting).status == "aborted"
    with pytest.raises(KernelRestarted):
        await running
    assert restarts.ran == ["wait"]
    assert (await client.execute("a")).status == "ok"


async def test_shutdown_is_told_to_the_object() -> None:
    restarts = Restarts()
    async with served(restarts) as (kernel, client, _):
        await ask(client, "shutdown_request", "control", restart=False)
        await kernel.wait()
    assert (restarts.ends, restarts.restarts) == (1, 0)


async def test_it_ends_with_its_end() -> None:
    async with served(Obeys()) as (kernel, client, pair):
        await pair.kernel.end.aclose()
        await kernel.wait()
        with pytest.raises(EndOfChannel):
            await client.shell.receive()


async def test_leaving_ends_what_runs() -> None:
    obeys = Obeys()
    async with served(obeys) as (kernel, client, _):
        await client.shell.send(client.message(code="survive"))
        await obeys.started.wait()
    await kernel.wait()
    assert not [task for task in asyncio.all_tasks() if "kernelwire serving" in task.get_name()]


async def test_a_method_that_will_not_end_keeps_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("kernelwire.serving.kernel.GRACE", 0.01)
    started, going = asyncio.Event(), asyncio.Event()

    class Stubborn:
        async def execute(self, code: str, run: Run) -> None:
            started.set()
            while not going.is_set():
                with suppress(asyncio.CancelledError):
                    await going.wait()

    async with served(Stubborn()) as (kernel, client, _):
        await client.shell.send(client.message(code=""))
        await started.wait()
        assert (await ask(client, "shutdown_request", "control"))["status"] == "ok"
        await kernel.wait()
    assert "does not end when it is cancelled" in caplog.text
    going.set()
    while [task for task in asyncio.all_tasks() if "kernelwire serving" in task.get_name()]:
        await asyncio.sleep(0)


async def test_an_object_that_cannot_be_served() -> None:
    async with BackendHarness("inprocess").open() as pair:
        with pytest.raises(InvalidKernel, match="no method execute"):
            ServedKernel(object(), pair.kernel.end, pair.kernel.session)


async def result_of(client: KernelClient, code: str) -> Any:
    return await client.execute(code)
