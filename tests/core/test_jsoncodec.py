import base64
import contextlib
import dataclasses
import datetime
import json
import math
import types
from collections import ChainMap, OrderedDict
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_client.jsonutil import json_default

from kernelwire.errors import InvalidMessage, MalformedMessage
from kernelwire.jsoncodec import decode, encode

law = settings(deadline=None)


def unpaired(text: str) -> bool:
    """Two surrogates that make a pair are one character once they went through any JSON."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") == text


# Any character, lone surrogates among them; any number, NaN and the infinities among them.
texts = st.text(st.characters()).filter(unpaired)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)
odd_keys = st.none() | st.booleans() | st.integers() | texts


def by_the_book(value: object) -> Any:
    return json.loads(json.dumps(value))


def same(one: object, other: object) -> bool:
    """Equal, types and NaN included."""
    return repr(one) == repr(other)


# Laws.


@law
@given(values)
def test_what_is_encoded_is_decoded(value: object) -> None:
    assert same(decode(encode(value, "content"), "content"), value)


@law
@given(values)
def test_standard_library_reads_what_is_encoded(value: object) -> None:
    assert same(json.loads(encode(value, "content")), value)


@law
@given(values, st.booleans())
def test_reads_what_the_standard_library_encodes(value: object, ascii_only: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return  # invalid UTF-8 has its own test below
    assert same(decode(data, "content"), value)


@law
@given(st.dictionaries(odd_keys, values, max_size=3))
def test_odd_keys_become_the_text_that_python_makes_of_them(value: object) -> None:
    assert same(decode(encode(value, "content"), "content"), by_the_book(value))


@law
@given(st.binary(max_size=60))
def test_anything_at_all_is_decoded_or_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        decode(data, "content")


@law
@given(values, st.binary(min_size=1, max_size=3), st.integers(min_value=0))
def test_damage_is_decoded_or_malformed(value: object, damage: bytes, place: int) -> None:
    data = encode(value, "content")
    place %= len(data)
    with contextlib.suppress(MalformedMessage):
        decode(data[:place] + damage + data[place + 1 :], "content")


# Numbers.


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_arrive(number: float) -> None:
    for value in (number, [number], {"a": number, "b": None, "c": "null"}, {"a": {"b": [None, (number,)]}}):
        assert same(decode(encode(value, "content"), "content"), by_the_book(value))


def test_non_finite_numbers_beside_what_only_one_encoder_knows() -> None:
    date = datetime.date(2026, 1, 2)
    value = {date: date, "set": {1}, "bytes": b"abc", "number": math.nan}
    assert encode(value, "content") == (b'{"2026-01-02":"2026-01-02","set":[1],"bytes":"YWJj","number":NaN}')


def test_none_is_null_and_the_word_null_stays() -> None:
    value = {"a": None, "b": "null", "null": [None]}
    assert decode(encode(value, "content"), "content") == value


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**400, -(10**400)])
def test_big_integers_stay_integers(number: int) -> None:
    assert decode(encode([number, None], "content"), "content") == [number, None]
    assert decode(b"[%d]" % number, "content") == [number]


def test_integer_beyond_what_python_prints_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="content: "):
        encode(10**5000, "content")
    with pytest.raises(MalformedMessage, match="content: "):
        decode(b"9" * 5001, "content")


def test_number_out_of_range_is_read_as_python_reads_it() -> None:
    assert decode(b"[1e400, -1e400, 1e-400]", "content") == [math.inf, -math.inf, 0.0]


# Text.


@pytest.mark.parametrize("text", ["\ud800", "\udfff tail", "head \udc80", "\U0001f40d", "\0", "\x7f", "\u2028"])
def test_every_character_arrives(text: str) -> None:
    assert decode(encode({text: [text, math.nan]}, "content"), "content")[text][0] == text
    assert decode(encode({text: text}, "content"), "content") == {text: text}


def test_invalid_utf_8_is_replaced() -> None:
    assert decode(b'{"text":"caf\xe9"}', "content") == {"text": "caf\ufffd"}
    assert decode(b'{"caf\xe9":NaN}', "content").keys() == {"caf\ufffd"}
    assert set(decode(b'"\xed\xa0\x80"', "content")) == {"\ufffd"}


def test_byte_order_mark_is_skipped() -> None:
    assert decode(b'\xef\xbb\xbf{"a":1}', "content") == {"a": 1}


def test_views_are_decoded_by_both_parsers() -> None:
    assert decode(memoryview(b'{"a":1}'), "content") == {"a": 1}
    assert same(decode(memoryview(b'{"a":NaN}'), "content"), {"a": math.nan})


@pytest.mark.parametrize(
    "data",
    [b"", b" ", b"{", b"nul", b"{'a':1}", b'{"a":1}\0', b'{"a":1}{}', b'"a\nb"', b'["\\ud8"]', b"\xff\xfe{\0}\0"],
)
def test_what_is_no_json_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage, match="metadata: not JSON"):
        decode(data, "metadata")


# Keys.


def test_none_and_bool_keys_are_spelt_as_json() -> None:
    assert encode({None: 1, True: 2, False: 3}, "content") == b'{"null":1,"true":2,"false":3}'


def test_number_and_date_keys_become_text() -> None:
    assert decode(encode({1: None, 2.5: None, datetime.date(2026, 1, 2): 3}, "content"), "content") == {
        "1": None,
        "2.5": None,
        "2026-01-02": 3,
    }


def test_key_without_a_text_form_is_refused() -> None:
    with pytest.raises(InvalidMessage, match=r"content: .*tuple"):
        encode({(1, 2): 3}, "content")


# Depth.


def nested(depth: int, leaf: object = 0) -> object:
    for _ in range(depth):
        leaf = [leaf]
    return leaf


@pytest.mark.parametrize("leaf", [0, None, math.nan, "\ud800"])
def test_moderate_depth_is_carried(leaf: object) -> None:
    assert same(decode(encode(nested(200, leaf), "content"), "content"), nested(200, leaf))


@pytest.mark.parametrize("leaf", [0, None, math.nan, "\ud800"])
def test_absurd_depth_is_refused(leaf: object) -> None:
    with pytest.raises(InvalidMessage, match="content: nested too deep"):
        encode(nested(200_000, leaf), "content")


@pytest.mark.parametrize("data", [b"[" * 200_000 + b"]" * 200_000, b"[" * 200_000, b'{"a":' * 200_000])
def test_absurd_depth_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage, match="content: nested too deep"):
        decode(data, "content")


def test_circle_is_refused() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(InvalidMessage, match="content: "):
        encode(circle, "content")


# What is not JSON, but has a form in it.


@dataclasses.dataclass
class Point:
    x: float
    y: float


@pytest.mark.parametrize(
    "value",
    [
        b"abc",
        b"",
        datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        datetime.datetime(2026, 1, 2, 3, 4, 5, 120, tzinfo=datetime.UTC),
        {1},
        (1, 2),
        frozenset(["a"]),
    ],
)
def test_says_it_as_jupyter_client_does(value: object) -> None:
    expected = json.loads(json.dumps(value, default=json_default))
    assert decode(encode(value, "content"), "content") == expected
    # Both encoders agree.
    assert decode(encode([value, math.nan], "content"), "content")[0] == expected


@pytest.mark.parametrize("view", [bytearray(b"abc"), memoryview(b"abc")])
def test_binary_becomes_base64(view: bytearray | memoryview) -> None:
    assert base64.b64decode(decode(encode(view, "content"), "content")) == b"abc"


@pytest.mark.parametrize("point", [Point(1, 2), Point(math.nan, math.inf)])
def test_dataclasses_become_objects(point: Point) -> None:
    assert same(decode(encode([point], "content"), "content"), [{"x": point.x, "y": point.y}])


@pytest.mark.parametrize(
    "mapping", [types.MappingProxyType({"a": 1}), ChainMap({"a": 1}), OrderedDict(a=1)], ids=lambda m: type(m).__name__
)
def test_every_mapping_becomes_an_object(mapping: Mapping[str, int]) -> None:
    assert decode(encode(mapping, "content"), "content") == {"a": 1}
    assert decode(encode({"b": [mapping]}, "content"), "content") == {"b": [{"a": 1}]}


@pytest.mark.parametrize(
    "value", [object(), print, memoryview(b"abcd")[::2], iter([1]), 1j], ids=lambda v: type(v).__name__
)
def test_what_has_no_form_in_json_is_refused_by_part_and_type(value: object) -> None:
    with pytest.raises(InvalidMessage, match=f"metadata: .*{type(value).__name__}"):
        encode({"a": [value]}, "metadata")
