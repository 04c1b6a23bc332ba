"""Exactly once and in order: the tables row by row, each rule broken once, and a lane's two halves against a model."""

from collections import deque
from itertools import product

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kernelwire.errors import LinkViolation
from kernelwire.link import resume, throttle
from kernelwire.link.envelope import Payload
from kernelwire.link.queue import Queue
from kernelwire.link.records import Data, Lane, Position, Status
from kernelwire.link.resume import (
    HELLO_RULES,
    KEPT_LIMIT,
    NOTHING,
    WELCOME_RULES,
    WINDOW,
    InLane,
    Outcome,
    OutLane,
    decide,
)
from kernelwire.link.throttle import OWN, Pool, Throttle

# The tables.

Rules = tuple[tuple[tuple[bool | None, ...], Outcome], ...]


def _fits(want: bool | None, fact: bool) -> bool:
    return want is None or want is fact


@pytest.mark.parametrize("rules", [HELLO_RULES, WELCOME_RULES], ids=["hello", "welcome"])
def test_there_is_a_row_for_everything_and_each_is_needed(rules: Rules) -> None:
    reached = set()
    for facts in product((True, False), repeat=4):
        decide(rules, *facts)
        reached.add(next(row for row, _ in rules if all(map(_fits, row, facts))))
    assert reached == {row for row, _ in rules}


@pytest.mark.parametrize(
    ("known", "secret", "epoch", "possible", "outcome"),
    [
        (False, False, False, False, Outcome.BEGIN),
        (True, False, False, False, Outcome.CONFLICT),
        (True, False, True, True, Outcome.CONFLICT),
        (True, True, True, True, Outcome.RESUME),
        (True, True, False, True, Outcome.BEGIN),
        (True, True, True, False, Outcome.BEGIN),
        (True, True, False, False, Outcome.BEGIN),
    ],
)
def test_what_a_host_makes_of_a_hello(known: bool, secret: bool, epoch: bool, possible: bool, outcome: Outcome) -> None:
    assert decide(HELLO_RULES, known, secret, epoch, possible) is outcome


@pytest.mark.parametrize(
    ("resumed", "met", "epoch", "possible", "outcome"),
    [
        (True, True, True, True, Outcome.RESUME),
        (True, True, True, False, Outcome.VIOLATION),
        (True, True, False, True, Outcome.VIOLATION),
        (True, False, False, True, Outcome.VIOLATION),
        (False, False, False, True, Outcome.BEGIN),
        (False, True, True, True, Outcome.RESTART),
        (False, True, False, False, Outcome.RESTART),
    ],
)
def test_what_a_client_makes_of_a_welcome(
    resumed: bool, met: bool, epoch: bool, possible: bool, outcome: Outcome
) -> None:
    assert decide(WELCOME_RULES, resumed, met, epoch, possible) is outcome


# The halves of a lane.


def payload(data: bytes) -> Payload:
    return Payload((data[:3], data[3:]), len(data))


def sender(*messages: bytes, granted: int | None = 1000) -> OutLane:
    """The sending half of a new connection, with credit."""
    queue = Queue()
    for message in messages:
        queue.put(payload(message))
    lane = OutLane(Lane.D, queue)
    lane.begin()
    if granted is not None:
        lane.on_status(Status(1, 0, granted), 0.0)
    return lane


def sent(lane: OutLane, limit: int = 1000) -> list[tuple[int, bytes, bool]]:
    """All that it wants to send, in chunks of at most `limit` bytes."""
    found = []
    while lane.has_more:
        chunk = lane.next_chunk(limit)
        assert chunk is not None
        data = b"".join(chunk.pieces)
        assert len(data) == chunk.size
        found.append((chunk.seq, data, chunk.final))
    assert lane.next_chunk(limit) is None
    return found


def receiver(limit: int = 1000) -> InLane:
    """The receiving half of a new connection, whose sender has credit."""
    lane = InLane(Lane.D, limit)
    lane.begin()
    lane.status()
    return lane


def data(seq: int, chunk: bytes, *, final: bool = True) -> Data:
    return Data(1, seq, final, memoryview(chunk))


def test_messages_are_numbered_from_one_and_cut_to_measure() -> None:
    lane = sender(b"first", b"second")
    assert sent(lane, 4) == [(1, b"firs", False), (1, b"t", True), (2, b"seco", False), (2, b"nd", True)]


