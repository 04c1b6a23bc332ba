"""One end of a link: each row of its table, its times, and two of them on a wire that breaks."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice, LinkViolation
from kernelwire.link import peer as module
from kernelwire.link.envelope import LANE_OF, Item, pack, pack_gap
from kernelwire.link.peer import (
    ANSWERS_LIMIT,
    DEAD_AFTER,
    FIRST_FRAME,
    PART_STATUS_AFTER,
    PING_AFTER,
    STATUS_AFTER,
    Event,
    Peer,
    Timing,
)
from kernelwire.link.queue import Queue
from kernelwire.link.records import (
    FRAME_LIMIT,
    Beat,
    Beaten,
    Bye,
    Control,
    Data,
    Hello,
    Lane,
    Lost,
    Ping,
    Pong,
    Position,
    Ready,
    Reason,
    Status,
    Welcome,
    data_header,
    decode,
)
from kernelwire.link.resume import NOTHING, WINDOW
from kernelwire.messages import WireMessage

from .state_pages import state_rows

NOW = 1000.0
LIMIT = 10_000_000
PAYLOAD = pack(Channel.SHELL, WireMessage([b"handled"])).size
HELLO = Hello(b"me", bytes(32), 0, NOTHING, None, 1)
WELCOME = Welcome(1, False, NOTHING, 0)

tested: set[tuple[str, str]] = set()


def row(state: str, comes: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Says which row of the table a test is for."""
    tested.add((state, comes))
    return lambda test: test


def test_every_row_of_the_table_has_its_test() -> None:
    assert tested == {(each.state, each.comes) for each in state_rows(module)}


class End:
    """A peer with its queues; up, unless told otherwise."""

    def __init__(self, *, up: bool = True, timing: Timing | None = None) -> None:
        self.queues = (Queue(), Queue())
        self.peer = Peer(self.queues, max_message_bytes=LIMIT, timing=timing or Timing())
        self.peer.begin()
        if up:
            self.peer.open(NOTHING, NOW)

    def put(self, channel: Channel, *frames: bytes) -> None:
        self.queues[LANE_OF[channel]].put(pack(channel, WireMessage(frames)))

    def allow(self, granted: int = LIMIT) -> None:
        """As if the other end had granted credit on both lanes."""
        self.hear(Status(0, 0, granted), Status(1, 0, granted))

    def hear(self, *records: Control | bytes, now: float = NOW) -> list[Event]:
        plaintext = b"".join(each.encode() if isinstance(each, Control) else each for each in records)
        return self.peer.receive(plaintext, now)

    def says(self, now: float = NOW) -> list[Data | Control]:
        """The records of the next frame."""
        has_frame, plaintext = self.peer.has_frame(now), self.peer.next_frame(now)
        assert has_frame is bool(plaintext)
        return list(decode(plaintext))

    def settle(self) -> "End":
        """Until it has nothing to say."""
        while self.says():
            pass
        return self


def message(channel: Channel, *frames: bytes, seq: int = 1) -> bytes:
    """A message as one data record."""
    payload = pack(channel, WireMessage(frames))
    return data_header(LANE_OF[channel], seq, payload.size, final=True) + b"".join(payload.pieces)


def frames(event: object) -> tuple[Channel, list[bytes]]:
    assert isinstance(event, Item)
    assert isinstance(event.content, WireMessage)
    return event.channel, [bytes(frame) for frame in event.content.frames]


# Down.


@row("down", "`open`")
def test_an_open_peer_is_up_and_goes_on_where_the_other_is() -> None:
    end = End()
    end.put(Channel.SHELL, b"first")
    end.put(Channel.SHELL, b"second")
    end.allow()
    end.settle()
    end.peer.close()
    end.peer.open((Position(0, 0), Position(1, 4)), NOW)
    end.allow()
    assert end.peer.up
    data = [record for record in end.says() if isinstance(record, Data)]
    whole = b"".join(pack(Channel.SHELL, WireMessage([b"second"])).pieces)
    assert data == [Data(1, 2, True, memoryview(whole[4:]))]


