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


# Without asking whether more frames follow

JSON = st.binary(max_size=20).map(lambda rest: b"{" + rest)
ODD = st.binary(max_size=5).filter(lambda frame: DELIMITER not in frame and not frame.startswith(b"{"))
BUFFERS = st.lists(st.binary(max_size=20), max_size=3)
GENUINE = st.tuples(ODD, st.lists(JSON, min_size=4, max_size=4), BUFFERS).map(lambda m: [m[0], *m[1], *m[2]])
JUNK = st.lists(ODD, max_size=4) | st.lists(ODD, max_size=4).map(lambda rest: [DELIMITER, *rest])


class Stream:
    """Many messages on the way at once, taken off without asking."""

    def __init__(self, pair: Pair, topics: bool) -> None:
        self._pair = pair
        self._topics = topics

    def over(self, *messages: list[bytes]) -> list[WireMessage]:
        for parts in messages:
            self._pair.a.send_multipart(parts)
        taken: list[WireMessage] = []
        while self._pair.b.poll(0):
            taken += framing.receive_plain(self._pair.b, LIMIT, topics=self._topics)
        return taken


@pytest.fixture(params=[False, True], ids=["no topics", "topics"])
def stream(request: pytest.FixtureRequest, pair: Pair) -> Stream:
    return Stream(pair, request.param)


def whole(topics: bool, frames: list[bytes]) -> list[bytes]:
    return [*([b"topic"] if topics else []), DELIMITER, *frames]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(GENUINE, min_size=1, max_size=5))
def test_plain_messages(stream: Stream, messages: list[list[bytes]]) -> None:
    peer = b"topic" if stream._topics else b""
    expected = [WireMessage(frames, peer) for frames in messages]
    assert stream.over(*(whole(stream._topics, frames) for frames in messages)) == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(JUNK, GENUINE), min_size=1, max_size=4), JUNK)
def test_plain_messages_survive_what_is_none(
    stream: Stream, pairs: list[tuple[list[bytes], list[bytes]]], last: list[bytes]
) -> None:
    sent = [parts for junk, frames in pairs for parts in (junk or [b""], whole(stream._topics, frames))]
    taken = stream.over(*sent, last or [b""])
    genuine = iter(taken)
    for _, frames in pairs:
        assert any(list(each.frames) == frames for each in genuine)


@pytest.mark.parametrize("topics", [False, True])
def test_half_a_message_is_counted_and_the_next_one_comes(pair: Pair, topics: bool) -> None:
    frames = [b"signature", b"{1}", b"{2}", b"{3}", b"{4}", b"buffer"]
    for count in range(5):
        half = whole(topics, frames)[: count + 1 + topics]
        taken = Stream(pair, topics).over(half, whole(topics, frames))
        assert taken == [WireMessage(()), WireMessage(frames, b"topic" if topics else b"")]


def test_json_that_begins_with_a_space(stream: Stream) -> None:
    for buffers in ([], [b"buffer"], [DELIMITER, b"more"]):
        frames = [b"signature", b" {}", b"\n{}", b"{}", b" {}", *buffers]
        peer = b"topic" if stream._topics else b""
        assert stream.over(*[whole(stream._topics, frames)] * 3) == [WireMessage(frames, peer)] * 3


def test_no_topic_and_many(pair: Pair) -> None:
    frames = [b"signature", b"{}", b"{}", b"{}", b"{}"]
    stream = Stream(pair, topics=True)
    assert stream.over([DELIMITER, *frames], [DELIMITER, *frames]) == [WireMessage(frames)] * 2
    (message,) = stream.over([b"one", b"two", DELIMITER, *frames])
    assert framing.routed(message) == [b"one", b"two", DELIMITER, *frames]


@pytest.mark.parametrize("at", range(6))
def test_plain_but_too_large(pair: Pair, at: int) -> None:
    parts = [b"signature", b"{}", b"{}", b"{}", b"{}", b"buffer"]
    parts[at] += b"x" * 1000
    pair.a.send_multipart([DELIMITER, *parts])
    assert pair.b.poll(10_000)
    assert framing.receive_plain(pair.b, 1000, topics=False) == (WireMessage(()),)


def test_plain_large_buffers_are_views(pair: Pair) -> None:
    large = b"L" * ZERO_COPY
    pair.a.send_multipart([DELIMITER, b"signature", *[b"{" + large] * 4, large, b"small"])
    assert pair.b.poll(10_000)
    (message,) = framing.receive_plain(pair.b, LIMIT, topics=False)
    assert [type(frame) for frame in message.frames] == [bytes] * 5 + [memoryview, bytes]