def test_no_more_is_sent_than_was_granted() -> None:
    lane = sender(b"first", b"second", granted=7)
    assert sent(lane) == [(1, b"first", True), (2, b"se", False)]
    lane.on_status(Status(1, 0, 8), 0.0)
    assert sent(lane) == [(2, b"c", False)]


def test_nothing_is_sent_before_the_first_status() -> None:
    lane = sender(b"first", granted=None)
    assert sent(lane) == []


def test_what_is_not_handled_is_sent_again_before_anything_new() -> None:
    lane = sender(b"first", b"second", b"third")
    lane.next_chunk(100)
    lane.next_chunk(2)
    lane.pause()
    assert sent(lane) == []
    lane.resume(Position(1, 1))
    lane.on_status(Status(1, 1, 100), 0.0)
    assert sent(lane) == [(2, b"econd", True), (3, b"third", True)]


def test_what_is_handled_is_not_kept() -> None:
    lane = sender(b"first", b"second", b"third")
    sent(lane)
    assert lane.kept == 16
    lane.on_status(Status(1, 1, 1000), 0.0)
    assert lane.kept == 11
    lane.resume(Position(2, 0))
    assert lane.kept == 5
    lane.begin()
    assert lane.kept == 0


def test_nothing_new_is_begun_while_too_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "OWN", 2 * KEPT_LIMIT)
    lane = sender(bytes(KEPT_LIMIT), b"second", granted=2 * KEPT_LIMIT)
    assert [(seq, final) for seq, _, final in sent(lane, 2**20)][-1] == (1, True)
    lane.on_status(Status(1, 1, 2 * KEPT_LIMIT), 0.0)
    assert sent(lane) == [(2, b"second", True)]


def test_a_new_beginning_counts_from_one() -> None:
    lane = sender(b"first", b"second")
    lane.next_chunk(100)
    lane.begin()
    lane.on_status(Status(1, 0, 100), 0.0)
    assert sent(lane) == [(1, b"second", True)]  # the first is gone: the caller knows


@pytest.mark.parametrize(
    ("handled", "granted", "says"),
    [
        pytest.param(2, 1000, "never sent", id="half of it was sent"),
        pytest.param(3, 1000, "never sent", id="none of it was sent"),
        pytest.param(2**64 - 1, 1000, "never sent", id="far beyond"),
        pytest.param(1, 999, "taken back", id="less credit"),
    ],
)
def test_a_status_that_cannot_be_is_a_violation(handled: int, granted: int, says: str) -> None:
    lane = sender(b"first", b"second", b"third")
    lane.next_chunk(100)
    lane.next_chunk(2)
    with pytest.raises(LinkViolation, match=says):
        lane.on_status(Status(1, handled, granted), 0.0)


def test_a_status_on_a_connection_says_nothing_of_the_one_before() -> None:
    lane = sender(b"first", b"second")
    sent(lane)
    lane.resume(Position(0, 0))
    with pytest.raises(LinkViolation, match="never sent"):
        lane.on_status(Status(1, 2, 100), 0.0)


@pytest.mark.parametrize(
    ("received", "offset", "possible"),
    [
        pytest.param(0, 0, False, id="handled before"),
        pytest.param(1, 0, True, id="where it was handled"),
        pytest.param(1, 5, True, id="in a message that was sent"),
        pytest.param(1, 6, False, id="at its end, which is the next one's beginning"),
        pytest.param(1, 7, False, id="beyond its end"),
        pytest.param(2, 0, True, id="between two"),
        pytest.param(2, 3, True, id="as far as was sent"),
        pytest.param(2, 4, False, id="further than was sent"),
        pytest.param(3, 0, False, id="a message of which a part was sent"),
        pytest.param(3, 1, False, id="in a message that nobody began"),
        pytest.param(4, 0, False, id="after it"),
        pytest.param(2**64 - 1, 0, False, id="far beyond"),
        pytest.param(2, 2**64 - 1, False, id="far into"),
    ],
)
def test_a_receiver_can_be_only_where_something_was_sent(received: int, offset: int, possible: bool) -> None:
    lane = sender(b"first!", b"second", b"third", b"fourth")
    lane.next_chunk(100)
    lane.next_chunk(100)
    lane.next_chunk(3)
    lane.on_status(Status(1, 1, 1000), 0.0)
    assert lane.can_resume(Position(received, offset)) is possible
    lane.pause()
    lane.resume(Position(1, 0))  # what was sent once was sent
    assert lane.can_resume(Position(received, offset)) is possible


