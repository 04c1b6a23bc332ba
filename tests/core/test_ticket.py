"""Tickets: what is encoded is decoded, whatever was done to the text is found, and nothing shows a secret."""

import base64
import hashlib
import io
import json
import stat
import struct
import traceback
import warnings
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernelwire import connection_file, ticket
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import (
    ConfigurationError,
    ConnectionFileError,
    ConnectionFileNotFound,
    InvalidField,
    LocalError,
    TicketError,
)
from kernelwire.link import seal
from kernelwire.private_file import InsecureFileWarning
from kernelwire.ticket import MAX_BYTES, PRIVATE_FIELDS, VARIABLE, Ticket, decode, encode, key_of, key_text

SECRET, PRIVATE_KEY = seal.new_secret(), seal.new_private_key()
HOST_KEY = seal.public_key(PRIVATE_KEY)
KEYS = {"link_secret": key_text(SECRET), "host_key": key_text(HOST_KEY)}
INFO = ConnectionInfo(
    transport="socketio",
    key=b"d1f0-the-key",
    kernel_name="python3",
    extra=KEYS | {"url": "https://relay.example", "room": "blue", "nested": [1, {"a": None, "b": [True, 1.5]}]},
)
TEXT = encode(INFO)
HIDDEN = [*KEYS.values(), "d1f0-the-key", key_text(PRIVATE_KEY), TEXT[12:40], TEXT[-28:]]

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
infos = st.builds(
    ConnectionInfo,
    transport=st.sampled_from(["socketio", "tcp", "über"]),
    ip=st.none() | st.just("relay.example"),
    shell_port=st.none() | st.integers(1, 65535),
    key=st.text(max_size=20).map(str.encode),
    extra=st.dictionaries(
        st.text(max_size=8).filter(lambda name: name not in ConnectionInfo.__annotations__), plain, max_size=5
    ).map(lambda extra: extra | KEYS),
)


def shown(error: BaseException | None) -> str:
    """All that a report could show of an error: its whole chain, suppressed or not, with every attribute."""
    text = ""
    while error is not None:
        text += f"{error!r} {error} {vars(error)} {getattr(error, 'object', '')!r} {getattr(error, 'unpacked', '')!r}"
        text += "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__
    return text


def refused(text: str | bytes, match: str | None = None) -> TicketError:
    with pytest.raises(TicketError, match=match) as caught:
        decode(text)
    error = caught.value
    assert "\n" not in str(error)
    for hidden in HIDDEN:
        assert hidden not in shown(error)
    return error


def forged(content: Any, *, body: bytes | None = None, prefix: str = "kernelwire1:") -> str:
    """A ticket with a good checksum around whatever one likes; written from the page, not with our code."""
    body = msgpack.packb(content) if body is None else body
    length = struct.pack(">H", len(body))
    data = length + hashlib.sha256(prefix.encode() + length + body).digest()[:8] + body
    return prefix + base64.urlsafe_b64encode(data).decode().rstrip("=")


def holding(**changes: Any) -> str:
    """A ticket whose connection has other fields than INFO; None takes one out."""
    fields = {name: value for name, value in (INFO.to_dict() | changes).items() if value is not None}
    return forged({"kind": "kernel", "connection": fields})


# -- there and back


def test_a_ticket() -> None:
    found = decode(TEXT)
    assert found == Ticket("kernel", INFO)
    assert key_of(found.info, "link_secret") == SECRET
    assert key_of(found.info, "host_key") == HOST_KEY
    assert decode(encode(INFO, kind="host")).kind == "host"


def test_the_format_is_the_one_on_the_page() -> None:
    assert forged({"kind": "kernel", "connection": INFO.to_dict()}) == TEXT


@given(infos, st.sampled_from(["kernel", "host"]))
@settings(deadline=None)
def test_any_connection(info: ConnectionInfo, kind: ticket.Kind) -> None:
    text = encode(info, kind=kind)
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set(" \t\"'`$\\!*?[]{}()<>|&;#~%^=")
    assert decode(text) == Ticket(kind, info)
    assert decode(text.encode()) == Ticket(kind, info)


@given(st.lists(st.tuples(st.integers(1, len(TEXT) - 1), st.sampled_from(["\n", "\r\n", " \n", "\n  ", "\n\n\t"]))))
@settings(deadline=None)
def test_space_around_and_line_breaks_within(breaks: list[tuple[int, str]]) -> None:
    text = TEXT
    for place, added in sorted(breaks, reverse=True):
        text = text[:place] + added + text[place:]
    assert decode(f" \t\n{text}\r\n ") == Ticket("kernel", INFO)


