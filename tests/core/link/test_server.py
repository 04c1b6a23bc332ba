"""A host's end of a link: strangers, clients that take nothing, are away, come back or never do, and its closing."""

import asyncio
import contextlib
import functools
import itertools
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from kernelwire.channels import Channel, PeerEvent
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import (
    ChannelClosed,
    ConnectionLost,
    EndOfChannel,
    GapNotice,
    PeerGone,
    Undelivered,
    WrongLoop,
)
from kernelwire.link import dialer, seal, sealed
from kernelwire.link import host as host_module
from kernelwire.link import server as module
from kernelwire.link.framing import PREAMBLE, frame
from kernelwire.link.host import HostLink
from kernelwire.link.peer import Timing
from kernelwire.link.records import (
    Beat,
    Beaten,
    Bye,
    Control,
    Hello,
    Ping,
    Position,
    Ready,
    Reason,
    Status,
    Welcome,
    data_header,
    decode,
)
from kernelwire.link.resume import NOTHING
from kernelwire.link.sealed import SealedPipe
from kernelwire.link.server import Server

from ._pipes import (
    CLIENT,
    HOST,
    INFO,
    MemoryBackend,
    MemoryPipe,
    Network,
    ask,
    joined,
    message,
    say,
    settle,
    text,
    texts,
)

SECRET = bytes(range(32))
QUICK = Timing(ping_after=0.02, dead_after=0.1)
NEVER = Timing(ping_after=3600, dead_after=7200)


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for when nothing comes of it: short, so that no test is long."""
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(module, "ACCEPT_AGAIN", 0.001)
    monkeypatch.setattr(module, "WIRE_PATIENCE", 0.05)
    monkeypatch.setattr(dialer, "PATIENCE", 0.05)
    monkeypatch.setattr(dialer, "WIRE_PATIENCE", 0.05)
    monkeypatch.setattr(dialer, "CLOSING_TIME", 0.05)
    monkeypatch.setattr(dialer, "FIRST_DELAYS", (0.0, 0.001))
    monkeypatch.setattr(dialer, "DELAY", 0.002)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything is to arrive, however busy the machine."""
    monkeypatch.setattr(module, "PATIENCE", 60.0)
    monkeypatch.setattr(module, "WIRE_PATIENCE", 60.0)
    monkeypatch.setattr(module, "LINGER", 60.0)


def hello(identity: bytes = b"me", attempt: int = 1, epoch: int = 0, secret: bytes = SECRET) -> Hello:
    return Hello(identity, secret, epoch, NOTHING, None, attempt)


async def welcomed(network: Network, *args: Any) -> tuple[SealedPipe, Welcome]:
    """As a client made by hand, which the host lets in."""
    sealed_pipe, record = await ask(network, hello(*args))
    assert isinstance(record, Welcome)
    return sealed_pipe, record


async def until(sealed_pipe: SealedPipe, kind: type[Control]) -> Control:
    """The next record of a kind."""
    while True:
        for record in decode(await sealed_pipe.receive()):
            if isinstance(record, kind):
                return record


async def peer_event(kernel: KernelEnd) -> PeerEvent:
    assert kernel.peers is not None
    return await kernel.peers.receive()


def data(seq: int, number: int, *frames: bytes) -> bytes:
    """A record of lane D with a message on the channel of this number."""
    import msgpack

    head: bytes = msgpack.packb([number, b"", [len(each) for each in frames]])
    payload = len(head).to_bytes(4, "big") + head + b"".join(frames)
    return data_header(1, seq, len(payload), final=True) + payload


async def closed(pipes: list[MemoryPipe]) -> None:
    while not all(pipe.closings for pipe in pipes):
        await asyncio.sleep(0.001)


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


# Clients that take nothing, or are away


async def test_a_client_that_takes_nothing_holds_up_no_publisher_and_no_other_client() -> None:
    class Small(MemoryBackend):
        log_limit = 200_000

    backend = Small(timing=NEVER)
    async with (
        await backend.serve(INFO) as kernel,
        await backend.connect(INFO, identity=b"stuck") as stuck,
        await backend.connect(INFO, identity=b"good") as good,
    ):
        for client in (stuck, good):
            await client.iopub.ready()
        backend.network.pairs[0][0].incoming.frozen = True
        reading = asyncio.create_task(texts(good.iopub, 400))
        for number in range(400):
            await kernel.iopub.send(message(number, size=20_000))
        assert await reading == [str(number) for number in range(400)]
        await kernel.shell.send(message("and so goes shell", b"good"))
        assert await texts(good.shell, 1) == ["and so goes shell"]
        backend.network.thaw()
        received, missing = await _with_gaps(stuck, 400)
        assert received[-1] == 399
        assert missing == 400 - len(received)
        assert missing > 200


