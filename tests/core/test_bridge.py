"""The bridge, mostly between two in-process transports: what it carries, what it drops, when it ends."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from kernelwire import bridge as module
from kernelwire.bridge import Bridge
from kernelwire.channels import Channel, Receiver
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import (
    ConnectionLost,
    GapNotice,
    MessageTooLarge,
    NoBeat,
    NotSupported,
)
from kernelwire.heartbeat import HeartbeatMonitor
from kernelwire.messages import WireMessage
from kernelwire.session import Session
from kernelwire.testing import Client, Kernel
from kernelwire_inprocess import InProcessBackend

from ._raw_kernel import settle

FAR_KEY = b"the kernel's key"
NEAR_KEY = b"the clients' key"
REQUESTS = ("shell", "control", "stdin")


@pytest.fixture(autouse=True)
async def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    # Beats at once, so that nobody has to wait for the next one.
    monkeypatch.setattr(module, "HeartbeatMonitor", functools.partial(HeartbeatMonitor, interval=0.005))
    yield
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Bridged:
    """A kernel on the far side, and a bridge from a near side, both in-process.

    Attributes:
        kernel: the far kernel.
        near: the near end that the bridge feeds.
        opened: the channels of each end that the bridge opened on the far side, in order.
        ends: these ends.
        running: the bridge.
    """

    kernel: Kernel
    near: KernelEnd
    bridge: Bridge
    running: "asyncio.Task[None]"

    def __init__(self, far_key: bytes, near_key: bytes) -> None:
        self.far_backend, self.near_backend = InProcessBackend({}), InProcessBackend({})
        self.far_info = self.far_backend.prepare(ConnectionInfo(transport="inprocess", key=far_key))
        self.near_info = self.near_backend.prepare(ConnectionInfo(transport="inprocess", key=near_key))
        self.opened: list[Collection[Channel]] = []
        self.ends: list[ClientEnd] = []

    async def open_client(self, identity: bytes, channels: Collection[Channel]) -> ClientEnd:
        self.opened.append(channels)
        self.ends.append(await self.far_backend.connect(self.far_info, identity=identity, channels=channels))
        return self.ends[-1]

    def start(self, **options: Any) -> None:
        self.bridge = Bridge(
            self.near,
            self.open_client,
            near_session=Session.of(self.near_info),
            far_session=Session.of(self.far_info),
            **options,
        )
        self.running = asyncio.create_task(self.bridge.run())

    @asynccontextmanager
    async def client(self, identity: bytes = b"near", key: bytes | None = None) -> AsyncIterator[Client]:
        info = self.near_info if key is None else self.near_info.replace(key=key)
        async with await self.near_backend.connect(self.near_info, identity=identity) as end:
            yield Client(end, Session.of(info))

    @property
    def far_clients(self) -> int:
        """Client ends that are open on the far side, without the bridge's own."""
        (kernel,) = self.far_backend._names.values()
        return len(kernel.clients) - 1

    async def ask(self, client: Client, name: str = "shell") -> None:
        """A round trip."""
        request = client.message()
        await getattr(client, name).send(request)
        received, wire = await getattr(self.kernel, name).receive_from()
        assert received == request
        reply = self.kernel.session.message("reply", parent=received)
        await getattr(self.kernel, name).send(reply, wire.peer)
        assert await getattr(client, name).receive() == reply


@asynccontextmanager
async def bridged(far_key: bytes = FAR_KEY, near_key: bytes = NEAR_KEY, **options: Any) -> AsyncIterator[Bridged]:
    world = Bridged(far_key, near_key)
    async with (
        await world.far_backend.serve(world.far_info) as far,
        await world.near_backend.serve(world.near_info) as near,
    ):
        world.kernel, world.near = Kernel(far, Session.of(world.far_info)), near
        world.start(**options)
        await world.near.wait_audible()
        try:
            yield world
        finally:
            world.running.cancel()
            await asyncio.gather(world.running, return_exceptions=True)


