"""What goes into a frame, and in which order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kernelwire.link.envelope import Payload
from kernelwire.link.queue import Queue
from kernelwire.link.records import FRAME_LIMIT, Control, Data, Lane, Ping, Status, decode
from kernelwire.link.resume import OutLane
from kernelwire.link.schedule import fill
from kernelwire.link.throttle import OWN


class Out:
    """Both lanes, with credit."""

    def __init__(self, granted: int = 2**30) -> None:
        self.queues = (Queue(), Queue())
        self.lanes = (OutLane(Lane.C, self.queues[0]), OutLane(Lane.D, self.queues[1]))
        for lane in self.lanes:
            lane.begin()
            lane.on_status(Status(int(lane.number), 0, granted), 0.0)

    def put(self, lane: Lane, *sizes: int) -> None:
        for size in sizes:
            self.queues[lane].put(Payload((bytes(size),), size))

    def frame(self, *controls: Control) -> list[tuple[int, int, int, bool] | Control]:
        """What is in the next one: controls, and the lane, seq, size and end of each chunk."""
        plaintext = fill(controls, self.lanes)
        assert len(plaintext) <= FRAME_LIMIT
        return [
            (each.lane, each.seq, len(each.chunk), each.final) if isinstance(each, Data) else each
            for each in decode(plaintext)
        ]


C, D = Lane.C, Lane.D


def test_controls_come_first_then_lane_c_then_lane_d() -> None:
    out = Out()
    out.put(D, 5, 6)
    out.put(C, 7)
    assert out.frame(Ping(1), Ping(2)) == [Ping(1), Ping(2), (C, 1, 7, True), (D, 1, 5, True), (D, 2, 6, True)]
    assert out.frame() == []


def test_nothing_is_a_frame_of_none() -> None:
    assert fill([], Out().lanes) == b""


def test_a_large_message_fills_frames_to_the_last_octet() -> None:
    out = Out()
    out.put(D, 150_000)
    assert len(fill([], out.lanes)) == FRAME_LIMIT
    assert len(fill([], out.lanes)) == FRAME_LIMIT
    assert out.frame() == [(D, 1, 150_000 - 2 * (FRAME_LIMIT - 13), True)]


def test_what_came_on_lane_c_goes_before_the_next_piece_on_lane_d() -> None:
    out = Out()
    out.put(D, 150_000)
    assert len(out.frame()) == 1
    out.put(C, 9)
    second = out.frame()
    assert second[0] == (C, 1, 9, True)
    assert second[1] == (D, 1, FRAME_LIMIT - 13 - 9 - 13, False)


def test_a_large_message_is_not_begun_in_the_last_corner_of_a_frame() -> None:
    out = Out()
    out.put(C, FRAME_LIMIT - 1000)
    out.put(D, 5000)
    assert out.frame() == [(C, 1, FRAME_LIMIT - 1000, True)]
    assert out.frame() == [(D, 1, 5000, True)]


def test_a_lane_without_credit_leaves_its_place_to_the_other() -> None:
    out = Out(granted=10)
    out.put(C, 100)
    out.put(D, 10)
    assert out.frame() == [(C, 1, 10, False), (D, 1, 10, True)]


sizes = st.lists(st.integers(1, 200) | st.integers(60_000, OWN // 6), max_size=6)


@settings(max_examples=60)
@given(sizes, sizes, st.integers(0, 40))
def test_everything_goes_in_frames_of_the_right_size(on_c: list[int], on_d: list[int], pings: int) -> None:
    out = Out()
    out.put(C, *on_c)
    out.put(D, *on_d)
    controls = [Ping(number) for number in range(pings)]
    frames = [out.frame(*controls)]
    while any(lane.has_more for lane in out.lanes):
        frames.append(out.frame())
        assert frames[-1]  # while there is something, it goes
    records = [record for frame in frames for record in frame]
    assert records[:pings] == controls
    for lane, sent in ((C, on_c), (D, on_d)):
        got = [0] * len(sent)
        for record in records[pings:]:
            assert isinstance(record, tuple)
            if record[0] == lane:
                got[record[1] - 1] += record[2]
        assert got == sent
    lanes = [record[0] for record in records[pings:] if isinstance(record, tuple)]
    assert lanes == sorted(lanes)  # nothing more came on C
