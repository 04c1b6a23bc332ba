"""Five channels over one wire, proven with a backend whose wire is one pair of queues."""

import asyncio
import contextlib
import functools
import mmap
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from typing import Any

import pytest

from kernelwire.backend import Backend, Capabilities
from kernelwire.channels import ALL_CHANNELS, Channel, HeartbeatChannel, PeerEvent, Receiver, Sender
from kernelwire.connection import ConnectionInfo
from kernelwire.demultiplexer import ClientDemultiplexer, KernelDemultiplexer
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import (
    ChannelBusy,
    ChannelClosed,
    ConnectionLost,
    EndOfChannel,
    GapNotice,
    MessageTooLarge,
    NotSupported,
    PeerGone,
    WireError,
    WrongLoop,
)
from kernelwire.inbox import GAP_LIMIT, HIGH_WATER, MESSAGE_OVERHEAD
from kernelwire.messages import WireMessage
from kernelwire.queued_channels import Transmit

INFO = ConnectionInfo(transport="queues")
LIMIT = 1024 * 1024 * 1024
WINDOW = 4
"""Messages of one channel on the wire and not yet fed."""

Wire = asyncio.Queue[tuple[Channel, WireMessage | None] | None]
"""A message on a channel, or None: one message of that channel was taken. None alone is the end."""


class Side:
    """One side of a wire: pairs go out as each channel's window allows, and what comes in is fed.

    A window for each channel is what keeps a full shell from holding up control on the same wire.
    """

    def __init__(self, outgoing: Wire, incoming: Wire, gone: type[WireError]) -> None:
        self.outgoing, self.incoming, self.gone = outgoing, incoming, gone
        self.ended = False
        self.windows = {name: asyncio.Semaphore(WINDOW) for name in Channel}
        self.task: asyncio.Task[None] | None = None

    async def transmit(self, channel: Channel, message: WireMessage) -> None:
        await self.windows[channel].acquire()
        if self.ended:
            self.windows[channel].release()
            raise self.gone("the wire ended")
        self.outgoing.put_nowait((channel, message))

    def start(self, feed: Callable[[Channel, WireMessage], Awaitable[None]], at_end: Callable[[], None]) -> None:
        self.task = asyncio.create_task(self._run(feed, at_end))

    async def stop(self) -> None:
        self.outgoing.put_nowait(None)
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self, feed: Callable[[Channel, WireMessage], Awaitable[None]], at_end: Callable[[], None]) -> None:
        lanes: dict[Channel, asyncio.Queue[WireMessage | None]] = {name: asyncio.Queue() for name in Channel}

        async def work(name: Channel) -> None:
            while (message := await lanes[name].get()) is not None:
                with contextlib.suppress(EndOfChannel):  # whoever closed the channel does not want it
                    await feed(name, message)
                self.outgoing.put_nowait((name, None))

        async with asyncio.TaskGroup() as group:
            for name in Channel:
                group.create_task(work(name))
            while (item := await self.incoming.get()) is not None:
                name, message = item
                if message is None:
                    self.windows[name].release()
                else:
                    lanes[name].put_nowait(message)
            self.ended = True
            for name in Channel:
                self.windows[name].release()
                lanes[name].put_nowait(None)
        at_end()


class NoHeartbeat(HeartbeatChannel):
    async def beat(self, timeout: float) -> float:
        raise NotSupported("no heartbeat")

    async def aclose(self) -> None:
        pass


class QueueBackend(Backend):
    """One kernel, any number of clients, one wire for each."""

    capabilities = Capabilities(peer_events=True, gap_notice=True, max_message_bytes=LIMIT)

    def __init__(self, *, held: int = HIGH_WATER, iopub_held: int = GAP_LIMIT) -> None:
        self.held, self.iopub_held = held, iopub_held

    async def serve(self, info: ConnectionInfo) -> KernelEnd:
        self.sides: list[Side] = []
        self.kernel = KernelDemultiplexer(max_message_bytes=LIMIT, held=self.held, on_close=self._close)
        return self.kernel.end

    async def _close(self) -> None:
        self.kernel.close()
        for side in self.sides:
            await side.stop()

    async def connect(
        self, info: ConnectionInfo, *, identity: bytes, channels: Collection[Channel] = ALL_CHANNELS
    ) -> ClientEnd:
        up, down = Wire(), Wire()
        near, far = Side(up, down, EndOfChannel), Side(down, up, PeerGone)
        client = ClientDemultiplexer(
            near.transmit,
            NoHeartbeat(),
            max_message_bytes=LIMIT,
            held=self.held,
            iopub_held=self.iopub_held,
            on_close=near.stop,
        )
        near.start(client.feed, client.close)
        self.kernel.attach(identity, far.transmit)
        far.start(
            lambda name, message: self.kernel.feed(identity, name, message),
            lambda: self.kernel.detach(identity, far.transmit),
        )
        self.sides.append(far)
        return client.end


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def backend() -> QueueBackend:
    return QueueBackend()