@row("down", "`open`")
def test_an_open_peer_grants_credit_at_once() -> None:
    assert End().says() == [Status(0, 0, WINDOW[Lane.C]), Status(1, 0, WINDOW[Lane.D])]


@row("down", "anything else")
def test_nothing_comes_of_anything_while_it_is_down() -> None:
    end = End(up=False)
    end.put(Channel.SHELL, b"waits")
    assert end.hear(message(Channel.SHELL, b"a"), Ping(1), Bye(0, ()), b"rubbish") == []
    end.peer.say(Ping(1))
    later = NOW + 10 * DEAD_AFTER
    assert end.says(later) == []
    assert not end.peer.is_dead(later)
    assert end.peer.wake_at() is None
    assert end.peer.positions == NOTHING
    end.peer.open(NOTHING, later)
    assert not any(isinstance(each, Ping) for each in end.says(later))


# Up: what comes.


@row("up", "data")
def test_a_message_comes_out_when_it_is_whole() -> None:
    end = End().settle()
    whole = message(Channel.SHELL, b"hello", b"")
    header, body = whole[:13], whole[13:]
    assert header == data_header(1, 1, len(body), final=True)
    assert end.hear(data_header(1, 1, 4, final=False) + body[:4]) == []
    assert end.peer.positions == (Position(0, 0), Position(0, 4))
    (event,) = end.hear(data_header(1, 1, len(body) - 4, final=True) + body[4:])
    assert frames(event) == (Channel.SHELL, [b"hello", b""])
    assert end.peer.positions == (Position(0, 0), Position(1, 0))


@row("up", "data")
def test_the_messages_of_a_frame_come_out_in_order() -> None:
    end = End().settle()
    events = end.hear(message(Channel.SHELL, b"1"), message(Channel.CONTROL, b"2"), message(Channel.IOPUB, b"3", seq=2))
    assert [frames(event) for event in events] == [
        (Channel.SHELL, [b"1"]),
        (Channel.CONTROL, [b"2"]),
        (Channel.IOPUB, [b"3"]),
    ]


@row("up", "data")
def test_a_gap_comes_out_as_a_notice() -> None:
    end = End().settle()
    payload = pack_gap(Channel.IOPUB, 3, 30, "slow")
    (event,) = end.hear(data_header(1, 1, payload.size, final=True) + payload.pieces[0])
    assert isinstance(event, Item)
    assert isinstance(event.content, GapNotice)
    assert (event.channel, event.content.count, event.content.size) == (Channel.IOPUB, 3, 30)


@row("up", "status")
def test_a_status_lets_more_be_sent_and_forgets_what_was_handled() -> None:
    end = End().settle()
    end.put(Channel.SHELL, b"hello")
    assert end.says() == []
    end.allow(10)
    ((final, chunk),) = [(data.final, data.chunk) for data in end.says()]  # type: ignore[union-attr]
    assert (final, len(chunk)) == (False, 10)
    end.hear(Status(1, 0, 100))
    end.settle()
    assert end.peer.out[Lane.D].kept > 0
    end.hear(Status(1, 1, 100))
    assert end.peer.out[Lane.D].kept == 0


@row("up", "ping")
def test_a_ping_is_answered_with_its_number() -> None:
    end = End().settle()
    assert end.hear(Ping(7), Ping(2**64 - 1)) == []
    assert end.says() == [Pong(7), Pong(2**64 - 1)]


@row("up", "beat, beaten, ready")
@pytest.mark.parametrize("control", [Beat(3), Beaten(3), Ready()])
def test_what_is_the_callers_comes_out(control: Control) -> None:
    end = End().settle()
    assert end.hear(control) == [control]
    assert end.says() == []


@row("up", "pong")
def test_of_a_pong_nothing_comes() -> None:
    end = End().settle()
    assert end.hear(Pong(0), Pong(99), Pong(0)) == []
    assert end.says() == []
    assert end.peer.pong == 99  # but who asks can see it, for as long as this connection lasts
    end.peer.close()
    end.peer.open(NOTHING, NOW)
    assert end.peer.pong == 0


