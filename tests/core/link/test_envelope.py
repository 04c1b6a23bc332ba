"""Messages and gaps as the bytes of a lane: there and back, octet by octet, and nothing else gets through."""

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice, InvalidMessage, LinkViolation
from kernelwire.link.envelope import CHANNELS, FRAMES_LIMIT, HEAD_LIMIT, LANE_OF, Item, Payload, pack, pack_gap, unpack
from kernelwire.link.records import Lane
from kernelwire.messages import Frame, WireMessage

from .wire_examples import MESSAGES, MessageExample

ALL = [pytest.param(channel, id=str(channel)) for channel in CHANNELS]


def joined(payload: Payload) -> memoryview:
    data = b"".join(payload.pieces)
    assert len(data) == payload.size
    return memoryview(data)


def over(channel: Channel, message: WireMessage) -> WireMessage:
    item = unpack(LANE_OF[channel], joined(pack(channel, message)))
    assert item.channel is channel
    assert isinstance(item.content, WireMessage)
    return item.content


def plain(content: WireMessage | GapNotice) -> tuple[Any, ...]:
    if isinstance(content, GapNotice):
        return content.count, content.size, content.reason
    return [bytes(frame) for frame in content.frames], content.peer


def enveloped(head: Any, body: bytes = b"") -> memoryview:
    """A message with any head."""
    packed = head if isinstance(head, bytes) else msgpack.packb(head)
    return memoryview(len(packed).to_bytes(4, "big") + packed + body)


@pytest.mark.parametrize("example", MESSAGES, ids=lambda example: example.title)
def test_the_octets_of_each_example(example: MessageExample) -> None:
    channel, content = example.item.channel, example.item.content
    if isinstance(content, GapNotice):
        payload = pack_gap(channel, content.count, content.size, content.reason)
    else:
        payload = pack(channel, content)
    octets = bytes.fromhex(example.octets)
    assert joined(payload) == octets
    found = unpack(LANE_OF[channel], memoryview(octets))
    assert found.channel is channel
    assert plain(found.content) == plain(content)


def test_the_channels_and_their_lanes_are_fixed() -> None:
    assert CHANNELS == (Channel.SHELL, Channel.CONTROL, Channel.STDIN, Channel.IOPUB)
    assert {channel: LANE_OF[channel] for channel in CHANNELS} == {
        Channel.SHELL: Lane.D,
        Channel.CONTROL: Lane.C,
        Channel.STDIN: Lane.C,
        Channel.IOPUB: Lane.D,
    }


@given(st.sampled_from(CHANNELS), st.lists(st.binary(max_size=300), max_size=12), st.binary(max_size=40))
@example(Channel.SHELL, [], b"")
@example(Channel.SHELL, [b""], b"")
@example(Channel.IOPUB, [b"", b"", b""], b"")
@example(Channel.STDIN, [bytes(range(256))] * 3, b"")
def test_messages_come_back(channel: Channel, frames: list[bytes], topic: bytes) -> None:
    found = over(channel, WireMessage(frames, topic))
    assert [bytes(frame) for frame in found.frames] == frames
    assert found.peer == (topic if channel is Channel.IOPUB else b"")


@given(
    st.sampled_from(CHANNELS),
    st.none() | st.integers(0, 2**64 - 1),
    st.none() | st.integers(0, 2**64 - 1),
    st.text(max_size=40),
)
def test_gaps_come_back(channel: Channel, count: int | None, size: int | None, reason: str) -> None:
    item = unpack(LANE_OF[channel], joined(pack_gap(channel, count, size, reason)))
    assert item.channel is channel
    assert isinstance(item.content, GapNotice)
    assert plain(item.content) == (count, size, reason)


@pytest.mark.parametrize("size", [0, 1, 31, 32 * 1024 - 1, 32 * 1024, 64 * 1024 + 1, 3_000_000])
def test_frames_of_every_size_come_back(size: int) -> None:
    frames = [b"a", bytes(size), b"z"]
    assert [bytes(frame) for frame in over(Channel.SHELL, WireMessage(frames)).frames] == frames


@pytest.mark.parametrize("count", [1_000, FRAMES_LIMIT])
def test_as_many_frames_as_that_come_back(count: int) -> None:
    frames: list[Frame] = [b"%d" % number for number in range(count)]
    assert over(Channel.SHELL, WireMessage(frames)).frames == frames


def test_too_many_frames_are_an_error_at_the_sender() -> None:
    with pytest.raises(InvalidMessage, match="65537 frames"):
        pack(Channel.SHELL, WireMessage([b""] * (FRAMES_LIMIT + 1)))


def test_a_topic_that_is_too_large_is_an_error_at_the_sender() -> None:
    message = WireMessage([b"a"], bytes(HEAD_LIMIT))
    with pytest.raises(InvalidMessage, match="topic"):
        pack(Channel.IOPUB, message)
    assert over(Channel.SHELL, message).peer == b""  # what is not sent costs nothing


