"""The kernel's heartbeat, and ours against other kernels'."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import zmq

from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import ChannelClosed, NoBeat
from kernelwire_zmq import ZmqBackend
from kernelwire_zmq.addresses import address

PATIENCE = 20.0
"""Seconds: much more than an answer takes."""

RawContext = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
async def hearing(backend: ZmqBackend, info: ConnectionInfo) -> AsyncIterator[ClientEnd]:
    async with await backend.connect(info, identity=b"me", channels={Channel.HEARTBEAT}) as end:
        yield end


async def in_thread(socket: "zmq.Socket[bytes]") -> list[bytes]:
    socket.setsockopt(zmq.RCVTIMEO, int(PATIENCE * 1000))
    return await asyncio.to_thread(socket.recv_multipart)


async def test_beats(kernel: KernelEnd, client: ClientEnd) -> None:
    assert kernel.beating
    for _ in range(3):
        assert 0 < await client.heartbeat.beat(PATIENCE) < PATIENCE


async def test_several_at_once(kernel: KernelEnd, client: ClientEnd) -> None:
    assert kernel
    assert len(await asyncio.gather(*(client.heartbeat.beat(PATIENCE) for _ in range(20)))) == 20


async def test_not_beating_is_silent(kernel: KernelEnd, client: ClientEnd) -> None:
    await client.heartbeat.beat(PATIENCE)
    kernel.beating = False
    with pytest.raises(NoBeat, match=r"0\.2 s"):
        await client.heartbeat.beat(0.2)
    kernel.beating = True
    assert await client.heartbeat.beat(PATIENCE) > 0


async def test_no_kernel(hearing: ClientEnd, backend: ZmqBackend, info: ConnectionInfo) -> None:
    for _ in range(3):
        with pytest.raises(NoBeat):
            await hearing.heartbeat.beat(0.02)
    async with await backend.serve(info):
        assert await hearing.heartbeat.beat(PATIENCE) > 0


async def test_late_pong_does_not_count_for_a_later_beat(
    hearing: ClientEnd, info: ConnectionInfo, context: RawContext
) -> None:
    kernel = context.socket(zmq.ROUTER)
    kernel.bind(address(info, "hb_port"))
    with pytest.raises(NoBeat):
        await hearing.heartbeat.beat(0.05)
    late = await in_thread(kernel)
    later = asyncio.create_task(hearing.heartbeat.beat(PATIENCE))
    ping = await in_thread(kernel)
    kernel.send_multipart(late)
    third = asyncio.create_task(hearing.heartbeat.beat(PATIENCE))
    kernel.send_multipart(await in_thread(kernel))
    await third  # so the late one, which went before, has come too
    assert not later.done()
    kernel.send_multipart(ping)
    assert await later > 0


async def test_an_answer_and_the_limit_at_once(hearing: ClientEnd, info: ConnectionInfo, context: RawContext) -> None:
    kernel = context.socket(zmq.ROUTER)
    kernel.setsockopt(zmq.RCVTIMEO, int(PATIENCE * 1000))
    kernel.bind(address(info, "hb_port"))
    first = asyncio.create_task(hearing.heartbeat.beat(PATIENCE))
    kernel.send_multipart(await in_thread(kernel))
    await first
    beat = asyncio.create_task(hearing.heartbeat.beat(0.05))
    await asyncio.sleep(0)
    kernel.send_multipart(kernel.recv_multipart())
    time.sleep(0.2)  # the loop is held up for longer than the limit
    assert await beat > 0


async def test_close_ends_a_beat(hearing: ClientEnd) -> None:
    beats = [asyncio.create_task(hearing.heartbeat.beat(PATIENCE)) for _ in range(2)]
    await asyncio.sleep(0)
    await hearing.aclose()
    for beat in beats:
        with pytest.raises(ChannelClosed):
            await beat
    with pytest.raises(ChannelClosed):
        await hearing.heartbeat.beat(PATIENCE)


async def test_a_cancelled_beat_leaves_nothing(hearing: ClientEnd) -> None:
    beat = asyncio.create_task(hearing.heartbeat.beat(PATIENCE))
    await asyncio.sleep(0)
    beat.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beat
    assert not hearing.heartbeat._waiting  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER])
async def test_stock_clients_are_answered(
    kernel: KernelEnd, info: ConnectionInfo, context: RawContext, kind: int
) -> None:
    assert kernel
    client = context.socket(kind)
    client.connect(address(info, "hb_port"))
    for ping in (b"ping", b"", b"x" * 100_000):
        client.send(ping)
        assert await in_thread(client) == [ping]


@pytest.mark.parametrize("kind", [zmq.REP, zmq.ROUTER])
async def test_stock_kernels_answer_us(
    hearing: ClientEnd, info: ConnectionInfo, context: RawContext, kind: int
) -> None:
    kernel = context.socket(kind)
    kernel.bind(address(info, "hb_port"))
    for _ in range(3):
        beat = asyncio.create_task(hearing.heartbeat.beat(PATIENCE))
        kernel.send_multipart(await in_thread(kernel))
        assert await beat > 0


async def test_pings_of_a_client_that_is_gone_do_not_stop_the_others(
    kernel: KernelEnd, client: ClientEnd, info: ConnectionInfo, context: RawContext
) -> None:
    await client.heartbeat.beat(PATIENCE)
    for _ in range(20):
        gone = context.socket(zmq.DEALER)
        gone.connect(address(info, "hb_port"))
        for _ in range(50):
            gone.send(b"ping")
        gone.close(1000)
        await client.heartbeat.beat(PATIENCE)
    assert kernel.beating


async def test_a_client_that_does_not_read_its_pongs(
    kernel: KernelEnd, client: ClientEnd, info: ConnectionInfo, context: RawContext
) -> None:
    assert kernel
    deaf = context.socket(zmq.DEALER)
    deaf.setsockopt(zmq.RCVHWM, 1)
    deaf.setsockopt(zmq.SNDTIMEO, int(PATIENCE * 1000))
    deaf.connect(address(info, "hb_port"))
    for _ in range(5_000):  # never waits for long: pongs that do not fit are thrown away
        await asyncio.to_thread(deaf.send, b"x" * 2000)
    assert await client.heartbeat.beat(PATIENCE) > 0
