"""What a user does with a kernel, done with a real ipykernel over every kind of route."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import zmq

from kernelwire import registry
from kernelwire.channels import Channel
from kernelwire.client import KernelClient, connect
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ChannelClosed, EndOfChannel, KernelDied
from kernelwire.execution import ExecuteResult, Execution, InputRequest
from kernelwire.messages import WireMessage
from kernelwire.session import Session

from ._kernels import PATIENCE, bridged, ready_client, real_kernel

ROUTES = {
    "tcp": ("tcp", ()),
    "ipc": ("ipc", ()),
    "tcp over ipc": ("ipc", ("tcp",)),
    "inprocess over tcp": ("tcp", ("inprocess",)),
    "three bridges": ("tcp", ("ipc", "inprocess", "tcp")),
}
"""The kernel's own transport, then what each bridge serves it on."""


@pytest.fixture(params=ROUTES)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[KernelClient]:
    transport, bridges = ROUTES[request.param]
    async with (
        asyncio.timeout(2 * PATIENCE),
        real_kernel(transport) as kernel,
        bridged(kernel.info, bridges) as info,
        ready_client(info) as client,
    ):
        yield client


async def test_output_comes_while_the_cell_runs(client: KernelClient) -> None:
    first_line = asyncio.Event()
    prompts = []

    async def answer(question: InputRequest) -> str:
        # The cell cannot end before the first line was seen: what arrives late, or together, never does.
        prompts.append(question)
        await first_line.wait()
        return "go on"

    seen = []
    execution = client.execute("print('first', flush=True); print(input('? ')); print('last')", input_hook=answer)
    async for message in execution:
        seen.append(message.content.get("text", ""))
        if "first" in "".join(seen):
            first_line.set()
    result = await execution
    assert "".join(seen).split() == ["first", "go", "on", "last"]
    assert result.status == "ok"
    assert prompts == [InputRequest("? ", password=False)]


async def test_an_error_has_its_traceback(client: KernelClient) -> None:
    result = await client.execute("1 / 0")
    assert result.status == "error"
    assert result.error is not None
    name, value, traceback = result.error
    assert (name, value) == ("ZeroDivisionError", "division by zero")
    assert any("1 / 0" in line or "ZeroDivisionError" in line for line in traceback)
    assert [message.msg_type for message in result.outputs if message.msg_type != "execute_input"] == ["error"]


async def test_rich_display(client: KernelClient) -> None:
    result = await client.execute("from IPython.display import HTML; display(HTML('<b>bold</b>')); {'answer': 42}")
    displayed = [message for message in result.outputs if message.msg_type == "display_data"]
    assert [message.content["data"]["text/html"] for message in displayed] == ["<b>bold</b>"]
    assert result.data == {"text/plain": "{'answer': 42}"}


async def test_questions_to_the_kernel(client: KernelClient) -> None:
    info = await client.kernel_info(PATIENCE)
    assert info.content["implementation"] == "ipython"
    await client.execute("a_long_name = 1")
    completions = await client.complete("a_long_n", timeout=PATIENCE)
    assert "a_long_name" in completions.content["matches"]
    silent = await client.execute("b = 1", silent=True)
    counts = [(await client.execute("None")).execution_count for _ in range(3)]
    assert silent.status == "ok"
    assert counts == [2, 3, 4]
    assert not client.session.rejected


async def test_input_without_a_hook_and_at_its_end(client: KernelClient) -> None:
    async def end_of_input(_question: InputRequest) -> str:
        raise EOFError

    nobody = await client.execute("input()")
    ended = await client.execute("input()", input_hook=end_of_input)
    assert nobody.error is not None
    assert nobody.error[0] == "StdinNotImplementedError"
    assert ended.error is not None
    assert ended.error[0] == "EOFError"


