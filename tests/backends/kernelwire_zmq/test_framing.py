"""Frames in, frames out."""

from collections.abc import Iterator

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelwire.messages import WireMessage
from kernelwire_zmq import framing
from kernelwire_zmq.framing import DELIMITER
from kernelwire_zmq.wire import ZERO_COPY

FRAMES = [b"signature", b"header", b"parent", b"metadata", b"content"]
LIMIT = 1 << 30


class Pair:
    """Two raw sockets."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self.a = context.socket(zmq.PAIR)
        self.b = context.socket(zmq.PAIR)
        self.b.setsockopt(zmq.RCVTIMEO, 10_000)
        self.a.bind("inproc://pair")
        self.b.connect("inproc://pair")

    def over(self, *parts: bytes | memoryview, limit: int = LIMIT) -> WireMessage:
        self.a.send_multipart(parts)
        assert self.b.poll(10_000)
        return framing.receive(self.b, limit)


@pytest.fixture
def pair(context: "zmq.Context[zmq.Socket[bytes]]") -> Iterator[Pair]:
    pair = Pair(context)
    yield pair
    with pytest.raises(zmq.Again):  # whatever came, nothing of it is left
        framing.receive(pair.b, LIMIT)


@pytest.mark.parametrize("routing", [[], [b"one"], [b"one", b"two", b"three"], [b"\0abcd"]])
def test_routing_is_kept(pair: Pair, routing: list[bytes]) -> None:
    message = pair.over(*routing, DELIMITER, *FRAMES)
    assert message.frames == FRAMES
    assert framing.routed(message) == [*routing, DELIMITER, *FRAMES]


def test_one_frame_of_routing_is_the_peer(pair: Pair) -> None:
    assert pair.over(b"me", DELIMITER, *FRAMES).peer == b"me"
    assert pair.over(DELIMITER, *FRAMES).peer == b""


routings = st.lists(
    st.binary(max_size=12) | st.just(framing._SEVERAL) | st.binary(min_size=4, max_size=4).map(b"\0".__add__),
    max_size=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    routings.map(lambda routing: [frame for frame in routing if frame != DELIMITER]),
    st.lists(st.binary(max_size=30) | st.just(DELIMITER) | st.just(b"a" + DELIMITER + b"\0"), max_size=4),
)
def test_round_trip(pair: Pair, routing: list[bytes], buffers: list[bytes]) -> None:
    message = pair.over(*routing, DELIMITER, *FRAMES, *buffers)
    assert message.frames == [*FRAMES, *buffers]
    # A single empty frame is an empty topic, which is the same as none.
    assert framing.routed(message) == [*([] if routing == [b""] else routing), DELIMITER, *FRAMES, *buffers]


@given(routings, routings)
def test_peers_are_distinct(a: list[bytes], b: list[bytes]) -> None:
    if [f for f in a if f] and [f for f in b if f] and a != b:
        assert framing._to_peer(a) != framing._to_peer(b)


def test_delimiter_in_buffers(pair: Pair) -> None:
    buffers = [DELIMITER, b"\0" + DELIMITER + b"\0", b"\0" * 9, b""]
    assert pair.over(b"me", DELIMITER, *FRAMES, *buffers) == WireMessage([*FRAMES, *buffers], b"me")


@pytest.mark.parametrize(
    "parts",
    [
        [b"hello"],
        [b"a", b"b", *FRAMES],
        [b""],
        [b"r"] * 32 + [b"<ids|msg>"],
        [b"r"] * 33 + [DELIMITER, *FRAMES],
        [b"r"] * 100,
    ],
    ids=len,
)
def test_no_message(pair: Pair, parts: list[bytes]) -> None:
    assert pair.over(*parts) == WireMessage(())
    assert pair.over(b"me", DELIMITER, *FRAMES) == WireMessage(FRAMES, b"me")


def test_much_routing(pair: Pair) -> None:
    assert pair.over(*[b"r"] * 32, DELIMITER, *FRAMES).frames == FRAMES


def test_delimiter_and_nothing_else(pair: Pair) -> None:
    assert pair.over(b"me", DELIMITER) == WireMessage([], b"me")


@pytest.mark.parametrize("at", range(6))
def test_too_large(pair: Pair, at: int) -> None:
    parts = [*FRAMES, b"buffer"]
    parts[at] = b"x" * 1000
    assert pair.over(b"me", DELIMITER, *parts, limit=1000) == WireMessage(())
    exact = WireMessage([*FRAMES, b"x" * (1000 - sum(map(len, FRAMES)))], b"me")
    assert pair.over(b"me", DELIMITER, *exact.frames, limit=1000) == exact


def test_large_buffers_are_views_of_zmq_frames_and_small_ones_bytes(pair: Pair) -> None:
    large, small = b"L" * ZERO_COPY, b"s" * (ZERO_COPY - 1)
    message = pair.over(DELIMITER, *FRAMES[:4], large, large, small)
    kinds = [type(frame) for frame in message.frames]
    assert kinds == [bytes] * 5 + [memoryview, bytes]
    view = message.frames[5]
    assert isinstance(view, memoryview)
    assert view.readonly
    assert view.c_contiguous
    assert isinstance(view.obj, zmq.Frame)
    assert bytes(view) == large


def test_nothing_there(pair: Pair) -> None:
    with pytest.raises(zmq.Again):
        framing.receive(pair.b, LIMIT)
