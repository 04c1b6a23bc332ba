"""A host's end of a link while it works: clients that take nothing or are away, and what they are told."""

import asyncio
import itertools

import pytest

from kernelwire.channels import Channel, PeerEvent
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import (
    ChannelClosed,
    GapNotice,
    PeerGone,
)
from kernelwire.link import server as module
from kernelwire.link.host import Member
from kernelwire.link.records import (
    Beat,
    Beaten,
    Bye,
    Ping,
    Ready,
    Reason,
    Status,
    decode,
)
from kernelwire.link.sealed import SealedPipe
from kernelwire.messages import WireMessage

from ._pipes import INFO, NEVER, MemoryBackend, Network, ask, joined, message, say, settle, swift_pair, text, texts
from ._servers import closed, hello, peer_event, until, welcomed

pytestmark = pytest.mark.usefixtures("no_task_is_left", "in_haste")


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


@pytest.mark.usefixtures("patient_host")
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


async def test_who_was_given_up_and_comes_anew_has_left_nothing_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 20_000)
    monkeypatch.setattr(module, "REPLIES_LIMIT", 50_000)
    closings: list[Member] = []
    close = Member.close

    def note(member: Member, now: float) -> None:
        closings.append(member)
        close(member, now)

    monkeypatch.setattr(Member, "close", note)
    backend = MemoryBackend(timing=NEVER)
    async with await backend.serve(INFO) as kernel:
        await welcomed(backend.network)
        backend.network.freeze()  # not even a goodbye goes
        await _send_until_given_up(kernel)
        await welcomed(backend.network, b"me", 2)
        assert len(closings) == 1
        assert not closings[0].peer.up


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


@pytest.mark.parametrize(("kind", "count"), [(b"kernel_info_reply", 2), (b"execute_reply", 1)])
async def test_a_reply_goes_at_once_unless_it_is_half_of_what_is_waited_for(kind: bytes, count: int) -> None:
    backend = MemoryBackend(Network(swift_pair), timing=NEVER)
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"me") as client:
        await client.iopub.ready()
        await settle()
        flow = backend.network.pairs[-1][1].outgoing
        before = flow.puts
        assert kernel.shell.send_now(WireMessage([b"reply", b'{"msg_type":"%b"}' % kind], b"me"))
        assert kernel.iopub.send_now(message("idle"))
        assert await texts(client.iopub, 1) == ["idle"]
        assert await texts(client.shell, 1) == ["reply"]
        assert flow.puts == before + count
