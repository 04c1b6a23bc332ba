"""A transport of pipes with trouble on the way is that transport, with its pipes through the middle."""

import asyncio

import pytest

from conformance.pipes import MemoryPipeBackend
from kernelwire.backend import Capabilities
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ConnectionLost, InvalidField
from kernelwire.link.peer import USUAL
from kernelwire.testing.faults import Middle
from kernelwire.testing.through import Through


class Small(MemoryPipeBackend):
    capabilities = Capabilities(resume=True, max_message_bytes=1000)
    log_limit = 5000


def test_it_claims_what_the_transport_claims() -> None:
    through = Through(Small(), Middle())
    assert through.capabilities is Small.capabilities
    assert through.log_limit == 5000
    assert through.room(ConnectionInfo(extra={"name": "a room"})) == b"a room"


def test_it_notices_soon() -> None:
    assert Through.timing.ping_after < USUAL.ping_after
    assert Through.timing.dead_after < USUAL.dead_after


async def test_pipes_go_through_the_middle() -> None:
    middle, backend = Middle(), MemoryPipeBackend()
    through = Through(backend, middle)
    info, elsewhere = (backend.prepare(ConnectionInfo(transport="memory-pipe")) for _ in range(2))
    listener, other = await through.listen(info), await backend.listen(elsewhere)
    try:
        pipe = await through.open_pipe(info)
        await pipe.send(b"data")
        accepted = await listener.accept()
        assert await accepted.receive() == b"data"
        middle.cut()
        with pytest.raises(ConnectionLost):
            await pipe.receive()
        middle.destination = elsewhere
        lost = await through.open_pipe(info)
        await lost.send(b"data")
        found = await other.accept()
        assert await found.receive() == b"data"
        middle.down()
        with pytest.raises(ConnectionLost):
            await through.open_pipe(info)
        middle.up()
        middle.freeze()
        opening = asyncio.create_task(through.open_pipe(info))
        await middle.until_dialled(4)
        assert not opening.done()
        middle.thaw()
        for each in (pipe, accepted, lost, found, await opening):
            await each.aclose()
    finally:
        await listener.aclose()
        await other.aclose()
        await middle.aclose()


async def test_what_the_transport_raises_is_raised() -> None:
    middle = Middle()
    with pytest.raises(InvalidField, match="name"):
        await Through(MemoryPipeBackend(), middle).open_pipe(ConnectionInfo(transport="memory-pipe"))
    assert (middle.dialled, middle.opened) == (1, 0)
