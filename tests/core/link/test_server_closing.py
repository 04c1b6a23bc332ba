"""The end of a host's end of a link: what still goes, what is said to be lost, and what it leaves."""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from kernelwire.errors import (
    ChannelClosed,
    Undelivered,
    WrongLoop,
)
from kernelwire.link import server as module
from kernelwire.link.framing import PREAMBLE

from ._pipes import INFO, NEVER, MemoryBackend, Network, joined, message, settle, texts
from ._servers import peer_event

pytestmark = pytest.mark.usefixtures("no_task_is_left", "in_haste")


@pytest.mark.usefixtures("patient_host")
async def test_what_was_sent_before_closing_arrives_and_then_the_end_is_told() -> None:
    backend = MemoryBackend()
    kernel = await backend.serve(INFO)
    async with await backend.connect(INFO, identity=b"me") as client:
        await client.iopub.ready()
        for number in range(200):
            await kernel.shell.send(message(number, b"me", size=5000))
            await kernel.iopub.send(message(number, size=5000))
        await kernel.control.send(message("last", b"me"))
        await kernel.aclose()
        for channel in (client.shell, client.iopub):
            assert await texts(channel, 200) == [str(number) for number in range(200)]
        assert await texts(client.control, 1) == ["last"]
        assert [pipe.closings for pipe in backend.network.pairs[0]] == [1, 1]
        assert backend.network.closed == 1


@pytest.mark.usefixtures("patient_host")
async def test_a_client_hangs_up_first_when_it_has_read_the_goodbye() -> None:
    async with joined() as (backend, kernel, client):
        order: list[str] = []
        near, far = backend.network.pairs[-1]
        near.on_close = lambda: order.append("client")
        far.on_close = lambda: order.append("host")
        for _ in range(20):
            await client.shell.send(message("under way"))
        await kernel.aclose()
        assert order[0] == "client"
        with contextlib.suppress(Undelivered):  # they came too late, if they came
            await client.aclose()


@pytest.mark.parametrize("trouble", [Network.freeze, Network.cut])
async def test_closing_costs_no_more_than_its_patience(
    trouble: Callable[[Network], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER", 3600.0)
    async with joined(MemoryBackend(timing=NEVER)) as (backend, kernel, _):
        trouble(backend.network)
        backend.network.down = OSError("nobody there")
        await kernel.shell.send(message("cannot arrive", b"me", size=1_000_000))
        await kernel.aclose()
        assert backend.network.closed == 1
        backend.network.thaw()


async def test_closing_in_the_middle_of_anything_leaves_nothing() -> None:
    for turns in range(60):
        backend = MemoryBackend()
        kernel = await backend.serve(INFO)
        async with await backend.connect(INFO, identity=b"me"):
            strangers = [backend.network.reach() for _ in range(3)]
            await strangers[0].send(PREAMBLE)
            await settle(turns)
            await kernel.aclose()
            assert all(far.closings == 1 for _, far in backend.network.pairs if far.outgoing.passed)
            backend.network.down = OSError("nobody there")
        waiting = backend.network._waiting.qsize()  # the listener's own
        assert sum(not far.closings for _, far in backend.network.pairs) == waiting


async def test_a_pipe_that_came_in_the_very_last_moment_is_closed() -> None:
    backend = MemoryBackend()
    kernel = await backend.serve(INFO)
    await settle()
    backend.network.reach()
    while not kernel_tasks():
        await asyncio.sleep(0)
    for task in kernel_tasks():
        task.cancel()  # as closing does, before it has begun
    await settle()
    await kernel.aclose()
    assert backend.network.pairs[0][1].closings == 1


def kernel_tasks() -> "list[asyncio.Task[Any]]":
    """Those that serve a pipe."""
    return [task for task in asyncio.all_tasks() if "Server._serve" in str(task.get_coro())]


async def test_a_cancelled_closing_still_closes() -> None:
    for turns in (0, 1, 3, 10, 40):
        async with joined(MemoryBackend(timing=NEVER)) as (backend, kernel, _):
            backend.network.freeze()
            await kernel.shell.send(message("cannot arrive", b"me"))
            closing = asyncio.create_task(kernel.aclose())
            await settle(turns)
            closing.cancel()
            await asyncio.wait([closing])
            await kernel.aclose()
            assert backend.network.closed == 1
            assert backend.network.pairs[0][1].closings == 1
            backend.network.down = OSError("nobody there")
            backend.network.thaw()


async def test_after_closing_everything_says_so() -> None:
    async with joined() as (_, kernel, _):
        await kernel.aclose()
        await kernel.aclose()
        for channel in (kernel.shell, kernel.control, kernel.stdin):
            with pytest.raises(ChannelClosed):
                await channel.receive()
            with pytest.raises(ChannelClosed):
                await channel.send(message("x", b"me"))
        with pytest.raises(ChannelClosed):
            await kernel.iopub.send(message("x"))
        assert (await peer_event(kernel)).joined
        while True:
            try:
                assert not (await peer_event(kernel)).joined
            except ChannelClosed:
                break


async def test_another_loop_is_refused() -> None:
    async with joined() as (_, kernel, client):
        uses: list[Callable[[], Coroutine[Any, Any, object]]] = [kernel.aclose, lambda: peer_event(kernel)]
        for channel in (kernel.shell, kernel.control, kernel.stdin):
            uses += [channel.receive, functools.partial(channel.send, message("x", b"me"))]
        uses.append(functools.partial(kernel.iopub.send, message("x")))

        def elsewhere() -> None:
            for use in uses:
                with pytest.raises(WrongLoop):
                    asyncio.run(use())

        await asyncio.to_thread(elsewhere)
        await kernel.iopub.send(message("goes on"))
        assert await texts(client.iopub, 1) == ["goes on"]
