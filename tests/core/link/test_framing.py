"""Frames in a stream: whatever pieces it comes in, the frames are the same; and what is no such stream is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.errors import LinkViolation
from kernelwire.link.framing import MAGIC, PREAMBLE, VERSION, Deframer, WrongVersion, frame, head

LIMIT = 1000


def greeted() -> Deframer:
    deframer = Deframer(LIMIT)
    assert deframer.feed(PREAMBLE) == []
    return deframer


def test_a_frame_is_its_length_and_its_bytes() -> None:
    assert frame(b"abc") == b"\0\0\0\x03abc"
    assert frame(b"") == b"\0\0\0\0"
    assert head(b"abc") + b"abc" == frame(b"abc")
    assert b"kernelwire link\0" + bytes([VERSION]) == PREAMBLE


def pieces_of(frames: list[bytes], data: st.DataObject) -> list[bytes]:
    """A stream of frames, cut anywhere."""
    stream = PREAMBLE + b"".join(map(frame, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(st.lists(st.binary(max_size=LIMIT), max_size=8), st.data())
def test_the_pieces_do_not_matter(frames: list[bytes], data: st.DataObject) -> None:
    deframer = Deframer(LIMIT)
    found: list[memoryview] = []
    for piece in pieces_of(frames, data):
        found += deframer.feed(piece)
    assert found == frames


KINDS = st.sampled_from((bytes, memoryview, bytearray, lambda data: memoryview(bytearray(data))))


@given(st.lists(st.binary(max_size=LIMIT), max_size=8), st.data())
def test_nor_does_what_the_pieces_are(frames: list[bytes], data: st.DataObject) -> None:
    deframer = Deframer(LIMIT)
    found: list[memoryview] = []
    for octets in pieces_of(frames, data):
        piece = data.draw(KINDS)(octets)
        found += deframer.feed(piece)
        under = piece.obj if isinstance(piece, memoryview) else piece
        if isinstance(under, bytearray):  # whose owner takes it for the next
            under[:] = bytes(len(under))
    assert found == frames


def test_a_frame_in_a_view_of_what_nobody_alters_is_no_copy() -> None:
    event = b"some head" + frame(b"one") + frame(b"another")
    found = greeted().feed(memoryview(event)[9:])
    assert found == [b"one", b"another"]
    assert all(each.obj is event for each in found)


def test_one_byte_at_a_time() -> None:
    frames = [b"", b"a", bytes(LIMIT), b"last"]
    deframer = Deframer(LIMIT)
    stream = PREAMBLE + b"".join(map(frame, frames))
    assert [each for octet in stream for each in deframer.feed(bytes([octet]))] == frames


def test_what_is_given_out_stays_as_it_is() -> None:
    deframer = greeted()
    (first,) = deframer.feed(frame(b"first") + b"\0")
    (second,) = deframer.feed(b"\0\0\x06second")
    assert (bytes(first), bytes(second)) == (b"first", b"second")


def test_a_frame_may_be_as_large_as_the_limit_and_no_larger() -> None:
    deframer = greeted()
    assert deframer.feed(frame(bytes(LIMIT))) == [bytes(LIMIT)]
    with pytest.raises(LinkViolation, match="too large"):
        deframer.feed(frame(bytes(LIMIT + 1)))


def test_a_frame_that_will_be_too_large_is_refused_before_it_is_here() -> None:
    with pytest.raises(LinkViolation, match="too large"):
        greeted().feed(b"\xff\xff\xff\xff")
    with pytest.raises(LinkViolation, match="too large"):
        greeted().feed(frame(b"good") + b"\xff\xff\xff\xff")


def test_the_limit_can_be_raised() -> None:
    deframer = greeted()
    assert deframer.feed(frame(b"small") + frame(bytes(900))[:-1]) == [b"small"]
    deframer.limit = 2 * LIMIT
    assert deframer.feed(b"\0" + frame(bytes(2 * LIMIT))) == [bytes(900), bytes(2 * LIMIT)]


@pytest.mark.parametrize("stream", [b"GET / HTTP/1.1\r\n\r\n", b"k", b"kernelwire lin", MAGIC])
def test_who_speaks_something_else_is_found_out_with_the_first_wrong_byte(stream: bytes) -> None:
    deframer = Deframer(LIMIT)
    for at, octet in enumerate(stream):
        if octet != PREAMBLE[at]:
            with pytest.raises(LinkViolation, match="does not speak"):
                deframer.feed(bytes([octet]))
            return
        assert deframer.feed(bytes([octet])) == []
    with pytest.raises(LinkViolation):
        deframer.feed(b"?")


@pytest.mark.parametrize("version", [0, VERSION + 1, 255])
def test_another_version_is_named(version: int) -> None:
    deframer = Deframer(LIMIT)
    with pytest.raises(WrongVersion, match=f"version {version} .* this one {VERSION}") as caught:
        deframer.feed(MAGIC + bytes([version]) + b"whatever that version says")
    assert caught.value.version == version
    assert isinstance(caught.value, LinkViolation)


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_random_bytes_are_a_violation_at_the_most(one: bytes, two: bytes) -> None:
    for deframer in (Deframer(LIMIT), greeted()):
        try:
            frames = deframer.feed(one) + deframer.feed(two)
        except LinkViolation:
            continue
        assert sum(map(len, frames)) <= len(one + two)
