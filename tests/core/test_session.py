import hashlib
import hmac
import json
import os
import re
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_client.session import DELIM
from jupyter_client.session import Session as JupyterSession

from kernelwire import session as session_module
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import (
    DuplicateSignature,
    InvalidField,
    InvalidMessage,
    InvalidSignature,
    MalformedMessage,
    RemoteError,
)
from kernelwire.messages import PARTS, PROTOCOL_VERSION, Frame, Message
from kernelwire.session import Session

KEY = b"a0436f6c-1916-498b-8eb9-e81ab9368e84"
HEADER = b'{"msg_id":"1","msg_type":"stream","version":"5.3"}'
SCHEMES = sorted(f"hmac-{name}" for name in hashlib.algorithms_guaranteed if hashlib.new(name).digest_size)

law = settings(deadline=None)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
objects = st.dictionaries(st.text(), json_values, max_size=4)


def signed(content: bytes = b"{}", *buffers: Frame, key: bytes = KEY, header: bytes = HEADER) -> list[Frame]:
    """Frames signed without any of our own code."""
    parts = [header, b"{}", b"{}", content]
    return [hmac.new(key, b"".join(parts), "sha256").hexdigest().encode(), *parts, *buffers]


# There and back.


@law
@given(
    msg_type=st.text(),
    content=objects,
    metadata=objects,
    buffers=st.lists(st.binary(), max_size=3),
    key=st.binary(max_size=80),
)
def test_what_is_packed_is_unpacked(
    msg_type: str, content: dict[str, Any], metadata: dict[str, Any], buffers: list[bytes], key: bytes
) -> None:
    sender, receiver = Session(key), Session(key)
    request = sender.message("request")
    message = sender.message(msg_type, content, parent=request, metadata=metadata, buffers=buffers)
    frames = sender.pack(message)
    assert receiver.unpack(frames) == message
    assert message.is_child_of(request)
    assert frames[0] == (hmac.new(key, b"".join(frames[1:5]), "sha256").hexdigest().encode() if key else b"")
    assert [json.loads(bytes(frame)) for frame in frames[1:5]] == [getattr(message, part) for part in PARTS]
    assert frames[5:] == buffers


def test_message_has_the_header_of_the_protocol() -> None:
    before = datetime.now(UTC)
    session = Session(session_id="s", username="u")
    message = session.message("execute_request", {"code": "1"}, subshell_id="sub")
    assert set(message.header) == {"msg_id", "msg_type", "username", "session", "date", "version", "subshell_id"}
    assert (message.header["session"], message.header["username"]) == ("s", "u")
    assert (message.header["version"], message.header["subshell_id"]) == (PROTOCOL_VERSION, "sub")
    assert message.date is not None
    assert before <= message.date <= datetime.now(UTC)
    assert (message.parent_header, message.metadata, message.buffers) == ({}, {}, ())


def test_username_need_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError("no such user")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert Session().username == "username"
    assert Session(username="").username == ""


def test_session_of_a_connection_has_its_key_and_scheme() -> None:
    info = ConnectionInfo(key=KEY, signature_scheme="hmac-sha512")
    one, other = Session.of(info), Session.of(info)
    assert one.session_id != other.session_id
    message = one.message("status")
    assert other.unpack(one.pack(message)) == message
    assert len(one.pack(message)[0]) == 128


def test_message_that_json_cannot_say_is_refused_by_part() -> None:
    session = Session()
    with pytest.raises(InvalidMessage, match="content"):
        session.pack(session.message("status", {"a": object()}))
    with pytest.raises(InvalidMessage, match="metadata"):
        session.pack(session.message("status", metadata={"a": object()}))
    with pytest.raises(InvalidMessage, match="header"):
        session.pack(session.message("status", a=object()))


def test_v4_messages_are_read_as_v5() -> None:
    header = b'{"msg_id":"1","msg_type":"pyout","session":"s","username":"u"}'
    message = Session(KEY).unpack(signed(b'{"data":{"text/plain":"4"}}', header=header))
    assert message.msg_type == "execute_result"
    assert message.header["version"] == "5.0"


# Ids.