@pytest.fixture
async def world() -> AsyncIterator[Bridged]:
    async with bridged() as world:
        yield world


# Carrying


@pytest.mark.parametrize(
    ("far_key", "near_key"),
    [
        pytest.param(FAR_KEY, NEAR_KEY, id="two keys"),
        pytest.param(FAR_KEY, FAR_KEY, id="one key"),
        pytest.param(FAR_KEY, b"", id="unsigned near"),
        pytest.param(b"", NEAR_KEY, id="unsigned far"),
    ],
)
async def test_both_ways_on_all_channels(far_key: bytes, near_key: bytes) -> None:
    async with bridged(far_key, near_key) as world, world.client() as client:
        for name in REQUESTS:
            await world.ask(client, name)
        await world.kernel.publish(text="to all")
        assert (await client.iopub.receive()).content == {"text": "to all"}
        assert not client.session.rejected
        assert not world.kernel.session.rejected


async def test_topic_and_buffers_are_kept(world: Bridged) -> None:
    async with world.client() as client:
        sent = world.kernel.session.message("stream", {"text": "x"}, buffers=[b"", b"raw"])
        await world.kernel.iopub.send(sent, b"a topic")
        message, wire = await client.iopub.receive_from()
        assert message == sent
        assert wire.peer == b"a topic"


async def test_many_clients_get_their_own(world: Bridged) -> None:
    async with asyncio.timeout(30):
        async with contextmany(world, 30) as clients:
            requests = {}
            for number, client in enumerate(clients):
                requests[number] = client.message(number=number)
                await client.shell.send(requests[number])
            peers = set()
            for _ in clients:
                request, wire = await world.kernel.shell.receive_from()
                peers.add(wire.peer)
                await world.kernel.shell.send(world.kernel.session.message("reply", parent=request), wire.peer)
            assert len(peers) == len(clients)
            for number, client in enumerate(clients):
                assert (await client.shell.receive()).is_child_of(requests[number])
            await world.kernel.publish(text="to all")
            for client in clients:
                assert (await client.iopub.receive()).content == {"text": "to all"}
        assert world.opened == [{Channel.IOPUB, Channel.HEARTBEAT}, *[module._REQUESTS] * len(clients)]


async def test_while_a_reply_is_due_it_goes_before_what_is_published(world: Bridged) -> None:
    looks: list[str] = []

    async def publish() -> None:
        await world.kernel.publish(text="to all")
        await client.iopub.receive()

    async with world.client() as client:
        await world.ask(client)
        end = world.ends[-1]
        for name in REQUESTS:
            getattr(end, name).hand_on = functools.partial(looks.append, name)
        await publish()
        assert looks == []
        for name in ("shell", "control"):
            request = client.message()
            await getattr(client, name).send(request)
            received, wire = await getattr(world.kernel, name).receive_from()
            await publish()
            await publish()
            assert looks == [name, name]
            await getattr(world.kernel, name).send(world.kernel.session.message("reply", parent=received), wire.peer)
            await getattr(client, name).receive()
            await publish()
            assert looks == [name, name]
            looks.clear()
        await client.stdin.send(client.message())  # an answer by itself
        await world.kernel.stdin.receive()
        await publish()
        assert looks == []


@asynccontextmanager
async def contextmany(world: Bridged, count: int) -> AsyncIterator[list[Client]]:
    ends = [await world.near_backend.connect(world.near_info, identity=b"client %d" % n) for n in range(count)]
    yield [Client(end, Session.of(world.near_info)) for end in ends]
    for end in ends:
        await end.aclose()


# What is not genuine


async def assert_next_is_good(world: Bridged, client: Client, mark: int) -> None:
    await client.shell.send(client.message(good=mark))
    assert (await world.kernel.shell.receive()).content == {"good": mark}


