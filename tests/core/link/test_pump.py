"""The pump between a pipe and a machine: what it moves, when it wakes, and why it ends; on a pipe and a machine that do
what the test says.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.errors import ConnectionLost, LinkViolation
from kernelwire.link import pump as module
from kernelwire.link.peer import FIRST_FRAME
from kernelwire.link.pump import BATCH, boot_time, gather, pump
from kernelwire.link.records import FRAME_LIMIT, Bye, Reason
from kernelwire.link.sealed import SealedPipe
from kernelwire.link.waking import Bell

from ._pipes import settle


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture(autouse=True)
def _frames_may_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without being the last that there are."""
    monkeypatch.setattr(module, "SMALL_FRAME", 0)


class Plain:
    """In the place of a sealed pipe.

    Attributes:
        pieces: what it has taken, each as so many frames.
    """

    def __init__(self) -> None:
        self.pieces: list[tuple[bytes, ...]] = []
        self.incoming: asyncio.Queue[bytes | BaseException] = asyncio.Queue()
        self.room = asyncio.Event()
        self.room.set()
        self.failure: BaseException | None = None

    @property
    def sent(self) -> list[bytes]:
        return [plaintext for piece in self.pieces for plaintext in piece]

    def send_now(self, plaintexts: Sequence[bytes]) -> Coroutine[Any, Any, None] | None:
        return self._send(plaintexts)

    async def _send(self, plaintexts: Sequence[bytes]) -> None:
        await self.room.wait()
        self._take(plaintexts)

    def _take(self, plaintexts: Sequence[bytes]) -> None:
        if self.failure is not None:
            raise self.failure
        self.pieces.append(tuple(plaintexts))

    def pour(self, sink: Callable[[Sequence[bytes]], None]) -> bool:
        return False

    async def receive(self) -> bytes:
        data = await self.incoming.get()
        if isinstance(data, BaseException):
            raise data
        return data

    def bring(self, *data: bytes | BaseException) -> None:
        for each in data:
            self.incoming.put_nowait(each)


class Swift(Plain):
    """With both short cuts."""

    sink: Callable[[Sequence[bytes]], None] | None = None

    def send_now(self, plaintexts: Sequence[bytes]) -> Coroutine[Any, Any, None] | None:
        if not self.room.is_set():
            return self._send(plaintexts)
        self._take(plaintexts)
        return None

    def pour(self, sink: Callable[[Sequence[bytes]], None]) -> bool:
        self.sink = sink
        return True

    def bring(self, *data: bytes | BaseException) -> None:
        for each in data:
            if isinstance(each, BaseException):
                super().bring(each)
            elif self.sink is not None:
                try:
                    self.sink((each,))
                except Exception as error:  # noqa: BLE001 - whatever it is
                    self.on_error(error)

    def on_error(self, error: Exception) -> None:
        self.sink = None
        super().bring(error)