def test_ids_are_unique_across_threads() -> None:
    session = Session()
    ids: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def make(mine: list[str]) -> None:
        start.wait()
        mine += [session.message("status").msg_id for _ in range(1000)]

    threads = [threading.Thread(target=make, args=[mine]) for mine in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({msg_id for mine in ids for msg_id in mine}) == 8000


def test_ids_are_unique_across_sessions_and_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(session_id="s")
    first = session.message("status").msg_id
    forked = Session(session_id="s")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert forked.message("status").msg_id != first
    assert Session().session_id != Session().session_id


# Buffers.


def test_message_keeps_what_a_buffer_was() -> None:
    session = Session()
    data = bytearray(b"before")
    message = session.message("comm_msg", buffers=[data, memoryview(data)[::-1], memoryview(data)[:0]])
    frames = session.pack(message)
    data[:] = b"after!"
    assert message.buffers == (b"before", b"erofeb", b"")
    assert frames[5:] == [b"before", b"erofeb", b""]


def test_read_only_buffers_are_never_copied() -> None:
    session = Session()
    data, view = b"data", memoryview(bytearray(b"view")).toreadonly()
    frames = session.pack(session.message("comm_msg", buffers=[data, view]))
    assert frames[5] is data
    assert isinstance(frames[6], memoryview)
    assert frames[6].obj is view.obj
    received = Session().unpack(frames).buffers
    assert received[0] is data
    assert received[1] is frames[6]


def test_mutable_buffer_of_a_message_made_by_hand_is_frozen_when_packed() -> None:
    data = bytearray(b"before")
    frames = Session().pack(Message({}, buffers=(data,)))  # type: ignore[arg-type]
    data[:] = b"after!"
    assert frames[5] == b"before"


def test_what_is_no_buffer_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="buffers"):
        Session().message("comm_msg", buffers=["text"])  # type: ignore[list-item]


# The other implementation.