async def test_what_clients_forge_is_dropped(world: Bridged) -> None:
    async with world.client() as client:
        good = client.wire(once=1)
        await client.end.shell.send(good)
        assert (await world.kernel.shell.receive()).content == {"once": 1}
        frames = list(good.frames)
        for junk in ([], frames[:3], [b"", *frames[1:]], [*frames[:4], b'{"other": 1}'], frames):
            for name in REQUESTS:
                await getattr(client.end, name).send(WireMessage(junk))
        await assert_next_is_good(world, client, 1)
        assert not world.kernel.session.rejected


async def test_what_the_far_side_forges_is_dropped(world: Bridged) -> None:
    async with world.client() as client:
        await client.shell.send(client.message())
        _, wire = await world.kernel.shell.receive_from()
        good = world.kernel.session.message("good")
        frames = world.kernel.session.pack(good)
        await world.kernel.end.shell.send(WireMessage(frames, wire.peer))
        await world.kernel.end.iopub.send(WireMessage(frames))
        for junk in ([], [b"", *frames[1:]], [*frames[:4], b'{"other": 1}'], frames):
            await world.kernel.end.shell.send(WireMessage(junk, wire.peer))
            await world.kernel.end.iopub.send(WireMessage(junk))
        last = world.kernel.session.message("last")
        await world.kernel.shell.send(last, wire.peer)
        await world.kernel.publish(last=1)
        assert await client.shell.receive() == good
        assert await client.shell.receive() == last
        # One session verifies the whole far side, and this message came on shell before.
        assert (await client.iopub.receive()).content == {"last": 1}
        assert not client.session.rejected


async def test_a_flood_of_junk_opens_nothing(world: Bridged) -> None:
    async with contextmany(world, 50) as clients:
        stranger = Session(b"another key")
        for client in clients:
            for name in REQUESTS:
                await getattr(client.end, name).send(WireMessage(stranger.pack(stranger.message("execute_request"))))
                await getattr(client.end, name).send(WireMessage([b"junk"]))
        await assert_next_is_good(world, clients[7], 7)
        assert world.far_clients == 1


# Clients that come and go


async def test_a_client_that_leaves_frees_its_far_end_and_may_come_back(world: Bridged) -> None:
    for _ in range(5):
        async with world.client(b"the same") as client, world.client(b"another") as other:
            await world.ask(client)
            await world.ask(other)
            assert world.far_clients == 2
        await settle()
        assert world.far_clients == 0
        assert not world.bridge._clients
        assert not world.bridge._carrying


async def test_a_newer_client_of_the_same_identity_is_heard(world: Bridged) -> None:
    async with world.client(b"the same") as old:
        await world.ask(old)
        async with world.client(b"the same") as new:
            await world.ask(new)
            await settle()
            assert world.far_clients == 1
            await world.ask(new)


async def test_last_words_arrive(world: Bridged) -> None:
    async with world.client() as client:
        for number in range(10):
            await client.shell.send(client.message(number=number))
    assert [(await world.kernel.shell.receive()).content["number"] for _ in range(10)] == list(range(10))


async def test_an_answer_to_one_that_left_ends_only_that_one(world: Bridged) -> None:
    async with world.client(b"stays") as stays:
        await world.ask(stays)
        async with world.client(b"leaves") as leaves:
            await leaves.shell.send(leaves.message())
            request, wire = await world.kernel.shell.receive_from()
            # The bridge holds the answer when it learns that nobody waits for it.
            await world.kernel.shell.send(world.kernel.session.message("reply", parent=request), wire.peer)
        await settle()
        await world.ask(stays)
        assert world.far_clients == 1


async def test_beyond_max_clients_the_longest_silent_is_let_go() -> None:
    async with bridged(max_clients=2) as world, contextmany(world, 3) as (first, second, third):
        await world.ask(first)
        await world.ask(second)
        await world.ask(first)
        await world.ask(third)
        await settle()
        assert set(world.bridge._clients) == {b"client 0", b"client 2"}
        assert world.far_clients == 2
        for client in (second, first, third, second):  # whoever speaks again is taken up again
            await world.ask(client)
        await settle()
        assert world.far_clients == 2


