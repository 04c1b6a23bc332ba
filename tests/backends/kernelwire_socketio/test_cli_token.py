"""The command that makes keys and tokens."""

import io
import json
import stat
import warnings
from pathlib import Path

import pytest

from kernelwire.cli import OK, UNUSABLE, main
from kernelwire_socketio.host_tokens import HostKeys, issue, read_private, read_public


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "operator.pem"
    assert main(["token", "new-key", str(path)]) == OK
    assert capsys.readouterr().out == f"{path}.pub\n"
    return path


def test_a_key_is_for_its_owner_alone(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    read_private(key.read_bytes(), "a file")
    read_public(Path(f"{key}.pub").read_bytes(), "a file")
    assert b"PRIVATE" not in Path(f"{key}.pub").read_bytes()


@pytest.mark.parametrize("name", ["operator.pem", "operator.pem.pub"])
def test_no_key_is_overwritten(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("precious")
    assert main(["token", "new-key", str(tmp_path / "operator.pem")]) == UNUSABLE
    assert "exists already" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_a_token_is_printed_and_is_good(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "issue", "--key", str(key), "--valid", "2", "--rooms", "3", "--clients", "4"]) == OK
    token = capsys.readouterr().out.strip()
    grant = HostKeys(read_public(Path(f"{key}.pub").read_bytes(), "a file")).read(token)
    assert (grant.rooms, grant.clients, grant.expires - grant.issued) == (3, 4, 2 * 86400)


def test_a_token_may_go_to_a_file(key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "laptop.token"
    assert main(["token", "issue", "--key", str(key), "--output", str(path)]) == OK
    assert capsys.readouterr().out == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert main(["token", "issue", "--key", str(key), "--output", str(path)]) == UNUSABLE
    assert main(["token", "show", str(path), "--host-key", f"{key}.pub"]) == OK
    out = capsys.readouterr().out
    assert "signature  good" in out
    assert "state      valid" in out
    assert "rooms      as many as the relay allows" in out


def test_a_token_may_be_shown_as_json(
    key: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issue(read_private(key.read_bytes(), "a file"), valid=60, rooms=2, now=1_700_000_000)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))
    assert main(["token", "show", "-", "--json"]) == OK
    said = json.loads(capsys.readouterr().out)
    assert said.pop("id")
    assert said.pop("key")
    assert said == {
        "scope": "host",
        "signature": "not checked",
        "issued": "2023-11-14T22:13:20Z",
        "expires": "2023-11-14T22:14:20Z",
        "state": "expired",
        "rooms": 2,
        "clients": None,
    }


def test_a_token_of_another_key(key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["token", "new-key", str(tmp_path / "other.pem")])
    main(["token", "issue", "--key", str(key), "--output", str(tmp_path / "token")])
    capsys.readouterr()
    assert main(["token", "show", str(tmp_path / "token"), "--host-key", str(tmp_path / "other.pem.pub")]) == UNUSABLE
    assert capsys.readouterr().err.endswith("not a good host token: no key of this relay has signed it\n")


@pytest.mark.parametrize("content", ["", "nonsense", "a.b.c", "x" * 10_000, "\N{SNOWMAN}"])
def test_what_is_none_is_not_shown(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    assert main(["token", "show", str(path)]) == UNUSABLE
    err = capsys.readouterr().err
    assert err.startswith(f"kernelwire: {path}: not a good host token: ")
    assert err.count("\n") == 1
    assert not content or content not in err


def test_keys_that_cannot_be_used(key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, problem in ((tmp_path / "nowhere", "no file"), (Path(f"{key}.pub"), "no private key as")):
        assert main(["token", "issue", "--key", str(path)]) == UNUSABLE
        err = capsys.readouterr().err
        assert problem in err
        assert err.splitlines()[-1].startswith("kernelwire: ")


def test_a_key_that_others_can_read_is_told(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key.chmod(0o644)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["token", "issue", "--key", str(key)]) == OK
    assert "others may open it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("--valid", "0"), ("--valid", "x"), ("--valid", "1e9"), ("--rooms", "0"), ("--clients", "x")]
)
def test_numbers_are_looked_at(arguments: tuple[str, str], key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["token", "issue", "--key", str(key), *arguments])
    assert ended.value.code == UNUSABLE
    assert f"argument {arguments[0]}: {arguments[1]}: a number" in capsys.readouterr().err
