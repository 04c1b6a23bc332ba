"""A host's end of a link: strangers, a listener with trouble, and clients that come, go, and come back."""

import asyncio
import contextlib
import functools
import logging
import os

import pytest

from kernelwire.channels import PeerEvent
from kernelwire.errors import (
    ConnectionLost,
    EndOfChannel,
    PeerGone,
)
from kernelwire.link import dialer, seal, sealed
from kernelwire.link import host as host_module
from kernelwire.link import server as module
from kernelwire.link.framing import PREAMBLE, frame
from kernelwire.link.host import HostLink
from kernelwire.link.records import (
    Bye,
    Control,
    Ping,
    Position,
    Reason,
    Status,
    Welcome,
)
from kernelwire.link.resume import NOTHING
from kernelwire.link.sealed import SealedPipe
from kernelwire.link.server import Server

from ._pipes import (
    CLIENT,
    HOST,
    INFO,
    NEVER,
    QUICK,
    MemoryBackend,
    Network,
    ask,
    joined,
    message,
    say,
    settle,
    text,
    texts,
)
from ._servers import SECRET, closed, data, hello, peer_event, until, welcomed

pytestmark = pytest.mark.usefixtures("no_task_is_left", "in_haste")


# Strangers


async def test_strangers_who_say_nothing_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "HANDSHAKE_TIME", 0.05)
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        for number in range(40):
            near = backend.network.reach()
            await near.send(PREAMBLE[: number % 18 or 1])
        async with await backend.connect(INFO, identity=b"me") as client:
            await client.iopub.ready()
            await client.shell.send(message("a good one"))
            assert await texts(kernel.shell, 1) == ["a good one"]
            await closed([far for _, far in backend.network.pairs[:40]])  # their time is over


async def test_strangers_are_bounded_in_number_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRANGERS_LIMIT", 10)
    backend = MemoryBackend()
    async with await backend.serve(INFO):
        for number in range(100):
            backend.network.reach()
            if number % 7 == 0:
                await settle(4)
        await settle(400)
        assert [bool(far.closings) for _, far in backend.network.pairs] == [True] * 90 + [False] * 10
        async with await backend.connect(INFO, identity=b"me") as client:
            await client.iopub.ready()
            assert not backend.network.pairs[-1][1].closings
    assert all(far.closings == 1 for _, far in backend.network.pairs)


async def test_strangers_whose_pipes_cannot_be_closed_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRANGERS_LIMIT", 5)
    monkeypatch.setattr(dialer, "CLOSING_TIME", 3600.0)
    backend = MemoryBackend()
    kernel = await backend.serve(INFO)
    stuck = asyncio.get_running_loop().create_future()
    for _ in range(20):
        backend.network.reach()
        backend.network.pairs[-1][1].on_close = lambda: asyncio.shield(stuck)
    await settle(400)
    assert sum(not far.closings for _, far in backend.network.pairs) == 5
    assert all(far.closings <= 1 for _, far in backend.network.pairs)
    stuck.set_result(None)
    await kernel.aclose()
    assert all(far.closings == 1 for _, far in backend.network.pairs)


async def test_who_floods_before_the_handshake_is_dropped_with_the_first_frame() -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO):
        near = backend.network.reach()

        async def flood() -> None:
            await near.send(PREAMBLE)
            while True:
                await near.send(frame(b"x" * 100) * 100)

        with pytest.raises(ConnectionResetError):
            await flood()
        assert near.outgoing.passed < 1_000_000


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([Ping(0)], id="another record"),
        pytest.param([Welcome(1, False, NOTHING, 0)], id="a welcome"),
        pytest.param([hello(), hello()], id="two of them"),
        pytest.param([hello(), Ping(0)], id="something behind it"),
    ],
)
async def test_who_says_no_hello_first_is_dropped(said: list[Control]) -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        pipe = await SealedPipe.dial(backend.network.reach(), CLIENT)
        await say(pipe, *said)
        with pytest.raises(Exception, match="closed"):
            await pipe.receive()
        async with await backend.connect(INFO, identity=b"me"):
            assert await peer_event(kernel) == PeerEvent(b"me", True)  # and nobody was there before


async def test_who_shakes_hands_and_says_no_more_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GREETING_TIME", 0.01)
    backend = MemoryBackend()
    async with await backend.serve(INFO):
        pipe = await SealedPipe.dial(backend.network.reach(), CLIENT)
        with pytest.raises(Exception, match="closed"):
            await pipe.receive()