@pytest.fixture
async def kernel(backend: QueueBackend) -> AsyncIterator[KernelEnd]:
    async with await backend.serve(INFO) as end:
        yield end


@pytest.fixture
async def clients(backend: QueueBackend, kernel: KernelEnd) -> AsyncIterator[list[ClientEnd]]:
    ends = [await backend.connect(INFO, identity=name) for name in (b"a", b"b", b"c")]
    yield ends
    for end in ends:
        await end.aclose()


@pytest.fixture
async def narrow() -> AsyncIterator[tuple[KernelEnd, ClientEnd]]:
    """A kernel and a client that hold one message on each channel."""
    backend = QueueBackend(held=1)
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"a") as client:
        yield kernel, client


def message(text: str, peer: bytes = b"") -> WireMessage:
    return WireMessage((text.encode(), b"2", memoryview(b"three")), peer)


def text(message: WireMessage) -> str:
    assert list(message.frames[1:]) == [b"2", b"three"]
    return bytes(message.frames[0]).decode()


async def settle(turns: int = 20) -> None:
    """Let every task run until it waits for something that only the test can bring."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def fill(channel: Sender, peer: bytes = b"") -> tuple[int, "asyncio.Task[None]"]:
    """Send until a send has to wait: how many did not, and the one that does."""
    for count in range(100):
        sending = asyncio.create_task(channel.send(message(str(count), peer)))
        await settle()
        if not sending.done():
            return count, sending
        await sending
    raise AssertionError("nothing holds this sender up")


async def peer_event(kernel: KernelEnd) -> PeerEvent:
    assert kernel.peers is not None
    return await kernel.peers.receive()


# Routing


@pytest.mark.parametrize("name", ["shell", "control", "stdin"])
async def test_a_reply_reaches_the_asker_and_nobody_else(
    kernel: KernelEnd, clients: list[ClientEnd], name: str
) -> None:
    for number, client in enumerate(clients):
        await getattr(client, name).send(message(f"question {number}", b"ignored at a client's end"))
    for _ in clients:
        question = await getattr(kernel, name).receive()
        number = int(text(question)[-1])
        assert question.peer == b"abc"[number : number + 1]
        await getattr(kernel, name).send(message(f"answer {number}", question.peer))
    for number, client in enumerate(clients):
        answer = await getattr(client, name).receive()
        assert text(answer) == f"answer {number}"
        assert answer.peer == b""
    await kernel.aclose()
    for client in clients:
        with pytest.raises(EndOfChannel):
            await getattr(client, name).receive()


async def test_a_message_stays_on_its_channel(kernel: KernelEnd, clients: list[ClientEnd]) -> None:
    client = clients[0]
    for name in ("stdin", "control", "shell"):
        await getattr(client, name).send(message(f"up {name}"))
        await getattr(kernel, name).send(message(f"down {name}", b"a"))
    await kernel.iopub.send(message("down iopub", b"topic"))
    for name in ("shell", "control", "stdin"):
        assert text(await getattr(kernel, name).receive()) == f"up {name}"
        assert text(await getattr(client, name).receive()) == f"down {name}"
    assert text(await client.iopub.receive()) == "down iopub"


async def test_what_is_published_reaches_everybody_under_its_topic(kernel: KernelEnd, clients: list[ClientEnd]) -> None:
    for client in clients:
        await client.iopub.ready()
    for number in range(100):
        await kernel.iopub.send(message(str(number), b"stream"))
    for client in clients:
        received = [await client.iopub.receive() for _ in range(100)]
        assert [text(one) for one in received] == [str(number) for number in range(100)]
        assert {one.peer for one in received} == {b"stream"}


async def test_nobody_listens(kernel: KernelEnd) -> None:
    await kernel.iopub.send(message("into the void"))


async def test_concurrent_sends_never_mix(kernel: KernelEnd, clients: list[ClientEnd]) -> None:
    chance = random.Random(11)

    async def send_many(channel: Sender, name: str, peer: bytes = b"") -> None:
        for number in range(50):
            await channel.send(message(f"{name} {number}", peer))
            if chance.random() < 0.3:
                await asyncio.sleep(0)

    async def check(receive: Callable[[], Coroutine[Any, Any, WireMessage]], names: set[str]) -> None:
        received: dict[str, list[int]] = {name: [] for name in names}
        for _ in range(50 * len(names)):
            name, number = text(await receive()).split()
            received[name].append(int(number))
        assert received == {name: list(range(50)) for name in names}

    async with asyncio.TaskGroup() as group:
        for name in ("shell", "control", "stdin"):
            expected = {f"{peer}{task}" for peer in "abc" for task in range(3)}
            group.create_task(check(getattr(kernel, name).receive, expected))
            for client, peer in zip(clients, "abc", strict=True):
                group.create_task(check(getattr(client, name).receive, {f"k{peer}{task}" for task in range(3)}))
                for task in range(3):
                    group.create_task(send_many(getattr(client, name), f"{peer}{task}"))
                    group.create_task(send_many(getattr(kernel, name), f"k{peer}{task}", peer.encode()))
        for task in range(3):
            group.create_task(send_many(kernel.iopub, f"p{task}"))
        for client in clients:
            group.create_task(check(client.iopub.receive, {f"p{task}" for task in range(3)}))


# Peers


async def test_a_peer_that_never_was(kernel: KernelEnd, clients: list[ClientEnd]) -> None:
    for channel in (kernel.shell, kernel.control, kernel.stdin):
        with pytest.raises(PeerGone):
            await channel.send(message("hello?", b"nobody"))
        await channel.send(message("goes on", b"a"))


async def test_a_peer_that_left(backend: QueueBackend, kernel: KernelEnd) -> None:
    client = await backend.connect(INFO, identity=b"a")
    assert await peer_event(kernel) == PeerEvent(b"a", True)
    await client.shell.send(message("last words"))
    await client.aclose()
    assert await peer_event(kernel) == PeerEvent(b"a", False)
    question = await kernel.shell.receive()
    assert text(question) == "last words"
    with pytest.raises(PeerGone):
        await kernel.shell.send(message("too late", question.peer))


async def test_a_sender_is_not_left_waiting_for_a_peer_that_leaves() -> None:
    backend = QueueBackend(held=1)
    async with await backend.serve(INFO) as kernel:
        client = await backend.connect(INFO, identity=b"a")
        _, sending = await fill(kernel.shell, b"a")
        await client.aclose()
        with pytest.raises(PeerGone):
            await sending


async def test_comings_and_goings_are_told_in_order(backend: QueueBackend, kernel: KernelEnd) -> None:
    first = await backend.connect(INFO, identity=b"a")
    second = await backend.connect(INFO, identity=b"b")
    for expected in (PeerEvent(b"a", True), PeerEvent(b"b", True)):
        assert await peer_event(kernel) == expected
    await second.aclose()
    assert await peer_event(kernel) == PeerEvent(b"b", False)
    again = await backend.connect(INFO, identity=b"b")
    assert await peer_event(kernel) == PeerEvent(b"b", True)
    for end, peer in ((first, b"a"), (again, b"b")):
        await end.aclose()
        assert await peer_event(kernel) == PeerEvent(peer, False)


async def test_a_newer_client_takes_the_place_of_one_with_its_identity(
    backend: QueueBackend, kernel: KernelEnd
) -> None:
    old = await backend.connect(INFO, identity=b"a")
    async with await backend.connect(INFO, identity=b"a") as new:
        for expected in (PeerEvent(b"a", True), PeerEvent(b"a", False), PeerEvent(b"a", True)):
            assert await peer_event(kernel) == expected
        await kernel.shell.send(message("for the new one", b"a"))
        assert text(await new.shell.receive()) == "for the new one"
        await old.aclose()
        await settle()
        # The end of the old wire is not the end of the new one.
        await kernel.shell.send(message("still there", b"a"))
        assert text(await new.shell.receive()) == "still there"
    assert await peer_event(kernel) == PeerEvent(b"a", False)


async def test_peer_events_have_one_reader_lose_nothing_and_end(backend: QueueBackend, kernel: KernelEnd) -> None:
    for _ in range(2):
        reader = asyncio.create_task(peer_event(kernel))
        await settle()
        with pytest.raises(ChannelBusy):
            await peer_event(kernel)
        reader.cancel()
        async with await backend.connect(INFO, identity=b"a"):
            with pytest.raises(asyncio.CancelledError):
                await reader
            assert await peer_event(kernel) == PeerEvent(b"a", True)
        assert await peer_event(kernel) == PeerEvent(b"a", False)
    reader = asyncio.create_task(peer_event(kernel))
    await settle()
    await kernel.aclose()
    for waiting in (reader, peer_event(kernel)):
        with pytest.raises(ChannelClosed):
            await waiting


async def test_unread_peer_events_are_bounded_and_the_oldest_go() -> None:
    kernel = KernelDemultiplexer(max_message_bytes=1)

    async def transmit(channel: Channel, message: WireMessage) -> None:
        pass

    for number in range(20_000):
        kernel.attach(str(number).encode(), transmit)
    kernel.close()
    with pytest.raises(GapNotice):
        await peer_event(kernel.end)
    for number in range(10_000, 20_000):
        assert await peer_event(kernel.end) == PeerEvent(str(number).encode(), True)
    with pytest.raises(ChannelClosed):
        await peer_event(kernel.end)


# Bounds


async def test_a_message_over_the_bound_is_refused_whole(kernel: KernelEnd, clients: list[ClientEnd]) -> None:
    # Never written to, so never allocated.
    too_much = memoryview(mmap.mmap(-1, LIMIT + 1, prot=mmap.PROT_READ))
    large = WireMessage((b"small", too_much), b"a")
    for end in (kernel, clients[0]):
        for name in ("shell", "control", "stdin"):
            with pytest.raises(MessageTooLarge) as caught:
                await getattr(end, name).send(large)
            assert (caught.value.size, caught.value.limit) == (LIMIT + 6, LIMIT)
            await getattr(end, name).send(message("small", b"a"))
    with pytest.raises(MessageTooLarge):
        await kernel.iopub.send(large)
    await kernel.iopub.send(message("small"))
    for client_channel in ("shell", "control", "stdin", "iopub"):
        assert text(await getattr(clients[0], client_channel).receive()) == "small"
    for name in ("shell", "control", "stdin"):
        assert text(await getattr(kernel, name).receive()) == "small"


async def test_a_message_of_just_the_bound_goes_through(kernel: KernelEnd, clients: list[ClientEnd]) -> None:
    just = memoryview(mmap.mmap(-1, LIMIT, prot=mmap.PROT_READ))
    await clients[0].shell.send(WireMessage((just,)))
    assert (await kernel.shell.receive()).frames[0] is just


async def test_a_full_shell_makes_its_sender_wait_and_does_not_hold_up_the_rest(
    narrow: tuple[KernelEnd, ClientEnd],
) -> None:
    kernel, client = narrow
    sent, sending = await fill(client.shell)
    for name in ("control", "stdin"):
        await getattr(client, name).send(message("at once"))
        assert text(await getattr(kernel, name).receive()) == "at once"
    await kernel.shell.send(message("downwards", b"a"))
    assert text(await client.shell.receive()) == "downwards"
    assert not sending.done()
    assert [text(await kernel.shell.receive()) for _ in range(sent + 1)] == [str(n) for n in range(sent + 1)]
    await sending


async def test_a_full_client_does_not_hold_up_its_control(narrow: tuple[KernelEnd, ClientEnd]) -> None:
    kernel, client = narrow
    sent, sending = await fill(kernel.shell, b"a")
    for name in ("control", "stdin"):
        await getattr(kernel, name).send(message("at once", b"a"))
        assert text(await getattr(client, name).receive()) == "at once"
    await kernel.iopub.send(message("at once"))
    assert text(await client.iopub.receive()) == "at once"
    assert [text(await client.shell.receive()) for _ in range(sent + 1)] == [str(n) for n in range(sent + 1)]
    await sending


async def test_a_client_that_does_not_read_iopub_loses_the_oldest_and_is_told() -> None:
    backend = QueueBackend(iopub_held=10 * (MESSAGE_OVERHEAD + message("00").size))
    async with await backend.serve(INFO) as kernel:
        lazy = await backend.connect(INFO, identity=b"lazy")
        keen = await backend.connect(INFO, identity=b"keen")
        for number in range(10, 60):
            await kernel.iopub.send(message(str(number)))
            assert text(await keen.iopub.receive()) == str(number)
        await kernel.aclose()
        with pytest.raises(GapNotice) as caught:
            await lazy.iopub.receive()
        assert (caught.value.count, caught.value.size) == (40, 40 * message("00").size)
        assert [text(one) async for one in lazy.iopub] == [str(number) for number in range(50, 60)]
        await lazy.aclose()
        await keen.aclose()


# Closing


async def test_own_aclose_ends_a_send_that_waits(narrow: tuple[KernelEnd, ClientEnd]) -> None:
    kernel, client = narrow
    for channel, peer in ((client.shell, b""), (kernel.stdin, b"a")):
        count, sending = await fill(channel, peer)
        more = [asyncio.create_task(channel.send(message("more", peer))) for _ in range(3)]
        await settle()
        await channel.aclose()
        for task in (sending, *more):
            with pytest.raises(ChannelClosed):
                await task
            assert not task.cancelling()
        with pytest.raises(ChannelClosed):
            await channel.send(message("late", peer))
        with pytest.raises(ChannelClosed):
            await channel.receive()
        await channel.aclose()
        assert count


@pytest.mark.parametrize("order", ["cancel first", "close first"])
async def test_own_aclose_does_not_swallow_a_cancellation(narrow: tuple[KernelEnd, ClientEnd], order: str) -> None:
    _, client = narrow
    _, sending = await fill(client.shell)
    if order == "cancel first":
        sending.cancel()
        await client.shell.aclose()
    else:
        await client.shell.aclose()
        sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert sending.cancelling() == 1


async def test_own_aclose_does_not_swallow_a_time_limit(narrow: tuple[KernelEnd, ClientEnd]) -> None:
    _, client = narrow
    await fill_and_forget(client.shell)
    limit = asyncio.timeout(None)

    async def send_in_time() -> None:
        async with limit:
            await client.shell.send(message("in time"))

    sending = asyncio.create_task(send_in_time())
    await settle()
    limit.reschedule(asyncio.get_running_loop().time())  # it is over with the loop's next turn
    await asyncio.sleep(0)
    assert sending.cancelling() == 1
    await client.shell.aclose()
    with pytest.raises(TimeoutError):
        await sending
    assert not sending.cancelling()


async def fill_and_forget(channel: Sender) -> None:
    _, sending = await fill(channel)
    sending.cancel()
    await asyncio.wait([sending])


async def test_own_aclose_is_told_from_a_cancellation_that_was_before(narrow: tuple[KernelEnd, ClientEnd]) -> None:
    _, client = narrow
    await fill_and_forget(client.shell)
    started, told = asyncio.Event(), asyncio.Event()

    async def say_goodbye_when_cancelled() -> None:
        try:
            started.set()
            await asyncio.get_running_loop().create_future()
        finally:
            with pytest.raises(ChannelClosed):
                await client.shell.send(message("goodbye"))
            told.set()

    task = asyncio.create_task(say_goodbye_when_cancelled())
    await started.wait()
    await settle()
    task.cancel()
    await settle()
    assert not task.done()
    await client.shell.aclose()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told.is_set()
    assert task.cancelling() == 1


@pytest.mark.parametrize("ending", ["return", "raise"])
async def test_a_wire_that_ends_by_itself_when_cancelled_leaves_no_cancellation_behind(ending: str) -> None:
    async def transmit(channel: Channel, message: WireMessage) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if ending == "raise":
                raise ConnectionLost("broken just now") from None

    client = ClientDemultiplexer(transmit, NoHeartbeat(), max_message_bytes=LIMIT).end
    sending = asyncio.create_task(client.shell.send(message("x")))
    await settle()
    await client.aclose()
    if ending == "raise":
        with pytest.raises(ConnectionLost):
            await sending
    else:
        await sending
    assert not sending.cancelling()


async def test_own_aclose_ends_a_receive_that_waits(kernel: KernelEnd, clients: list[ClientEnd]) -> None:
    client = clients[0]
    for channel in (kernel.shell, client.control, client.stdin, client.iopub):
        reader = asyncio.create_task(channel.receive())
        await settle()
        await channel.aclose()
        with pytest.raises(ChannelClosed):
            await reader
    with pytest.raises(ChannelClosed):
        await client.iopub.ready()
    await kernel.iopub.aclose()
    with pytest.raises(ChannelClosed):
        await kernel.iopub.send(message("x"))


async def test_a_channel_is_closed_alone(kernel: KernelEnd, clients: list[ClientEnd]) -> None:
    client = clients[0]
    await client.shell.aclose()
    await client.control.send(message("goes on"))
    assert text(await kernel.control.receive()) == "goes on"
    # What comes for the closed channel is in nobody's way.
    for number in range(3 * WINDOW):
        await kernel.shell.send(message(str(number), b"a"))
    await kernel.control.send(message("this too", b"a"))
    assert text(await client.control.receive()) == "this too"


async def test_after_the_kernel_closed_comes_what_it_sent_and_then_the_end(
    kernel: KernelEnd, clients: list[ClientEnd]
) -> None:
    for name in ("shell", "control", "stdin", "iopub"):
        for number in range(3):
            await getattr(kernel, name).send(message(str(number), b"a"))
    await kernel.aclose()
    for name in ("shell", "control", "stdin", "iopub"):
        assert [text(one) async for one in getattr(clients[0], name)] == ["0", "1", "2"]
        with pytest.raises(EndOfChannel):
            await getattr(clients[0], name).receive()
    with pytest.raises(EndOfChannel):
        await clients[0].shell.send(message("too late"))


async def test_a_wire_that_broke_says_so(backend: QueueBackend) -> None:
    async def transmit(channel: Channel, message: WireMessage) -> None:
        raise ConnectionLost("broken")

    client = ClientDemultiplexer(transmit, NoHeartbeat(), max_message_bytes=LIMIT)
    await client.feed(Channel.SHELL, message("before"))
    client.close(ConnectionLost("broken"))
    client.close()
    assert text(await client.end.shell.receive()) == "before"
    for _ in range(2):
        for name in ("shell", "control", "stdin", "iopub"):
            with pytest.raises(ConnectionLost, match="broken"):
                await getattr(client.end, name).receive()
    with pytest.raises(ConnectionLost):
        await client.end.iopub.ready()
    with pytest.raises(ConnectionLost):
        await client.end.shell.send(message("x"))


# Publishing to wires that differ


class GatedWire:
    """Takes a message when the test lets it, or fails."""

    def __init__(self, error: WireError | None = None) -> None:
        self.gate = asyncio.Lock()
        self.error = error
        self.taken: list[str] = []

    async def transmit(self, channel: Channel, message: WireMessage) -> None:
        async with self.gate:
            if self.error is not None:
                raise self.error
            self.taken.append(text(message))


@pytest.mark.parametrize("error", [PeerGone("left"), EndOfChannel("closed"), ConnectionLost("broken")])
async def test_a_broken_wire_takes_nothing_from_the_other_clients(error: WireError) -> None:
    wires = [GatedWire(), GatedWire(error), GatedWire()]
    kernel = KernelDemultiplexer(max_message_bytes=LIMIT)
    for peer, wire in zip((b"a", b"b", b"c"), wires, strict=True):
        kernel.attach(peer, wire.transmit)
    await kernel.end.iopub.send(message("1"))
    assert [wire.taken for wire in wires] == [["1"], [], ["1"]]


async def test_publishers_keep_their_order_when_a_wire_makes_one_wait() -> None:
    slow, other = GatedWire(), GatedWire()
    kernel = KernelDemultiplexer(max_message_bytes=LIMIT)
    kernel.attach(b"slow", slow.transmit)
    kernel.attach(b"other", other.transmit)
    await slow.gate.acquire()
    first = asyncio.create_task(kernel.end.iopub.send(message("first")))
    await settle()
    kernel.detach(b"slow", slow.transmit)  # so that the second has nothing to wait for
    second = asyncio.create_task(kernel.end.iopub.send(message("second")))
    await settle()
    slow.gate.release()
    await asyncio.gather(first, second)
    assert other.taken == ["first", "second"]


async def test_a_cancelled_publisher_does_not_hold_up_the_next() -> None:
    slow = GatedWire()
    kernel = KernelDemultiplexer(max_message_bytes=LIMIT)
    kernel.attach(b"slow", slow.transmit)
    await slow.gate.acquire()
    publishers = [asyncio.create_task(kernel.end.iopub.send(message(str(number)))) for number in range(4)]
    await settle()
    for number in (0, 2):
        publishers[number].cancel()
    await settle()
    slow.gate.release()
    await asyncio.gather(publishers[1], publishers[3])
    assert slow.taken == ["1", "3"]


async def test_a_wire_is_detached_only_by_itself() -> None:
    old, new = GatedWire(), GatedWire()
    kernel = KernelDemultiplexer(max_message_bytes=LIMIT)
    transmits: list[Transmit] = [old.transmit, new.transmit]
    kernel.attach(b"a", transmits[0])
    kernel.attach(b"a", transmits[1])
    kernel.detach(b"a", old.transmit)
    kernel.detach(b"unknown", old.transmit)
    await kernel.end.shell.send(message("1", b"a"))
    assert (old.taken, new.taken) == ([], ["1"])
    kernel.detach(b"a", new.transmit)
    with pytest.raises(PeerGone):
        await kernel.end.shell.send(message("2", b"a"))


# Wires that have windows, and so put without a wait


async def nowhere(channel: Channel, message: WireMessage) -> None:
    pass


def small_client(rooms: list[None] | None = None) -> ClientDemultiplexer:
    return ClientDemultiplexer(
        nowhere,
        NoHeartbeat(),
        max_message_bytes=LIMIT,
        held=1,
        iopub_held=1,
        on_room=None if rooms is None else lambda: rooms.append(None),
    )


@pytest.mark.parametrize("name", ["shell", "control", "stdin", "iopub"])
async def test_what_is_put_is_received_in_order_with_the_gaps_in_their_places(name: str) -> None:
    client = ClientDemultiplexer(nowhere, NoHeartbeat(), max_message_bytes=LIMIT)
    channel = getattr(client.end, name)
    client.put(Channel(name), message("1"))
    client.put(Channel(name), GapNotice(3, None, "the wire says so"))
    client.put(Channel(name), message("2"))
    assert text(await channel.receive()) == "1"
    with pytest.raises(GapNotice, match="the wire says so") as caught:
        await channel.receive()
    assert (caught.value.count, caught.value.size) == (3, None)
    assert text(await channel.receive()) == "2"
    for other in {"shell", "control", "stdin", "iopub"} - {name}:
        waiting = asyncio.create_task(getattr(client.end, other).receive())
        await settle()
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


@pytest.mark.parametrize("name", ["shell", "control", "stdin"])
async def test_a_wire_with_windows_is_told_when_to_stop_and_when_to_go_on(name: str) -> None:
    rooms: list[None] = []
    client = small_client(rooms)
    kernel = KernelDemultiplexer(max_message_bytes=LIMIT, held=1, on_room=lambda: rooms.append(None))
    channel = Channel(name)
    for full, put, receive in (
        (client.is_full, client.put, getattr(client.end, name).receive),
        (kernel.is_full, lambda c, m: kernel.put(b"a", c, m), getattr(kernel.end, name).receive),
    ):
        rooms.clear()
        assert not full(channel)
        for number in range(3):  # what was granted may still come
            put(channel, message(str(number)))
            assert full(channel)
        assert not any(full(other) for other in (Channel.SHELL, Channel.CONTROL, Channel.STDIN) if other != channel)
        for number in range(3):
            assert not rooms
            assert text(await receive()) == str(number)
        assert rooms == [None]
        assert not full(channel)


async def test_iopub_is_never_full() -> None:
    rooms: list[None] = []
    client = small_client(rooms)
    for number in range(3):
        client.put(Channel.IOPUB, message(str(number)))
        assert not client.is_full(Channel.IOPUB)
    client.put(Channel.IOPUB, GapNotice(None, None, "and so does the wire"))
    with pytest.raises(GapNotice) as caught:
        await client.end.iopub.receive()
    assert caught.value.count == 3
    with pytest.raises(GapNotice) as caught:
        await client.end.iopub.receive()
    assert caught.value.count is None
    assert not rooms


async def test_closing_a_full_channel_alone_lets_the_wire_go_on() -> None:
    rooms: list[None] = []
    client = small_client(rooms)
    client.put(Channel.SHELL, message("1"))
    assert client.is_full(Channel.SHELL)
    await client.end.shell.aclose()
    assert not client.is_full(Channel.SHELL)
    assert rooms == [None]
    client.put(Channel.SHELL, message("2"))
    assert not client.is_full(Channel.SHELL)


async def test_what_a_kernels_end_is_given_says_whose_it_is() -> None:
    kernel = KernelDemultiplexer(max_message_bytes=LIMIT)
    kernel.put(b"a", Channel.SHELL, message("1", b"somebody else"))
    received = await kernel.end.shell.receive()
    assert (text(received), received.peer) == ("1", b"a")
    await kernel.end.shell.aclose()
    kernel.put(b"a", Channel.SHELL, message("2"))
    with pytest.raises(ChannelClosed):
        await kernel.end.shell.receive()


async def test_a_wire_that_publishes_to_all_by_itself() -> None:
    published, wire = GatedWire(), GatedWire()
    kernel = KernelDemultiplexer(max_message_bytes=10, publish=published.transmit)
    kernel.attach(b"a", wire.transmit)
    await kernel.end.iopub.send(message("1", b"topic"))
    with pytest.raises(MessageTooLarge):
        await kernel.end.iopub.send(message("too large"))
    assert (published.taken, wire.taken) == (["1"], [])
    await published.gate.acquire()
    waiting = asyncio.create_task(kernel.end.iopub.send(message("2")))
    await settle()
    await kernel.end.iopub.aclose()
    with pytest.raises(ChannelClosed):
        await waiting
    assert published.taken == ["1"]


# The loop


async def test_another_loop_is_refused_and_nothing_changes(kernel: KernelEnd, clients: list[ClientEnd]) -> None:
    client = clients[0]
    assert await peer_event(kernel) == PeerEvent(b"a", True)

    uses: list[Callable[[], Coroutine[Any, Any, object]]] = [client.iopub.ready, lambda: peer_event(kernel)]
    for end in (kernel, client):
        for channel in (end.shell, end.control, end.stdin, end.iopub):
            uses.append(channel.aclose)
            if isinstance(channel, Sender):
                uses.append(functools.partial(channel.send, message("x", b"a")))
            if isinstance(channel, Receiver):
                uses.append(channel.receive)
    assert len(uses) == 2 + 8 + 7 + 7

    def elsewhere() -> None:
        for use in uses:
            with pytest.raises(WrongLoop):
                asyncio.run(use())

    await asyncio.to_thread(elsewhere)
    await client.shell.send(message("goes on"))
    assert text(await kernel.shell.receive()) == "goes on"
    await kernel.iopub.send(message("goes on"))
    assert text(await client.iopub.receive()) == "goes on"


async def test_what_is_published_at_once_if_every_client_is_in_this_process() -> None:
    message = WireMessage([b"", b"{}", b"{}", b"{}", b"{}"], b"topic")

    class Silent(HeartbeatChannel):
        async def beat(self, timeout: float) -> float:
            raise NotSupported

        async def aclose(self) -> None: ...

    async def transmit(_channel: Channel, _message: WireMessage) -> None: ...

    kernel = KernelDemultiplexer(max_message_bytes=LIMIT)
    near = [ClientDemultiplexer(transmit, Silent(), max_message_bytes=LIMIT, iopub_held=4096) for _ in range(2)]
    for number, client in enumerate(near):
        kernel.attach(bytes([65 + number]), transmit, client)
    assert kernel.end.iopub.send_now(message)
    assert [await client.end.iopub.receive() for client in near] == [message, message]
    # One that falls behind makes all wait, so that it gets its turn; and nobody gets a message twice.
    while kernel.end.iopub.send_now(message):
        await near[0].end.iopub.receive()
    assert not near[0]._inboxes[Channel.IOPUB].held
    kernel.detach(b"B", transmit)
    assert kernel.end.iopub.send_now(message)
    kernel.attach(b"C", transmit)  # of another process, perhaps
    assert not kernel.end.iopub.send_now(message)
    for end in (kernel.end, *(client.end for client in near)):
        await end.aclose()


async def test_clients_in_this_process_can_be_told_of_a_gap() -> None:
    class Silent(HeartbeatChannel):
        async def beat(self, timeout: float) -> float:
            raise NotSupported

        async def aclose(self) -> None: ...

    async def transmit(_channel: Channel, _message: WireMessage) -> None: ...

    kernel = KernelDemultiplexer(max_message_bytes=LIMIT, has_takers=True)
    assert kernel.end.tells_gaps
    near = [ClientDemultiplexer(transmit, Silent(), max_message_bytes=LIMIT) for _ in range(2)]
    for number, client in enumerate(near):
        kernel.attach(bytes([65 + number]), transmit, client)
    for channel in (Channel.SHELL, Channel.IOPUB):
        await kernel.end.tell_gap(channel, GapNotice(3, 30, "a test"), b"A")
    for client, channels in zip(near, ((Channel.SHELL, Channel.IOPUB), (Channel.IOPUB,)), strict=True):
        assert {name for name, inbox in client._inboxes.items() if inbox.held} == set(channels)
        for name in channels:
            with pytest.raises(GapNotice, match="3 messages are missing here: a test"):
                await client._inboxes[name].receive()
    with pytest.raises(PeerGone):
        await kernel.end.tell_gap(Channel.SHELL, GapNotice(3, 30, "a test"), b"nobody")
    for end in (kernel.end, *(client.end for client in near)):
        await end.aclose()


async def test_other_wires_tell_of_gaps_if_they_can() -> None:
    told = []

    async def tell(channel: Channel, notice: GapNotice, peer: bytes) -> None:
        told.append((channel, notice, peer))

    notice = GapNotice(1, 2, "a test")
    async with KernelDemultiplexer(max_message_bytes=LIMIT, tell_gap=tell).end as kernel:
        await kernel.tell_gap(Channel.SHELL, notice, b"peer")
        assert told == [(Channel.SHELL, notice, b"peer")]
    async with KernelDemultiplexer(max_message_bytes=LIMIT).end as kernel:
        assert not kernel.tells_gaps
        with pytest.raises(NotSupported, match="cannot tell its clients"):
            await kernel.tell_gap(Channel.SHELL, notice, b"peer")


async def test_a_reply_goes_at_once_where_the_clients_wire_does() -> None:
    demultiplexer = KernelDemultiplexer(max_message_bytes=LIMIT)
    sent: list[tuple[Channel, WireMessage]] = []
    takes = True

    async def transmit(channel: Channel, message: WireMessage) -> None:
        sent.append((channel, message))

    def transmit_now(channel: Channel, message: WireMessage) -> bool:
        if takes:
            sent.append((channel, message))
        return takes

    demultiplexer.attach(b"me", transmit, transmit_now=transmit_now)
    demultiplexer.attach(b"slow", transmit)
    shell = demultiplexer.end.shell
    assert shell.send_now(WireMessage([b"1"], b"me"))
    assert sent == [(Channel.SHELL, WireMessage([b"1"]))]
    takes = False
    assert not shell.send_now(WireMessage([b"2"], b"me"))
    takes = True
    assert not shell.send_now(WireMessage([b"2"], b"slow"))
    assert not shell.send_now(WireMessage([b"2"], b"nobody"))
    demultiplexer.detach(b"me", transmit)
    assert not shell.send_now(WireMessage([b"2"], b"me"))
    assert len(sent) == 1