def test_nothing_was_sent_after_a_new_beginning() -> None:
    lane = sender(b"first", b"second")
    sent(lane)
    lane.begin()
    assert lane.can_resume(Position(0, 0))
    assert not lane.can_resume(Position(1, 0))


def test_messages_come_out_whole_and_in_order() -> None:
    lane = receiver()
    assert lane.on_data(data(1, b"fir", final=False)) is None
    assert lane.position == (0, 3)
    assert bytes(lane.on_data(data(1, b"st")) or b"") == b"first"
    assert bytes(lane.on_data(data(2, b"second")) or b"") == b"second"
    assert lane.position == (2, 0)
    assert lane.unsaid == 2
    assert lane.status() == Status(1, 2, 11 + WINDOW[Lane.D])
    assert lane.unsaid == 0


@pytest.mark.parametrize("seq", [0, 1, 3, 4, 2**64 - 1])
def test_any_message_but_the_next_is_a_violation(seq: int) -> None:
    lane = receiver()
    lane.on_data(data(1, b"first"))
    with pytest.raises(LinkViolation, match="not the next"):
        lane.on_data(data(seq, b"again"))
    assert lane.position == (1, 0)


def test_the_next_message_before_the_end_of_this_one_is_a_violation() -> None:
    lane = receiver()
    lane.on_data(data(1, b"fir", final=False))
    with pytest.raises(LinkViolation, match="not the next"):
        lane.on_data(data(2, b"second"))
    assert lane.position == (0, 3)


def test_more_than_was_granted_is_a_violation() -> None:
    lane = receiver(limit=2**30)
    lane.on_data(data(1, bytes(WINDOW[Lane.D])))
    with pytest.raises(LinkViolation, match="granted"):
        lane.on_data(data(2, b"x"))
    assert lane.position == (1, 0)


def test_anything_before_the_first_status_is_a_violation() -> None:
    lane = InLane(Lane.D, 1000)
    lane.begin()
    with pytest.raises(LinkViolation, match="granted"):
        lane.on_data(data(1, b"x"))


def test_a_message_over_the_limit_is_a_violation() -> None:
    lane = receiver(limit=5)
    lane.on_data(data(1, b"abc", final=False))
    with pytest.raises(LinkViolation, match="too large"):
        lane.on_data(data(1, b"def", final=False))
    assert lane.position == (0, 3)  # no more than is here


def test_without_room_nothing_more_is_granted() -> None:
    lane = receiver()
    lane.room = False
    lane.on_data(data(1, b"first"))
    assert lane.status() == Status(1, 1, WINDOW[Lane.D])
    assert not lane.has_news()
    lane.room = True
    assert lane.has_news()
    assert lane.status() == Status(1, 1, 5 + WINDOW[Lane.D])


def test_without_room_a_new_connection_grants_nothing() -> None:
    """Else each cut would let another window's worth in, to a reader that does not read."""
    lane = receiver()
    lane.room = False
    lane.resume()
    assert not lane.has_news()
    with pytest.raises(LinkViolation, match="granted"):
        lane.on_data(data(1, b"x"))
    lane.resume()
    lane.room = True
    assert lane.wants_status()
    assert lane.status() == Status(1, 0, WINDOW[Lane.D])


@pytest.mark.parametrize("lane", list(Lane))
def test_news_come_before_the_sender_has_to_wait(lane: Lane) -> None:
    into = InLane(lane, 2**30)
    into.begin()
    into.status()
    while not into.wants_status():
        assert into._accepted < WINDOW[lane]
        into.on_data(Data(lane, 1, False, memoryview(bytes(1000))))
    assert into.status().granted == into._accepted + WINDOW[lane]
    assert not into.wants_status()


def test_news_of_many_small_messages_come_at_once() -> None:
    lane = receiver()
    for number in range(1, resume._SPARSE_MESSAGES):
        lane.on_data(data(number, b"x"))
        assert lane.has_news()
        assert not lane.wants_status()
    lane.on_data(data(resume._SPARSE_MESSAGES, b"x"))
    assert lane.wants_status()