async def test_a_client_that_is_slow_and_gets_on_holds_publishers_up_no_longer_than_it_may() -> None:
    class Small(MemoryBackend):
        log_limit = 100_000

    backend = Small(timing=NEVER)
    async with await backend.serve(INFO) as kernel:
        pipe, _ = await welcomed(backend.network)

        async def get_on() -> None:
            for granted in itertools.count(1):  # a byte at a time: it would take days
                await say(pipe, Status(1, 0, granted))
                await asyncio.sleep(0.001)

        slow = asyncio.create_task(get_on())
        async with await backend.connect(INFO, identity=b"good") as good:
            await good.iopub.ready()
            reading = asyncio.create_task(_with_gaps(good, 100))
            for number in range(100):
                await kernel.iopub.send(message(number, size=20_000))
            await reading
        slow.cancel()
        await asyncio.wait([slow])


async def _with_gaps(client: ClientEnd, end: int) -> tuple[list[int], int]:
    """What arrives up to the last, and how many do not."""
    received: list[int] = []
    missing = 0
    while received[-1:] != [end - 1]:
        try:
            received.append(int(text(await client.iopub.receive())))
        except GapNotice as notice:
            missing += notice.count or 10_000  # it must be counted
    return received, missing


@pytest.mark.usefixtures("patient")
async def test_a_short_break_of_a_client_costs_it_nothing() -> None:
    class Small(MemoryBackend):
        log_limit = 100_000

    async with joined(Small()) as (backend, kernel, client):

        async def publish() -> None:
            for number in range(100):
                await kernel.iopub.send(message(number, size=20_000))

        async def cut() -> None:
            for _ in range(10):
                await settle(30)
                backend.network.cut()

        async with asyncio.TaskGroup() as group:
            group.create_task(publish())
            group.create_task(cut())
            assert await texts(client.iopub, 100) == [str(number) for number in range(100)]


async def test_replies_to_a_client_that_is_away_are_kept_in_bounds_and_then_it_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 20_000)
    monkeypatch.setattr(module, "REPLIES_LIMIT", 50_000)
    async with joined() as (backend, kernel, client):
        assert await peer_event(kernel) == PeerEvent(b"me", True)
        backend.network.down = OSError("nobody there")
        backend.network.cut()
        assert 20 < await _send_until_given_up(kernel) < 30
        assert await peer_event(kernel) == PeerEvent(b"me", False)
        with pytest.raises(PeerGone):
            await kernel.control.send(message("nor anything else", b"me"))
        backend.network.down = None
        for receive in (client.shell.receive, client.control.receive, client.stdin.receive, client.iopub.receive):
            with pytest.raises(GapNotice) as caught:
                await receive()
            assert caught.value.count is None
        assert await peer_event(kernel) == PeerEvent(b"me", True)
        await kernel.shell.send(message("anew", b"me"))
        assert await texts(client.shell, 1) == ["anew"]


async def _send_until_given_up(kernel: KernelEnd) -> int:
    """How many replies to a client went before."""
    for number in range(1000):
        try:
            await kernel.shell.send(message(number, b"me", size=2000))
        except PeerGone as error:
            if "given up" in str(error):
                return number
    raise AssertionError("there is no bound")


async def test_replies_to_a_client_that_is_away_come_when_it_is_back() -> None:
    async with joined() as (backend, kernel, client):
        backend.network.down = OSError("nobody there")
        backend.network.cut()
        for number in range(100):
            await kernel.shell.send(message(number, b"me", size=1000))
            await kernel.control.send(message(number, b"me"))
        backend.network.down = None
        for channel in (client.shell, client.control):
            assert await texts(channel, 100) == [str(number) for number in range(100)]


async def test_a_client_that_is_here_and_takes_nothing_is_given_up_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 20_000)
    monkeypatch.setattr(module, "REPLIES_LIMIT", 50_000)
    backend = MemoryBackend(timing=NEVER)
    async with await backend.serve(INFO) as kernel:
        pipe, _ = await welcomed(backend.network)
        await _send_until_given_up(kernel)
        bye = await until(pipe, Bye)
        assert isinstance(bye, Bye)
        assert bye.reason == Reason.OVERFLOW
        await closed([backend.network.pairs[0][1]])  # although this client does not hang up


async def test_control_is_not_held_up_by_what_waits_on_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 20_000)
    monkeypatch.setattr(module, "PATIENCE", 3600.0)
    backend = MemoryBackend(timing=NEVER)
    kernel = await backend.serve(INFO)
    pipe, _ = await welcomed(backend.network)
    await say(pipe, Status(0, 0, 60_000))
    sends = [asyncio.create_task(kernel.shell.send(message("waits", b"me", size=15_000))) for _ in range(4)]
    await settle()
    assert not all(each.done() for each in sends)
    await kernel.control.send(message("does not wait", b"me"))
    await kernel.stdin.send(message("nor does this", b"me"))
    backend.network.cut()
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    await kernel.aclose()
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert any(isinstance(each, ChannelClosed) for each in outcomes)


async def test_a_client_that_is_slow_and_gets_on_holds_its_replies_up_no_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 20_000)
    monkeypatch.setattr(module, "REPLY_PATIENCE", 0.02)
    monkeypatch.setattr(module, "PATIENCE", 3600.0)
    backend = MemoryBackend(timing=NEVER)
    async with await backend.serve(INFO) as kernel:
        pipe, _ = await welcomed(backend.network)

        async def get_on() -> None:
            for granted in itertools.count(1):
                await say(pipe, Status(1, 0, granted))
                await asyncio.sleep(0.001)

        slow = asyncio.create_task(get_on())
        for number in range(5):
            await kernel.shell.send(message(number, b"me", size=15_000))
        slow.cancel()
        await asyncio.wait([slow])
        monkeypatch.setattr(module, "PATIENCE", 0.01)