@row("up", "bye")
def test_what_comes_after_a_bye_does_not_count() -> None:
    end = End().settle()
    bye = Bye(Reason.CLOSED, ())
    first, *rest = end.hear(message(Channel.SHELL, b"a"), bye, message(Channel.SHELL, b"b", seq=2), b"rubbish")
    assert frames(first) == (Channel.SHELL, [b"a"])
    assert rest == [bye]
    assert end.hear(message(Channel.SHELL, b"b", seq=2)) == []
    assert end.hear(b"rubbish") == []
    assert end.peer.positions[1] == Position(1, 0)


@row("up", "bye")
def test_a_new_connection_does_not_remember_the_bye() -> None:
    end = End()
    end.hear(Bye(Reason.CLOSED, ()))
    end.peer.close()
    end.peer.open(NOTHING, NOW)
    assert end.hear(Beat(1)) == [Beat(1)]


BROKEN = [
    pytest.param(HELLO.encode(), id="a hello"),
    pytest.param(WELCOME.encode(), id="a welcome"),
    pytest.param(b"\0\0\0\0", id="no record"),
    pytest.param(b"\1\0", id="half a record"),
    pytest.param(message(Channel.CONTROL, b"x", seq=3), id="a message that is not the next"),
    pytest.param(message(Channel.CONTROL, b"x", seq=1), id="a message that came before"),
    pytest.param(data_header(0, 2, 8, final=True) + bytes(8), id="a message that is none"),
    pytest.param(data_header(0, 2, 0, final=True), id="a message of nothing"),
    pytest.param(data_header(0, 2, 70_000, final=False) + bytes(70_000), id="more than was granted"),
    pytest.param(Status(0, 1, LIMIT).encode(), id="a status for what was never sent"),
    pytest.param(Status(0, 0, LIMIT - 1).encode(), id="a status that takes credit back"),
    pytest.param(data_header(0, 2, 8, final=True) + b"\0\0\0\4\x93\1\xc4\0", id="a message with half a head"),
    pytest.param(data_header(0, 2, 9, final=True) + b"\0\0\0\5\x93\0\xc4\0\x90", id="a message of the other lane"),
]


@row("up", "anything else, or broken rules")
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_rule_is_the_last_event_and_what_came_before_it_counts(broken: bytes) -> None:
    end = End().settle()
    end.allow()
    events = end.hear(message(Channel.CONTROL, b"good"), Beat(1), broken, Beat(2))
    assert frames(events[0]) == (Channel.CONTROL, [b"good"])
    assert events[1] == Beat(1)
    assert isinstance(events[2], LinkViolation)
    assert len(events) == 3
    assert end.peer.positions[0].received >= 1  # so that it is not sent again


@row("up", "anything else, or broken rules")
@pytest.mark.parametrize("question", [Ping(0), Beat(0)])
def test_who_asks_without_listening_breaks_the_rules(question: Control) -> None:
    end = End().settle()
    assert end.hear(*[question] * ANSWERS_LIMIT) == ([] if isinstance(question, Ping) else [question] * ANSWERS_LIMIT)
    end.settle()
    violation = end.hear(*[question] * (ANSWERS_LIMIT + 1))[-1]
    assert isinstance(violation, LinkViolation)


@row("up", "anything else, or broken rules")
def test_answers_that_wait_count_as_well() -> None:
    end = End().settle()
    for number in range(ANSWERS_LIMIT):
        assert end.hear(Beat(number)) == [Beat(number)]
        end.peer.say(Beaten(number))
    assert isinstance(end.hear(Ping(0))[-1], LinkViolation)
    end.settle()
    assert end.hear(Ping(0)) == []


@given(st.binary(max_size=80))
def test_random_bytes_are_a_violation_at_the_most(plaintext: bytes) -> None:
    events = End().hear(plaintext)
    assert not any(isinstance(event, LinkViolation) for event in events[:-1])


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([Ping(1), Pong(1), Beat(1), Ready(), Status(0, 0, 9), Bye(0, ())]), max_size=4), st.data()
)
def test_a_changed_octet_is_a_violation_at_the_most(records: list[Control], data: st.DataObject) -> None:
    end = End().settle()
    plaintext = bytearray(message(Channel.SHELL, b"abc") + b"".join(each.encode() for each in records))
    plaintext[data.draw(st.integers(0, len(plaintext) - 1))] = data.draw(st.integers(0, 255))
    end.hear(bytes(plaintext))


