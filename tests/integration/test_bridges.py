"""A bridge whose clients come and go, and whose kernel goes."""

import asyncio

import pytest

from kernelwire import registry
from kernelwire.bridging import open_bridge
from kernelwire.client import connect
from kernelwire.connection import ConnectionInfo
from kernelwire.messages import WireMessage
from kernelwire.session import Session
from kernelwire.testing.scripted import ScriptedKernel

from ._kernels import PATIENCE, bridged, ready_client, real_kernel


@pytest.mark.parametrize("far", ["tcp", "inprocess"])
async def test_a_client_that_leaves_at_once_holds_up_nobody(far: str) -> None:
    backend = registry.load(far)
    info = backend.prepare(ConnectionInfo(transport=far, key=b"a key"))
    near_backend = registry.load("inprocess")
    async with (
        asyncio.timeout(PATIENCE),
        await backend.serve(info) as end,
        ScriptedKernel(end, Session.of(info)),
        open_bridge(info, ConnectionInfo(transport="inprocess", key=b"another")) as near,
    ):
        session = Session.of(near)
        for n in range(50):
            # It is gone before the bridge has opened anything for it.
            hasty = await near_backend.connect(near, identity=b"hasty-%d" % n)
            await hasty.control.send(WireMessage(session.pack(session.message("kernel_info_request"))))
            await hasty.shell.send(WireMessage(session.pack(session.message("kernel_info_request"))))
            await hasty.aclose()
        async with connect(near) as client:
            assert (await client.execute("text")).text == "text"
            assert (await client.interrupt()).content["status"] == "ok"


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_the_heartbeat_is_the_kernel_s_own(transport: str) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        real_kernel(transport) as kernel,
        bridged(kernel.info, ["ipc", "inprocess", "tcp"], time_to_dead=0.5) as info,
        ready_client(info) as client,
    ):
        monitor = client.heartbeat
        await monitor.wait_beating()
        await kernel.kill()
        await monitor.wait_beating(False)
        await kernel.start()
        await client.ready()
        await monitor.wait_beating()
