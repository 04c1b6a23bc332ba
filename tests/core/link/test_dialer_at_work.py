"""A client's end of a link while it works: what waits and for how long, the heartbeat, and a client on top."""

import asyncio

import pytest

from kernelwire.client import KernelClient
from kernelwire.ends import KernelEnd
from kernelwire.errors import (
    ConnectionLost,
    KernelDied,
    NoBeat,
    OutcomeUnknown,
    WireDown,
)
from kernelwire.link import dialer as module
from kernelwire.link import server
from kernelwire.link.peer import Timing
from kernelwire.link.records import Bye, Reason
from kernelwire.session import Session
from kernelwire.testing import ScriptedKernel

from ._dialers import crash, dialer
from ._pipes import INFO, NEVER, MemoryBackend, Network, answer, joined, message, say, settle, swift_pair, text, texts

pytestmark = pytest.mark.usefixtures("no_task_is_left", "in_haste")


# Sending: bounds, order, cancellation


async def test_a_request_goes_at_once_and_those_behind_it_together() -> None:
    async with joined(MemoryBackend(Network(swift_pair), timing=NEVER)) as (backend, kernel, client):
        await settle()
        flow = backend.network.pairs[-1][0].outgoing
        before = flow.puts
        for number in range(5):
            assert client.shell.send_now(message(number))
        assert await texts(kernel.shell, 5) == ["0", "1", "2", "3", "4"]
        assert flow.puts == before + 2


async def test_senders_wait_while_nothing_goes_out_and_nobody_overtakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 3000)
    backend = MemoryBackend()
    backend.network.down = OSError("nobody there")
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"me") as client:
        sends = [asyncio.create_task(client.shell.send(message(number, size=1000))) for number in range(40)]
        await settle()
        done = sum(each.done() for each in sends)
        assert 0 < done < 10
        await client.control.send(message("on its own lane"))
        backend.network.down = None
        assert await texts(kernel.control, 1) == ["on its own lane"]
        received = [int(text(await kernel.shell.receive()))]
        while len(received) < 80:
            if len(sends) < 80:  # newcomers, whenever there happens to be room
                sends.append(asyncio.create_task(client.shell.send(message(len(sends), size=1000))))
            received.append(int(text(await kernel.shell.receive())))
        assert received == list(range(80))
        await asyncio.gather(*sends)


async def test_a_cancelled_send_leaves_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 500)
    backend = MemoryBackend()
    backend.network.down = OSError("nobody there")
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"me") as client:
        sends = [asyncio.create_task(client.shell.send(message(number, size=500))) for number in range(10)]
        await settle()
        for number in (1, 2, 5, 9):
            assert not sends[number].done()
            sends[number].cancel()
        backend.network.down = None
        assert await texts(kernel.shell, 6) == ["0", "3", "4", "6", "7", "8"]
        await client.shell.send(message("next"))
        assert await texts(kernel.shell, 1) == ["next"]
        assert sum(each.cancelled() for each in sends) == 4


async def test_senders_who_wait_are_ended_by_what_ends_the_link(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 0)
    async with dialer(network).end as end:
        await end.shell.send(message("held"))
        sends = [asyncio.create_task(end.shell.send(message("waits"))) for _ in range(3)]
        await settle()
        sealed, _ = await answer(network)
        await say(sealed, Bye(Reason.CONFLICT, ()))
        for send in sends:
            with pytest.raises(ConnectionLost, match="identity"):
                await send


# Receiving: bounds


async def test_a_reader_that_does_not_read_stops_the_host_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "QUEUE_LIMIT", 0)
    monkeypatch.setattr(server, "PATIENCE", 60.0)
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        end = await backend.connect(INFO, identity=b"me")
        async with end as client:
            await client.iopub.ready()
            client.shell._inbox._limit = 100_000  # type: ignore[attr-defined]
            sending = asyncio.create_task(_send_all(kernel, 200))
            await settle(500)
            assert not sending.done()
            assert client.shell._inbox.held < 3_000_000  # type: ignore[attr-defined]
            await kernel.control.send(message("not behind that", b"me"))
            assert await texts(client.control, 1) == ["not behind that"]
            assert await texts(client.shell, 200) == [str(number) for number in range(200)]
            await sending


async def _send_all(kernel: KernelEnd, count: int) -> None:
    for number in range(count):
        await kernel.shell.send(message(number, b"me", size=50_000))


async def test_a_channel_that_was_full_and_is_closed_alone_is_in_nobodys_way() -> None:
    async with joined() as (_, kernel, client):
        client.shell._inbox._limit = 1  # type: ignore[attr-defined]
        for number in range(40):  # more than the window
            await kernel.shell.send(message(number, b"me", size=50_000))
        await kernel.iopub.send(message("behind that"))
        await settle(500)
        await client.shell.aclose()
        assert await texts(client.iopub, 1) == ["behind that"]