# Up: the time.


@row("up", "nothing, for :data:`PING_AFTER`")
def test_silence_is_asked_once() -> None:
    end = End().settle()
    assert end.peer.wake_at() == NOW + PING_AFTER
    assert end.says(NOW + PING_AFTER - 0.01) == []
    assert end.says(NOW + PING_AFTER) == [Ping(0)]
    assert end.says(NOW + PING_AFTER + 1) == []
    assert end.peer.wake_at() == NOW + DEAD_AFTER


@row("up", "nothing, for :data:`PING_AFTER`")
@pytest.mark.parametrize("sign_of_life", [Pong(0), Ready()])
def test_anything_ends_the_silence(sign_of_life: Control) -> None:
    end = End().settle()
    end.says(NOW + PING_AFTER)
    end.hear(sign_of_life, now=NOW + 10)
    assert not end.peer.is_dead(NOW + DEAD_AFTER)
    assert end.peer.wake_at() == NOW + 10 + PING_AFTER
    assert end.says(NOW + 10 + PING_AFTER) == [Ping(0)]


@row("up", "nothing, for :data:`DEAD_AFTER`")
def test_a_long_silence_is_the_end() -> None:
    end = End().settle()
    assert not end.peer.is_dead(NOW + DEAD_AFTER - 0.01)
    assert end.peer.is_dead(NOW + DEAD_AFTER)
    assert end.peer.dead_at() == NOW + DEAD_AFTER
    assert end.peer.is_dead(NOW + 8 * 3600)  # asleep, say
    end.peer.close()
    end.peer.open(NOTHING, NOW + 8 * 3600)
    assert not end.peer.is_dead(NOW + 8 * 3600)


def test_the_times_can_be_chosen() -> None:
    end = End(timing=Timing(ping_after=1, dead_after=3)).settle()
    assert end.says(NOW + 1) == [Ping(0)]
    assert end.peer.is_dead(NOW + 3)


def test_little_news_wait_for_company_but_not_for_long() -> None:
    end = End().settle()
    end.hear(message(Channel.SHELL, b"a"))
    assert end.says() == []
    assert end.peer.wake_at() == NOW + STATUS_AFTER
    end.hear(message(Channel.SHELL, b"b", seq=2), now=NOW + 0.05)
    assert end.peer.wake_at() == NOW + STATUS_AFTER  # since the first
    (status,) = end.says(NOW + STATUS_AFTER)
    assert isinstance(status, Status)
    assert (status.lane, status.handled) == (1, 2)
    assert end.peer.wake_at() == NOW + 0.05 + PING_AFTER
    assert end.says(NOW + 2 * STATUS_AFTER) == []


def test_news_go_with_whatever_goes() -> None:
    end = End().settle()
    end.hear(message(Channel.SHELL, b"a"), Ping(1))
    pong, status = end.says()
    assert pong == Pong(1)
    assert isinstance(status, Status)
    assert status.handled == 1
    assert end.says(NOW + STATUS_AFTER) == []


def test_without_room_a_large_message_leaves_nothing_to_say() -> None:
    end = End().settle()
    end.peer.into[Lane.D].room = False
    end.hear(data_header(1, 1, 300_000, final=False) + bytes(300_000))
    assert end.says() == []  # and `has_frame` says so
    end.peer.into[Lane.D].room = True
    assert end.says() == [Status(1, 0, 300_000 + WINDOW[Lane.D])]


def test_a_message_that_comes_slowly_is_news_in_part() -> None:
    end = End().settle()
    end.hear(data_header(1, 1, 10_000, final=False) + bytes(10_000))
    assert end.peer.wake_at() == NOW + PART_STATUS_AFTER
    assert end.says(NOW + PART_STATUS_AFTER - 0.01) == []
    assert end.says(NOW + PART_STATUS_AFTER) == [Status(1, 0, WINDOW[Lane.D] + 10_000)]
    assert end.says(NOW + 2 * PART_STATUS_AFTER) == []