def test_a_ticket_never_has_what_only_the_host_may_have() -> None:
    hosts = INFO.replace(host_private_key=key_text(PRIVATE_KEY), host_token="t", curve_secretkey=b"x" * 40)
    assert encode(hosts) == TEXT
    assert set(PRIVATE_FIELDS) == {"host_private_key", "host_token", "curve_secretkey"}
    assert hosts.extra["host_private_key"], "the caller's own is left alone"


# -- what happens to text


@given(st.integers(0, len(TEXT) - 1), st.characters())
@settings(max_examples=300, deadline=None)
def test_every_changed_character(place: int, character: str) -> None:
    if character != TEXT[place]:
        refused(TEXT[:place] + character + TEXT[place + 1 :])


def test_every_character_changed_to_each_of_the_alphabet() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place in range(len(TEXT)):
        for character in alphabet:
            if character != TEXT[place]:
                with pytest.raises(TicketError):
                    decode(TEXT[:place] + character + TEXT[place + 1 :])


def test_every_deletion() -> None:
    for place in range(len(TEXT)):
        refused(TEXT[:place] + TEXT[place + 1 :])


def test_every_transposition() -> None:
    for place in range(len(TEXT) - 1):
        changed = TEXT[:place] + TEXT[place + 1] + TEXT[place] + TEXT[place + 2 :]
        if changed != TEXT:
            refused(changed)


def test_every_doubled_character() -> None:
    for place in range(len(TEXT)):
        refused(TEXT[:place] + TEXT[place] + TEXT[place:])


def test_every_truncation() -> None:
    for size in range(1, len(TEXT)):
        refused(TEXT[:size], f"cut short.* {size} characters.*copy it again")


@given(infos, st.data())
@settings(deadline=None)
def test_any_harm_to_any_ticket(info: ConnectionInfo, data: st.DataObject) -> None:
    text = encode(info)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    put = data.draw(st.text(st.sampled_from("kernelwire1:ABCDabcd0189-_"), max_size=10))
    changed = text[:start] + put + text[end:]
    if changed != text:
        with pytest.raises(TicketError):
            decode(changed)


@given(st.text() | st.text(st.sampled_from("kernelwire1:AB-_=\n ")) | st.binary())
@example("kernelwire1:" + "A" * 16)
@settings(max_examples=500, deadline=None)
def test_any_text(text: str | bytes) -> None:
    for each in (text, ("kernelwire1:" + text) if isinstance(text, str) else b"kernelwire1:" + text):
        with pytest.raises(TicketError) as caught:
            decode(each)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("kern", "cut short after 4 characters"),
        ("kernelwire1:", "cut short after 12 characters"),
        ("hello", "no ticket: one begins with kernelwire1:"),
        ('{"transport": "tcp"}', "no ticket"),
        (TEXT.upper(), "no ticket"),
        (f"see {TEXT}", "no ticket"),
        (f'"{TEXT}"', "no ticket"),
        (f"{TEXT} {TEXT}", "mangled: character"),
        (f"{TEXT}A", "something was added"),
        (f"{TEXT}==", "mangled: character"),
        (f"{TEXT}.", f"mangled: character {len(TEXT) + 1} is none that a ticket has"),
        (TEXT[:30] + "\u2014" + TEXT[32:], "mangled: character 31 "),
        (TEXT[:30] + " " + TEXT[30:], "mangled: character 31 "),
        (TEXT.encode()[:30] + b"\xff" + TEXT.encode()[31:], "mangled: character 31 "),
        (TEXT[:60] + ("A" if TEXT[60] != "A" else "B") + TEXT[61:], "mangled: it has all its characters"),
        ("kernelwire2:" + TEXT[12:], "has version 2, and this kernelwire reads version 1; upgrade kernelwire here"),
        ("kernelwire0:" + TEXT[12:], "has version 0.*ask for a new one, from a newer kernelwire"),
        ("kernelwire01:" + TEXT[12:], "has version 01"),
        ("kernelwire12345:" + TEXT[12:], "no ticket"),
        ("kernelwire\u0661:" + TEXT[12:], "no ticket"),
        ("A" * (MAX_BYTES + 1), "over 65536 bytes"),
        ("kernelwire1:" + "A" * (MAX_BYTES - 12), "something was added"),
    ],
    ids=range(24),
)
def test_what_is_said(text: str | bytes, match: str) -> None:
    refused(text, match)


