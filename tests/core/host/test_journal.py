"""A journal says of each request what became of it, also to those who come later; and stays small."""

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from kernelwire.channels import Channel
from kernelwire.errors import ConnectionFileError
from kernelwire.host.journal import KEPT, MAX_BYTES, Fate, Journal
from kernelwire.messages import WireMessage
from kernelwire.session import Session

SESSION = Session(b"key")


def request(msg_id: str) -> WireMessage:
    message = SESSION.message("execute_request", {"code": "a secret"})
    return WireMessage(SESSION.pack(structs.replace(message, header={**message.header, "msg_id": msg_id})))


def reply(msg_id: str) -> WireMessage:
    message = SESSION.message("execute_reply", {"status": "ok"})
    return WireMessage(SESSION.pack(structs.replace(message, parent_header={"msg_id": msg_id})))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kernel.journal"


def test_a_request_s_life(path: Path) -> None:
    journal = Journal(path)
    assert journal.fate("one") is Fate.NEVER
    journal.passes(Channel.SHELL, request("one"))
    assert journal.fate("one") is Fate.PASSED
    journal.returns(Channel.SHELL, reply("one"))
    assert journal.fate("one") is Fate.ANSWERED
    journal.close()


def test_a_successor_knows_without_a_word_from_the_one_before(path: Path) -> None:
    journal = Journal(path)
    journal.passes(Channel.SHELL, request("answered"))
    journal.passes(Channel.CONTROL, request("passed"))
    journal.returns(Channel.SHELL, reply("answered"))
    successor = Journal(path)  # the other was killed, and closed nothing
    fates = {each: str(successor.fate(each)) for each in ("answered", "passed", "never")}
    assert fates == {"answered": "answered", "passed": "passed on", "never": "never passed on"}
    assert successor.unanswered == ["passed"]
    successor.passes(Channel.SHELL, request("later"))
    assert successor.unanswered == ["passed"]
    for each in (journal, successor):
        each.close()


def test_it_is_for_its_owner_and_holds_no_content(path: Path) -> None:
    journal = Journal(path)
    journal.passes(Channel.SHELL, request("one"))
    journal.passes(Channel.SHELL, request("two"))
    journal.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"p one\np two\n"


def test_it_stays_small(path: Path) -> None:
    journal = Journal(path)
    for number in range(5 * KEPT):
        journal.passes(Channel.SHELL, request(str(number)))
        journal.returns(Channel.SHELL, reply(str(number)))
    journal.close()
    assert path.stat().st_size < 140 * 5 * KEPT < MAX_BYTES
    for each in (journal, Journal(path)):
        assert each.fate(str(5 * KEPT - 1)) is Fate.ANSWERED
        assert each.fate(str(4 * KEPT)) is Fate.ANSWERED
        assert each.fate("0") is Fate.FORGOTTEN  # and not: never


def test_answers_to_questions_are_none_of_its_business(path: Path) -> None:
    journal = Journal(path)
    journal.passes(Channel.STDIN, request("input"))
    journal.returns(Channel.STDIN, reply("input"))
    journal.returns(Channel.SHELL, reply("of somebody else"))
    assert not path.exists()


@pytest.mark.parametrize("header", [b"", b"no JSON", b"[]", b'{"msg_id": 5}', b'{"msg_id": ""}', b'{"x": "\xff"}'])
def test_what_has_no_id_is_not_written_down(path: Path, header: bytes) -> None:
    journal = Journal(path)
    journal.passes(Channel.SHELL, WireMessage([b"", header, b"{}", b"{}", b"{}"]))
    journal.returns(Channel.SHELL, WireMessage([b"", b"{}", header, b"{}", b"{}"]))
    assert not path.exists()


@settings(deadline=None, max_examples=50)
@given(msg_id=st.text(min_size=1, max_size=300))
def test_any_id_can_be_asked_for(tmp_path_factory: pytest.TempPathFactory, msg_id: str) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in msg_id):
        return  # no JSON that anybody would accept
    path = tmp_path_factory.mktemp("any") / "journal"
    journal = Journal(path)
    journal.passes(Channel.SHELL, request(msg_id))
    journal.close()
    assert Journal(path).fate(msg_id) is Fate.PASSED


def test_a_last_line_that_is_cut_short_harms_nobody(path: Path) -> None:
    path.write_bytes(b"p one\na one\np \nx\np tw")
    journal = Journal(path)
    assert journal.fate("one") is Fate.ANSWERED
    assert journal.fate("tw") is Fate.PASSED


def test_a_full_disk_passes_nothing_on_unseen(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConnectionFileError):
        Journal(tmp_path / "file" / "journal").passes(Channel.SHELL, request("one"))


def test_it_goes_with_its_kernel(path: Path) -> None:
    journal = Journal(path)
    journal.passes(Channel.SHELL, request("one"))
    journal.remove()
    assert not path.exists()
    journal.remove()