class Machine:
    """Takes frames as events, and gives those that the test puts into `frames`."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.asked = 0
        self.now = 0.0
        self.dies = 3600.0
        self.wakes: float | None = None
        self.swift = True
        self.made: dict[bytes, Any] = {}

    def receive(self, plaintext: bytes, now: float) -> Sequence[Any]:
        made = self.made.get(plaintext, [plaintext])
        if isinstance(made, Exception):
            raise made
        return list(made)

    def has_frame(self, now: float) -> bool:
        return bool(self.frames) or (self.wakes is not None and now >= self.wakes)

    def next_frame(self, now: float) -> bytes:
        self.asked += 1
        if self.wakes is not None and now >= self.wakes:
            self.wakes = None
            return b"it is time"
        return self.frames.popleft() if self.frames else b""

    def is_swift(self) -> bool:
        return self.swift

    def dead_at(self) -> float:
        return self.dies

    def wake_at(self) -> float | None:
        return self.wakes


class Running:
    """A pump under way, on a pipe of this kind."""

    def __init__(self, kind: type[Plain] = Plain) -> None:
        self.pipe, self.machine, self.bell = kind(), Machine(), Bell()
        self.events: list[Any] = []
        self.sent = 0
        self.clock = asyncio.get_running_loop().time
        self.started = self.clock()
        self.machine.dies = self.started + 3600
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> Exception | Bye:
        return await pump(
            cast("SealedPipe", self.pipe),
            self.machine,
            self._on_events,
            bell=self.bell,
            clock=self.clock,
            on_sent=self._on_sent,
        )

    def _on_events(self, events: Sequence[Any]) -> None:
        if b"a mistake" in events:
            raise ValueError("in the caller's code")
        self.events += events

    def _on_sent(self) -> None:
        self.sent += 1

    def send(self, *frames: bytes) -> None:
        self.machine.frames += frames
        self.bell.ring()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture(params=[Plain, Swift])
def kind(request: pytest.FixtureRequest) -> type[Plain]:
    """Of pipe: without the short cuts, and with them."""
    found: type[Plain] = request.param
    return found


@pytest.fixture
async def running(kind: type[Plain]) -> AsyncIterator[Running]:
    running = Running(kind)
    await settle()
    yield running
    await running.stop()


async def test_frames_go_both_ways_in_order(running: Running) -> None:
    running.send(b"1", b"2")
    running.pipe.bring(b"a", b"b")
    await settle()
    running.send(b"3")
    running.pipe.bring(b"c")
    await settle()
    assert running.pipe.sent == [b"1", b"2", b"3"]
    assert running.events == [b"a", b"b", b"c"]
    assert running.sent == 3


async def test_after_a_small_frame_there_are_no_more_before_somebody_rings(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALL_FRAME", 10)
    running.send(b"so much that there may be more", b"small", b"the next")
    await settle()
    assert running.pipe.sent == [b"so much that there may be more", b"small"]
    running.bell.ring()
    await settle()
    assert running.pipe.sent[2:] == [b"the next"]


async def test_what_the_machine_wants_to_say_to_what_came_goes_out(running: Running) -> None:
    running.machine.frames.append(b"an answer")  # nobody rings for it
    await settle()
    assert running.pipe.sent == []
    running.pipe.bring(b"a question")
    await settle()
    assert running.pipe.sent == [b"an answer"]


async def test_nothing_counts_as_sent_before_the_pipe_has_taken_it(running: Running) -> None:
    running.pipe.room.clear()
    running.send(b"1")
    await settle()
    assert running.sent == 0
    running.pipe.room.set()
    await settle()
    assert running.sent == 1


async def test_what_comes_is_taken_while_nothing_can_be_sent(running: Running) -> None:
    running.pipe.room.clear()
    running.send(b"1")
    await settle()
    running.pipe.bring(b"a", b"b")
    await settle()
    assert running.events == [b"a", b"b"]


async def test_a_machine_that_wants_to_be_woken_is(running: Running) -> None:
    running.machine.wakes = running.clock() + 0.01
    running.bell.ring()
    while not running.pipe.sent:
        await asyncio.sleep(0.001)
    assert running.pipe.sent == [b"it is time"]


async def test_a_machine_that_wants_nothing_is_left_alone(running: Running) -> None:
    asked = running.machine.asked
    await settle()
    await asyncio.sleep(0.01)
    assert running.machine.asked == asked


# Why it ends


@pytest.mark.parametrize("error", [OSError("broken"), ConnectionLost("broken"), RuntimeError("whatever it likes")])
async def test_a_pipe_that_cannot_receive(running: Running, error: Exception) -> None:
    running.pipe.bring(b"a", error)
    assert await running.task is error
    assert running.events == [b"a"]


@pytest.mark.parametrize("error", [OSError("broken"), ConnectionLost("broken"), RuntimeError("whatever it likes")])
async def test_a_pipe_that_cannot_send(running: Running, error: Exception) -> None:
    running.pipe.failure = error
    running.send(b"1")
    assert await running.task is error
    assert running.sent == 0


@pytest.mark.parametrize("where", ["send", "receive"])
async def test_a_pipe_that_gives_itself_up(running: Running, where: str) -> None:
    """Whoever runs the pipe may cancel what it waits for: that is not the pump's own cancellation."""
    if where == "send":
        running.pipe.failure = asyncio.CancelledError()
        running.send(b"1")
    else:
        running.pipe.bring(asyncio.CancelledError())
    assert isinstance(await running.task, ConnectionLost)