def test_views_go_in_and_small_frames_come_out_as_bytes() -> None:
    large = bytes(100_000)
    payload = pack(Channel.SHELL, WireMessage([memoryview(b"abc")[1:], memoryview(large)]))
    assert payload.pieces[2].obj is large  # type: ignore[union-attr] # no copy
    data = joined(payload)
    item = unpack(Lane.D, data)
    assert isinstance(item.content, WireMessage)
    small, view = item.content.frames
    assert small == b"bc"
    assert isinstance(small, bytes)
    assert isinstance(view, memoryview)
    assert view.obj is data.obj
    assert view.readonly


@pytest.mark.parametrize("channel", ALL)
def test_a_message_of_the_other_lane_is_a_violation(channel: Channel) -> None:
    for payload in (pack(channel, WireMessage([b"a"])), pack_gap(channel, 1, 1, "lost")):
        with pytest.raises(LinkViolation, match="other lane"):
            unpack(1 - LANE_OF[channel], joined(payload))


@pytest.mark.parametrize("channel", [each for each in CHANNELS if each is not Channel.IOPUB])
def test_nobody_can_say_in_a_message_who_they_are(channel: Channel) -> None:
    head = [CHANNELS.index(channel), b"somebody else", [1]]
    with pytest.raises(LinkViolation, match="peer"):
        unpack(LANE_OF[channel], enveloped(head, b"a"))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(memoryview(b""), id="nothing"),
        pytest.param(memoryview(b"\0\0\0"), id="half a length"),
        pytest.param(memoryview(b"\0\0\0\0"), id="no head"),
        pytest.param(memoryview(b"\0\0\0\2\x90"), id="a head cut short"),
        pytest.param(memoryview(b"\xff\xff\xff\xff" + bytes(9)), id="a head of 4 GiB"),
        pytest.param(enveloped([0, b"", []], b"a"), id="octets behind the last frame"),
        pytest.param(enveloped([0, b"", [5]], b"abcd"), id="a frame cut short"),
        pytest.param(enveloped([0, b"", [2**64 - 1]], b"abcd"), id="a frame of 2**64 - 1 octets"),
        pytest.param(enveloped([0, b"", [2**63, 2**63]], b"abcd"), id="frames of 2**64 octets together"),
        pytest.param(enveloped([0, b"", [5, -1]], b"abcd"), id="a frame of a negative length"),
        pytest.param(enveloped([0, b"", [True]], b"a"), id="a length that is a flag"),
        pytest.param(enveloped([0, b"", [1.0]], b"a"), id="a length that is a float"),
        pytest.param(enveloped([0, b"", [None]], b"a"), id="a length that is nil"),
        pytest.param(enveloped([0, b"", [[1]]], b"a"), id="a length that is an array"),
        pytest.param(enveloped([0, b"", 1], b"a"), id="lengths that are a number"),
        pytest.param(enveloped([0, b"", b"\1"], b"a"), id="lengths that are bytes"),
        pytest.param(enveloped([0, b"", None]), id="lengths that are nil"),
        pytest.param(enveloped([0, "", []]), id="a peer that is text"),
        pytest.param(enveloped([0, None, []]), id="a peer that is nil"),
        pytest.param(enveloped([4, b"", []]), id="channel 4"),
        pytest.param(enveloped([-1, b"", []]), id="channel -1"),
        pytest.param(enveloped([False, b"", []]), id="a channel that is a flag"),
        pytest.param(enveloped([0.0, b"", []]), id="a channel that is a float"),
        pytest.param(enveloped([None, b"", []]), id="a channel that is nil"),
        pytest.param(enveloped(["shell", b"", []]), id="a channel that is text"),
        pytest.param(enveloped([0, b""]), id="an element too few"),
        pytest.param(enveloped([0, b"", [], 0]), id="an element too many"),
        pytest.param(enveloped([]), id="an empty array"),
        pytest.param(enveloped(0), id="a number"),
        pytest.param(enveloped({}), id="an empty map"),
        pytest.param(enveloped({0: 0}), id="a map"),
        pytest.param(enveloped(b"\xc1"), id="an octet that msgpack never uses"),
        pytest.param(enveloped(b"\xd4\1\0"), id="an extension"),
        pytest.param(enveloped(b"\xd6\xff\0\0\0\0"), id="a timestamp"),
        pytest.param(enveloped(b"\x93\0\xd6\xff\0\0\0\0\x90"), id="a timestamp for a peer"),
        pytest.param(enveloped(b"\x93\0\xc4\0\x90\0"), id="octets behind the head's array"),
        pytest.param(enveloped([9, 0, 1, 1, "x"], b"a"), id="a gap with a frame"),
        pytest.param(enveloped([9, 4, 1, 1, "x"]), id="a gap on channel 4"),
        pytest.param(enveloped([9, False, 1, 1, "x"]), id="a gap on a channel that is a flag"),
        pytest.param(enveloped([9.0, 0, 1, 1, "x"]), id="a gap whose mark is a float"),
        pytest.param(enveloped([8, 0, 1, 1, "x"]), id="a gap with another mark"),
        pytest.param(enveloped([9, 0, -1, 1, "x"]), id="a gap of a negative count"),
        pytest.param(enveloped([9, 0, True, 1, "x"]), id="a gap of a count that is a flag"),
        pytest.param(enveloped([9, 0, 1, 1.5, "x"]), id="a gap of a size that is a float"),
        pytest.param(enveloped([9, 0, 1, "1", "x"]), id="a gap of a size that is text"),
        pytest.param(enveloped([9, 0, 1, 1, b"x"]), id="a gap whose reason is bytes"),
        pytest.param(enveloped([9, 0, 1, 1, None]), id="a gap without a reason"),
        pytest.param(enveloped([9, 0, 1, 1]), id="a gap of 4 elements"),
        pytest.param(enveloped(b"\x95\t\0\1\1\xa1\xff"), id="a gap whose reason is not UTF-8"),
    ],
)
def test_what_is_no_message_is_a_violation(data: memoryview) -> None:
    with pytest.raises(LinkViolation):
        unpack(Lane.D, data)