async def test_a_client_let_go_while_its_end_opens_is_taken_up_again() -> None:
    async with bridged(max_clients=1) as world, contextmany(world, 2) as clients:
        for number in range(20):
            await asyncio.gather(*(client.shell.send(client.message(number=number)) for client in clients))
            seen = [(await world.kernel.shell.receive()).content["number"] for _ in clients]
            assert seen == [number, number]
            await asyncio.gather(*(client.control.send(client.message(number=number)) for client in clients))
            seen = [(await world.kernel.control.receive()).content["number"] for _ in clients]
            assert seen == [number, number]


async def test_the_bridge_ends_after_the_ends_that_it_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    may_close = asyncio.Event()
    async with bridged(max_clients=1) as world, contextmany(world, 2) as (first, second):
        await world.ask(first)
        aclose = world.ends[1].aclose

        async def slowly() -> None:
            await may_close.wait()
            await aclose()

        monkeypatch.setattr(world.ends[1], "aclose", slowly)
        await world.ask(second)
        await settle()
        world.running.cancel()
        await settle()
        assert not world.running.done()
        may_close.set()
        await asyncio.wait([world.running])


# Readiness and life


async def test_nobody_is_ready_before_the_far_side_is() -> None:
    world = Bridged(FAR_KEY, NEAR_KEY)
    async with (
        await world.far_backend.serve(world.far_info) as far,
        await world.near_backend.serve(world.near_info) as near,
    ):
        far.audible = False
        world.kernel, world.near = Kernel(far, Session.of(world.far_info)), near
        world.start()
        async with world.client() as client:
            ready = asyncio.create_task(client.end.iopub.ready())
            await client.shell.send(client.message(waits=True))
            await client.control.send(client.message(waits=False))
            assert (await world.kernel.control.receive()).content == {"waits": False}
            await settle()
            assert not ready.done()
            far.audible = True
            await ready
            assert (await world.kernel.shell.receive()).content == {"waits": True}
            await world.kernel.publish(heard=True)
            assert (await client.iopub.receive()).content == {"heard": True}
        world.running.cancel()
        await asyncio.wait([world.running])


async def until_silent(client: Client) -> None:
    with suppress(NoBeat):
        while True:
            await client.end.heartbeat.beat(0.01)
            await asyncio.sleep(0)


async def test_the_near_side_beats_when_the_far_side_does() -> None:
    async with bridged(time_to_dead=0.02) as world, world.client() as client:
        for _ in range(2):
            await world.near.wait_beating()
            assert await client.end.heartbeat.beat(60) >= 0
            world.kernel.end.beating = False
            await until_silent(client)
            assert not world.near.beating
            world.kernel.end.beating = True
        await world.near.wait_beating()


async def test_a_far_wire_without_a_heartbeat_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_heartbeat(_timeout: float) -> float:
        raise NotSupported("no heartbeat on this wire")

    world = Bridged(FAR_KEY, NEAR_KEY)
    open_client = world.open_client

    async def open_silent(identity: bytes, channels: Collection[Channel]) -> ClientEnd:
        end = await open_client(identity, channels)
        monkeypatch.setattr(end.heartbeat, "beat", no_heartbeat)
        return end

    monkeypatch.setattr(world, "open_client", open_silent)
    async with (
        await world.far_backend.serve(world.far_info) as far,
        await world.near_backend.serve(world.near_info) as near,
    ):
        world.kernel, world.near = Kernel(far, Session.of(world.far_info)), near
        world.start()
        await near.wait_beating()
        async with world.client() as client:
            await world.ask(client)
        world.running.cancel()
        await asyncio.wait([world.running])


async def test_the_far_kernels_end_ends_the_bridge(world: Bridged) -> None:
    async with world.client() as client:
        await world.ask(client)
        await world.kernel.end.aclose()
        await world.running
        assert not world.near.beating


