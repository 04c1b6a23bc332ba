"""Comms of a served object: opened by either side."""

import asyncio
from typing import Any

import pytest

from kernelwire.channels import Channel
from kernelwire.client import KernelClient
from kernelwire.comms import Comm
from kernelwire.errors import ChannelClosed, EndOfChannel
from kernelwire.messages import Message
from kernelwire.serving import KernelComm, Run


class Echoes:
    """Sends back what comes on comms; ``open`` opens one."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.comms: list[KernelComm] = []

    async def execute(self, code: str, run: Run) -> None:
        self.comms.append(await run.open_comm("front", {"code": code}, buffers=[b"extra"]))

    async def comm_open(self, comm: KernelComm, message: Message) -> None:
        if comm.target_name == "broken":
            raise LookupError("no such target")
        self.comms.append(comm)
        await comm.send({"opened": message.content["data"]})

    async def comm_msg(self, comm: KernelComm, message: Message) -> None:
        if message.content["data"].get("bye"):
            await comm.close({"bye": 1})
            return
        await comm.send({"echo": message.content["data"]}, buffers=message.buffers)

    async def comm_close(self, comm: KernelComm, message: Message) -> None:
        self.closed.set()


async def test_a_comm_of_the_front_end(opened: Any) -> None:
    served = Echoes()
    client: KernelClient = await opened(served)
    async with await client.open_comm("there", {"a": 1}) as comm:
        assert (await comm.receive()).content["data"] == {"opened": {"a": 1}}
        await comm.send({"b": 2}, [b"large"])
        echo = await comm.receive()
        assert (echo.content["data"], bytes(echo.buffers[0])) == ({"echo": {"b": 2}}, b"large")
        info = await client.request("comm_info_request", {})
        assert info.content["comms"] == {comm.comm_id: {"target_name": "there"}}
        info = await client.request("comm_info_request", {"target_name": "other"}, channel=Channel.CONTROL)
        assert info.content["comms"] == {}
    await served.closed.wait()
    assert served.comms[0].closed
    with pytest.raises(ChannelClosed):
        await served.comms[0].send({})
    assert (await client.request("comm_info_request", {})).content["comms"] == {}


async def test_a_comm_that_the_kernel_closes(opened: Any) -> None:
    client: KernelClient = await opened(Echoes())
    comm = await client.open_comm("there")
    await comm.receive()
    await comm.send({"bye": True})
    with pytest.raises(EndOfChannel):
        await comm.receive()


async def test_a_comm_of_the_kernel(opened: Any) -> None:
    client: KernelClient = await opened(Echoes())
    comms: asyncio.Queue[Comm] = asyncio.Queue()
    client.on_comm("front", comms.put_nowait)
    await client.execute("abc")
    comm = await comms.get()
    assert comm.data == {"code": "abc"}
    await comm.send({"c": 3})
    assert (await comm.receive()).content["data"] == {"echo": {"c": 3}}


@pytest.mark.parametrize("served", [Echoes()])
async def test_a_target_that_fails(opened: Any, served: Echoes) -> None:
    client: KernelClient = await opened(served)
    comm = await client.open_comm("broken")
    with pytest.raises(EndOfChannel):
        await comm.receive()
    assert (await client.execute("still there")).status == "ok"


async def test_an_object_without_comms(opened: Any) -> None:
    class Plain:
        async def execute(self, code: str, run: Run) -> None: ...

    client: KernelClient = await opened(Plain())
    comm = await client.open_comm("there")
    with pytest.raises(EndOfChannel):
        await comm.receive()
    await client.end.shell.send(_wire(client, "comm_msg", {"comm_id": "unknown", "data": {}}))
    assert (await client.execute("still there")).status == "ok"


def _wire(client: KernelClient, msg_type: str, content: dict[str, object]) -> Any:
    from kernelwire.messages import WireMessage

    return WireMessage(client.session.pack(client.session.message(msg_type, content)))