# The heartbeat


async def test_beats_are_answered_as_long_as_the_kernel_lets_them() -> None:
    async with joined() as (_, kernel, client):
        beat = client.heartbeat.beat
        assert await beat(60) >= 0
        assert all(took >= 0 for took in await asyncio.gather(*(beat(60) for _ in range(10))))
        kernel.beating = False
        with pytest.raises(NoBeat) as caught:
            await beat(0.05)
        assert not isinstance(caught.value, WireDown)
        kernel.beating = True
        await beat(60)


async def test_a_break_is_no_silence_of_the_kernel() -> None:
    async with joined() as (backend, _, client):
        backend.network.down = OSError("nobody there")
        beating = asyncio.create_task(client.heartbeat.beat(60))
        backend.network.cut()
        with pytest.raises(WireDown):
            await client.heartbeat.beat(0.02)
        backend.network.down = None
        await beating


async def test_nor_is_a_break_that_nobody_has_noticed_yet() -> None:
    async with joined() as (backend, _, client):
        backend.network.freeze()
        with pytest.raises(WireDown):
            await client.heartbeat.beat(0.02)
        backend.network.thaw()
        await client.heartbeat.beat(60)


async def test_a_host_that_left_answers_for_nobody_until_one_is_back() -> None:
    backend = MemoryBackend()
    kernel = await backend.serve(INFO)
    async with await backend.connect(INFO, identity=b"me") as client:
        await client.iopub.ready()
        beating = asyncio.create_task(client.heartbeat.beat(60))
        await beating
        await kernel.aclose()
        with pytest.raises(NoBeat) as caught:
            await client.heartbeat.beat(0.02)
        assert not isinstance(caught.value, WireDown)
        async with await backend.serve(INFO):
            await client.heartbeat.beat(60)


async def test_a_beat_that_is_under_way_goes_on_over_a_break() -> None:
    async with joined() as (backend, kernel, client):
        kernel.beating = False
        beating = asyncio.create_task(client.heartbeat.beat(60))
        await settle()
        backend.network.cut()
        kernel.beating = True
        await beating


# With a client on top


async def test_a_kernel_does_not_die_of_a_break_of_the_wire() -> None:
    """Neither of one that is known, nor of one that nobody has noticed yet."""
    backend = MemoryBackend(timing=Timing(ping_after=0.05, dead_after=0.3))
    async with await backend.serve(INFO) as kernel, ScriptedKernel(kernel, Session.of(INFO), None):
        session = Session.of(INFO)
        end = await backend.connect(INFO, identity=session.session_id.encode())
        async with KernelClient(end, session, time_to_dead=0.05) as client:
            client.heartbeat._interval = 0
            await client.ready()
            for trouble in (Network.freeze, Network.cut):
                await client.heartbeat.wait_beating()
                backend.network.down = OSError("nobody there")
                trouble(backend.network)
                asking = asyncio.create_task(client.kernel_info())
                while client.heartbeat.is_beating is not None:
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0.2)  # four times what a kernel has
                backend.network.down = None
                await asking


async def test_a_kernel_that_stops_beating_behind_a_link_has_died() -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        session = Session.of(INFO)
        end = await backend.connect(INFO, identity=session.session_id.encode())
        async with KernelClient(end, session, time_to_dead=0.05) as client:
            async with ScriptedKernel(kernel, Session.of(INFO), None):
                await client.ready()
            asking = asyncio.create_task(client.kernel_info())
            await settle()
            kernel.beating = False
            with pytest.raises(KernelDied):
                await asking


async def test_requests_to_a_host_that_was_started_anew_are_of_unknown_outcome() -> None:
    backend = MemoryBackend()
    kernel = await backend.serve(INFO)
    session = Session.of(INFO)
    end = await backend.connect(INFO, identity=session.session_id.encode())
    async with KernelClient(end, session, time_to_dead=60) as client:
        async with ScriptedKernel(kernel, Session.of(INFO), None):
            await client.ready()
        asking = [asyncio.create_task(each) for each in (client.kernel_info(), client.interrupt())]
        await kernel.shell.receive()
        await kernel.control.receive()
        await crash(backend, kernel)
        backend.network.down = None
        async with await backend.serve(INFO) as kernel, ScriptedKernel(kernel, Session.of(INFO), None):
            for each in asking:
                with pytest.raises(OutcomeUnknown):
                    await each
            await client.ready()
            assert client.broken is None