async def test_the_near_ends_end_ends_the_bridge(world: Bridged) -> None:
    async with world.client() as client:
        await world.ask(client)
        await world.near.aclose()
        await world.running
    (kernel,) = world.far_backend._names.values()
    assert not kernel.clients


# What cannot be carried


async def too_large(message: WireMessage) -> None:
    raise MessageTooLarge(message.size, 1)


@pytest.mark.parametrize("which", ["near iopub", "near shell", "far shell"])
async def test_a_message_too_large_for_the_other_side_stops_nothing_else(
    world: Bridged, which: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.client() as client:
        await client.shell.send(client.message())
        _, wire = await world.kernel.shell.receive_from()
        channel: dict[str, Any] = {
            "near iopub": world.near.iopub,
            "near shell": world.near.shell,
            "far shell": world.ends[1].shell,
        }
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "kernelwire"):
            outlet = channel[which]._outlet  # a bridge may have taken the channel's own methods already
            patch.setattr(outlet, "send", too_large)
            patch.setattr(outlet, "send_now", lambda message: False)
            lost = world.kernel.session.message("lost")
            match which:
                case "near iopub":
                    await world.kernel.iopub.send(lost)
                case "near shell":
                    await world.kernel.shell.send(lost, wire.peer)
                case _:
                    await client.shell.send(client.message(lost=1))
            await settle()
        assert len(caplog.records) == 1
        assert world.near.dropped == (which == "near iopub")
        await world.ask(client)
        await world.kernel.publish(after=1)
        assert (await client.iopub.receive()).content == {"after": 1}


@pytest.mark.parametrize("name", [*REQUESTS, "iopub"])
async def test_a_gap_on_the_far_side_is_passed_on_in_its_place(name: str) -> None:
    async with bridged() as world, world.client() as client, world.client(b"another") as another:
        for each in (client, another):
            await each.end.iopub.ready()
            await world.ask(each, "shell" if name == "iopub" else name)
        far_name = Channel(name)
        (kernel,) = world.far_backend._names.values()
        if name == "iopub":
            await world.kernel.publish(before=1)
            peers, hearers = [b""], [client, another]
        else:
            peers, hearers = list(kernel.clients)[1:2], [client]
        for peer in peers:
            await world.kernel.end.tell_gap(far_name, GapNotice(3, 70, "a test"), peer)
        for each in hearers:
            channel = getattr(each.end, name)
            if name == "iopub":
                await channel.receive()
            with pytest.raises(GapNotice, match="3 messages are missing here: a test") as caught:
                await channel.receive()
            assert (caught.value.count, caught.value.size) == (3, 70)
        await world.ask(client)