def test_a_part_is_no_news_where_there_is_no_room() -> None:
    end = End().settle()
    end.hear(data_header(1, 1, 10_000, final=False) + bytes(10_000))
    end.peer.into[Lane.D].room = False
    assert end.says(NOW + PART_STATUS_AFTER) == []
    assert end.peer.wake_at() == NOW + PING_AFTER


# Up: the rest.


@row("up", "`close`")
def test_what_was_not_handled_is_kept_for_the_next_connection() -> None:
    end = End()
    end.put(Channel.SHELL, b"first")
    end.allow()
    sent = end.says()[-1]
    end.peer.close()
    assert not end.peer.up
    assert end.says() == []
    end.peer.open(NOTHING, NOW)
    end.allow()
    assert end.says()[-1] == sent


@row("up", "`close`")
def test_controls_are_of_one_connection() -> None:
    end = End().settle()
    end.peer.say(Beat(1))
    end.hear(Ping(1))
    end.peer.close()
    end.peer.open(NOTHING, NOW)
    assert not any(isinstance(each, Beat | Pong) for each in end.says())


def test_what_is_said_goes_once() -> None:
    end = End().settle()
    end.peer.say(Beat(1))
    assert end.says() == [Beat(1)]
    assert end.says() == []


@row("up", "`leave`")
def test_a_bye_goes_last_and_after_all_news() -> None:
    end = End().settle()
    end.peer.leave(Reason.CLOSED)
    end.peer.say(Beat(1))
    end.hear(message(Channel.SHELL, b"handled"))
    assert end.says() == [Beat(1), Status(1, 1, WINDOW[Lane.D] + PAYLOAD), Bye(Reason.CLOSED, ())]
    assert end.says() == []
    assert not end.peer.up


@row("up", "`leave`")
def test_a_bye_says_what_did_not_go_before() -> None:
    end = End()
    end.put(Channel.SHELL, bytes(100))
    end.put(Channel.IOPUB, bytes(200))
    end.put(Channel.IOPUB, bytes(300), bytes(7))
    end.queues[1].put(pack_gap(Channel.IOPUB, 5, 1000, "before"))
    end.put(Channel.CONTROL, bytes(9))
    end.put(Channel.STDIN, b"goes")
    end.hear(Status(1, 0, 120))  # enough for the reply, and for a part of what follows
    end.settle()
    end.peer.leave(Reason.CLOSED)
    lost = (Lost(1, 1, 9), Lost(2, 1, 4), Lost(3, 7, 1507))
    assert end.says() == [Bye(Reason.CLOSED, lost)]


@row("up", "`leave`")
def test_what_nobody_could_count_is_counted_by_no_bye() -> None:
    end = End()
    end.put(Channel.IOPUB, bytes(200))
    end.queues[1].put(pack_gap(Channel.IOPUB, None, None, "before"))
    end.settle()
    end.peer.leave(Reason.CLOSED)
    assert end.says() == [Bye(Reason.CLOSED, (Lost(3, None, None),))]


@row("down", "anything else")
def test_nobody_leaves_who_is_not_there() -> None:
    end = End(up=False)
    end.peer.leave(Reason.CLOSED)
    end.peer.open(NOTHING, NOW)
    assert not any(isinstance(each, Bye) for each in end.says())


def test_what_is_not_known_to_be_handled_is_counted_in_the_end() -> None:
    end = End()
    end.put(Channel.SHELL, bytes(100))
    end.put(Channel.SHELL, bytes(50))
    end.put(Channel.CONTROL, bytes(20))
    end.allow()
    end.settle()
    end.hear(Status(1, 1, LIMIT))
    end.put(Channel.STDIN, bytes(3))
    assert end.peer.take_unhandled() == (Lost(0, 1, 50), Lost(1, 1, 20), Lost(2, 1, 3))