def jupyter_session(scheme: str = "hmac-sha256", key: bytes = KEY) -> Any:
    # The scheme first: the key's arrival makes the digest.
    return JupyterSession(signature_scheme=scheme, key=key, check_pid=False)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_jupyter_client_reads_what_we_pack(scheme: str) -> None:
    session = Session(KEY, signature_scheme=scheme)
    request = session.message("execute_request", {"code": "1 + 1"})
    message = session.message("stream", {"text": "\U0001f40d é"}, parent=request, buffers=[b"buffer"])
    read = jupyter_session(scheme).deserialize(session.pack(message))
    assert read["msg_type"] == "stream"
    assert read["msg_id"] == message.msg_id
    assert read["header"]["date"] == message.date
    assert read["parent_header"]["msg_id"] == request.msg_id
    assert read["content"] == message.content
    assert [bytes(buffer) for buffer in read["buffers"]] == [b"buffer"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_we_read_what_jupyter_client_serialises(scheme: str) -> None:
    jupyter = jupyter_session(scheme)
    parent = jupyter.msg("execute_request", {"code": "1 + 1"})
    sent = jupyter.msg("stream", {"text": "\U0001f40d é", "date": datetime.now(UTC)}, parent=parent)
    delimiter, *frames = jupyter.serialize(sent)
    assert delimiter == DELIM
    message = Session(KEY, signature_scheme=scheme).unpack(frames)
    assert message.msg_type == "stream"
    assert message.msg_id == sent["header"]["msg_id"]
    assert message.parent_id == parent["header"]["msg_id"]
    assert message.date == sent["header"]["date"]
    assert message.content["text"] == sent["content"]["text"]


def test_unsigned_messages_are_exchanged_too() -> None:
    session, jupyter = Session(), jupyter_session(key=b"")
    message = session.message("status", {"execution_state": "idle"})
    assert jupyter.deserialize(session.pack(message))["content"] == {"execution_state": "idle"}
    assert session.unpack(jupyter.serialize(jupyter.msg("status"))[1:]).msg_type == "status"


def test_jupyter_client_refuses_what_we_would_refuse() -> None:
    frames = Session(b"another key").pack(Session().message("status"))
    with pytest.raises(ValueError, match="Invalid Signature"):
        jupyter_session().deserialize(frames)
    with pytest.raises(InvalidSignature):
        Session(KEY).unpack(frames)


@pytest.mark.parametrize("scheme", ["sha256", "hmac-nothing", "hmac-shake_128"])
def test_unknown_scheme_is_refused(scheme: str) -> None:
    with pytest.raises(InvalidField, match="signature_scheme"):
        Session(signature_scheme=scheme)


# Refusals.


def refuse(
    session: Session, frames: Sequence[Frame], error: type[RemoteError], read: Callable[[Sequence[Frame]], object]
) -> None:
    """Reading `frames` must fail with `error`, be counted, and leave the session usable."""
    before = session.rejected.copy()
    with pytest.raises(error) as caught:
        read(frames)
    assert type(caught.value) is error
    assert session.rejected - before == {error.__name__: 1}
    assert session.unpack(signed(b'{"after":%d}' % sum(session.rejected.values()))).msg_type == "stream"


UNACCEPTABLE: dict[str, tuple[Sequence[Frame], type[RemoteError]]] = {
    "nothing": ([], MalformedMessage),
    "four frames": (signed()[:4], MalformedMessage),
    "no signature": ([b"", *signed()[1:]], InvalidSignature),
    "wrong signature": ([b"0" * 64, *signed()[1:]], InvalidSignature),
    "truncated signature": ([signed()[0][:-1], *signed()[1:]], InvalidSignature),
    "longer signature": ([bytes(signed()[0]) + b"0", *signed()[1:]], InvalidSignature),
    "oversized signature": ([bytes(signed()[0]) + b"0" * 10**6, *signed()[1:]], InvalidSignature),
    "upper case signature": ([bytes(signed()[0]).upper(), *signed()[1:]], InvalidSignature),
    "binary signature": ([b"\xff" * 64, *signed()[1:]], InvalidSignature),
    "signature by another key": (signed(key=b"another key"), InvalidSignature),
    "another content": ([*signed()[:4], b'{"code":"evil"}'], InvalidSignature),
    "parts in another order": ([signed()[0], *signed()[:0:-1]], InvalidSignature),
}


@pytest.mark.parametrize(("frames", "error"), UNACCEPTABLE.values(), ids=UNACCEPTABLE.keys())
def test_unacceptable_frames_are_refused_and_counted(frames: Sequence[Frame], error: type[RemoteError]) -> None:
    session = Session(KEY)
    refuse(session, frames, error, session.unpack)
    refuse(session, frames, error, session.check)


UNREADABLE: dict[str, list[Frame]] = {
    "content not JSON": signed(b"code"),
    "content empty": signed(b""),
    "content a list": signed(b"[]"),
    "content null": signed(b"null"),
    "content too deep": signed(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "header not JSON": signed(header=b"\xff\xff"),
    "header a list": signed(header=b'["msg_type"]'),
    "header without a type": signed(header=b'{"msg_id":"1"}'),
    "header with a number for a type": signed(header=b'{"msg_type":1}'),
    "header with a list for a type": signed(header=b'{"msg_type":["stream"]}'),
}


@pytest.mark.parametrize("frames", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unreadable_parts_are_refused_and_counted(frames: list[Frame]) -> None:
    session = Session(KEY)
    refuse(session, frames, MalformedMessage, session.unpack)
    unsigned = Session()
    refuse(unsigned, [b"", *frames[1:]], MalformedMessage, unsigned.unpack)


@law
@given(st.lists(st.binary(max_size=20), max_size=7))
def test_junk_is_refused_with_an_error_of_ours(frames: list[bytes]) -> None:
    for session in (Session(KEY), Session()):
        with pytest.raises(RemoteError):
            session.unpack(frames)
        assert session.rejected.total() == 1


def test_json_parts_are_bounded_and_buffers_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = signed(b'{"text":"0123456789"}', b"buffer" * 1000)
    size = sum(map(len, frames[1:5]))
    monkeypatch.setattr(session_module, "MAX_JSON_BYTES", size)
    Session(KEY).unpack(frames)
    monkeypatch.setattr(session_module, "MAX_JSON_BYTES", size - 1)
    session = Session(KEY)
    with pytest.raises(MalformedMessage, match=str(size - 1)):
        session.check(frames)
    assert session.rejected == {"MalformedMessage": 1}


def test_buffers_are_not_signed() -> None:
    frames = signed(b"{}", b"one")
    assert Session(KEY).unpack([*frames[:5], b"another"]).buffers == (b"another",)


def test_without_a_key_any_signature_passes_and_repeats() -> None:
    session = Session()
    for signature in (b"", b"anything", b"0" * 1000):
        frames: list[Frame] = [signature, *signed()[1:]]
        assert session.unpack(frames) == session.unpack(frames)
    assert not session.rejected


def test_views_are_accepted_as_frames() -> None:
    frames = [memoryview(frame) for frame in signed(b'{"a":1}', b"buffer")]
    session = Session(KEY)
    assert session.unpack(frames).content == {"a": 1}
    with pytest.raises(DuplicateSignature):
        session.unpack(signed(b'{"a":1}', b"buffer"))


# Replay.


def test_replay_is_refused_and_counted() -> None:
    session = Session(KEY)
    session.unpack(signed())
    refuse(session, signed(), DuplicateSignature, session.unpack)
    refuse(session, signed(), DuplicateSignature, session.check)


def test_checked_message_is_remembered() -> None:
    session = Session(KEY)
    session.check(signed())
    with pytest.raises(DuplicateSignature):
        session.unpack(signed())


def test_unreadable_but_genuine_message_is_remembered() -> None:
    session = Session(KEY)
    with pytest.raises(MalformedMessage):
        session.unpack(signed(b"code"))
    with pytest.raises(DuplicateSignature):
        session.unpack(signed(b"code"))


def test_own_messages_are_not_replays() -> None:
    session = Session(KEY)
    message = session.message("status")
    assert session.unpack(session.pack(message)) == message


def test_wrong_signature_is_not_remembered() -> None:
    session = Session(KEY)
    good = signed()
    for _ in range(2):
        with pytest.raises(InvalidSignature):
            session.check([good[0], *signed(b'{"another":1}')[1:]])
    session.check(good)


def test_flood_of_junk_does_not_empty_the_history() -> None:
    session = Session(KEY)
    session.unpack(signed())
    parts = signed()[1:]
    refused = 0
    for number in range(200_000):
        try:
            session.check([b"%064x" % number, *parts])
        except InvalidSignature:
            refused += 1
    assert refused == session.rejected["InvalidSignature"] == 200_000
    with pytest.raises(DuplicateSignature):
        session.unpack(signed())


def test_history_is_bounded_and_forgets_the_oldest_first() -> None:
    session = Session(KEY, history=3)
    messages = [signed(b'{"n":%d}' % n) for n in range(5)]
    for frames in messages[:3]:
        session.check(frames)
    for frames in messages[:3]:
        # A refused replay does not count as recent, nor as new.
        with pytest.raises(DuplicateSignature):
            session.check(frames)
    session.check(messages[3])
    session.check(messages[0])
    for frames in (messages[2], messages[3], messages[0]):
        with pytest.raises(DuplicateSignature):
            session.check(frames)
    session.check(messages[1])


def test_of_many_threads_with_one_message_one_gets_it() -> None:
    session = Session(KEY)
    start = threading.Barrier(8)
    accepted: list[Message] = []

    def read() -> None:
        start.wait()
        for number in range(100):
            try:
                accepted.append(session.unpack(signed(b'{"n":%d}' % number)))
            except DuplicateSignature:
                continue

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(message.content["n"] for message in accepted) == list(range(100))
    assert session.rejected == {"DuplicateSignature": 700}


# Relaying.


def test_resigned_message_is_the_same_under_another_key() -> None:
    here, there = Session(KEY), Session(b"another key")
    frames = signed(b'{"a": 1 }', b"buffer")
    passed_on = here.resign(frames, there)
    assert passed_on[1:] == frames[1:]
    assert all(one is other for one, other in zip(passed_on[1:], frames[1:], strict=True))
    assert there.unpack(passed_on).content == {"a": 1}
    assert Session().resign(frames, Session())[0] == b""
    assert Session().resign(frames, here) == frames


def test_what_is_not_genuine_is_not_resigned() -> None:
    here, there = Session(KEY), Session(b"another key")
    frames = signed(b'{"a": 1 }', b"buffer")
    with pytest.raises(InvalidSignature):
        there.resign(frames, here)
    here.resign(frames, there)
    with pytest.raises(DuplicateSignature):
        here.resign(frames, there)


def test_repr_shows_no_key() -> None:
    session = Session(b"5ecret", session_id="s")
    assert repr(session) == str(session) == "<Session s <Signer hmac-sha256>>"
    assert "5ecret" not in repr(vars(session))
    assert re.fullmatch(r"<Session \w+ <Signer unsigned>>", repr(Session()))


def test_parents_that_take_turns_are_not_confused() -> None:
    sender, receiver = Session(KEY), Session(KEY)
    requests = [sender.message("execute_request", {"number": number}) for number in range(2)]
    long = Message({**requests[0].header, "note": "x" * 10_000})
    for parent in (requests[0], requests[0], requests[1], None, long, long, requests[0], None):
        frames: Sequence[Frame] = sender.pack(sender.message("status", {}, parent=parent))
        assert json.loads(bytes(frames[2])) == (dict(parent.header) if parent else {})
        message = receiver.unpack([frames[0], *(memoryview(each) for each in frames[1:])])
        assert message.parent_header == (parent.header if parent else {})
        assert message.parent_id == (parent.msg_id if parent else "")
