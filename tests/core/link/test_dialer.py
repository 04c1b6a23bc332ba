"""A client's end of a link, over pipes that hang, break, freeze and lie: what it makes of each, and what it leaves."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from kernelwire.channels import Receiver
from kernelwire.client import KernelClient
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import (
    ChannelClosed,
    ConnectionLost,
    GapNotice,
    InvalidField,
    KernelDied,
    KernelwireError,
    NoBeat,
    OutcomeUnknown,
    Undelivered,
    WireDown,
    WrongLoop,
)
from kernelwire.link import dialer as module
from kernelwire.link import seal, server
from kernelwire.link.dialer import Dialer
from kernelwire.link.framing import MAGIC, VERSION
from kernelwire.link.peer import Timing
from kernelwire.link.records import Bye, Data, Position, Ready, Reason, Status, Welcome, decode
from kernelwire.link.resume import NOTHING
from kernelwire.link.sealed import Secrets
from kernelwire.session import Session
from kernelwire.testing import ScriptedKernel

from ._pipes import (
    CLIENT,
    INFO,
    MemoryBackend,
    Network,
    answer,
    joined,
    message,
    say,
    settle,
    text,
    texts,
)

CHANNELS = ("shell", "control", "stdin", "iopub")
QUICK = Timing(ping_after=0.02, dead_after=0.1)


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for when nothing comes of it: short, so that no test is long."""
    monkeypatch.setattr(module, "FIRST_DELAYS", (0.0, 0.0, 0.001))
    monkeypatch.setattr(module, "DELAY", 0.002)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(module, "WIRE_PATIENCE", 0.05)
    monkeypatch.setattr(server, "WIRE_PATIENCE", 0.05)
    monkeypatch.setattr(module, "CLOSING_TIME", 0.05)
    monkeypatch.setattr(server, "PATIENCE", 0.05)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything is to arrive, however busy the machine."""
    for end in (server, module):
        monkeypatch.setattr(end, "PATIENCE", 60.0)
        monkeypatch.setattr(end, "WIRE_PATIENCE", 60.0)
        monkeypatch.setattr(end, "LINGER", 60.0)


@pytest.fixture
def network() -> Network:
    return Network()


def dialer(network: Network, secrets: Secrets = CLIENT, timing: Timing | None = None) -> Dialer:
    return Dialer(
        network.open_pipe,
        secrets,
        b"me",
        max_message_bytes=10_000_000,
        iopub_held=1_000_000,
        timing=timing or Timing(),
    )


Use = Callable[[], Coroutine[Any, Any, object]]


def receives(end: ClientEnd) -> list[Use]:
    return [getattr(end, name).receive for name in CHANNELS]


async def ends_with(end: ClientEnd, error: type[KernelwireError], match: str) -> None:
    """Every use of the end says so, again and again."""
    uses: list[Use] = [*receives(end), end.iopub.ready, functools.partial(end.heartbeat.beat, 60)]
    uses += [functools.partial(getattr(end, name).send, message("x")) for name in CHANNELS[:3]]
    for use in (*uses, *uses):
        with pytest.raises(error, match=match):
            await use()


# Dialling


@pytest.mark.parametrize("error", [OSError("no"), ConnectionLost("no"), RuntimeError("no"), asyncio.CancelledError()])
async def test_whatever_dialling_raises_it_is_tried_again(error: BaseException) -> None:
    backend = MemoryBackend()
    backend.network.down = error
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"me") as client:
        await client.shell.send(message("sent while nobody could be reached"))
        await backend.network.dialled(8)
        backend.network.down = None
        assert await texts(kernel.shell, 1) == ["sent while nobody could be reached"]


async def test_dialling_that_hangs_is_given_up_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DIALLING_TIME", 0.01)
    backend = MemoryBackend()
    backend.network.dialling = asyncio.get_running_loop().create_future()
    async with await backend.serve(INFO), await backend.connect(INFO, identity=b"me") as client:
        await backend.network.dialled(3)
        backend.network.dialling = None
        await client.iopub.ready()


async def test_a_field_that_cannot_be_used_is_not_tried_again(network: Network) -> None:
    network.down = InvalidField("shell_port", "missing")
    async with dialer(network).end as end:
        await ends_with(end, InvalidField, "shell_port")
        assert network.dials == 1


async def test_a_host_that_cannot_be_met_is_waited_for_and_can_be_given_up(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for secrets in (
        Secrets(seal.new_secret(), CLIENT.host_key),
        Secrets(CLIENT.link_secret, seal.public_key(bytes(32))),
    ):
        backend = MemoryBackend()
        async with await backend.serve(INFO), dialer(backend.network, secrets).end as end:
            ready = asyncio.create_task(end.iopub.ready())
            await backend.network.dialled(5)
            assert not ready.done()
            ready.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ready
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await end.iopub.ready()
        assert backend.network.open_pipes == 0
    assert not caplog.records


async def test_another_version_says_so_on_every_channel(network: Network) -> None:
    async with dialer(network).end as end:
        far = await network.accept()
        await far.send(MAGIC + bytes([VERSION + 1]))
        await ends_with(end, ConnectionLost, f"version {VERSION + 1} of the link's protocol, and this one {VERSION}")
    assert network.dials == 1


async def test_who_was_met_before_is_not_given_up_for_one_word_of_another_version(network: Network) -> None:
    async with dialer(network).end as end:
        sealed, _ = await answer(network)
        await say(sealed, Welcome(7, False, NOTHING, 0))
        await settle()
        network.cut()
        await (await network.accept()).send(MAGIC + bytes([VERSION + 1]))
        sealed, hello = await answer(network)
        assert (hello.epoch, hello.attempt) == (7, 2)
        await say(sealed, Welcome(7, True, NOTHING, 0))
        await say(sealed, Ready())
        await end.iopub.ready()


async def test_a_second_client_of_the_same_name_is_refused_for_good() -> None:
    async with joined() as (backend, kernel, client):
        pipes = len(backend.network.pairs)
        async with await backend.connect(INFO, identity=b"me") as second:
            await ends_with(second, ConnectionLost, "identity")
        assert len(backend.network.pairs) == pipes + 1
        await client.shell.send(message("the first goes on"))
        assert await texts(kernel.shell, 1) == ["the first goes on"]


async def test_a_host_without_room_is_asked_again(network: Network) -> None:
    async with dialer(network).end as end:
        for _ in range(4):
            sealed, _ = await answer(network)
            await say(sealed, Bye(Reason.FULL, ()))
        sealed, hello = await answer(network)
        assert hello.attempt == 5
        await say(sealed, Welcome(7, False, NOTHING, 0))
        await say(sealed, Ready())
        await end.iopub.ready()


def test_attempts_become_rarer_and_for_ten_minutes_there_is_always_one_within_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    delays = [module.delay(attempt) for attempt in range(2000)]
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert delays[-1] == module.delay(10**9) == module.LONGEST_DELAY
    swift = [each for each in delays if 1.5 * each < 1]
    assert sum(swift) * 1.25 > 600
    assert sum(1.5 * each for each in delays if each < module.LONGEST_DELAY) < 2 * 3600


async def test_who_sends_something_is_not_made_to_wait_for_an_attempt_that_is_far_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SWIFT_ATTEMPTS", 0)
    monkeypatch.setattr(module, "_DOUBLED_AFTER", 0.01)
    monkeypatch.setattr(module, "LONGEST_DELAY", 3600.0)
    backend = MemoryBackend()
    backend.network.down = OSError("nobody there")
    async with await backend.connect(INFO, identity=b"me") as client:
        await backend.network.dialled(3)
        await asyncio.sleep(0.02)
        assert backend.network.dials <= 4
        backend.network.down = None
        async with await backend.serve(INFO) as kernel:
            await client.shell.send(message("now"))
            assert await texts(kernel.shell, 1) == ["now"]


async def test_who_is_greeted_and_gets_nowhere_does_not_ask_again_at_once(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DELAY", 3600.0)
    async with dialer(network).end as end:
        sealed, _ = await answer(network)
        await say(sealed, Welcome(7, False, NOTHING, 0))
        for _ in range(2):
            await sealed.send(b"rubbish")
            sealed, _ = await answer(network)
            await say(sealed, Welcome(7, True, NOTHING, 0))
        # Who gets on is quick again.
        await say(sealed, Status(0, 0, 1000), Status(1, 0, 1000))
        await end.shell.send(message("taken"))
        await _until_data(sealed, 1)
        await say(sealed, Status(1, 1, 2000))
        await settle()
        for _ in range(3):
            await sealed.send(b"rubbish")
            sealed, _ = await answer(network)
            await say(sealed, Welcome(7, True, (Position(0, 0), Position(1, 0)), 0))
        await sealed.send(b"rubbish")
        await settle(200)
        assert network.dials == len(network.pairs) == 6


async def _until_data(sealed: Any, count: int) -> list[Data]:
    found: list[Data] = []
    while len(found) < count:
        found += [each for each in decode(await sealed.receive()) if isinstance(each, Data)]
    return found


# Breaks


async def test_cuts_cost_nothing_and_change_no_order() -> None:
    async with joined() as (backend, kernel, client):
        ways: list[tuple[Callable[[Any], Coroutine[Any, Any, None]], Any]] = [
            (client.shell.send, kernel.shell),
            (client.control.send, kernel.control),
            (client.stdin.send, kernel.stdin),
            (kernel.shell.send, client.shell),
            (kernel.control.send, client.control),
            (kernel.stdin.send, client.stdin),
            (kernel.iopub.send, client.iopub),
        ]

        async def send(way: int) -> None:
            for number in range(60):
                await ways[way][0](message(f"{way} {number}", b"me", size=number * 97))

        async def cut() -> None:
            for turns in range(1, 25):
                await settle(turns * 3)
                backend.network.cut()

        async def receive(way: int) -> None:
            assert await texts(ways[way][1], 60) == [f"{way} {number}" for number in range(60)]

        async with asyncio.TaskGroup() as group:
            for way in range(len(ways)):
                group.create_task(send(way))
                group.create_task(receive(way))
            group.create_task(cut())
    assert backend.network.open_pipes == 0


async def test_a_pipe_that_freezes_is_given_up() -> None:
    async with joined(MemoryBackend(timing=QUICK)) as (backend, kernel, client):
        backend.network.freeze()
        await client.shell.send(message("after all"))
        assert await texts(kernel.shell, 1) == ["after all"]
        assert len(backend.network.pairs) >= 2


async def test_a_pipe_that_takes_nothing_more_is_given_up() -> None:
    async with joined(MemoryBackend(timing=QUICK)) as (backend, kernel, client):
        backend.network.freeze()
        for number in range(3):
            await client.shell.send(message(number, size=400_000))
        assert await texts(kernel.shell, 3) == ["0", "1", "2"]


@pytest.mark.parametrize("how", ["hangs", "raises", "is cancelled"])
async def test_a_pipe_that_cannot_even_be_closed_holds_nobody_up(how: str) -> None:
    def fail() -> object:
        if how == "hangs":
            return asyncio.get_running_loop().create_future()
        raise asyncio.CancelledError if how == "is cancelled" else RuntimeError("no")

    async with joined() as (backend, kernel, client):
        for number in range(3):
            for pipe in backend.network.pairs[-1]:
                pipe.on_close = fail
            backend.network.cut()
            await client.shell.send(message(number))
            assert await texts(kernel.shell, 1) == [str(number)]
        for pipe in backend.network.pairs[-1]:
            pipe.on_close = fail
    assert backend.network.open_pipes == 0


async def test_a_host_that_breaks_the_rules_is_dropped_and_met_again() -> None:
    async with joined() as (backend, kernel, client):
        await kernel.shell.send(message("before", b"me"))
        assert await texts(client.shell, 1) == ["before"]
        near, far = backend.network.pairs[-1]
        far.outgoing._pieces.append(b"\0\0\0\x20" + bytes(32))
        far.outgoing._changed.turn()
        await kernel.shell.send(message("after", b"me"))
        assert await texts(client.shell, 1) == ["after"]
        assert len(backend.network.pairs) == 2
        assert near.closings == far.closings == 1


# A host that starts anew


async def test_a_new_host_is_told_by_a_gap_on_each_channel_and_then_all_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 1000)
    backend = MemoryBackend()
    kernel = await backend.serve(INFO)
    async with await backend.connect(INFO, identity=b"me") as client:
        await client.iopub.ready()
        await client.shell.send(message("handled"))
        assert await texts(kernel.shell, 1) == ["handled"]
        await _crash(backend, kernel)
        await client.shell.send(message("for the old one", size=2000))
        late = asyncio.create_task(client.shell.send(message("taken by the wire afterwards")))
        await settle()
        assert not late.done()
        backend.network.down = None
        async with await backend.serve(INFO) as kernel:
            for receive in receives(client):
                with pytest.raises(GapNotice, match="anew") as caught:
                    await receive()
                assert (caught.value.count, caught.value.size) == (None, None)
            await late
            await client.shell.send(message("for the new one"))
            assert await texts(kernel.shell, 2) == ["taken by the wire afterwards", "for the new one"]
            await kernel.iopub.send(message("published"))
            assert await texts(client.iopub, 1) == ["published"]


async def _crash(backend: MemoryBackend, kernel: KernelEnd) -> None:
    """The host is gone without a word, and nobody can be reached for now."""
    backend.network.down = OSError("nobody there")
    backend.network.cut()
    await kernel.aclose()


async def test_ready_again_says_the_new_host_itself() -> None:
    backend = MemoryBackend()
    kernel = await backend.serve(INFO)
    async with await backend.connect(INFO, identity=b"me") as client:
        await client.iopub.ready()
        await _crash(backend, kernel)
        await client.iopub.ready()  # of a mere break it knows nothing
        backend.network.down = None
        async with await backend.serve(INFO) as kernel:
            kernel.audible = False
            with pytest.raises(GapNotice):
                await client.iopub.receive()
            ready = asyncio.create_task(client.iopub.ready())
            await settle()
            assert not ready.done()
            kernel.audible = True
            await ready


async def test_not_ready_before_the_host_is_audible() -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"me") as client:
        kernel.audible = False
        waiting = [asyncio.create_task(client.iopub.ready()) for _ in range(2)]
        await settle()
        for _ in range(2):  # nor on a later connection
            backend.network.cut()
            await settle(200)
        assert not any(each.done() for each in waiting)
        kernel.audible = True
        await asyncio.gather(*waiting)


# Sending: bounds, order, cancellation


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


def _down(network: Network) -> None:
    network.down = OSError("nobody there")
    network.cut()


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
        await _crash(backend, kernel)
        backend.network.down = None
        async with await backend.serve(INFO) as kernel, ScriptedKernel(kernel, Session.of(INFO), None):
            for each in asking:
                with pytest.raises(OutcomeUnknown):
                    await each
            await client.ready()
            assert client.broken is None


# Closing


@pytest.mark.usefixtures("patient")
async def test_what_was_sent_before_closing_arrives_and_the_host_is_told() -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        assert kernel.peers is not None
        for _ in range(2):
            async with await backend.connect(INFO, identity=b"me") as client:
                for number in range(300):
                    await client.shell.send(message(number, size=5000))
                await client.control.send(message("last"))
            assert await texts(kernel.shell, 300) == [str(number) for number in range(300)]
            assert await texts(kernel.control, 1) == ["last"]
            assert [(await kernel.peers.receive()).joined for _ in range(2)] == [True, False]
        assert backend.network.open_pipes == 0


@pytest.mark.usefixtures("patient")
async def test_the_host_is_told_even_while_it_says_much() -> None:
    """A client that hung up first would take from the host what it has not read yet."""
    async with joined() as (backend, kernel, client):
        assert kernel.peers is not None
        await kernel.peers.receive()
        publishing = asyncio.create_task(_publish_all(kernel))
        await settle(100)
        order: list[str] = []
        near, far = backend.network.pairs[-1]
        near.on_close = lambda: order.append("client")
        far.on_close = lambda: order.append("host")
        await client.aclose()
        assert order[0] == "host"
        assert (await kernel.peers.receive()).joined is False
        publishing.cancel()
        await asyncio.wait([publishing])


async def _publish_all(kernel: KernelEnd) -> None:
    number = 0
    while True:
        await kernel.iopub.send(message(number, size=2000))
        number += 1
        await asyncio.sleep(0)


@pytest.mark.usefixtures("patient")
async def test_closing_waits_as_long_as_there_is_progress() -> None:
    async with joined() as (backend, kernel, client):
        for number in range(4):
            await client.shell.send(message(number, size=1_000_000))

        async def meddle() -> None:
            for _ in range(10):
                await settle(20)
                backend.network.cut()

        async with asyncio.TaskGroup() as group:
            group.create_task(meddle())
            group.create_task(client.aclose())
        assert await texts(kernel.shell, 4) == ["0", "1", "2", "3"]


TROUBLES: dict[str, Callable[[Network], None]] = {
    "frozen": Network.freeze,
    "nobody to be reached": _down,
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
async def test_closing_costs_no_more_than_its_patience(
    trouble: Callable[[Network], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER", 3600.0)
    async with joined() as (backend, _, client):
        trouble(backend.network)
        await client.shell.send(message("cannot arrive", size=1_000_000))
        with pytest.raises(Undelivered) as caught:
            await client.aclose()
        assert (caught.value.count, caught.value.size) == (1, 1_000_013)
        await client.aclose()  # it is closed, and has said so
        await ends_with(client, ChannelClosed, "closed by this end")
        assert all(near.closings for near, _ in backend.network.pairs)
        backend.network.thaw()


async def test_what_was_lost_by_closing_is_no_news_to_whom_something_else_went_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        async with await MemoryBackend().connect(INFO, identity=b"me") as client:
            await client.shell.send(message("cannot arrive"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert "closed before 1 messages of 13 bytes" in caplog.text


async def test_a_client_counts_what_the_host_has_not_handled_and_nothing_else() -> None:
    async with joined() as (backend, kernel, client):
        for number in range(10):
            await client.shell.send(message(number))
            await client.control.send(message(number))
        for name in ("shell", "control"):
            assert await texts(getattr(kernel, name), 10) == [str(number) for number in range(10)]
            await getattr(kernel, name).send(message("which says that all was handled", b"me"))
            await getattr(client, name).receive()
        _down(backend.network)
        for number in range(3):
            await client.stdin.send(message(number, size=100))
        with pytest.raises(Undelivered) as caught:
            await client.aclose()
        assert (caught.value.count, caught.value.size) == (3, 303)


async def test_what_a_host_could_not_send_before_it_closed_is_a_gap() -> None:
    async with joined() as (_, kernel, client):
        client.shell._inbox.full = True  # type: ignore[attr-defined] # so that nothing is granted after what was
        for number in range(100, 200):
            await kernel.iopub.send(message(number, size=50_000))
            await kernel.shell.send(message(number, b"me", size=1000))
        await kernel.aclose()
        client.shell._inbox.full = False  # type: ignore[attr-defined]
        for channel, size in ((client.iopub, 50_003), (client.shell, 1003)):
            notice = await _first_gap(channel)
            assert notice.count is not None
            assert 0 < notice.count < 100
            assert notice.size == notice.count * size


async def _first_gap(channel: Receiver) -> GapNotice:
    """After messages that are as they must be, and with those that are missing a hundred."""
    count = 0
    while True:
        try:
            received = await channel.receive()
        except GapNotice as notice:
            missing = notice
            break
        assert text(received) == str(100 + count)
        count += 1
    assert count + (missing.count or 0) == 100
    assert "closed before" in missing.reason
    return missing


async def test_closing_against_somebody_who_never_shakes_hands_costs_no_more(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER", 3600.0)
    end = dialer(network).end
    await end.shell.send(message("cannot arrive"))

    async def hang_up() -> None:
        while True:
            await (await network.accept()).aclose()

    hanging_up = asyncio.create_task(hang_up())
    with pytest.raises(Undelivered, match="1 messages of 13 bytes"):
        await end.aclose()
    hanging_up.cancel()
    await asyncio.wait([hanging_up])


async def test_closing_in_the_middle_of_anything_leaves_nothing() -> None:
    """While dialling, shaking hands, greeting, reading and writing."""
    for turns in range(60):
        backend = MemoryBackend()
        async with await backend.serve(INFO):
            end = await backend.connect(INFO, identity=b"me")
            await settle(turns)
            await end.aclose()
        assert backend.network.open_pipes == 0


async def test_closing_while_dialling_hangs(network: Network) -> None:
    network.dialling = asyncio.get_running_loop().create_future()
    end = dialer(network).end
    await network.dialled(1)
    await end.aclose()
    assert network.dialling.cancelled()


async def test_a_cancelled_closing_still_closes() -> None:
    for turns in (0, 1, 3, 10):
        async with joined() as (backend, _, client):
            backend.network.freeze()
            await client.shell.send(message("cannot arrive"))
            closing = asyncio.create_task(client.aclose())
            await settle(turns)
            closing.cancel()
            await asyncio.wait([closing])
            with contextlib.suppress(Undelivered):  # from whichever of the two comes to it
                await client.aclose()
            assert all(near.closings for near, _ in backend.network.pairs)
            backend.network.thaw()


async def test_closing_twice_at_once() -> None:
    async with joined() as (_, _, client):
        await asyncio.gather(client.aclose(), client.aclose())
        await client.aclose()


async def test_another_loop_is_refused() -> None:
    async with joined() as (_, kernel, client):
        uses: list[Use] = [*receives(client), client.iopub.ready, client.aclose]
        uses.append(functools.partial(client.heartbeat.beat, 1))
        uses += [functools.partial(getattr(client, name).send, message("x")) for name in CHANNELS[:3]]

        def elsewhere() -> None:
            for use in uses:
                with pytest.raises(WrongLoop):
                    asyncio.run(use())

        await asyncio.to_thread(elsewhere)
        await client.shell.send(message("goes on"))
        assert await texts(kernel.shell, 1) == ["goes on"]
