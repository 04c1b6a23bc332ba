"""Events on the wire: what python-socketio itself would write, and nothing else is taken for one."""

import msgpack
import pytest
import socketio.msgpack_packet
from hypothesis import given
from hypothesis import strategies as st

from kernelwire_socketio import events

NAMES = st.sampled_from([events.DATA, events.OPEN, events.CLOSE, events.PROBE, events.RESTART])
SIZES = st.sampled_from([0, 1, 251, 252, 255, 256, 65531, 65532, 65535, 65536, 70_000])


def packed(packet: object) -> bytes:
    message: bytes = msgpack.packb(packet)
    return message


@given(NAMES, SIZES, st.none() | st.integers(0, 2**32 - 1))
def test_they_are_what_the_library_writes(name: str, size: int, number: int | None) -> None:
    data = b"\xa3nsp\xa1/"[: size % 7].ljust(size, b"x")
    whole = data if number is None else number.to_bytes(4, "big") + data
    packet = socketio.msgpack_packet.MsgPackPacket(2, data=[name, whole], namespace="/")
    assert events.encode(name, data, number=number) == packet.encode()
    cut = size // 3
    assert events.encode(name, data[:cut], memoryview(data)[cut:], number=number) == packet.encode()


@given(NAMES, SIZES)
def test_they_come_out_as_they_went_in(name: str, size: int) -> None:
    decoded = events.decode(events.encode(name, b"x" * size))
    assert decoded is not None
    assert (decoded[0], bytes(decoded[1])) == (name, b"x" * size)


@given(st.binary(max_size=60))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    events.decode(data)
    events.decode(b"\x83\xa4type\x02\xa4data\x92\xa1" + data + b"\xa3nsp\xa1/")


@given(st.integers(0, 40), st.binary(min_size=1, max_size=3))
def test_a_damaged_one_is_found_or_still_one(at: int, damage: bytes) -> None:
    message = bytearray(events.encode("d", b"some data"))
    message[at : at + len(damage)] = damage
    decoded = events.decode(bytes(message))
    assert decoded is None or len(decoded[1]) <= len(message)


def test_the_order_of_the_fields_does_not_matter() -> None:
    message = packed({"nsp": "/", "type": 2, "data": ["d", b"data"]})
    decoded = events.decode(message)
    assert decoded is not None
    assert (decoded[0], bytes(decoded[1])) == ("d", b"data")


@pytest.mark.parametrize(
    "packet",
    [
        {"type": 2, "data": ["d", b"x"], "nsp": "/other"},
        {"type": 2, "data": ["d", "text"], "nsp": "/"},
        {"type": 2, "data": ["data", b"x"], "nsp": "/"},
        {"type": 2, "data": ["d", b"x", b"y"], "nsp": "/"},
        {"type": 2, "data": ["d"], "nsp": "/"},
        {"type": 2, "data": "d", "nsp": "/"},
        {"type": 2, "data": ["d", b"x"], "nsp": "/", "id": 7},
        {"type": 3, "data": ["d", b"x"], "nsp": "/"},
        {"type": 0, "data": {"v": 1}, "nsp": "/"},
        [2, "d", b"x"],
        None,
    ],
)
def test_other_packets_are_none(packet: object) -> None:
    assert events.decode(packed(packet)) is None


def test_a_number_needs_four_bytes() -> None:
    assert events.number_of(memoryview(b"\0\0\1\2rest")) == 258
    assert events.number_of(memoryview(b"\0\0\1")) is None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        packed(list(range(17))),
        packed({str(number): 0 for number in range(17)}),
        packed("x" * (events.LIMIT + 1)),
        packed(msgpack.ExtType(1, b"xx")),
        b"\x91" * 2000 + b"\x00",
        b"\x81\x80\x00",
    ],
)
def test_what_a_stranger_sends_is_bounded(message: bytes) -> None:
    with pytest.raises(ValueError, match="no msgpack"):
        events.unpack(message)


def test_a_link_s_largest_frame_fits() -> None:
    assert events.PIECE >= 65_535 + 4
    assert len(events.encode("d", b"x" * events.PIECE, number=1)) <= events.LIMIT