async def test_a_goodbye(running: Running) -> None:
    bye = Bye(Reason.CLOSED, ())
    running.machine.made[b"bye"] = [b"the last", bye]
    running.pipe.bring(b"bye", b"too late")
    assert await running.task is bye
    assert running.events == [b"the last", bye]


async def test_a_goodbye_counts_even_if_sending_fails_at_that_moment(kind: type[Plain]) -> None:
    bye = Bye(Reason.CLOSED, ())
    for _ in range(20):  # it must not depend on the order in which a set happens to be
        each = Running(kind)
        each.machine.made[b"bye"] = [bye]
        each.pipe.room.clear()
        each.send(b"1")
        await settle()
        each.pipe.failure = ConnectionResetError("the other end has closed")
        each.pipe.room.set()
        each.pipe.bring(b"bye")
        assert await each.task is bye


async def test_broken_rules(running: Running) -> None:
    violation = LinkViolation("this cannot be")
    running.machine.made[b"bad"] = [b"what came before counts", violation]
    running.pipe.bring(b"bad", b"too late")
    assert await running.task is violation
    assert running.events[0] == b"what came before counts"


async def test_a_machine_or_a_caller_that_raises(running: Running, kind: type[Plain]) -> None:
    error = LinkViolation("no machine any more")
    running.machine.made[b"x"] = error
    running.pipe.bring(b"x")
    assert await running.task is error
    other = Running(kind)
    await settle()
    other.pipe.bring(b"a mistake", b"too late")
    assert isinstance(await other.task, ValueError)


async def test_silence_ends_it_even_if_nothing_can_be_sent(running: Running) -> None:
    running.pipe.room.clear()
    running.send(b"1")
    running.machine.dies = running.clock() + 0.01
    other = Running()
    other.machine.dies = other.clock() - 1
    for each in (other,):
        assert isinstance(await each.task, ConnectionLost)
    await running.stop()


async def test_silence_is_judged_anew_when_its_time_has_come(kind: type[Plain]) -> None:
    running = Running(kind)
    running.machine.dies = running.clock() + 0.01
    await settle(3)
    running.machine.dies = running.clock() + 0.05  # something has come
    reason = await running.task
    assert running.clock() >= running.machine.dies
    assert isinstance(reason, ConnectionLost)
    assert "too long" in str(reason)


class Hiding(Swift):
    """Makes another error of what its sink raises."""

    def on_error(self, error: Exception) -> None:
        super().on_error(ConnectionResetError("broken"))


class Careless(Swift):
    """Takes no notice of what its sink raises."""

    def on_error(self, error: Exception) -> None:
        pass


@pytest.mark.parametrize("kind", [Hiding, Careless], indirect=True)
async def test_why_it_ended_does_not_depend_on_what_the_pipe_makes_of_it(running: Running) -> None:
    bye = Bye(Reason.CLOSED, ())
    running.machine.made[b"bye"] = [bye]
    running.pipe.bring(b"bye", b"too late")
    assert await running.task is bye
    assert running.events == [bye]


@pytest.mark.parametrize("kind", [Careless], indirect=True)
async def test_after_an_error_nothing_reaches_the_machine(running: Running) -> None:
    error = LinkViolation("no machine any more")
    running.machine.made[b"x"] = error
    running.pipe.bring(b"x", b"too late")
    assert await running.task is error
    assert running.events == []


