"""One socket on the loop: full, edge-triggered, closed, shared by several tasks."""

import asyncio
import sys
from collections.abc import Iterator

import pytest
import zmq

from kernelwire.errors import ChannelClosed, ConnectionLost, PeerGone
from kernelwire_zmq import wire
from kernelwire_zmq.wire import ZERO_COPY, Wire

RawContext = zmq.Context[zmq.Socket[bytes]]


class End:
    """A wire that collects what it takes."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self.taken: list[list[bytes]] = []
        self.came = asyncio.Event()
        self.wire = Wire(socket, self.take)

    def take(self) -> None:
        self.taken.append(self.wire.socket.recv_multipart(zmq.NOBLOCK))
        self.came.set()

    async def until(self, count: int) -> list[list[bytes]]:
        while len(self.taken) < count:
            self.came.clear()
            await self.came.wait()
        return self.taken


class Pair:
    """Two sockets that hold four messages and no more, since there is no network between, and a wire on the first."""

    def __init__(self, context: RawContext, kind: int = zmq.DEALER) -> None:
        self.far = context.socket(zmq.DEALER)
        near = context.socket(kind)
        for socket in (near, self.far):
            for option in (zmq.SNDHWM, zmq.RCVHWM):
                socket.setsockopt(option, 2)
        self.far.setsockopt(zmq.ROUTING_ID, b"far")
        self.far.setsockopt(zmq.RCVTIMEO, 10_000)
        near.bind("inproc://near")
        self.far.connect("inproc://near")
        self.near = End(near)
        self.wire = self.near.wire


@pytest.fixture
async def pair(context: RawContext) -> "Iterator[Pair]":  # type: ignore[misc]
    pair = Pair(context)
    pair.far.send(b"here")
    await pair.near.until(1)
    pair.near.taken.clear()
    yield pair
    pair.wire.close(0)


def fill(pair: Pair, *routing: bytes) -> int:
    """Send until nothing goes any more; how many went."""
    count = 0
    while pair.wire.try_send([*routing, b"%d" % count, b"."]):
        count += 1
    return count


async def test_a_full_socket_makes_senders_wait_in_order(pair: Pair) -> None:
    count = fill(pair)
    tasks = []
    for number in range(count, count + 50):
        tasks.append(asyncio.create_task(pair.wire.send([b"%d" % number, b"." * 10_000])))
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    got = [await asyncio.to_thread(pair.far.recv_multipart) for _ in range(count + 50)]
    assert [int(parts[0]) for parts in got] == list(range(count + 50))
    await asyncio.gather(*tasks)
    assert not pair.wire._waiting


async def test_cancelled_sends_are_all_or_nothing(pair: Pair) -> None:
    count = fill(pair)
    tasks = {}
    for number in range(count, count + 60):
        tasks[number] = asyncio.create_task(pair.wire.send([b"%d" % number, b"a", b"b"]))
        await asyncio.sleep(0)
    got = [await asyncio.to_thread(pair.far.recv_multipart) for _ in range(count // 2)]
    for number, task in tasks.items():
        if number % 3 == 0:
            task.cancel()
        await asyncio.sleep(0)
    last = asyncio.create_task(pair.wire.send([b"last"]))
    while got[-1] != [b"last"]:
        got.append(await asyncio.to_thread(pair.far.recv_multipart))
    await last
    done = await asyncio.gather(*tasks.values(), return_exceptions=True)
    sent = [number for number, result in zip(tasks, done, strict=True) if result is None]
    assert len(sent) < 60
    assert [int(parts[0]) for parts in got[:-1]] == [*range(count), *sent]
    assert all(parts[1:] == [b"a", b"b"] for parts in got[count:-1])


async def test_cancelled_at_the_moment_of_its_turn(pair: Pair) -> None:
    count = fill(pair)
    first, second = (asyncio.create_task(pair.wire.send([name])) for name in (b"first", b"second"))
    await asyncio.sleep(0)
    next(iter(pair.wire._waiting.values()))[0].set()  # as the pump does
    first.cancel()
    got = [await asyncio.to_thread(pair.far.recv_multipart) for _ in range(count + 1)]
    assert got[-1] == [b"second"]
    await second
    assert first.cancelled()


async def test_close_while_sends_wait(pair: Pair) -> None:
    fill(pair)
    tasks = [asyncio.create_task(pair.wire.send([b"x"])) for _ in range(3)]
    await asyncio.sleep(0)
    pair.wire.close(0)
    pair.wire.close(0)
    # Before those that wait have noticed:
    with pytest.raises(ChannelClosed):
        await pair.wire.send([b"late"])
    for task in tasks:
        with pytest.raises(ChannelClosed):
            await task
    with pytest.raises(ChannelClosed):
        await pair.wire.send([b"late"])
    with pytest.raises(ChannelClosed):
        pair.wire.try_send([b"late"])


async def test_a_full_socket_still_receives(pair: Pair) -> None:
    count = fill(pair)
    waiting = asyncio.create_task(pair.wire.send([b"at last"]))
    for number in range(200):
        await asyncio.to_thread(pair.far.send, b"%d" % number)  # far has no room for all of them either
    assert await pair.near.until(200) == [[b"%d" % number] for number in range(200)]
    assert not waiting.done()
    for _ in range(count + 1):
        await asyncio.to_thread(pair.far.recv_multipart)
    await waiting


async def test_while_senders_wait_nobody_looks_again_and_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair)
    looks = 0
    take = pair.wire._take

    def look() -> None:
        nonlocal looks
        looks += 1
        take()

    monkeypatch.setattr(pair.wire, "_take", look)
    waiting = asyncio.create_task(pair.wire.send([b"waits", b"."]))
    for _ in range(200):
        await asyncio.sleep(0)
    assert not waiting.done()
    assert looks < 20
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_paused_takes_nothing_and_still_sends(pair: Pair) -> None:
    pair.wire.pause()
    count = fill(pair)
    waiting = asyncio.create_task(pair.wire.send([b"at last"]))
    pair.far.send(b"unread")
    for _ in range(count + 1):
        await asyncio.to_thread(pair.far.recv_multipart)
    await waiting
    assert pair.near.taken == []
    pair.wire.resume()
    assert await pair.near.until(1) == [[b"unread"]]


async def test_what_has_arrived_is_handed_on_before_the_loop_comes_to_it(pair: Pair) -> None:
    pair.wire.hand_on()
    for number in b"12":
        pair.far.send(bytes([number]))
    pair.wire.hand_on()
    assert pair.near.taken == [[b"1"], [b"2"]]
    pair.wire.pause()
    pair.far.send(b"3")
    pair.wire.hand_on()
    assert len(pair.near.taken) == 2
    pair.wire.resume()
    assert (await pair.near.until(3))[2:] == [[b"3"]]


async def test_while_senders_wait_the_edge_is_theirs(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    count = fill(pair)
    sending = asyncio.create_task(pair.wire.send([b"last"]))
    for _ in range(5):
        await asyncio.sleep(0)
    pair.far.send(b"1")
    with monkeypatch.context() as context:
        context.setattr(pair.wire, "_get", None)  # which would take it
        pair.wire.hand_on()
    for _ in range(count + 1):
        await asyncio.to_thread(pair.far.recv_multipart)
    await sending
    assert await pair.near.until(1) == [[b"1"]]


async def test_a_closed_wire_hands_nothing_on(pair: Pair) -> None:
    pair.far.send(b"1")
    pair.wire.close(0)
    pair.wire.hand_on()
    assert pair.near.taken == []


async def test_pausing_while_taking_leaves_the_rest(pair: Pair) -> None:
    def take() -> None:
        End.take(pair.near)
        pair.wire.pause()

    pair.wire._take = take
    for number in range(3):
        await asyncio.to_thread(pair.far.send, b"%d" % number)
    for number in range(1, 4):
        await pair.near.until(number)
        await asyncio.sleep(0)
        assert len(pair.near.taken) == number
        pair.wire.resume()


async def test_closing_while_taking(pair: Pair) -> None:
    def take() -> None:
        End.take(pair.near)
        pair.wire.close(0)

    pair.wire._take = take
    pair.far.send(b"1")
    pair.far.send(b"2")
    assert await pair.near.until(1) == [[b"1"]]
    await asyncio.sleep(0)
    pair.wire.drain()
    assert len(pair.near.taken) == 1


@pytest.mark.timeout(60)
async def test_no_edge_is_missed(context: RawContext) -> None:
    """Ping-pong in both directions at once: any message that is stranded stops it for good."""
    rounds = 10_000
    a = context.socket(zmq.DEALER)
    b = context.socket(zmq.DEALER)
    a.connect(f"tcp://127.0.0.1:{b.bind_to_random_port('tcp://127.0.0.1')}")
    counts = {0: 0, 1: 0}
    done = asyncio.get_running_loop().create_future()
    wires: list[Wire] = []
    tasks: set[asyncio.Task[None]] = set()

    def answering(me: int) -> None:
        parts = wires[me].socket.recv_multipart(zmq.NOBLOCK)
        counts[me] += 1
        if counts[me] == rounds:
            if min(counts.values()) == rounds:
                done.set_result(None)
            return
        # Sent from a task of its own, as an application does: its look at the socket is what is tested.
        task = asyncio.ensure_future(wires[me].send(parts))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    wires.append(Wire(a, lambda: answering(0)))
    wires.append(Wire(b, lambda: answering(1)))
    for wire_ in wires:
        await wire_.send([b"ball"])
    await done
    for wire_ in wires:
        wire_.close(0)


async def test_large_bytes_are_not_copied(context: RawContext) -> None:
    near = context.socket(zmq.DEALER)
    near.connect("tcp://127.0.0.1:9")  # nobody: zmq holds it
    end = End(near)
    for size, held in ((ZERO_COPY, 1), (ZERO_COPY - 1, 0)):
        data = bytes(size)
        before = sys.getrefcount(data)
        await end.wire.send([b"small", data])
        assert sys.getrefcount(data) - before == held
    end.wire.close(0)


@pytest.mark.parametrize("make", [bytes, memoryview], ids=["bytes", "view"])
async def test_large_parts_arrive_and_the_caller_s_stay(pair: Pair, make: type) -> None:
    data = bytes(range(256)) * 4096
    part = make(data)
    await pair.wire.send([part, b"tail"])
    assert await asyncio.to_thread(pair.far.recv_multipart) == [data, b"tail"]
    assert part == bytes(range(256)) * 4096


async def test_a_received_frame_is_passed_on_by_itself(pair: Pair) -> None:
    data = bytes(range(256)) * 1024
    pair.wire.pause()
    await asyncio.to_thread(pair.far.send, data)
    while not pair.wire.socket.poll(0):
        await asyncio.sleep(0)
    native = pair.wire.socket.recv(copy=False)
    view = native.buffer.toreadonly()
    assert wire._native(view) is native
    assert wire._native(view[1:]) is not native
    assert wire._native(data) is data
    for _ in range(2):
        await pair.wire.send([view, view[1:]])
        assert await asyncio.to_thread(pair.far.recv_multipart) == [data, data[1:]]
    assert view == data


class TestRouter:
    @pytest.fixture
    async def pair(self, context: RawContext) -> "Iterator[Pair]":  # type: ignore[misc]
        pair = Pair(context, zmq.ROUTER)
        pair.wire.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        pair.far.send(b"here")
        await pair.near.until(1)
        yield pair
        pair.wire.close(0)

    async def test_unknown_peer(self, pair: Pair) -> None:
        with pytest.raises(PeerGone):
            await pair.wire.send([b"nobody", b"x"], b"nobody")

    async def test_a_peer_goes_while_a_send_waits(self, pair: Pair) -> None:
        fill(pair, b"far")
        waiting = asyncio.create_task(pair.wire.send([b"far", b"x"], b"far"))
        await asyncio.sleep(0)
        assert not waiting.done()
        pair.far.close(0)
        with pytest.raises(PeerGone):
            await waiting

    async def test_others_do_not_wait_behind_a_full_one(self, pair: Pair, context: RawContext) -> None:
        other = context.socket(zmq.DEALER)
        other.setsockopt(zmq.ROUTING_ID, b"other")
        other.setsockopt(zmq.RCVTIMEO, 10_000)
        other.connect("inproc://near")
        other.send(b"here")
        await pair.near.until(2)
        count = fill(pair, b"far")
        waiting = asyncio.create_task(pair.wire.send([b"far", b"x"], b"far"))
        await asyncio.sleep(0)
        await pair.wire.send([b"other", b"y"], b"other")
        assert await asyncio.to_thread(other.recv_multipart) == [b"y"]
        assert not waiting.done()
        for _ in range(count + 1):
            await asyncio.to_thread(pair.far.recv_multipart)
        await waiting


async def test_a_message_whose_pipe_died_half_way_is_sent_whole(pair: Pair) -> None:
    """zmq reports this with EAGAIN in mid-message, and swallows what is left of it."""
    sent: list[tuple[bytes, bool]] = []
    refusals = [b"b"]

    class Dying:
        def send(self, part: bytes, flags: int) -> None:
            if part in refusals:
                refusals.remove(part)
                raise zmq.Again
            sent.append((part, bool(flags & zmq.SNDMORE)))

        def getsockopt(self, _: int) -> int:
            return 0

    real = pair.wire.socket
    pair.wire.socket = Dying()  # type: ignore[assignment]
    await pair.wire.send([b"a", b"b", b"c"])
    pair.wire.socket = real
    assert sent == [(b"a", True), (b"c", False), (b"a", True), (b"b", True), (b"c", False)]


async def test_no_zmq_error_crosses(pair: Pair) -> None:
    class Broken:
        def send(self, *_: object) -> None:
            raise zmq.ZMQError(zmq.EFSM)

    real = pair.wire.socket
    pair.wire.socket = Broken()  # type: ignore[assignment]
    with pytest.raises(ConnectionLost) as caught:
        await pair.wire.send([b"x"])
    pair.wire.socket = real
    assert isinstance(caught.value.__cause__, zmq.ZMQError)


async def test_sending_now_takes_what_there_is_room_for(pair: Pair) -> None:
    sent = 0
    while pair.wire.send_now([b"%d" % sent]):
        sent += 1
    assert sent == 4
    assert [pair.far.recv() for _ in range(sent)] == [b"%d" % number for number in range(sent)]


async def test_sending_now_does_not_overtake_who_waits(pair: Pair) -> None:
    while pair.wire.send_now([b"filling"]):
        pass
    waiting = asyncio.create_task(pair.wire.send([b"waiting"]))
    await asyncio.sleep(0)
    for _ in range(4):
        pair.far.recv()
    assert not pair.wire.send_now([b"hasty"])
    await waiting
    assert pair.far.recv() == b"waiting"


async def test_sending_now_on_a_closed_wire(pair: Pair) -> None:
    pair.wire.close(0)
    with pytest.raises(ChannelClosed):
        pair.wire.send_now([b"late"])