def test_a_connection_begins_with_small_frames() -> None:
    end = End()
    end.put(Channel.SHELL, bytes(400_000))
    end.allow()
    sizes = []
    while plaintext := end.peer.next_frame(NOW):
        sizes.append(len(plaintext))
    assert sizes[:6] == [FIRST_FRAME, 2 * FIRST_FRAME, 4 * FIRST_FRAME, 8 * FIRST_FRAME, FRAME_LIMIT, FRAME_LIMIT]
    assert sum(sizes) > 400_000
    end.peer.close()
    end.peer.open(NOTHING, NOW)
    end.allow()
    assert len(end.peer.next_frame(NOW)) == FIRST_FRAME


def test_progress_is_what_the_other_end_took() -> None:
    end = End().settle()
    before = end.peer.progress
    end.put(Channel.SHELL, b"a")
    assert end.peer.progress == before
    end.allow()
    end.settle()
    granted = end.peer.progress
    assert granted != before
    end.hear(Status(1, 1, LIMIT))
    assert end.peer.progress != granted


@pytest.mark.parametrize(
    ("positions", "possible"),
    [
        (NOTHING, True),
        ((Position(1, 0), Position(0, 0)), True),
        ((Position(0, 0), Position(1, 0)), False),
        ((Position(2, 0), Position(0, 0)), False),
    ],
)
def test_both_lanes_must_be_where_they_can_be(positions: tuple[Position, Position], possible: bool) -> None:
    end = End()
    end.put(Channel.CONTROL, b"a")
    end.allow()
    end.settle()
    assert end.peer.can_resume(positions) is possible


# Two of them.

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.integers(0, 1),
            st.sampled_from(list(LANE_OF)),
            st.integers(0, 3000) | st.integers(100_000, 400_000),
        ),
        st.tuples(st.just("transmit"), st.integers(0, 1)),
        st.tuples(st.just("arrive"), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.floats(0, 4)),
        st.tuples(st.just("cut")),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(steps)
def test_two_of_them_lose_nothing(steps: list[Any]) -> None:
    ends = (End(), End())
    sent: list[dict[Lane, list[bytes]]] = [{lane: [] for lane in Lane} for _ in ends]  # from each, on each lane
    got: list[dict[Lane, list[bytes]]] = [{lane: [] for lane in Lane} for _ in ends]  # at each
    wires: tuple[deque[bytes], deque[bytes]] = (deque(), deque())  # away from each
    now = NOW

    def transmit(which: int) -> None:
        has_frame = ends[which].peer.has_frame(now)
        plaintext = ends[which].peer.next_frame(now)
        assert has_frame is bool(plaintext)
        assert len(plaintext) <= FRAME_LIMIT
        if plaintext:
            wires[which].append(plaintext)

    def arrive(which: int) -> None:
        if wires[1 - which]:
            for event in ends[which].peer.receive(wires[1 - which].popleft(), now):
                channel, parts = frames(event)
                got[which][LANE_OF[channel]] += parts

    for step, *details in steps:
        match step, details:
            case "put", [which, channel, size]:
                on_lane = sent[which][LANE_OF[channel]]
                on_lane.append((b"%d " % len(on_lane)).ljust(size))
                ends[which].put(channel, on_lane[-1])
            case "transmit", [which]:
                transmit(which)
            case "arrive", [which]:
                arrive(which)
            case "wait", [seconds]:
                now += seconds
            case "cut", []:
                for wire in wires:
                    wire.clear()
                for end in ends:
                    end.peer.close()
                positions = [end.peer.positions for end in ends]
                for end, theirs in zip(ends, reversed(positions), strict=True):
                    assert end.peer.can_resume(theirs)
                    end.peer.open(theirs, now)
    while any(wires) or any(end.peer.has_frame(now) for end in ends):
        for which in (0, 1):
            transmit(which)
            arrive(which)
    now += STATUS_AFTER  # the last of the news
    for which in (0, 1):
        transmit(which)
        arrive(1 - which)
    assert got == sent[::-1]
    assert not any(lane.kept for end in ends for lane in end.peer.out)