def test_the_last_character_has_no_free_bits() -> None:
    """Base64 decoders let pass what differs in bits that are thrown away."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for extra in ("", "x", "xy"):
        text = encode(INFO.replace(room=extra))
        for character in alphabet:
            if character != text[-1]:
                refused(text[:-1] + character, "mangled")


# -- what somebody else made


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (holding(link_secret=None), "field 'link_secret': missing"),
        (holding(host_key=None), "field 'host_key': missing"),
        (holding(transport=None), "field 'transport': missing"),
        (holding(link_secret="c2hvcnQ"), "field 'link_secret': too short: 32 bytes are needed"),
        (holding(host_key=KEYS["host_key"] + "AAAA"), "field 'host_key': too long"),
        (holding(link_secret=""), "field 'link_secret': too short"),
        (holding(link_secret="d1f0 the-key"), "field 'link_secret': no text in base64url"),
        (holding(link_secret=12), "field 'link_secret': no text in base64url"),
        (holding(host_private_key=key_text(PRIVATE_KEY)), "field 'host_private_key': no ticket may hold it"),
        (holding(shell_port=0), "field 'shell_port'"),
        (holding(key=7), "field 'key'"),
        (holding(nested=b"bytes"), "not with what one has"),
        (holding(nested=msgpack.Timestamp(1)), "not with what one has"),
        (holding(nested=msgpack.ExtType(5, b"x")), "not with what one has"),
        (forged([]), "not with what one has"),
        (forged(None), "not with what one has"),
        (forged({"kind": "kernel"}), "not with what one has"),
        (forged({"kind": "kernel", "connection": []}), "not with what one has"),
        (forged({"kind": "kernel", "connection": {1: 2}}), "not with what one has"),
        (forged({"kind": "kernel", "connection": {b"key": 2}}), "not with what one has"),
        (forged({"kind": "relay", "connection": INFO.to_dict()}), "not with what one has"),
        (forged({"kind": ["kernel"], "connection": INFO.to_dict()}), "not with what one has"),
        (forged({"kind": "kernel", "connection": INFO.to_dict(), "more": 1}), "not with what one has"),
        (forged(0, body=b""), "not with what one has"),
        (forged(0, body=b"\xc1"), "not with what one has"),
        (forged(0, body=b"\x91" * 40_000), "not with what one has"),
        (forged(0, body=b"\xdd\xff\xff\xff\xff"), "not with what one has"),
        (forged(0, body=b"\xdf\xff\xff\xff\xff"), "not with what one has"),
        (forged(0, body=b"\xc6\xff\xff\xff\xff"), "not with what one has"),
        (forged(0, body=msgpack.packb(INFO.to_dict()) + b"\x01"), "not with what one has"),
        (forged(0, body=b"\x82\xa4kind\xa2\xff\xfe"), "not with what one has"),
    ],
    ids=range(31),
)
def test_a_ticket_that_came_whole_and_is_bad(text: str, match: str) -> None:
    refused(text, match)


def test_deep_nesting() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    refused(holding(nested=deep), "not with what one has")
    with pytest.raises(InvalidField, match="nested"):
        encode(INFO.replace(nested=deep))


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_body(body: bytes) -> None:
    with pytest.raises(TicketError):
        decode(forged(0, body=body))


# -- what cannot be encoded


@pytest.mark.parametrize(
    "value",
    [b"d1f0-the-key", {1: 2}, 2**64, -(2**63) - 1, "d1f0-the-key\ud800", {"\ud800": 1}, {1, 2}],
    ids=repr,
)
def test_a_value_that_no_ticket_can_hold(value: object) -> None:
    with pytest.raises(InvalidField, match="'room': a name or a value that no ticket can hold") as caught:
        encode(INFO.replace(room=value))
    assert "d1f0-the-key" not in shown(caught.value)


@pytest.mark.parametrize("name", [1, "\ud800"], ids=repr)
def test_a_name_that_no_ticket_can_hold(name: Any) -> None:
    with pytest.raises(InvalidField, match="no ticket can hold"):
        encode(INFO.replace(extra=KEYS | {name: 1}))


@pytest.mark.parametrize("field", ["link_secret", "host_key"])
@pytest.mark.parametrize("value", [None, "", "c2hvcnQ", 12, b"x" * 32, "no base64url!", "=" * 43, "\u00e9" * 43])
def test_a_key_that_is_none(field: str, value: object) -> None:
    with pytest.raises(InvalidField, match=r"missing|base64url|too short") as caught:
        encode(INFO.replace(**{field: value}))
    assert caught.value.field == field


def test_a_ticket_that_would_be_too_large() -> None:
    size = (MAX_BYTES - len(TEXT)) * 3 // 4 - 20
    largest = ""
    while len(largest) < MAX_BYTES - 10:
        largest = encode(INFO.replace(room="x" * size))
        size += 1
    assert len(largest) <= MAX_BYTES
    assert decode(largest).info.kernel_name == INFO.kernel_name
    for more in (10, MAX_BYTES):
        with pytest.raises(TicketError, match="over 65536 bytes"):
            encode(INFO.replace(room="x" * (size + more)))


def test_an_unknown_kind() -> None:
    with pytest.raises(LocalError, match="kernel, host"):
        encode(INFO, kind="relay")  # type: ignore[arg-type]


def test_the_text_of_a_key() -> None:
    for key in (bytes(32), b"\xff" * 32, SECRET):
        text = key_text(key)
        assert len(text) == 43
        assert key_of(ConnectionInfo(extra={"host_private_key": text}), "host_private_key") == key
    with pytest.raises(LocalError, match="31 bytes"):
        key_text(bytes(31))


# -- files, standard input, environment


def test_a_file(tmp_path: Path) -> None:
    path = ticket.write(tmp_path / "new" / "a.ticket", INFO, kind="host")
    assert path == tmp_path / "new" / "a.ticket"
    assert path.read_text() == encode(INFO, kind="host") + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ticket.read(path) == ticket.read(str(path)) == Ticket("host", INFO)
    with pytest.raises(ConnectionFileError, match="exists already"):
        ticket.write(path, INFO)
    ticket.write(path, INFO, overwrite=True)
    assert ticket.read(path).kind == "kernel"


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ticket.write("a.ticket", INFO) == tmp_path / "a.ticket"
    assert ticket.read("a.ticket").info == INFO


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFileNotFound, match="no file"):
        ticket.read(tmp_path / "none")
    with pytest.raises(ConnectionFileError):
        ticket.read(tmp_path)
    path = tmp_path / "bad"
    for content, match in ((TEXT[:-5], "cut short"), ("", "empty"), (TEXT * 300, "over"), ("{}", "no ticket")):
        path.write_text(content)
        path.chmod(0o600)
        with pytest.raises(TicketError, match=f"{match}.*\\(in .*bad\\)") as caught:
            ticket.read(path)
        assert not any(hidden in shown(caught.value) for hidden in HIDDEN)


def test_a_file_that_others_may_open(tmp_path: Path) -> None:
    path = ticket.write(tmp_path / "a.ticket", INFO)
    path.chmod(0o644)
    for read in (ticket.read, connection_file.read):
        with pytest.warns(InsecureFileWarning, match="holds a ticket; fix: chmod 600") as caught:
            read(path)
        assert caught[0].filename == __file__


class _Input:
    """Standard input as it is: text, and the bytes below it."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Input(TEXT.encode() + b"\n"))
    assert ticket.read("-") == Ticket("kernel", INFO)
    monkeypatch.setattr("sys.stdin", io.StringIO(TEXT))
    assert ticket.read("-") == Ticket("kernel", INFO)
    for bad, match in ((b"\xff\xfe", "no ticket"), (b"", "empty"), (b"x" * 10 * MAX_BYTES, "over")):
        stream = _Input(bad)
        monkeypatch.setattr("sys.stdin", stream)
        with pytest.raises(TicketError, match=rf"{match}.*\(on standard input\)"):
            ticket.read("-")
        assert stream.buffer.tell() <= MAX_BYTES + 1
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(TicketError, match="empty"):
        ticket.read("-")


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(TicketError, match="KERNELWIRE_TICKET is not set"):
        ticket.from_environment()
    monkeypatch.setenv(VARIABLE, TEXT)
    assert ticket.from_environment() == Ticket("kernel", INFO)
    monkeypatch.setenv("OTHER", TEXT[:-1])
    with pytest.raises(TicketError, match="in the environment variable OTHER"):
        ticket.from_environment("OTHER")


def test_a_connection_file_may_hold_a_ticket(tmp_path: Path) -> None:
    path = ticket.write(tmp_path / "a.ticket", INFO)
    assert connection_file.read(path) == INFO
    path.write_text(f"\n  {TEXT[:50]}\n{TEXT[50:]}\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert connection_file.read(path) == INFO
    for content, match in ((TEXT[:-1], "cut short"), (encode(INFO, kind="host"), "host's ticket")):
        path.write_text(content)
        with pytest.raises(ConfigurationError, match=f"{match}.*a.ticket") as caught:
            connection_file.read(path)
        assert not any(hidden in shown(caught.value) for hidden in HIDDEN)
    path.write_text(json.dumps(INFO.to_dict()))
    assert connection_file.read(path) == INFO


def test_repr_shows_no_secret() -> None:
    for kind in ("kernel", "host"):
        text = repr(decode(encode(INFO, kind=kind)))
        assert text.startswith(f"Ticket(kind='{kind}', info=ConnectionInfo(transport='socketio'")
        assert not any(hidden in text for hidden in HIDDEN)