def test_news_of_room_come_to_a_sender_that_keeps_to_less_than_the_window() -> None:
    into = receiver(limit=2**30)
    into.room = False
    while into._accepted < OWN:
        into.on_data(data(into.position.received + 1, bytes(8192)))
        if into.wants_status():
            assert into.status().granted == WINDOW[Lane.D]
    assert not into.wants_status()
    into.room = True
    assert into.wants_status()
    assert into.status().granted == into._accepted + WINDOW[Lane.D]


@pytest.mark.parametrize("window", [1, 1000, OWN - 1, OWN, WINDOW[Lane.D], 2**40])
def test_a_receiver_may_choose_any_window(window: int) -> None:
    """The other end need not know it, and an earlier version had another."""
    lane = sender(bytes(3 * OWN), granted=window)
    size = sum(len(chunk) for _, chunk, _ in sent(lane, 2**16))
    assert size == min(window, OWN)
    lane.on_status(Status(1, 0, window + size), 1000.0)  # all of it was accepted
    assert sum(len(chunk) for _, chunk, _ in sent(lane, 2**16)) == min(window, OWN)


def test_the_window_is_learned_anew_on_each_connection() -> None:
    lane = sender(bytes(3 * OWN), granted=WINDOW[Lane.D])
    sent(lane, 2**16)
    lane.pause()
    lane.resume(Position(0, 0))
    assert not lane.has_more
    lane.on_status(Status(1, 0, 0), 0.0)  # news, but no room
    assert not lane.has_more
    lane.on_status(Status(1, 0, 1000), 0.0)
    assert sum(len(chunk) for _, chunk, _ in sent(lane, 2**16)) == 1000


@pytest.mark.parametrize("room", [True, False])
def test_who_wants_to_tell_something_has_something_to_tell(room: bool) -> None:
    """Else the link would ask for ever for a frame that is empty."""
    lane = receiver(limit=2**30)
    lane.room = room
    while lane.position.offset < WINDOW[Lane.D]:
        lane.on_data(data(1, bytes(64 * 1024), final=False))
        assert lane.has_news() or not lane.wants_status()
        if lane.wants_status():
            lane.status()
            assert not lane.wants_status()


# Both halves, and a wire that may break at any moment, against a plain list.

SMALL_WINDOW = 50
SMALL_OWN = 30
SMALL_SHARED = 15
SMALL_KEPT = 120
LARGEST = 90


class LaneAndModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.source = Queue()
        self.pool = Pool()
        self.out = OutLane(Lane.D, self.source, Throttle(self.pool))
        self.into = InLane(Lane.D, LARGEST)
        self.there: deque[Data] = deque()  # on the wire
        self.back: deque[Status] = deque()
        self.up = False
        self.full_for = 0  # bytes that came since there was no more room
        self.forget()

    def forget(self) -> None:
        self.messages: list[bytes] = []  # all that were sent since the beginning
        self.delivered: list[bytes] = []
        self.handled = 0  # as far as the sender knows
        self.reached = (1, 0)  # the furthest that anything was ever sent

    # What may happen.

    @rule(size=st.integers(1, LARGEST))
    def send(self, size: int) -> None:
        message = (b"%d:" % len(self.messages) * size)[:size]
        self.messages.append(message)
        self.source.put(payload(message))

    @precondition(lambda self: not self.up)
    @rule()
    def connect(self) -> None:
        position = self.into.position
        assert self.out.can_resume(position)
        self.out.resume(position)
        self.handled = position.received
        self.into.resume()
        self.up = True

    @precondition(lambda self: self.up)
    @rule()
    def cut(self) -> None:
        self.up = False
        self.there.clear()
        self.back.clear()
        self.out.pause()

    @precondition(lambda self: not self.up)
    @rule()
    def begin_anew(self) -> None:
        while self.source.pull() is not None:
            pass
        self.out.begin()
        self.into.begin()
        self.forget()
        self.up = True

    @rule(room=st.booleans())
    def find_room(self, room: bool) -> None:
        if room or self.into.room:
            self.full_for = 0
        self.into.room = room

    @precondition(lambda self: self.up)
    @rule(limit=st.integers(1, 2 * SMALL_WINDOW))
    def transmit(self, limit: int) -> None:
        has_more = self.out.has_more
        chunk = self.out.next_chunk(limit)
        assert has_more is (chunk is not None)
        if chunk is None:
            return
        assert 0 < chunk.size <= limit
        self.there.append(Data(1, chunk.seq, chunk.final, memoryview(b"".join(chunk.pieces))))
        end = (chunk.seq + 1, 0) if chunk.final else (chunk.seq, self.sent_of(chunk.seq))
        self.reached = max(self.reached, end)

    @precondition(lambda self: self.there)
    @rule()
    def arrive(self) -> None:
        data = self.there.popleft()
        self.full_for += len(data.chunk)
        message = self.into.on_data(data)  # no violation, however it was cut
        assert (message is not None) is data.final
        if message is not None:
            self.delivered.append(bytes(message))

    @precondition(lambda self: self.up)
    @rule()
    def tell(self) -> None:
        if self.into.has_news():
            self.back.append(self.into.status())
        assert not self.into.wants_status()

    @precondition(lambda self: self.back)
    @rule()
    def hear(self) -> None:
        status = self.back.popleft()
        self.out.on_status(status, 0.0)
        self.handled = status.handled

    @rule(received=st.integers(0, 6), offset=st.integers(0, LARGEST))
    def ask_where_a_receiver_can_be(self, received: int, offset: int) -> None:
        received += self.handled - 1
        if received < 0:
            return
        possible = (
            received >= self.handled
            and (received + 1, offset) <= self.reached
            and (offset == 0 or offset < len(self.messages[received]))
        )
        assert self.out.can_resume(Position(received, offset)) is possible

    @rule()
    def everything_arrives_in_the_end(self) -> None:
        if not self.up:
            self.connect()
        self.find_room(True)
        while True:
            while self.there:
                self.arrive()
            if self.into.wants_status():
                self.tell()
            elif self.out.has_more:
                self.transmit(SMALL_WINDOW)
            elif self.into.unsaid:  # as after a tenth of a second
                self.tell()
            elif not self.back:
                break
            while self.back:
                self.hear()
        assert self.delivered == self.messages
        assert self.out.kept == 0
        self.cut()
        assert self.pool.left == SMALL_SHARED

    # What always holds.

    @invariant()
    def exactly_once_and_in_order(self) -> None:
        assert self.delivered == self.messages[: len(self.delivered)]
        received, offset = self.into.position
        assert received == len(self.delivered)
        assert not offset or offset < len(self.messages[received])

    @invariant()
    def what_is_kept_is_accounted_for_and_bounded(self) -> None:
        begun = len(self.messages) - len(self.source._payloads)
        assert self.out.kept == sum(map(len, self.messages[self.handled : begun]))
        assert self.out.kept < SMALL_KEPT + LARGEST

    @invariant()
    def no_more_is_on_the_way_than_a_window(self) -> None:
        assert sum(len(data.chunk) for data in self.there) <= SMALL_WINDOW

    @invariant()
    def beyond_its_own_a_sender_takes_from_what_is_shared(self) -> None:
        there = sum(len(data.chunk) for data in self.there)
        assert there <= SMALL_OWN + SMALL_SHARED - self.pool.left
        assert 0 <= self.pool.left <= SMALL_SHARED

    @invariant()
    def without_room_no_more_comes_than_a_window(self) -> None:
        assert self.into.room or self.full_for <= SMALL_WINDOW

    def sent_of(self, seq: int) -> int:
        """Bytes of the message that were sent, or received before, on this connection."""
        offset = self.into.position.offset if self.into.position.received + 1 == seq else 0
        return offset + sum(len(data.chunk) for data in self.there if data.seq == seq)


def test_a_lane_is_what_the_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "WINDOW", dict.fromkeys(Lane, SMALL_WINDOW))
    monkeypatch.setattr(resume, "KEPT_LIMIT", SMALL_KEPT)
    monkeypatch.setattr(throttle, "OWN", SMALL_OWN)
    monkeypatch.setattr(throttle, "SHARED", SMALL_SHARED)
    monkeypatch.setattr(resume, "_SPARSE_BYTES", 30)
    monkeypatch.setattr(resume, "_SPARSE_MESSAGES", 3)
    run_state_machine_as_test(
        LaneAndModel,
        settings=settings(max_examples=100, stateful_step_count=60, suppress_health_check=[HealthCheck.too_slow]),
    )


def test_both_lanes_begin_at_nothing() -> None:
    assert tuple(InLane(lane, 1).position for lane in Lane) == NOTHING
