"""What a kernel asks."""

import asyncio
from typing import Any

import pytest

from kernelwire.client import KernelClient, connect
from kernelwire.execution import END_OF_INPUT, InputRequest
from kernelwire.serving import Run, serve


class Asks:
    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def execute(self, code: str, run: Run) -> str:
        self.asked.set()
        return await run.input(code, password=code == "secret")


async def answer(question: InputRequest) -> str:
    if question.prompt == "end":
        return END_OF_INPUT
    return f"{question.prompt} {question.password}"


async def test_answers(opened: Any) -> None:
    client: KernelClient = await opened(Asks(), input_hook=answer)
    assert (await client.execute("name")).data == {"text/plain": "name False"}
    assert (await client.execute("secret")).data == {"text/plain": "secret True"}
    ended = await client.execute("end")
    assert ended.error is not None
    assert ended.error[0] == "EOFError"


async def test_a_client_that_answers_nothing(opened: Any) -> None:
    client: KernelClient = await opened(Asks())
    error = (await client.execute("name")).error
    assert error is not None
    assert error[0] == "NotSupported"
    assert "allow_stdin" in error[1]


async def test_several_clients_are_asked_at_their_own_stdin() -> None:
    async def first(_question: InputRequest) -> str:
        return "first"

    async def second(_question: InputRequest) -> str:
        return "second"

    async with (
        serve(Asks(), "inprocess") as info,
        connect(info, input_hook=first) as one,
        connect(info, input_hook=second) as two,
    ):
        for client, name in ((one, "first"), (two, "second")):
            assert (await client.execute("who")).data == {"text/plain": name}


async def test_a_client_that_leaves_before_it_answers() -> None:
    async def never(_question: InputRequest) -> str:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    asks = Asks()
    async with serve(asks, "inprocess") as info, connect(info, input_hook=answer) as stays:
        async with connect(info, input_hook=never) as leaves:

            async def ask() -> None:
                await leaves.execute("name")

            asking = asyncio.create_task(ask())
            await asks.asked.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        assert (await stays.execute("next")).data == {"text/plain": "next False"}


async def test_an_interrupt_ends_a_question(opened: Any) -> None:
    asked = asyncio.Event()

    async def never(_question: InputRequest) -> str:
        asked.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    client: KernelClient = await opened(Asks(), input_hook=never)

    async def interrupt() -> None:
        await asked.wait()
        await client.interrupt()

    result, _ = await asyncio.gather(_result(client, "name"), interrupt())
    assert result == "KeyboardInterrupt"


async def _result(client: KernelClient, code: str) -> str:
    error = (await client.execute(code)).error
    assert error is not None
    return error[0]