async def test_a_hello_that_was_recorded_is_nothing_on_another_pipe() -> None:
    async with joined() as (backend, kernel, client):
        near = backend.network.reach()
        recorder = asyncio.create_task(SealedPipe.dial(near, CLIENT))
        pipe = await recorder
        replayed = backend.network.reach()
        await replayed.send(PREAMBLE + frame(os.urandom(seal.HANDSHAKE_1_SIZE)))
        with pytest.raises(Exception, match="closed"):
            await replayed.receive()
        await client.shell.send(message("goes on"))
        assert await texts(kernel.shell, 1) == ["goes on"]
        del pipe


# A listener with trouble


async def test_a_listener_that_fails_for_once_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO):
        for error in (OSError("too many open files"), RuntimeError("no"), TimeoutError()):
            backend.network.fail_to_accept(error)
        async with await backend.connect(INFO, identity=b"me") as client:
            await client.iopub.ready()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3


async def test_a_listener_that_has_ended_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with joined() as (backend, kernel, client):
        backend.network.fail_to_accept(ConnectionLost("the intermediary has closed the room"))
        await settle()
        await client.shell.send(message("who is here stays"))
        assert await texts(kernel.shell, 1) == ["who is here stays"]
    assert "closed the room" in caplog.text


@pytest.mark.parametrize("how", ["hangs", "raises"])
async def test_a_listener_that_cannot_be_closed_holds_nobody_up(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(Network):
        async def aclose(self) -> None:
            await super().aclose()
            if how == "raises":
                raise RuntimeError("no")
            await asyncio.get_running_loop().create_future()

    async with joined(MemoryBackend(Stuck())) as (backend, kernel, _):
        await kernel.aclose()
        assert backend.network.closed == 1


# Connections of one client


async def test_a_newer_connection_takes_the_place_of_one_that_is_half_open() -> None:
    backend = MemoryBackend(timing=NEVER)
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"me") as client:
        await client.iopub.ready()
        _, far = backend.network.pairs[-1]
        backend.network.half_open()
        await client.shell.send(message("on the new one"))
        assert await texts(kernel.shell, 1) == ["on the new one"]
        await kernel.shell.send(message("likewise", b"me"))
        assert await texts(client.shell, 1) == ["likewise"]
        await closed([far])
        assert len(backend.network.pairs) == 2
        assert await peer_event(kernel) == PeerEvent(b"me", True)
        events = asyncio.create_task(peer_event(kernel))
        await settle()
        assert not events.done()  # it never left
        events.cancel()
        await asyncio.wait([events])


async def test_what_an_older_connection_still_brings_counts_no_more() -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        old, welcome = await welcomed(backend.network)
        await until(old, Status)
        await old.send(data(1, 0, b"once"))
        new, record = await ask(backend.network, hello(attempt=2, epoch=welcome.epoch))
        assert isinstance(record, Welcome)
        assert record.resumed
        await _send_until_closed(old, data(2, 0, b"too late"))
        await until(new, Status)
        await new.send(data(record.lanes[1].received + 1, 0, b"goes on"))
        received = [text(await kernel.shell.receive()) for _ in range(record.lanes[1].received + 1)]
        assert received[-1] == "goes on"
        assert "too late" not in received


async def _send_until_closed(pipe: SealedPipe, plaintext: bytes) -> None:
    with contextlib.suppress(ConnectionResetError):
        while True:
            await pipe.send(plaintext)
            await settle()


async def _receive_until_closed(pipe: SealedPipe) -> None:
    with contextlib.suppress(EndOfChannel):
        while True:
            await pipe.receive()


@pytest.mark.parametrize(("attempt", "secret"), [(1, SECRET), (2, bytes(32))])
async def test_who_may_not_resume_is_told_and_hung_up_on(attempt: int, secret: bytes) -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO):
        _, welcome = await welcomed(backend.network)
        second, record = await ask(backend.network, hello(attempt=attempt, epoch=welcome.epoch, secret=secret))
        assert record == Bye(Reason.CONFLICT, ())
        with pytest.raises(Exception, match="closed"):
            await second.receive()


async def test_who_is_refused_and_takes_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GREETING_TIME", 0.05)
    backend = MemoryBackend()
    async with await backend.serve(INFO):
        await welcomed(backend.network)
        near = backend.network.reach()
        pipe = await SealedPipe.dial(near, CLIENT)
        far = backend.network.pairs[-1][1]
        near.incoming.frozen = True
        await far.send(bytes(1_000_000))
        await say(pipe, hello(secret=bytes(32)))
        await closed([far])


