"""A room's key and id come from the link secret, and show nothing of it."""

from hypothesis import given
from hypothesis import strategies as st

from kernelwire_socketio.rooms import RoomKey, bytes_of, fingerprint, room_of, text_of

SECRETS = st.binary(min_size=32, max_size=32)


def test_the_derivation_does_not_change() -> None:
    # Both ends must agree, whichever release they are of.
    key = RoomKey(bytes(range(32)))
    assert key.public.hex() == PUBLIC
    assert key.room == room_of(key.public)
    assert fingerprint(bytes(32)) == FINGERPRINT


@given(SECRETS, SECRETS)
def test_another_secret_is_another_room(one: bytes, other: bytes) -> None:
    assert (RoomKey(one).room == RoomKey(other).room) == (one == other)


@given(st.binary(max_size=40))
def test_text_is_read_as_it_was_written(data: bytes) -> None:
    assert bytes_of(text_of(data), len(data)) == data
    assert bytes_of(text_of(data), len(data) + 1) is None


@given(st.text(max_size=44))
def test_no_text_is_too_strange(text: str) -> None:
    data = bytes_of(text, 16)
    assert data is None or text_of(data) == text


PUBLIC = "934f33c9d657cfa349ec8deb43840ff70dbe86edaa836fbd289f9e6597f97327"
FINGERPRINT = "FUNRJf24iyElVGNLCIAlTw"
