import copy
import dataclasses
import json
import pickle  # noqa: TID251 - what multiprocessing does
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelwire.connection import PORT_FIELDS, ConnectionInfo
from kernelwire.errors import InvalidField

law = settings(deadline=None)

CURVE_KEY = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"  # from the ZeroMQ documentation
FILE: dict[str, Any] = {
    "transport": "tcp",
    "ip": "127.0.0.1",
    "shell_port": 57503,
    "iopub_port": 40885,
    "stdin_port": 52597,
    "control_port": 50160,
    "hb_port": 42540,
    "key": "a0436f6c-1916-498b-8eb9-e81ab9368e84",
    "signature_scheme": "hmac-sha256",
    "kernel_name": "python3",
}

ports = st.integers(1, 65535)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
known = st.fixed_dictionaries(
    {
        "transport": names,
        "key": st.text(st.characters(exclude_categories=["Cs"])),
        "signature_scheme": st.just("hmac-sha512"),
    },
    optional={
        "ip": names,
        "kernel_name": names,
        "curve_publickey": st.just(CURVE_KEY),
        "curve_secretkey": st.just(CURVE_KEY[::-1]),
        **dict.fromkeys(PORT_FIELDS, ports),
    },
)
unknown = st.dictionaries(st.text().filter(lambda name: not hasattr(ConnectionInfo, name)), json_values, max_size=3)


@law
@given(known, unknown)
def test_everything_in_a_file_survives(fields: dict[str, Any], others: dict[str, Any]) -> None:
    # A name may belong to a field that has no default, and so is no attribute of the class.
    others = {name: value for name, value in others.items() if name not in fields}
    info = ConnectionInfo.from_dict(fields | others)
    assert info.to_dict() == fields | others
    assert ConnectionInfo.from_dict(info.to_dict()) == info
    assert info.extra == others


def test_reads_a_jupyter_connection_file() -> None:
    info = ConnectionInfo.from_dict(FILE)
    assert info.to_dict() == FILE
    assert info.key == b"a0436f6c-1916-498b-8eb9-e81ab9368e84"
    assert [info.port(name) for name in PORT_FIELDS] == [57503, 40885, 52597, 50160, 42540]
    assert json.loads(json.dumps(info.to_dict())) == FILE


def test_empty_file_is_tcp_without_a_key() -> None:
    info = ConnectionInfo.from_dict({})
    assert (info.transport, info.key, info.ip, info.shell_port) == ("tcp", b"", None, None)
    assert info.to_dict() == {"transport": "tcp", "key": "", "signature_scheme": "hmac-sha256"}


@pytest.mark.parametrize("name", ["ip", "kernel_name"])
@pytest.mark.parametrize("value", ["", None])
def test_empty_text_counts_as_absent(name: str, value: object) -> None:
    assert ConnectionInfo.from_dict({name: value}) == ConnectionInfo()


# Keys.


@pytest.mark.parametrize("key", ["päss", "päss".encode()])
def test_key_may_be_text_or_bytes(key: str | bytes) -> None:
    info = ConnectionInfo.from_dict({"key": key})
    assert info.key == "päss".encode()
    assert info.to_dict()["key"] == "päss"


@pytest.mark.parametrize("name", ["curve_publickey", "curve_secretkey"])
@pytest.mark.parametrize("key", [CURVE_KEY, CURVE_KEY.encode()])
def test_curve_key_may_be_text_or_bytes(name: str, key: str | bytes) -> None:
    info = ConnectionInfo.from_dict({name: key})
    assert getattr(info, name) == CURVE_KEY.encode()
    assert info.to_dict()[name] == CURVE_KEY


@pytest.mark.parametrize("name", ["curve_publickey", "curve_secretkey"])
def test_empty_curve_key_counts_as_absent(name: str) -> None:
    assert ConnectionInfo.from_dict({name: ""}) == ConnectionInfo()


@pytest.mark.parametrize("name", ["curve_publickey", "curve_secretkey"])
@pytest.mark.parametrize("key", ["short", CURVE_KEY + "x", CURVE_KEY[:-1] + "'", b"\xff" * 40, CURVE_KEY[:-2] + "é"])
def test_curve_key_is_forty_characters_of_z85(name: str, key: object) -> None:
    refuses({name: key}, name)


# Refusals name the field.


def refuses(fields: dict[str, Any], name: str) -> str:
    with pytest.raises(InvalidField) as caught:
        ConnectionInfo.from_dict(fields)
    assert caught.value.field == name
    assert repr(name) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", PORT_FIELDS)
@pytest.mark.parametrize("value", [0, 70000, 65536, -1, "5555", True, False, 5555.0, None, [], {}, 10**30])
def test_port_is_a_number_from_1_to_65535(name: str, value: object) -> None:
    refuses(FILE | {name: value}, name)


@pytest.mark.parametrize("name", PORT_FIELDS)
@pytest.mark.parametrize("value", [1, 65535])
def test_port_range_includes_its_ends(name: str, value: int) -> None:
    assert ConnectionInfo.from_dict({name: value}).port(name) == value


@pytest.mark.parametrize("name", ["transport", "signature_scheme", "ip", "kernel_name"])
@pytest.mark.parametrize("value", [5, 0, True, False, ["tcp"], {}, b"tcp", "a\0b"])
def test_text_field_is_text(name: str, value: object) -> None:
    refuses({name: value}, name)