@pytest.mark.parametrize("kind", [Swift], indirect=True)
async def test_what_a_pipe_has_kept_back_is_taken_as_well(running: Running) -> None:
    running.pipe.incoming.put_nowait(b"a")
    await settle()
    running.pipe.bring(b"b")
    assert running.events == [b"a", b"b"]


# Several frames at a time


def frames_of(machine: Machine, most: int) -> tuple[list[int], bool]:
    frames, left = gather(machine, 0.0, most)
    return [len(frame) for frame in frames], left


def test_gathered_is_what_there_is() -> None:
    machine = Machine()
    assert frames_of(machine, BATCH) == ([], False)
    machine.frames += [b"1", b"22", b"333"]
    assert frames_of(machine, BATCH) == ([1, 2, 3], False)
    assert not machine.frames


@pytest.mark.parametrize(("most", "count"), [(1, 1), (FIRST_FRAME, 1), (2 * FRAME_LIMIT, 2), (BATCH, 3)])
def test_gathered_is_no_more_than_it_may_be_but_one_frame_always(most: int, count: int) -> None:
    machine = Machine()
    machine.frames += [bytes(FRAME_LIMIT)] * 10
    assert frames_of(machine, most) == ([FRAME_LIMIT] * count, True)
    assert len(machine.frames) == 10 - count


def test_for_a_slow_receiver_each_frame_goes_by_itself() -> None:
    machine = Machine()
    machine.frames += [bytes(FRAME_LIMIT)] * 3
    machine.swift = False
    assert frames_of(machine, BATCH) == ([FRAME_LIMIT], True)
    machine.swift = True
    assert frames_of(machine, BATCH) == ([FRAME_LIMIT] * 2, False)


@given(st.lists(st.integers(1, FRAME_LIMIT), max_size=40), st.integers(1, BATCH))
def test_everything_is_gathered_in_order_and_to_measure(sizes: list[int], most: int) -> None:
    machine = Machine()
    machine.frames += map(bytes, sizes)
    found: list[int] = []
    left = True
    while left:
        piece, left = frames_of(machine, most)
        assert len(piece) <= 1 or sum(piece) <= most
        found += piece
    assert found == sizes


async def test_pieces_grow_from_the_first_frame_on(running: Running) -> None:
    """A piece that is cut in the middle is lost whole, and no wire is known to carry large ones before it has."""
    running.send(*[bytes(FRAME_LIMIT)] * 20)
    await settle()
    counts = [len(piece) for piece in running.pipe.pieces]
    assert counts == [1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 1]
    assert running.sent == len(counts)


async def test_a_full_pipe_is_given_nothing_more_before_there_is_room(running: Running) -> None:
    running.pipe.room.clear()
    running.send(b"1", b"2")
    await settle()
    assert running.pipe.sent == []
    assert list(running.machine.frames) == [b"2"]  # it may become something better meanwhile
    running.pipe.room.set()
    await settle()
    assert running.pipe.sent == [b"1", b"2"]


# At once


async def test_what_is_urgent_goes_before_the_next_turn_of_the_loop() -> None:
    running = Running(Swift)
    running.send(b"0")  # by which the pipe shows that it can
    await settle()
    for number in (b"1", b"2"):
        running.machine.frames.append(number)
        running.bell.ring_at_once()
        assert running.pipe.sent[-1:] == [number]
        await settle()
    assert running.sent == 3
    await running.stop()


@pytest.mark.parametrize(
    ("kind", "pieces"), [(Swift, [(b"1",), (b"2", b"3")]), (Plain, [(b"1", b"2", b"3")])], indirect=["kind"]
)
async def test_what_is_urgent_in_the_same_turn_goes_together(
    kind: type[Plain], pieces: list[tuple[bytes, ...]]
) -> None:
    running = Running(kind)
    await settle()
    for _ in range(2):  # pieces begin small, and grow
        running.send(*[bytes(FRAME_LIMIT)] * 10)
        await settle()
    running.pipe.pieces.clear()
    for number in (b"1", b"2", b"3"):
        running.machine.frames.append(number)
        running.bell.ring_at_once()
    await settle()
    assert running.pipe.pieces == pieces
    await running.stop()


