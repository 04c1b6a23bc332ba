"""Cutting and putting together: any payload, cut in any way, comes back."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.errors import LinkViolation
from kernelwire.link import chunk as module
from kernelwire.link.chunk import Assembly, cut
from kernelwire.link.envelope import Payload

pieces = st.lists(st.binary(max_size=40), min_size=1, max_size=6)


def payload_of(pieces: list[bytes]) -> Payload:
    return Payload(pieces, sum(map(len, pieces)))


def assembled(assembly: Assembly, chunks: list[bytes]) -> bytes:
    """The message that is whole with the last of `chunks`, and not before."""
    *before, last = chunks
    for chunk in before:
        assert assembly.add(memoryview(chunk), final=False) is None
    message = assembly.add(memoryview(last), final=True)
    assert message is not None
    assert message.readonly
    assert assembly.size == 0
    return bytes(message)


@given(pieces, st.data())
def test_a_payload_cut_anywhere_comes_back(pieces: list[bytes], data: st.DataObject) -> None:
    payload = payload_of(pieces)
    whole = b"".join(pieces)
    marks = sorted(data.draw(st.lists(st.integers(0, payload.size), max_size=6)))
    edges = [0, *marks, payload.size]
    chunks = [b"".join(cut(payload, start, end - start)) for start, end in pairwise(edges)]
    assert [len(chunk) for chunk in chunks] == [end - start for start, end in pairwise(edges)]
    assert assembled(Assembly(payload.size), chunks) == whole


@given(pieces, st.data())
def test_a_cut_is_the_bytes_from_there_on(pieces: list[bytes], data: st.DataObject) -> None:
    payload = payload_of(pieces)
    offset = data.draw(st.integers(0, payload.size))
    size = data.draw(st.integers(0, payload.size - offset))
    assert b"".join(cut(payload, offset, size)) == b"".join(pieces)[offset : offset + size]


def test_a_cut_is_no_copy() -> None:
    large = bytes(1000)
    payload = payload_of([b"head", large])
    assert cut(payload, 0, payload.size) == [b"head", large]
    assert cut(payload, 0, payload.size)[1] is large
    for offset in (0, 3, 4, 500):
        view = cut(payload, offset, 400)[-1]
        assert isinstance(view, memoryview)
        assert view.obj is large


def test_a_message_in_one_chunk_is_no_copy() -> None:
    chunk = memoryview(b"whole")
    assert Assembly(10).add(chunk, final=True) is chunk


def test_one_message_follows_the_other() -> None:
    assembly = Assembly(10)
    for message in (b"first", b"", b"x", b"another"):
        assert assembled(assembly, [message]) == message
        assert assembled(assembly, [b"", message[:1], message[1:], b""]) == message


def test_what_was_handed_on_stays_as_it_is() -> None:
    assembly = Assembly(10)
    assembly.add(memoryview(b"a"), final=False)
    first = assembly.add(memoryview(b"b"), final=True)
    assert assembled(assembly, [b"c", b"d"]) == b"cd"
    assert first is not None
    assert bytes(first) == b"ab"


def test_a_partial_message_stays_until_it_is_forgotten() -> None:
    assembly = Assembly(10)
    assembly.add(memoryview(b"abc"), final=False)
    assert assembly.size == 3
    assembly.clear()
    assert assembly.size == 0
    assert assembled(assembly, [b"new"]) == b"new"


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("before", [b"", b"abcd"])
def test_a_message_over_the_limit_is_a_violation(before: bytes, final: bool) -> None:
    assembly = Assembly(5)
    assembly.add(memoryview(before), final=False)
    with pytest.raises(LinkViolation, match="too large"):
        assembly.add(memoryview(bytes(6 - len(before))), final=final)


def test_what_was_refused_does_not_count() -> None:
    assembly = Assembly(5)
    assembly.add(memoryview(b"abcd"), final=False)
    with pytest.raises(LinkViolation):
        assembly.add(memoryview(b"ef"), final=False)
    assert assembly.size == 4  # what a position says must be here
    assert assembled(assembly, [b"e"]) == b"abcde"


def test_a_message_as_large_as_the_limit_is_fine() -> None:
    assert assembled(Assembly(5), [b"abcd", b"e"]) == b"abcde"


# How much is kept as it came

LOOSE = module._LOOSE


@pytest.mark.parametrize("size", [LOOSE - 1, LOOSE, LOOSE + 1, 2 * LOOSE - 1, 2 * LOOSE, 2 * LOOSE + 70_000])
@pytest.mark.parametrize("step", [60_000, LOOSE])
def test_messages_of_any_size_come_back(size: int, step: int) -> None:
    whole = bytes(range(251)) * (size // 251 + 1)
    chunks = [whole[at : min(at + step, size)] for at in range(0, size, step)]
    assembly = Assembly(size)
    for _ in range(2):
        assert assembled(assembly, chunks) == whole[:size]


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=20), st.integers(1, 40), st.integers(1, 6))
def test_where_the_bounds_are_does_not_matter(chunks: list[bytes], loose: int, pieces: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LOOSE", loose)
        patch.setattr(module, "_LOOSE_PIECES", pieces)
        assembly = Assembly(1000)
        for _ in range(2):
            assert assembled(assembly, chunks) == b"".join(chunks)


def test_small_pieces_do_not_keep_the_large_frames_in_which_they_came() -> None:
    assembly = Assembly(10_000)
    for _ in range(5_000):
        assembly.add(memoryview(bytes(100))[:1], final=False)
        assert len(assembly._pieces) < module._LOOSE_PIECES
    assert assembly.size == 5_000
    assert assembled(assembly, [b"x"]) == bytes(5_000) + b"x"


def test_empty_pieces_cost_nothing() -> None:
    assembly = Assembly(10)
    for _ in range(1_000):
        assembly.add(memoryview(b""), final=False)
    assert not assembly._pieces
    assert assembled(assembly, [b"", b"x"]) == b"x"
