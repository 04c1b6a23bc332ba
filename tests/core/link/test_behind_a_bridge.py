"""A host that is started anew, seen by clients behind a bridge: over wires with gap notices, and over zmq without."""

import asyncio
from collections.abc import Collection

import pytest

from kernelwire import registry
from kernelwire.bridge import Bridge
from kernelwire.channels import Channel
from kernelwire.client import KernelClient
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import GapNotice, OutcomeUnknown
from kernelwire.session import Session
from kernelwire.testing import ScriptedKernel

from ._pipes import INFO, MemoryBackend


async def crash(backend: MemoryBackend, kernel: KernelEnd) -> None:
    """As a process that is killed: nobody hears a goodbye."""
    backend.network.half_open()
    backend.network.down = OSError("nobody there")
    await kernel.aclose()
    backend.network.cut()


async def executed(client: KernelClient) -> object:
    execution = client.execute("1 + 1")
    while True:
        try:
            return await execution
        except GapNotice:  # which may come before that of shell
            continue


@pytest.mark.parametrize("transport", ["ipc", "tcp", "inprocess"])
async def test_clients_behind_a_bridge_are_told(transport: str) -> None:
    far = MemoryBackend()
    near_backend = registry.load(transport)
    near_info = near_backend.prepare(ConnectionInfo(transport=transport, key=b"near"))

    def open_client(identity: bytes, channels: Collection[Channel]) -> "asyncio.Future[ClientEnd]":
        return asyncio.ensure_future(far.connect(INFO, identity=identity, channels=channels))

    kernel = await far.serve(INFO)
    async with await near_backend.serve(near_info) as near:
        bridge = Bridge(near, open_client, near_session=Session.of(near_info), far_session=Session.of(INFO))
        running = asyncio.create_task(bridge.run())
        session = Session.of(near_info)
        end = await near_backend.connect(near_info, identity=session.session_id.encode())
        async with KernelClient(end, session, time_to_dead=60) as client:
            async with ScriptedKernel(kernel, Session.of(INFO), None):
                await client.ready()
            asking: list[asyncio.Task[object]]
            asking = [asyncio.create_task(each) for each in (client.kernel_info(), client.interrupt())]
            asking.append(asyncio.create_task(executed(client)))
            await kernel.shell.receive()
            await kernel.shell.receive()
            await kernel.control.receive()
            await crash(far, kernel)
            far.network.down = None
            async with await far.serve(INFO) as kernel, ScriptedKernel(kernel, Session.of(INFO), None):
                for each in asking:
                    with pytest.raises(OutcomeUnknown):
                        await each
                assert client.pending == 0
                await client.kernel_info()
                assert client.broken is None
        running.cancel()
        await asyncio.wait([running])
    near_backend.release(near_info)
