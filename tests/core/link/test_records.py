"""Records: the octets of each kind, there and back; and that nothing else gets through, nor costs anything."""

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.errors import LinkViolation
from kernelwire.link.noise import MAX_MESSAGE
from kernelwire.link.records import (
    CONTROLS,
    DATA_HEADER,
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
from kernelwire.link.seal import TAG_SIZE

from .wire_examples import RECORDS, SECRET, RecordExample

numbers = st.integers(0, 2**64 - 1)
positions = st.builds(Position, numbers, numbers)
lanes = st.tuples(positions, positions)
identities = st.binary(min_size=1, max_size=64).filter(lambda each: each[0] != 0)
losses = st.builds(Lost, st.integers(0, 3), st.none() | numbers, st.none() | numbers)
controls = st.one_of(
    st.builds(Hello, identities, st.binary(min_size=32, max_size=32), numbers, lanes, st.none() | numbers, numbers),
    st.builds(Welcome, st.integers(1, 2**64 - 1), st.booleans(), lanes, numbers),
    st.builds(Status, st.integers(0, 1), numbers, numbers),
    *(st.builds(kind, numbers) for kind in (Ping, Pong, Beat, Beaten)),
    st.builds(Bye, numbers, st.lists(losses, max_size=4).map(tuple)),
    st.builds(Ready),
)
chunks = st.builds(
    Data, st.integers(0, 1), numbers, st.booleans(), st.one_of(st.binary(), st.just(bytes(60_000))).map(memoryview)
)


def encoded(record: Control | Data) -> bytes:
    if isinstance(record, Control):
        return record.encode()
    return data_header(record.lane, record.seq, len(record.chunk), final=record.final) + record.chunk


def control(*values: Any) -> bytes:
    """A control record of any values."""
    body: bytes = msgpack.packb(values)
    return raw_control(body)


def raw_control(body: bytes) -> bytes:
    return b"\2" + len(body).to_bytes(3, "big") + body


def survives(plaintext: bytes) -> list[Control | Data]:
    """The records before the first bad one. Any error but a LinkViolation is the test's failure."""
    found = []
    try:
        for record in decode(plaintext):
            found.append(record)
    except LinkViolation:
        pass
    return found


@pytest.mark.parametrize("example", RECORDS, ids=lambda example: example.title)
def test_the_octets_of_each_record(example: RecordExample) -> None:
    octets = bytes.fromhex(example.octets)
    assert encoded(example.record) == octets
    assert list(decode(octets)) == [example.record]


def test_there_is_an_example_of_every_record() -> None:
    assert {type(example.record) for example in RECORDS} == {*CONTROLS, Data}


def test_the_kinds_and_reasons_are_fixed() -> None:
    kinds: dict[int, type[Control]] = {
        1: Hello,
        2: Welcome,
        3: Status,
        4: Ping,
        5: Pong,
        6: Beat,
        7: Beaten,
        8: Bye,
        9: Ready,
    }
    assert {kind.__struct_config__.tag: kind for kind in CONTROLS} == kinds
    assert set(CONTROLS) == set(Control.__subclasses__())
    assert [(each.name, each.value) for each in Reason] == [
        ("CLOSED", 0),
        ("CONFLICT", 1),
        ("FULL", 2),
        ("VIOLATION", 3),
        ("OVERFLOW", 4),
    ]
    assert (Lane.C, Lane.D) == (0, 1)


def test_a_full_frame_is_one_that_noise_allows() -> None:
    assert FRAME_LIMIT + TAG_SIZE == MAX_MESSAGE
    assert len(data_header(0, 1, 0, final=True)) == DATA_HEADER


@given(st.lists(controls | chunks, max_size=8))
def test_records_come_back(sent: list[Control | Data]) -> None:
    assert list(decode(b"".join(map(encoded, sent)))) == sent


def test_no_record_is_a_frame_of_none() -> None:
    assert list(decode(b"")) == []


def test_a_chunk_is_no_copy() -> None:
    plaintext = data_header(1, 1, 5, final=True) + b"hello"
    (data,) = decode(plaintext)
    assert isinstance(data, Data)
    assert data.chunk.obj is plaintext
    assert data.chunk.readonly


# What is not a record.


@given(st.binary(max_size=200))
def test_random_bytes_do_no_harm(plaintext: bytes) -> None:
    survives(plaintext)


@given(st.binary(max_size=60))
def test_random_control_bodies_do_no_harm(body: bytes) -> None:
    survives(raw_control(body))


values = st.recursive(
    st.none() | st.booleans() | numbers | st.integers(-(2**63), -1) | st.floats() | st.binary() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)


@given(st.integers(0, 12) | values, st.lists(values, max_size=6))
def test_a_control_record_of_wrong_values_is_none(kind: Any, fields: list[Any]) -> None:
    for record in survives(control(kind, *fields)):  # if it is one after all, it says what was said
        assert record.encode() == control(kind, *fields)  # type: ignore[union-attr]


@given(st.lists(controls | chunks, min_size=1, max_size=3), st.data())
def test_a_changed_octet_does_no_harm(sent: list[Control | Data], data: st.DataObject) -> None:
    plaintext = bytearray(b"".join(map(encoded, sent)))
    at = data.draw(st.integers(0, len(plaintext) - 1))
    plaintext[at] = data.draw(st.integers(0, 255))
    survives(bytes(plaintext))


@given(st.lists(controls | chunks, min_size=1, max_size=4), st.data())
def test_what_comes_before_the_cut_is_there_and_the_cut_is_noticed(
    sent: list[Control | Data], data: st.DataObject
) -> None:
    *before, last = sent
    whole = b"".join(map(encoded, before))
    cut = data.draw(st.integers(1, len(encoded(last)) - 1))
    plaintext = whole + encoded(last)[:cut]
    assert survives(plaintext) == before
    with pytest.raises(LinkViolation):
        list(decode(plaintext))


GOOD_LANES = ((0, 0), (0, 0))


@pytest.mark.parametrize(
    "plaintext",
    [
        pytest.param(b"\0", id="one octet"),
        pytest.param(b"\1\0\0", id="half a head"),
        pytest.param(b"\0\0\0\0", id="type 0"),
        pytest.param(b"\3\0\0\0", id="type 3"),
        pytest.param(b"\1\0\0\0", id="data of no length"),
        pytest.param(b"\1\0\0\10" + bytes(8), id="data without all of its seq"),
        pytest.param(b"\1\xff\xff\xff" + bytes(9), id="data longer than the frame"),
        pytest.param(b"\1\0\0\11" + b"\4" + bytes(8), id="data with a flag that there is not"),
        pytest.param(b"\1\0\0\11" + b"\x81" + bytes(8), id="data with the highest flag"),
        pytest.param(raw_control(b""), id="nothing"),
        pytest.param(raw_control(b"\x90"), id="an empty array"),
        pytest.param(raw_control(b"\x92\4"), id="an array cut short"),
        pytest.param(raw_control(b"\x92\4\0\0"), id="something behind the array"),
        pytest.param(raw_control(b"\4"), id="a number"),
        pytest.param(raw_control(b"\x80"), id="an empty map"),
        pytest.param(raw_control(b"\x82\0\4\1\0"), id="a map"),
        pytest.param(raw_control(b"\xc1"), id="an octet that msgpack never uses"),
        pytest.param(raw_control(b"\xd4\1\0"), id="an extension"),
        pytest.param(raw_control(b"\xc7\0\xff"), id="a timestamp of no length"),
        pytest.param(raw_control(b"\xd6\xff\0\0\0\0"), id="a timestamp"),
        pytest.param(raw_control(b"\x92\4\xd4\1\0"), id="an extension as a field"),
        pytest.param(raw_control(b"\x92\4\xa1\xff"), id="text that is not UTF-8"),
        pytest.param(control(0, 0), id="kind 0"),
        pytest.param(control(10, 0), id="kind 10"),
        pytest.param(control(-1, 0), id="a negative kind"),
        pytest.param(control(True, 0), id="a kind that is a flag"),
        pytest.param(control(4.0, 0), id="a kind that is a float"),
        pytest.param(control(b"ping", 0), id="a kind that is bytes"),
        pytest.param(control([4], 0), id="a kind that is an array"),
        pytest.param(control(4), id="a field too few"),
        pytest.param(control(4, 0, 0), id="a field too many"),
        pytest.param(control(9, 0), id="ready with a field"),
        pytest.param(control(8, 0), id="a goodbye that does not say what is lost"),
        pytest.param(control(8, 0, [(0, 1, 1)] * 5), id="a goodbye that loses more than there are channels"),
        pytest.param(control(8, 0, [(4, 1, 1)]), id="a goodbye that loses something of channel 4"),
        pytest.param(control(8, 0, [(0, 1)]), id="a loss of no size"),
        pytest.param(control(8, 0, [(0, -1, 1)]), id="a loss of less than nothing"),
        pytest.param(control(4, -1), id="a negative number"),
        pytest.param(control(4, True), id="a number that is a flag"),
        pytest.param(control(4, 1.0), id="a number that is a float"),
        pytest.param(control(4, None), id="a number that is nil"),
        pytest.param(control(4, b"1"), id="a number that is bytes"),
        pytest.param(control(4, "1"), id="a number that is text"),
        pytest.param(control(3, 2, 0, 0), id="lane 2"),
        pytest.param(control(3, -1, 0, 0), id="lane -1"),
        pytest.param(control(3, False, 0, 0), id="a lane that is a flag"),
        pytest.param(control(2, 0, False, GOOD_LANES, 0), id="epoch 0 in a welcome"),
        pytest.param(control(2, 1, 0, GOOD_LANES, 0), id="resumed that is a number"),
        pytest.param(control(2, 1, None, GOOD_LANES, 0), id="resumed that is nil"),
        pytest.param(control(2, 1, True, ((0, 0),), 0), id="one lane"),
        pytest.param(control(2, 1, True, (*GOOD_LANES, (0, 0)), 0), id="three lanes"),
        pytest.param(control(2, 1, True, ((0, 0), (0,)), 0), id="a position without an offset"),
        pytest.param(control(2, 1, True, ((0, 0), (0, True)), 0), id="an offset that is a flag"),
        pytest.param(control(2, 1, True, ((0, 0), (-1, 0)), 0), id="a negative position"),
        pytest.param(control(2, 1, True, (0, 0), 0), id="lanes that are numbers"),
        pytest.param(control(2, 1, True, GOOD_LANES, None), id="no cursor in a welcome"),
        pytest.param(control(1, b"", SECRET, 0, GOOD_LANES, None, 1), id="no identity"),
        pytest.param(control(1, b"\0a", SECRET, 0, GOOD_LANES, None, 1), id="an identity that begins with 0"),
        pytest.param(control(1, b"a" * 65, SECRET, 0, GOOD_LANES, None, 1), id="an identity that is too long"),
        pytest.param(control(1, "laptop", SECRET, 0, GOOD_LANES, None, 1), id="an identity that is text"),
        pytest.param(control(1, b"a", SECRET[1:], 0, GOOD_LANES, None, 1), id="a secret that is too short"),
        pytest.param(control(1, b"a", SECRET + b"a", 0, GOOD_LANES, None, 1), id="a secret that is too long"),
        pytest.param(control(1, b"a", None, 0, GOOD_LANES, None, 1), id="no secret"),
        pytest.param(control(1, b"a", SECRET, 0, GOOD_LANES, -1, 1), id="a negative cursor"),
        pytest.param(control(1, b"a", SECRET, 0, GOOD_LANES, False, 1), id="a cursor that is a flag"),
        pytest.param(control(1, b"a", SECRET, 0, GOOD_LANES, None, None), id="no attempt"),
        pytest.param(control(1, b"a", SECRET, 0, GOOD_LANES, None), id="a hello without an attempt"),
    ],
)
def test_what_is_no_record_is_a_violation(plaintext: bytes) -> None:
    with pytest.raises(LinkViolation):
        list(decode(plaintext))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xdd\xff\xff\xff\xff", id="an array of 4 billion"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="a map of 4 billion"),
        pytest.param(b"\x93\x08\0\xdd\xff\xff\xff\xff", id="4 billion losses"),
        pytest.param(b"\x95\2\1\xc2\xdd\xff\xff\xff\xff", id="4 billion lanes"),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="4 GiB of bytes"),
        pytest.param(b"\xdb\xff\xff\xff\xff", id="4 GiB of text"),
        pytest.param(b"\xc9\xff\xff\xff\xff\1", id="an extension of 4 GiB"),
        pytest.param(b"\x91" * 60_000, id="60,000 arrays in each other"),
        pytest.param(b"\xdc\xea\x60" * 1000 + bytes(60_000), id="1,000 arrays of 60,000 in each other"),
        pytest.param(b"\xdc\0\x10" * 1000 + bytes(60_000), id="1,000 arrays of 16 in each other"),
        pytest.param(b"\x91\x81" * 30_000, id="30,000 maps in arrays"),
    ],
)
def test_a_bomb_takes_no_memory(body: bytes) -> None:
    plaintext = raw_control(body)
    tracemalloc.start()
    try:
        with pytest.raises(LinkViolation):
            list(decode(plaintext))
        assert tracemalloc.get_traced_memory()[1] < 4 * len(plaintext) + 1_000_000
    finally:
        tracemalloc.stop()