async def test_where_the_near_wire_has_no_notices_a_gap_answers_the_requests_that_it_swallows() -> None:
    world = Bridged(FAR_KEY, NEAR_KEY)
    async with (
        await world.far_backend.serve(world.far_info) as far,
        await world.near_backend.serve(world.near_info) as near,
    ):
        near.tells_gaps = False
        world.kernel, world.near = Kernel(far, Session.of(world.far_info)), near
        world.start()
        async with world.client() as client:
            await client.end.iopub.ready()
            await world.ask(client)
            lost, kept = client.session.message("execute_request"), client.session.message("interrupt_request")
            await client.shell.send(lost)
            await client.control.send(kept)
            _, wire = await world.kernel.shell.receive_from()
            asked, _ = await world.kernel.control.receive_from()
            await far.tell_gap(Channel.SHELL, GapNotice(None, None, "the host was started anew"), wire.peer)
            reply = await client.shell.receive()
            assert (reply.msg_type, reply.parent_header) == ("execute_reply", lost.header)
            assert reply.content["status"] == "error"
            assert reply.content["ename"] == "OutcomeUnknown"
            assert "the host was started anew" in reply.content["evalue"]
            for msg_type in ("error", "status"):
                published = await client.iopub.receive()
                assert (published.msg_type, published.parent_id) == (msg_type, lost.msg_id)
            await world.kernel.control.send(world.kernel.session.message("interrupt_reply", parent=asked), wire.peer)
            assert (await client.control.receive()).parent_id == kept.msg_id
        world.running.cancel()
        await asyncio.wait([world.running])


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_gap_among_the_replies_ends_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = Bridged(FAR_KEY, NEAR_KEY)
    open_client = world.open_client

    async def open_leaky(identity: bytes, channels: Collection[Channel]) -> ClientEnd:
        end = await open_client(identity, channels)
        if name in end.channels:
            channel: Receiver = getattr(end, name)
            receive, gaps = channel.receive, [GapNotice(None, None, "a test")]

            async def with_gaps() -> WireMessage:
                if gaps:
                    raise gaps.pop()
                return await receive()

            monkeypatch.setattr(channel, "receive", with_gaps)
        return end

    monkeypatch.setattr(world, "open_client", open_leaky)
    async with (
        await world.far_backend.serve(world.far_info) as far,
        await world.near_backend.serve(world.near_info) as near,
    ):
        world.kernel, world.near = Kernel(far, Session.of(world.far_info)), near
        world.start()
        async with world.client() as client:
            await client.end.iopub.ready()
            request = client.message()
            await getattr(client, name).send(request)
            _, wire = await getattr(world.kernel, name).receive_from()
            with pytest.raises(GapNotice):
                await getattr(client, name).receive()
            await getattr(world.kernel, name).send(world.kernel.session.message("reply", parent=request), wire.peer)
            assert (await getattr(client, name).receive()).parent_id == request.msg_id
        assert len(world.ends) == 2, "the client was let go"
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        world.running.cancel()
        await asyncio.gather(world.running, return_exceptions=True)


async def test_a_gap_on_the_far_side_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Bridged(FAR_KEY, NEAR_KEY)
    gaps = [GapNotice(3, 30, "a test"), GapNotice(None, None, "a test")]
    open_client = world.open_client

    async def open_leaky(identity: bytes, channels: Collection[Channel]) -> ClientEnd:
        end = await open_client(identity, channels)
        receive = end.iopub.receive

        async def with_gaps() -> WireMessage:
            if gaps:
                raise gaps.pop()
            return await receive()

        monkeypatch.setattr(end.iopub, "receive", with_gaps)
        return end

    monkeypatch.setattr(world, "open_client", open_leaky)
    async with (
        await world.far_backend.serve(world.far_info) as far,
        await world.near_backend.serve(world.near_info) as near,
    ):
        world.kernel, world.near = Kernel(far, Session.of(world.far_info)), near
        world.start()
        near.tells_gaps = False
        async with world.client() as client:
            await client.end.iopub.ready()
            await world.kernel.publish(after=1)
            assert (await client.iopub.receive()).content == {"after": 1}
        assert near.dropped == 3
        world.running.cancel()
        await asyncio.wait([world.running])


@pytest.mark.parametrize("which", [1, 2])
async def test_run_raises_when_a_far_end_does_not_open(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is the bridge's own, the second a client's."""
    world = Bridged(FAR_KEY, NEAR_KEY)
    open_client = world.open_client

    async def open_or_fail(identity: bytes, channels: Collection[Channel]) -> ClientEnd:
        if len(world.opened) + 1 == which:
            raise ConnectionLost("no room for another")
        return await open_client(identity, channels)

    monkeypatch.setattr(world, "open_client", open_or_fail)
    async with (
        await world.far_backend.serve(world.far_info) as far,
        await world.near_backend.serve(world.near_info) as near,
    ):
        world.kernel, world.near = Kernel(far, Session.of(world.far_info)), near
        world.start()
        async with world.client() as client:
            await client.control.send(client.message())
            with pytest.raises(ConnectionLost, match="no room"):
                await world.running
        assert not near.beating
