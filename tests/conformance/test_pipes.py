"""What the kit cannot see of the two pipes: that they hold little, close at once, and bind their room."""

import asyncio
import contextlib

import pytest

from conformance.pipes import ROOM, MemoryPipeBackend
from kernelwire import registry
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import AddressInUse, InvalidField, Undelivered
from kernelwire.link.backend import PipeBackend
from kernelwire.messages import WireMessage
from kernelwire.testing import Resources
from kernelwire.testing.faults import Middle
from kernelwire.testing.through import Through


@pytest.fixture(params=["memory-pipe", "tcp-pipe"])
def backend(request: pytest.FixtureRequest) -> PipeBackend:
    backend = registry.load(request.param)
    assert isinstance(backend, PipeBackend)
    return backend


async def test_a_send_waits_while_the_wire_is_full(backend: PipeBackend) -> None:
    before = Resources.now()
    info = backend.prepare(ConnectionInfo(transport="a pipe"))
    listener = await backend.listen(info)
    pipe = await backend.open_pipe(info)
    accepted = await listener.accept()
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await pipe.send(bytes(ROOM))
            sent += ROOM

    flooding = asyncio.create_task(flood())
    stuck_at = -1
    while sent > stuck_at:
        stuck_at = sent
        await asyncio.wait([flooding], timeout=0.1)
    assert sent < 16_000_000
    while sent == stuck_at:
        assert await accepted.receive()
    flooding.cancel()
    await asyncio.wait([flooding])
    for each in (pipe, accepted):
        # As the link does: nobody reads at the other end any more.
        with contextlib.suppress(TimeoutError, OSError):
            await asyncio.wait_for(each.aclose(), 1)
    await listener.aclose()
    assert await before.settled() == []


async def test_who_comes_while_the_host_closes_leaves_nothing(backend: PipeBackend) -> None:
    before = Resources.now()
    for turns in range(10):
        info = backend.prepare(ConnectionInfo(transport="a pipe"))
        listener = await backend.listen(info)
        pipes = [await backend.open_pipe(info) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await listener.aclose()
        for pipe in pipes:
            await pipe.aclose()
    assert await before.settled() == []


async def test_an_address_that_cannot_be_used(backend: PipeBackend) -> None:
    for use in (backend.open_pipe, backend.listen):
        with pytest.raises(InvalidField, match=r"name|shell_port"):
            await use(ConnectionInfo(transport="a pipe"))
    info = backend.prepare(ConnectionInfo(transport="a pipe"))
    assert backend.prepare(info) == info
    listener = await backend.listen(info)
    with pytest.raises(AddressInUse, match=r"name|shell_port"):
        await backend.listen(info)
    await listener.aclose()
    await (await backend.listen(info)).aclose()


class WithoutRooms(MemoryPipeBackend):
    def room(self, info: ConnectionInfo) -> bytes:
        return b""


@pytest.mark.parametrize("has_rooms", [True, False])
async def test_a_client_led_to_another_kernel_of_the_same_host(has_rooms: bool) -> None:
    """Both have the same keys, so only the room tells them apart."""
    backend = MemoryPipeBackend() if has_rooms else WithoutRooms()
    info = backend.prepare(ConnectionInfo(transport="memory-pipe"))
    keys = {name: value for name, value in info.extra.items() if name != "name"}
    other = backend.prepare(ConnectionInfo(transport="memory-pipe", extra=keys))
    middle = Middle()
    through = Through(backend, middle)
    middle.destination = other
    async with await backend.serve(other) as kernel:
        client = await through.connect(info, identity=b"lost")
        await client.shell.send(WireMessage([b"meant for somebody else"]))
        hearing = asyncio.create_task(kernel.shell.receive())
        if has_rooms:
            await middle.until_opened(4)
            assert not hearing.done()
            hearing.cancel()
        else:
            assert (await hearing).peer == b"lost"
        middle.down()
        with pytest.raises(Undelivered):  # as far as it knows
            await client.aclose()
    await middle.aclose()