async def test_senders_wait_their_turn_and_a_cancelled_one_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 20_000)
    monkeypatch.setattr(module, "PATIENCE", 3600.0)
    async with joined() as (backend, kernel, client):
        backend.network.down = OSError("nobody there")
        backend.network.cut()
        await settle()
        sends = [asyncio.create_task(kernel.shell.send(message(number, b"me", size=9000))) for number in range(20)]
        await settle()
        for number in (5, 6, 11, 19):
            assert not sends[number].done()
            sends[number].cancel()
        backend.network.down = None
        expected = [str(number) for number in range(20) if number not in (5, 6, 11, 19)]
        assert await texts(client.shell, 16) == expected
        await asyncio.wait(sends)


async def test_a_cancelled_publisher_publishes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 3600.0)

    class Small(MemoryBackend):
        log_limit = 50_000

    async with joined(Small(timing=NEVER)) as (backend, kernel, client):
        backend.network.down = OSError("nobody there")
        backend.network.cut()
        await settle()
        sends = [asyncio.create_task(kernel.iopub.send(message(number, size=20_000))) for number in range(6)]
        await settle()
        assert [each.done() for each in sends] == [True, True, False, False, False, False]
        sends[2].cancel()
        sends[4].cancel()
        backend.network.down = None
        assert await texts(client.iopub, 4) == ["0", "1", "3", "5"]
        await asyncio.wait(sends)


# What clients are told


async def test_each_connection_is_told_when_the_kernel_can_be_heard() -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        kernel.audible = False
        pipe, welcome = await welcomed(backend.network)
        assert isinstance(await until(pipe, Status), Status)
        kernel.audible = True
        await until(pipe, Ready)
        again, _ = await ask(backend.network, hello(attempt=2, epoch=welcome.epoch))
        await until(again, Ready)


async def test_a_beat_is_answered_for_a_kernel_that_beats_only() -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        pipe, _ = await welcomed(backend.network)
        kernel.beating = False
        await say(pipe, Beat(1), Ping(1))
        found = list(decode(await _frame_with(pipe, b"\x92\x05\x01")))  # the pong
        assert not any(isinstance(each, Beaten) for each in found)
        kernel.beating = True
        await say(pipe, Beat(2))
        assert await until(pipe, Beaten) == Beaten(2)


async def _frame_with(pipe: SealedPipe, octets: bytes) -> bytes:
    while octets not in (plaintext := await pipe.receive()):
        pass
    return plaintext


async def test_clients_are_told_of_what_was_lost_before_the_host() -> None:
    async with joined() as (backend, kernel, client), await backend.connect(INFO, identity=b"other") as other:
        await other.iopub.ready()
        assert kernel.tells_gaps
        for name in ("shell", "control", "stdin", "iopub"):
            channel = getattr(kernel, name)
            await channel.send(message("before", b"me"))
            await kernel.tell_gap(Channel(name), GapNotice(3, 70, "a test"), b"me")
            await channel.send(message("after", b"me"))
            for end in (client, other) if name == "iopub" else (client,):
                assert await texts(getattr(end, name), 1) == ["before"]
                with pytest.raises(GapNotice) as caught:
                    await getattr(end, name).receive()
                assert (caught.value.count, caught.value.size, caught.value.reason) == (3, 70, "a test")
                assert await texts(getattr(end, name), 1) == ["after"]
        with pytest.raises(PeerGone):
            await kernel.tell_gap(Channel.SHELL, GapNotice(1, 1, "a test"), b"nobody")


# Closing


@pytest.mark.usefixtures("patient")
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


@pytest.mark.usefixtures("patient")
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


# Company


async def test_what_only_says_that_work_begins_goes_with_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPANY", 3600.0)
    backend = MemoryBackend(timing=NEVER)
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"me") as client:
        await client.iopub.ready()
        await settle()
        passed = backend.network.pairs[-1][1].outgoing.passed
        await kernel.iopub.send(message('{"execution_state":"busy"}'))
        assert kernel.iopub.send_now(message('{"msg_type":"execute_input"}'))
        await settle()
        assert backend.network.pairs[-1][1].outgoing.passed == passed
        await kernel.shell.send(message("reply", b"me"))
        assert await texts(client.iopub, 2) == ['{"execution_state":"busy"}', '{"msg_type":"execute_input"}']
        assert await texts(client.shell, 1) == ["reply"]


async def test_and_waits_for_that_but_a_moment() -> None:
    backend = MemoryBackend(timing=NEVER)
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"me") as client:
        await client.iopub.ready()
        for _ in range(2):
            await kernel.iopub.send(message('{"execution_state":"busy"}'))
            assert await texts(client.iopub, 1) == ['{"execution_state":"busy"}']
