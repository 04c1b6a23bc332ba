"""Comms of the `comm` package, as widgets use them."""

import asyncio
from typing import Any

import comm
import pytest

from kernelwire.client import KernelClient
from kernelwire.comms import Comm
from kernelwire.errors import EndOfChannel

TARGET = """
import comm
heard = []
def target(opened, message):
    heard.append(message["content"]["data"])
    @opened.on_msg
    def _(message):
        print("heard")
        opened.send({"echo": message["content"]["data"]}, buffers=[bytes(each) for each in message["buffers"]])
    @opened.on_close
    def _(message):
        heard.append("closed")
comm.get_comm_manager().register_target("echo", target)
"""


async def test_a_comm_of_the_front_end(opened: Any) -> None:
    client: KernelClient = await opened()
    await client.execute(TARGET)
    async with await client.open_comm("echo", {"a": 1}) as there:
        await there.send({"b": 2}, [b"large"])
        echo = await there.receive()
        assert (echo.content["data"], bytes(echo.buffers[0])) == ({"echo": {"b": 2}}, b"large")
    assert (await client.execute("heard")).data == {"text/plain": "[{'a': 1}, 'closed']"}


async def test_a_comm_of_the_kernel(opened: Any) -> None:
    client: KernelClient = await opened()
    comms: asyncio.Queue[Comm] = asyncio.Queue()
    client.on_comm("front", comms.put_nowait)
    code = (
        "import comm\nc = comm.create_comm(target_name='front', data={'n': 1})\nc.on_msg(lambda m: c.send({'got': 1}))"
    )
    assert (await client.execute(code)).status == "ok"
    there = await comms.get()
    assert there.data == {"n": 1}
    await there.send({})
    assert (await there.receive()).content["data"] == {"got": 1}
    await client.execute("c.close()")
    with pytest.raises(EndOfChannel):
        await there.receive()


async def test_a_target_that_nobody_has(opened: Any) -> None:
    client: KernelClient = await opened()
    there = await client.open_comm("nobody")
    with pytest.raises(EndOfChannel):
        await there.receive()
    assert (await client.execute("1")).status == "ok"


async def test_the_package_is_as_before_in_the_end(opened: Any) -> None:
    before = comm.create_comm, comm.get_comm_manager()
    client: KernelClient = await opened()
    await client.execute("import comm; comm.get_comm_manager()")
    assert comm.get_comm_manager() is before[1]
    assert comm.create_comm is not before[0]