async def test_who_is_let_in_and_takes_nothing_is_hung_up_on() -> None:
    backend = MemoryBackend(timing=QUICK)
    async with await backend.serve(INFO) as kernel:
        near = backend.network.reach()
        pipe = await SealedPipe.dial(near, CLIENT)
        far = backend.network.pairs[-1][1]
        near.incoming.frozen = True
        await far.send(bytes(1_000_000))
        await say(pipe, hello())
        assert await peer_event(kernel) == PeerEvent(b"me", True)
        await closed([far])


async def test_who_breaks_the_rules_is_dropped_and_may_resume(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        pipe, welcome = await welcomed(backend.network)
        await until(pipe, Status)
        await pipe.send(data(1, 0, b"before") + data(5, 0, b"out of order"))
        await _receive_until_closed(pipe)
        assert await texts(kernel.shell, 1) == ["before"]
        again, record = await ask(backend.network, hello(attempt=2, epoch=welcome.epoch))
        assert isinstance(record, Welcome)
        assert (record.resumed, record.lanes[1]) == (True, Position(1, 0))
        await until(again, Status)
        await again.send(data(2, 0, b"after"))
        assert await texts(kernel.shell, 1) == ["after"]
    assert not caplog.records


async def test_what_no_client_may_say_is_passed_over() -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        pipe, _ = await welcomed(backend.network)
        await until(pipe, Status)
        await pipe.send(data(1, 3, b"on iopub"))
        await pipe.send(data(2, 0, b"on shell"))
        assert await texts(kernel.shell, 1) == ["on shell"]


async def test_a_client_may_go_on_where_the_host_had_no_room_before() -> None:
    """There is room again by the time that it is back, and nobody is there to be told."""
    backend = MemoryBackend(timing=NEVER)
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"me") as client:
        await client.iopub.ready()
        kernel.shell._inbox._limit = 1  # type: ignore[attr-defined]
        for number in range(60):
            await client.shell.send(message(number, size=50_000))
        await settle(400)
        backend.network.down = OSError("nobody there")
        backend.network.cut()
        await settle()
        held = len(kernel.shell._inbox._messages)  # type: ignore[attr-defined]
        assert 0 < held < 60
        assert await texts(kernel.shell, held) == [str(number) for number in range(held)]
        backend.network.down = None
        assert await texts(kernel.shell, 60 - held) == [str(number) for number in range(held, 60)]


# Peers


async def test_peers_come_and_go_and_a_break_is_neither() -> None:
    async with joined() as (backend, kernel, client):
        assert await peer_event(kernel) == PeerEvent(b"me", True)
        backend.network.cut()
        await client.shell.send(message("still there"))
        assert await texts(kernel.shell, 1) == ["still there"]
        async with await backend.connect(INFO, identity=b"other") as other:
            await other.iopub.ready()
            assert await peer_event(kernel) == PeerEvent(b"other", True)
        assert await peer_event(kernel) == PeerEvent(b"other", False)
        await client.aclose()
        assert await peer_event(kernel) == PeerEvent(b"me", False)
        with pytest.raises(PeerGone):
            await kernel.shell.send(message("too late", b"me"))


async def test_a_client_that_never_comes_back_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EXPIRY_CHECK", 0.001)
    now = [0.0]
    network = Network()
    server = Server(network, HOST, max_message_bytes=1000, clock=lambda: now[0], timing=NEVER)
    async with server.end as kernel:
        pipe, _ = await welcomed(network)
        assert await peer_event(kernel) == PeerEvent(b"me", True)
        network.cut()
        await settle()
        now[0] += host_module.RESUME_WINDOW - 1
        await asyncio.sleep(0.01)
        await kernel.shell.send(message("kept", b"me"))
        now[0] += 1
        assert await peer_event(kernel) == PeerEvent(b"me", False)
        with pytest.raises(PeerGone):
            await kernel.shell.send(message("too late", b"me"))
        del pipe


async def test_when_there_is_no_room_the_longest_away_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HostLink", functools.partial(HostLink, members_limit=2))
    network = Network()
    async with Server(network, HOST, max_message_bytes=1000).end as kernel:
        first, _ = await welcomed(network, b"first")
        await welcomed(network, b"second")
        assert (await ask(network, hello(b"third")))[1] == Bye(Reason.FULL, ())
        for _ in range(2):
            assert (await peer_event(kernel)).joined
        network.pairs[0][0].outgoing.end(ConnectionResetError("cut"))
        await settle()
        await welcomed(network, b"third")
        assert await peer_event(kernel) == PeerEvent(b"first", False)
        assert await peer_event(kernel) == PeerEvent(b"third", True)
        del first
