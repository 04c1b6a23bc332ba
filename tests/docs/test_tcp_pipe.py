"""The example of a pipe: its bytes pass, it ends as the link expects, and who takes nothing keeps no socket open.

The conformance kit runs over it elsewhere.
"""

import asyncio
import runpy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import AddressInUse, EndOfChannel
from kernelwire.link.backend import PipeBackend
from kernelwire.link.pipe import Listener, Pipe
from kernelwire.testing.leaks import Resources

from .conftest import EXAMPLES

BACKEND: Final[PipeBackend] = runpy.run_path(str(EXAMPLES / "tcp_pipe_backend.py"))["TcpPipeBackend"]()


@pytest.fixture(autouse=True)
async def _nothing_is_left() -> AsyncIterator[None]:
    before = Resources.now()
    yield
    assert not await before.settled()


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[ConnectionInfo, Listener]]:
    info = BACKEND.prepare(ConnectionInfo(transport="tcp-pipe"))
    listener = await BACKEND.listen(info)
    yield info, listener
    await listener.aclose()


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Pipe, Pipe]]:
    async with listening() as (info, listener):
        near = await BACKEND.open_pipe(info)
        yield near, await listener.accept()
        await near.aclose()


async def test_bytes_pass_both_ways() -> None:
    async with pair() as (near, far):
        for sender, receiver in ((near, far), (far, near)):
            await sender.send(b"some")
            await sender.send(b" bytes")
            received = b""
            while len(received) < 10:
                received += await receiver.receive()
            assert received == b"some bytes"
        await far.aclose()


async def test_closing_one_end_ends_the_other() -> None:
    async with pair() as (near, far):
        await far.aclose()
        with pytest.raises(EndOfChannel):
            await near.receive()


async def test_who_takes_nothing_keeps_no_socket_open() -> None:
    async with pair() as (_, far):
        sending = asyncio.create_task(far.send(bytes(64 * 1024 * 1024)))  # more than any system takes
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])
        with pytest.raises(TimeoutError):  # as the link does it
            async with asyncio.timeout(0.05):
                await far.aclose()


async def test_who_was_not_accepted_is_hung_up_on() -> None:
    async with listening() as (info, listener):
        near = await BACKEND.open_pipe(info)
        while listener._pipes.empty():  # type: ignore[attr-defined]
            await asyncio.sleep(0.001)
    with pytest.raises(EndOfChannel):
        await near.receive()
    await near.aclose()


async def test_an_address_that_is_taken() -> None:
    async with listening() as (info, _):
        with pytest.raises(AddressInUse, match="shell_port"):
            await BACKEND.listen(info)