async def test_interrupt(client: KernelClient) -> None:
    execution = client.execute("print('runs', flush=True)\nimport time\nwhile True: time.sleep(0.1)")
    async for message in execution:
        if message.msg_type == "stream":
            await client.interrupt(PATIENCE)
            break
    result = await execution
    assert result.error is not None
    assert result.error[0] == "KeyboardInterrupt"


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_a_request_may_come_before_the_kernel(transport: str) -> None:
    async with asyncio.timeout(PATIENCE), real_kernel(transport, start=False) as kernel:
        session = Session.of(kernel.info)
        end = await registry.load(transport).connect(kernel.info, identity=session.session_id.encode())
        async with end:
            asked = [session.message("kernel_info_request") for _ in range(3)]
            for request in asked:
                await end.shell.send(WireMessage(session.pack(request)))
            # Every send has returned: the requests are on the wire, and there is no kernel yet.
            await kernel.start()
            replies = [session.unpack((await end.shell.receive()).frames) for _ in asked]
    assert [reply.parent_id for reply in replies] == [request.msg_id for request in asked]


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_an_execution_may_come_before_the_kernel(transport: str) -> None:
    async with asyncio.timeout(PATIENCE), real_kernel(transport, start=False) as kernel, connect(kernel.file) as client:
        early = asyncio.ensure_future(_printed(client, "print('early')"))
        information = asyncio.ensure_future(client.kernel_info())
        await kernel.start()
        assert await early == "early\n"
        assert (await information).content["status"] == "ok"


async def test_a_client_outlives_its_kernel() -> None:
    # Together, since nearly all of it is waiting for heartbeats that do not come.
    async with asyncio.TaskGroup() as group:
        for transport in ("tcp", "ipc"):
            group.create_task(_outlive(transport))
            group.create_task(_outlive(transport, "tcp"))


async def _outlive(transport: str, *bridges: str) -> None:
    async with (
        asyncio.timeout(110),
        real_kernel(transport) as kernel,
        bridged(kernel.info, bridges) as info,
        _watchful_client(info) as client,
    ):
        for _ in range(2):
            running = client.execute("print('runs', flush=True); import threading; threading.Event().wait()")
            async for message in running:
                if message.msg_type == "stream":
                    break
            await kernel.kill()
            with pytest.raises(KernelDied):
                await running
            # Neither what asks a dead kernel, nor what would begin with waiting for it, waits for ever.
            late = await asyncio.gather(client.kernel_info(), _printed(client, "print(1)"), return_exceptions=True)
            assert [type(outcome) for outcome in late] == [KernelDied, KernelDied]
            await kernel.start()
            await client.ready(PATIENCE)
            lines = (await _printed(client, "for i in range(500): print(i, flush=True)")).split()
            assert lines == [str(i) for i in range(500)]


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_ready_waits_for_a_kernel_that_is_away(transport: str) -> None:
    async with asyncio.timeout(2 * PATIENCE), real_kernel(transport) as kernel, _watchful_client(kernel.info) as client:
        await kernel.kill()
        back = asyncio.ensure_future(client.ready())
        with pytest.raises(KernelDied):
            await client.kernel_info()
        assert not back.done()
        await kernel.start()
        assert (await back).content["status"] == "ok"


async def test_closing_a_client_ends_what_its_other_tasks_wait_for() -> None:
    async with asyncio.timeout(PATIENCE), real_kernel() as kernel:
        async with ready_client(kernel.info) as client:
            running = client.execute("print('runs', flush=True); import threading; threading.Event().wait()")
            async for message in running:
                if message.msg_type == "stream":
                    break
            waiting = [asyncio.ensure_future(running), asyncio.ensure_future(client.complete("x"))]
            await client.request("kernel_info_request", channel=Channel.CONTROL)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        await kernel.kill()  # no request would end that cell
    assert [type(outcome) for outcome in outcomes] == [ChannelClosed, ChannelClosed]


async def test_curve() -> None:
    public, secret = zmq.curve_keypair()
    async with (
        asyncio.timeout(PATIENCE),
        real_kernel(curve_publickey=public, curve_secretkey=secret) as kernel,
        connect(kernel.file) as client,
    ):
        await client.ready()
        assert await _printed(client, "print('secret')") == "secret\n"
        assert await client.end.heartbeat.beat(PATIENCE) >= 0
        # The kernel does encrypt: who comes without the key is not heard.
        plain = kernel.info.replace(curve_publickey=None, curve_secretkey=None)
        async with await registry.load("tcp").connect(
            plain, identity=b"plain", channels={Channel.SHELL, Channel.IOPUB}
        ) as outsider:
            session = Session.of(plain)
            request = WireMessage(session.pack(session.message("kernel_info_request")))
            # Sending may take for ever too, if the kernel has hung up before that.
            sending = asyncio.ensure_future(outsider.shell.send(request))
            unheard = asyncio.ensure_future(outsider.shell.receive())
            for _ in range(20):
                await client.kernel_info()
            assert not unheard.done()
            for task in (sending, unheard):
                task.cancel()
            await asyncio.wait([sending, unheard])


