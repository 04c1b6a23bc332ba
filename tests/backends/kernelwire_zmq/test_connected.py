"""Whether a client's stdin is connected, so that a question of the kernel would arrive."""

import asyncio

import pytest

from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ChannelClosed, PeerGone
from kernelwire.messages import WireMessage
from kernelwire_zmq import ZmqBackend

FRAMES = [b"signature", b"{}", b"{}", b"{}", b"{}"]


async def test_it_waits_for_the_kernel_and_for_the_next_one(backend: ZmqBackend, info: ConnectionInfo) -> None:
    async with await backend.connect(info, identity=b"me", channels={Channel.STDIN}) as end:
        for _ in range(2):
            waiting = asyncio.create_task(end.stdin.ready())
            await asyncio.sleep(0)
            assert not waiting.done()
            async with await backend.serve(info) as kernel:
                await waiting
                await end.stdin.ready()
                await kernel.stdin.send(WireMessage(FRAMES, b"me"))
                assert (await end.stdin.receive()).frames == FRAMES
            watched = end.stdin.connected  # type: ignore[attr-defined]
            while watched._connected.is_set():
                await asyncio.sleep(0.001)


async def test_closing_ends_the_wait(backend: ZmqBackend, info: ConnectionInfo) -> None:
    end = await backend.connect(info, identity=b"me", channels={Channel.STDIN})
    waiting = [asyncio.create_task(end.stdin.ready()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await end.aclose()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, ChannelClosed, ChannelClosed]
    with pytest.raises(ChannelClosed):
        await end.stdin.ready()


async def test_a_question_waits_for_a_client_whose_stdin_is_on_its_way(
    backend: ZmqBackend, info: ConnectionInfo
) -> None:
    async with await backend.serve(info) as kernel:
        await kernel.stdin.ready()  # a kernel's end has nothing to wait for
        asking = asyncio.create_task(kernel.stdin.send(WireMessage(FRAMES, b"me")))
        async with await backend.connect(info, identity=b"me", channels={Channel.STDIN}) as end:
            await asking
            assert (await end.stdin.receive()).frames == FRAMES
        with pytest.raises(PeerGone):
            await kernel.stdin.send(WireMessage(FRAMES, b"nobody"))
