import array
import ctypes
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelwire.errors import InvalidMessage
from kernelwire.messages import Frame, Message, WireMessage, freeze

SECRET = "5ecret"

law = settings(deadline=None)


def message(**header: Any) -> Message:
    return Message({"msg_id": "m1", "msg_type": "stream", **header}, content={"text": SECRET})


@pytest.mark.parametrize("field", ["header", "parent_header", "metadata", "content", "buffers", "anything"])
def test_message_is_immutable(field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(message(), field, {})


def test_messages_share_no_default() -> None:
    assert Message({}).content is not Message({}).content
    assert Message({}) == Message({}, {}, {}, {}, ())


def test_messages_are_equal_by_value() -> None:
    assert Message({}, buffers=(b"abc",)) == Message({}, buffers=(memoryview(b"abc"),))
    assert Message({}, content={"a": 1}) != Message({}, content={"a": 2})


def test_names_what_it_is() -> None:
    parent = message(msg_id="p")
    child = Message({"msg_id": "c", "msg_type": "status"}, parent.header)
    assert (child.msg_type, child.msg_id, child.parent_id) == ("status", "c", "p")
    assert child.is_child_of(parent)
    assert not parent.is_child_of(child)


def test_nameless_messages_are_nobodys_children() -> None:
    nameless = Message({})
    assert (nameless.msg_type, nameless.msg_id, nameless.parent_id) == ("", "", "")
    assert not Message({}).is_child_of(nameless)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2026-01-02T03:04:05.678901Z", datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, 0, UTC)),
    ],
)
def test_date_is_aware(text: str, date: datetime) -> None:
    parsed = message(date=text).date
    assert parsed == date
    assert parsed.utcoffset() is not None


def test_date_keeps_its_zone() -> None:
    parsed = message(date="2026-01-02T03:04:05+02:00").date
    assert parsed is not None
    assert parsed.utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize("date", ["", "yesterday", None, 5, [], {}, "2026-13-01", "0" * 10000, "\ud800"])
def test_unreadable_date_is_none(date: object) -> None:
    assert message(date=date).date is None
    assert message().date is None


def test_reprs_show_no_content() -> None:
    assert repr(message()) == str(message()) == "<Message stream m1>"
    assert list(message().__rich_repr__()) == ["stream", "m1"]
    wire = WireMessage([b"signature", SECRET.encode()], SECRET.encode())
    assert repr(wire) == str(wire) == "<WireMessage of 2 frames, 15 bytes>"


def test_wire_message_counts_bytes_of_its_frames_and_not_of_its_peer() -> None:
    assert WireMessage([b"12", memoryview(b"345"), b""], b"peer").size == 5
    assert WireMessage([]).size == 0


# Frames. What can change is copied, what cannot is not.


def test_bytes_are_passed_as_they_are() -> None:
    data = b"data"
    assert freeze(data) is data


def test_read_only_view_is_not_copied() -> None:
    view = memoryview(bytearray(b"data")).toreadonly()
    frozen = freeze(view)
    assert isinstance(frozen, memoryview)
    assert frozen.obj is view.obj


def test_read_only_view_of_another_shape_is_not_copied() -> None:
    numbers = array.array("d", [1.0, 2.0, 3.0, 4.0])
    view = memoryview(numbers).toreadonly().cast("B").cast("d", (2, 2))
    frozen = freeze(view)
    assert isinstance(frozen, memoryview)
    assert frozen.obj is numbers
    assert (frozen.format, frozen.ndim, frozen.nbytes) == ("B", 1, 32)
    assert frozen == numbers.tobytes()


class Bytes(bytes):
    """Nothing stops a subclass from changing what its methods say; the buffer it cannot change."""


FROZEN: dict[str, tuple[Callable[[], Any], bytes]] = {
    "bytes": (lambda: b"abc", b"abc"),
    "subclass of bytes": (lambda: Bytes(b"abc"), b"abc"),
    "bytearray": (lambda: bytearray(b"abc"), b"abc"),
    "writable view": (lambda: memoryview(bytearray(b"abc")), b"abc"),
    "array of shorts": (lambda: array.array("h", [1, -2]), array.array("h", [1, -2]).tobytes()),
    "every other byte": (lambda: memoryview(b"abcdef")[::2], b"ace"),
    "backwards": (lambda: memoryview(b"abc")[::-1], b"cba"),
    "two dimensions": (lambda: memoryview(b"abcdef").cast("B", (2, 3)), b"abcdef"),
    "every other row": (lambda: memoryview(b"abcdef").cast("B", (3, 2))[::2], b"abef"),
    "signed characters": (lambda: memoryview(b"abc").cast("b"), b"abc"),
    "structure": (lambda: memoryview((ctypes.c_uint8 * 3)(1, 2, 3)).toreadonly(), b"\1\2\3"),
    "no dimension": (lambda: memoryview(ctypes.c_uint8(7)).toreadonly(), b"\7"),
    "empty": (lambda: b"", b""),
    "empty bytearray": (lambda: bytearray(), b""),
    "empty view": (lambda: memoryview(b"abc")[3:], b""),
    "empty array": (lambda: array.array("d"), b""),
    "empty in two dimensions": (lambda: memoryview((ctypes.c_uint8 * 3 * 0)()).toreadonly(), b""),
}


@pytest.mark.parametrize(("make", "content"), FROZEN.values(), ids=FROZEN.keys())
def test_every_buffer_becomes_a_flat_frame(make: Callable[[], Any], content: bytes) -> None:
    frame = freeze(make())
    assert bytes(frame) == content
    assert len(frame) == len(content)
    assert memoryview(frame).readonly


@law
@given(st.binary(max_size=50))
def test_what_may_change_is_copied(content: bytes) -> None:
    data = bytearray(content)
    frames: list[Frame] = [freeze(data), freeze(memoryview(data)), freeze(memoryview(data)[::-1])]
    data[:] = bytes(byte ^ 255 for byte in data)
    assert frames == [content, content, content[::-1]]


def test_freezing_twice_copies_once() -> None:
    frozen = freeze(bytearray(b"abc"))
    assert freeze(frozen) is frozen


def released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


@pytest.mark.parametrize("thing", ["text", None, 5, [1, 2], {}, StringIO(), released()])
def test_what_is_no_buffer_is_refused(thing: Any) -> None:
    with pytest.raises(InvalidMessage, match=rf"buffers: {type(thing).__name__}"):
        freeze(thing)