@pytest.mark.parametrize("name", ["transport", "signature_scheme"])
@pytest.mark.parametrize("value", ["", None])
def test_necessary_text_is_not_empty(name: str, value: object) -> None:
    refuses({name: value}, name)


@pytest.mark.parametrize("name", ["key", "curve_publickey", "curve_secretkey"])
@pytest.mark.parametrize("value", [5, True, ["key"], {}, "\ud800" * 40])
def test_key_is_text_or_bytes(name: str, value: object) -> None:
    refuses({name: value}, name)


def test_null_is_no_key_but_counts_as_no_curve_key() -> None:
    refuses({"key": None}, "key")
    assert ConnectionInfo.from_dict({"curve_publickey": None, "curve_secretkey": None}) == ConnectionInfo()


@pytest.mark.parametrize("name", ["transport", "ip", "kernel_name"])
def test_text_must_have_a_form_in_utf_8(name: str) -> None:
    refuses({name: "\ud800"}, name)


def test_what_is_no_object_is_refused() -> None:
    wrong: Any = ["tcp"]
    refuses(wrong, "connection")


def test_a_known_field_cannot_hide_among_the_unknown() -> None:
    with pytest.raises(InvalidField, match="'key'"):
        ConnectionInfo(key=b"right", extra={"key": "wrong"})


def test_it_can_be_sent_to_another_process_and_copied() -> None:
    info = ConnectionInfo.from_dict(FILE | {"room": {"a": [1]}, "extra": "a name like any other"})
    assert pickle.loads(pickle.dumps(info)) == info
    assert copy.deepcopy(info) == info


def test_key_that_no_file_can_hold_is_refused() -> None:
    refuses({"key": b"\xff"}, "key")


@pytest.mark.parametrize("scheme", ["sha256", "hmac-nothing", "hmac-shake_128"])
def test_unknown_scheme_is_refused(scheme: str) -> None:
    refuses({"signature_scheme": scheme}, "signature_scheme")


def test_error_names_the_type_and_not_the_value() -> None:
    assert "text where a number" in refuses({"hb_port": "5ecret"}, "hb_port")
    assert "5ecret" not in refuses({"hb_port": "5ecret"}, "hb_port")


def test_missing_port_is_named_with_its_transport() -> None:
    with pytest.raises(InvalidField, match=r"hb_port.*tcp") as caught:
        ConnectionInfo().port("hb_port")
    assert caught.value.field == "hb_port"


@pytest.mark.parametrize("fields", [{"key": "text"}, {"shell_port": 0}, {"ip": ""}, {"transport": None}])
def test_constructor_checks_what_a_file_must(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidField):
        ConnectionInfo(**fields)


# A value.


def test_is_immutable() -> None:
    extra = {"room": "r"}
    info = ConnectionInfo(extra=extra)
    extra["room"] = "another"
    assert info.extra == {"room": "r"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.transport = "ipc"  # type: ignore[misc]
    with pytest.raises(TypeError):
        info.extra["room"] = "s"  # type: ignore[index]


def test_does_not_change_the_mapping_it_reads() -> None:
    fields = FILE | {"room": {"a": [1]}}
    before = copy.deepcopy(fields)
    ConnectionInfo.from_dict(fields)
    assert fields == before


def test_replace_keeps_the_rest() -> None:
    info = ConnectionInfo.from_dict(FILE | {"room": "r"})
    changed = info.replace(hb_port=1, url="u")
    assert changed.to_dict() == FILE | {"room": "r", "hb_port": 1, "url": "u"}
    assert info.to_dict() == FILE | {"room": "r"}
    with pytest.raises(InvalidField):
        info.replace(hb_port=0)


def test_repr_shows_no_secret() -> None:
    secrets = {"key": "5ecret", "curve_publickey": CURVE_KEY, "curve_secretkey": CURVE_KEY[::-1], "token": "t0ken"}
    info = ConnectionInfo.from_dict(FILE | secrets)
    for shown in (repr(info), str(info), f"{info}", repr([info])):
        assert not [secret for secret in secrets.values() if secret in shown]
        assert "127.0.0.1" in shown


def test_address_tells_endpoints_apart_and_holds_no_secret() -> None:
    info = ConnectionInfo.from_dict(FILE)
    assert info.address == info.replace(key=b"5ecret", kernel_name="other", token="t0ken").address
    assert "t0ken" not in repr(info.replace(token="t0ken").address)
    changed = [info.replace(**{name: 1}) for name in PORT_FIELDS]
    changed += [info.replace(ip="10.0.0.1"), info.replace(transport="ipc")]
    assert len({info.address, *(other.address for other in changed)}) == 8


def test_address_without_ports_is_told_by_the_other_fields() -> None:
    here = ConnectionInfo(transport="relay", key=b"k", extra={"room": "a", "token": "t0ken"})
    assert here.address == here.replace(key=b"other").address
    assert here.address != here.replace(room="b").address
    assert "t0ken" not in repr(here.address)


def test_address_knows_the_names_of_this_machine() -> None:
    info = ConnectionInfo(ip="127.0.0.1", shell_port=5000)
    assert info.address == info.replace(ip="localhost").address == ConnectionInfo(shell_port=5000).address