async def test_curve_through_a_bridge_without() -> None:
    public, secret = zmq.curve_keypair()
    async with (
        asyncio.timeout(PATIENCE),
        real_kernel(curve_publickey=public, curve_secretkey=secret) as kernel,
        bridged(kernel.info, ["ipc"]) as info,
        ready_client(info) as client,
    ):
        assert info.curve_publickey is None
        assert await _printed(client, "print('bridged')") == "bridged\n"


@asynccontextmanager
async def _watchful_client(info: ConnectionInfo) -> AsyncIterator[KernelClient]:
    """A ready client that gives a kernel up sooner, since the tests wait for just that."""
    session = Session.of(info)
    end = await registry.load(info.transport).connect(info, identity=session.session_id.encode("ascii"))
    async with KernelClient(end, session, time_to_dead=2) as client:
        await client.ready(PATIENCE)
        yield client


async def _printed(client: KernelClient, code: str) -> str:
    return (await client.execute(code)).text


async def test_every_other_request(client: KernelClient) -> None:
    result = await client.execute("import json\nanswer = 6 * 7", user_expressions={"seen": "answer"})
    seen = result.reply.content["user_expressions"]["seen"]
    assert seen["data"]["text/plain"] == "42"

    assert (await client.inspect("json.loads", 8)).content["found"] is True
    assert (await client.is_complete("for i in x:")).content["status"] == "incomplete"
    history = (await client.history(n=1)).content["history"]
    assert history[-1][2].endswith("answer = 6 * 7")
    assert (await client.comm_info()).content["comms"] == {}
    await client.flush()


async def test_a_subshell_works_beside_the_main_one(client: KernelClient, tmp_path: Path) -> None:
    info = await client.kernel_info()
    if "kernel subshells" not in info.content.get("supported_features", []):
        pytest.skip("this ipykernel has no subshells")
    subshell = await client.create_subshell()
    assert subshell in await client.list_subshells()
    # The main shell is busy until the subshell has done its part; one after the other they would never end.
    done = tmp_path / "done"
    main = client.execute(f"import os, time\nwhile not os.path.exists({str(done)!r}):\n    time.sleep(0.01)")
    waiting = asyncio.create_task(_result(main))
    beside = await client.execute(f"open({str(done)!r}, 'w').close()", subshell_id=subshell)
    assert beside.status == "ok"
    assert (await waiting).status == "ok"
    await client.delete_subshell(subshell)
    assert subshell not in await client.list_subshells()


ECHO_COMM = """
from comm import get_comm_manager

def open_echo(comm, opened):
    comm.on_msg(lambda message: comm.send(message["content"]["data"], buffers=message["buffers"]))

get_comm_manager().register_target("echo", open_echo)
"""


async def test_a_comm_with_buffers(client: KernelClient) -> None:
    assert (await client.execute(ECHO_COMM)).status == "ok"
    async with await client.open_comm("echo") as comm:
        await comm.send({"n": 1}, [b"first", bytes(100_000)])
        echoed = await comm.receive()
        assert echoed.content["data"] == {"n": 1}
        assert [bytes(buffer) for buffer in echoed.buffers] == [b"first", bytes(100_000)]
        assert comm.comm_id in (await client.comm_info("echo")).content["comms"]
    nobody = await client.open_comm("nobody")
    with pytest.raises(EndOfChannel):
        await nobody.receive()


async def test_displays_are_updated_and_cleared(client: KernelClient) -> None:
    result = await client.execute(
        "from IPython.display import clear_output, display\n"
        "print('gone')\nclear_output()\nshown = display('old', display_id=True)\nshown.update('new')"
    )
    (output,) = result.cell_outputs
    assert output["data"]["text/plain"] == "'new'"


async def _result(execution: Execution) -> ExecuteResult:
    return await execution