async def test_more_than_goes_at_once_goes_nevertheless(running: Running) -> None:
    running.machine.frames += [bytes(FRAME_LIMIT)] * 5
    running.bell.ring_at_once()
    await settle()
    assert running.pipe.sent == [bytes(FRAME_LIMIT)] * 5
    assert running.sent == len(running.pipe.pieces)


async def test_what_is_urgent_waits_for_room_as_all_do(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_FRAME", 10)  # so that each is the last that there is
    running.send(b"0")
    await settle()
    running.pipe.room.clear()
    running.machine.frames.append(b"1")
    running.bell.ring_at_once()
    await settle()
    running.machine.frames.append(b"2")
    running.bell.ring_at_once()
    await settle()
    assert running.sent == 1
    assert list(running.machine.frames) == [b"2"]
    running.pipe.room.set()
    await settle()
    assert running.pipe.sent == [b"0", b"1", b"2"]


async def test_a_pipe_that_cannot_send_at_once(running: Running) -> None:
    running.send(b"0")
    await settle()
    running.pipe.failure = OSError("broken")
    running.machine.frames.append(b"1")
    running.bell.ring_at_once()  # not who rings is told
    assert await running.task is running.pipe.failure


@pytest.mark.parametrize(("kind", "left"), [(Swift, [b"2"]), (Plain, [b"1", b"2"])], indirect=["kind"])
async def test_at_the_end_nothing_goes_any_more_and_nothing_is_left(kind: type[Plain], left: list[bytes]) -> None:
    running = Running(kind)
    running.send(b"0")
    await settle()
    running.pipe.room.clear()
    running.machine.frames += [b"1", b"2"]
    running.task.cancel()
    running.bell.ring_at_once()  # nobody will have begun to wait for room
    await asyncio.wait([running.task])
    running.bell.ring_at_once()
    assert running.pipe.sent == [b"0"]
    assert list(running.machine.frames) == left


# Cancellation


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_cancelled_at_any_time_it_leaves_nothing(turns: int, kind: type[Plain]) -> None:
    running = Running(kind)
    running.pipe.room.clear()
    running.send(b"1")
    await settle(turns)
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task


class Stubborn(Plain):
    """Does not end what is under way when it is cancelled."""

    async def _send(self, plaintexts: Sequence[bytes]) -> None:
        await self._insist(self.room.wait())
        self._take(plaintexts)

    async def receive(self) -> bytes:
        data = await self._insist(self.incoming.get())
        assert isinstance(data, bytes)
        return data

    async def _insist(self, work: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.ensure_future(work)
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        return task.result()


class SwiftAndStubborn(Stubborn, Swift):
    """Nor does this one, and it goes on handing over."""


@pytest.mark.parametrize("kind", [Stubborn, SwiftAndStubborn], indirect=True)
async def test_a_pipe_that_does_not_let_go_holds_nobody_up_and_reaches_the_machine_no_more(
    monkeypatch: pytest.MonkeyPatch, kind: type[Plain]
) -> None:
    monkeypatch.setattr(module, "LETTING_GO", 0.01)
    running = Running(kind)
    running.pipe.room.clear()
    running.send(b"1", b"2")
    running.machine.dies = running.clock()
    assert isinstance(await running.task, ConnectionLost)
    running.pipe.room.set()
    running.pipe.bring(b"late")
    running.pipe.bring(ConnectionLost("the end of it"))
    await settle()
    assert running.pipe.sent == [b"1"]
    assert list(running.machine.frames) == [b"2"]
    assert running.events == []


def test_the_clock_goes_on_while_the_machine_sleeps() -> None:
    first, second = boot_time(), boot_time()
    assert 0 < first <= second