def test_a_head_over_its_limit_is_a_violation() -> None:
    with pytest.raises(LinkViolation, match="too large"):
        unpack(Lane.D, enveloped(b"\x93\3" + msgpack.packb(bytes(HEAD_LIMIT)) + b"\x90"))


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"\xdd\xff\xff\xff\xff", id="an array of 4 billion"),
        pytest.param(b"\x93\0\xc4\0\xdd\xff\xff\xff\xff", id="4 billion frames"),
        pytest.param(b"\x93\0\xc4\0\xdd\0\1\0\1" + bytes(65_537), id="65,537 frames"),
        pytest.param(b"\x93\0\xc6\xff\xff\xff\xff", id="a peer of 4 GiB"),
        pytest.param(b"\x95\t\0\0\0\xdb\xff\xff\xff\xff", id="a reason of 4 GiB"),
        pytest.param(b"\xdd\0\1\0\0" * 1000 + bytes(70_000), id="1,000 arrays of 65,536 in each other"),
        pytest.param(b"\x93\0\xc4\0" + b"\xdd\0\1\0\0" * 1000 + bytes(70_000), id="the same for the lengths"),
        pytest.param(b"\x93" * 100_000, id="100,000 arrays in each other"),
        pytest.param(b"\x91\x81" * 50_000, id="maps in arrays"),
    ],
)
def test_a_bomb_takes_no_memory(head: bytes) -> None:
    data = enveloped(head)
    tracemalloc.start()
    try:
        with pytest.raises(LinkViolation):
            unpack(Lane.D, data)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data) + 1_000_000
    finally:
        tracemalloc.stop()


def survives(lane: int, data: bytes) -> Item | None:
    """Any error but a LinkViolation is the test's failure."""
    try:
        return unpack(lane, memoryview(data))
    except LinkViolation:
        return None


@given(st.integers(0, 1), st.binary(max_size=100))
def test_random_bytes_do_no_harm(lane: int, data: bytes) -> None:
    survives(lane, data)


@given(st.integers(0, 1), st.binary(max_size=60), st.binary(max_size=20))
def test_random_heads_do_no_harm(lane: int, head: bytes, body: bytes) -> None:
    survives(lane, bytes(enveloped(head, body)))


scalars = (
    st.none() | st.booleans() | st.integers(-3, 2**64 - 1) | st.floats() | st.binary(max_size=4) | st.text(max_size=4)
)
heads = st.lists(scalars | st.lists(scalars, max_size=3) | st.integers(0, 9), max_size=6)


@given(st.integers(0, 1), heads, st.binary(max_size=12))
def test_a_head_of_any_values_says_what_it_says_or_nothing(lane: int, head: list[Any], body: bytes) -> None:
    data = bytes(enveloped(head, body))
    item = survives(lane, data)
    if item is None:
        return
    if isinstance(item.content, GapNotice):
        assert head == [9, CHANNELS.index(item.channel), *plain(item.content)]
    else:
        assert head == [CHANNELS.index(item.channel), item.content.peer, [len(each) for each in item.content.frames]]
        assert b"".join(item.content.frames) == body


@given(st.sampled_from(MESSAGES), st.data())
def test_a_changed_octet_does_no_harm(example: MessageExample, data: st.DataObject) -> None:
    octets = bytearray.fromhex(example.octets)
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    survives(LANE_OF[example.item.channel], bytes(octets))


@pytest.mark.parametrize("example", MESSAGES, ids=lambda example: example.title)
def test_a_message_cut_short_is_a_violation(example: MessageExample) -> None:
    octets = bytes.fromhex(example.octets)
    for cut in range(len(octets)):
        with pytest.raises(LinkViolation):
            unpack(LANE_OF[example.item.channel], memoryview(octets[:cut]))
