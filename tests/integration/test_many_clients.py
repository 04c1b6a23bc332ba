"""Several clients on one kernel: each gets what is its own, and all of what is everybody's."""

import asyncio
import secrets
from contextlib import AsyncExitStack

import pytest
import zmq
from jupyter_client.asynchronous.client import AsyncKernelClient

from kernelwire import registry
from kernelwire.client import KernelClient, connect
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd
from kernelwire.execution import ExecuteResult, InputRequest
from kernelwire.session import Session

from ._kernels import PATIENCE, ready_client, real_kernel

REQUESTS = 50

transports = pytest.mark.parametrize("transport", ["tcp", "ipc"])


@transports
@pytest.mark.parametrize("count", [2, 10])
async def test_everybody_gets_their_own_replies(transport: str, count: int) -> None:
    async with asyncio.timeout(110), real_kernel(transport) as kernel, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(ready_client(kernel.info)) for _ in range(count)]
        answers = await asyncio.gather(*(_ask(client, f"client-{i}") for i, client in enumerate(clients)))
        assert answers == [[f"'client-{i}: {n}'" for n in range(REQUESTS)] for i in range(count)]
        assert not any(client.session.rejected for client in clients)


async def _ask(client: KernelClient, name: str) -> list[str]:
    async def one(n: int) -> str:
        if n % 2:
            reply = (await client.execute("", user_expressions={"it": f"'{name}: {n}'"})).reply
            return str(reply.content["user_expressions"]["it"]["data"]["text/plain"])
        return str(((await client.execute(f"'{name}: {n}'")).data or {})["text/plain"])

    # Everything is asked before anything is answered, so that the kernel finds the clients' requests mixed.
    return list(await asyncio.gather(*map(one, range(REQUESTS))))


@transports
async def test_a_question_reaches_only_who_caused_it(transport: str) -> None:
    async with asyncio.timeout(PATIENCE), real_kernel(transport) as kernel, AsyncExitStack() as stack:
        asked: list[str] = []

        async def connected(name: str) -> KernelClient:
            async def answer(question: InputRequest) -> str:
                asked.append(f"{name} {question.prompt}")
                return name

            return await stack.enter_async_context(connect(kernel.file, input_hook=answer))

        names = ["one", "two", "three"]
        clients = [await connected(name) for name in names]
        results = await asyncio.gather(*(client.execute("[input(n) for n in 'ab']") for client in clients))
    assert [result.data for result in results] == [{"text/plain": f"['{name}', '{name}']"} for name in names]
    assert sorted(asked) == sorted(f"{name} {prompt}" for name in names for prompt in "ab")


@transports
async def test_every_subscriber_becomes_ready(transport: str) -> None:
    async with asyncio.timeout(PATIENCE), real_kernel(transport) as kernel, AsyncExitStack() as stack:
        # ipykernel welcomes only the first; no message is exchanged by which the others could know.
        ends = []
        for _ in range(4):
            end = await _end(kernel.info)
            await stack.enter_async_context(end)
            await end.iopub.ready()
            ends.append(end)
        async with connect(kernel.file) as client:
            await client.execute("print('to everybody')")
        for end in ends:
            assert await _hears(end, kernel.info, "to everybody")


async def _end(info: ConnectionInfo) -> ClientEnd:
    return await registry.load(info.transport).connect(info, identity=secrets.token_hex(16).encode("ascii"))


async def _hears(end: ClientEnd, info: ConnectionInfo, text: str) -> bool:
    session = Session.of(info)
    while True:
        message = session.unpack((await end.iopub.receive()).frames)
        if message.msg_type == "stream" and text in message.content["text"]:
            return True


@transports
@pytest.mark.parametrize("first", ["ours", "theirs"])
async def test_beside_a_stock_client(transport: str, first: str) -> None:
    context = zmq.asyncio.Context()
    async with asyncio.timeout(PATIENCE), real_kernel(transport) as kernel, connect(kernel.file) as ours:
        theirs = AsyncKernelClient(connection_file=str(kernel.file), context=context)
        theirs.load_connection_file()
        theirs.hb_channel.time_to_dead = 20.0  # with a second, a kernel on a busy machine looks dead
        if first == "ours":
            await ours.ready()
        theirs.start_channels()
        try:
            await theirs.wait_for_ready(timeout=PATIENCE)
            await ours.ready()
            outputs: list[str] = []

            async def stock(n: int) -> str:
                reply = await theirs.execute_interactive(
                    f"print('theirs', {n})",
                    allow_stdin=False,
                    timeout=PATIENCE,
                    output_hook=lambda m: outputs.append(m["content"].get("text", "")),
                )
                return str(reply["content"]["status"])

            async def all_of_theirs() -> list[str]:
                return [await stock(n) for n in range(20)]

            async def all_of_ours() -> list[ExecuteResult]:
                return list(await asyncio.gather(*(ours.execute(f"print('ours', {n})") for n in range(20))))

            replies, results = await asyncio.gather(all_of_theirs(), all_of_ours())
        finally:
            theirs.stop_channels()
            context.term()
    assert replies == ["ok"] * 20
    assert "".join(outputs).splitlines() == [f"theirs {n}" for n in range(20)]
    assert [result.text for result in results] == [f"ours {n}\n" for n in range(20)]
