"""Connection files: reading, writing in one step, removing only one's own, finding."""

import contextlib
import errno
import json
import os
import stat
import string
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_client import connect as stock
from jupyter_client.blocking.client import BlockingKernelClient

from kernelwire import connection_file
from kernelwire.connection import PORT_FIELDS, ConnectionInfo
from kernelwire.connection_file import ConnectionFile, InsecureFileWarning, find, read, runtime_dir
from kernelwire.errors import ConfigurationError, ConnectionFileError, ConnectionFileNotFound, InvalidField

SECRET = "d1f0-the-key"
INFO = ConnectionInfo(
    ip="127.0.0.1",
    **{name: 50001 + i for i, name in enumerate(PORT_FIELDS)},  # type: ignore[arg-type]
    key=SECRET.encode(),
    kernel_name="python3",
    extra={"room": "blue", "jupyter_session": "a.ipynb"},
)


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty runtime directory, and an empty current one beside it."""
    directory = tmp_path / "runtime"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(directory))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return directory


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def place(path: Path, content: bytes | str | None = None, mode: int = 0o600, modified: int | None = None) -> Path:
    content = json.dumps(INFO.to_dict()) if content is None else content
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    if modified is not None:
        os.utime(path, (0, modified))
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def shown(error: BaseException | None) -> str:
    """All that a report could show of an error: its whole chain, suppressed or not, with every attribute."""
    text = ""
    while error is not None:
        text += f"{error!r} {error} {vars(error)} {getattr(error, 'object', '')!r} {getattr(error, 'doc', '')}"
        text += "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__
    return text


def listed(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def open_descriptors() -> int:
    return len(listed(Path("/dev/fd")))


# read


def test_reads_what_a_file_says(tmp_path: Path) -> None:
    path = place(tmp_path / "k.json")
    assert read(path) == read(str(path)) == INFO


def test_reads_a_byte_order_mark(tmp_path: Path) -> None:
    assert read(place(tmp_path / "k.json", b"\xef\xbb\xbf" + json.dumps(INFO.to_dict()).encode())) == INFO


def test_reads_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(place(tmp_path / "k.json"))
    assert read(tmp_path / "link.json") == INFO


def test_a_missing_file_is_not_found_and_similar_names_are_given(tmp_path: Path) -> None:
    place(tmp_path / "kernel-alpha.json")
    place(tmp_path / "unrelated.json")
    with pytest.raises(ConnectionFileNotFound) as caught:
        read(tmp_path / "kernel-alhpa.json")
    assert str(tmp_path / "kernel-alhpa.json") in str(caught.value)
    assert "kernel-alpha.json" in str(caught.value)
    assert "unrelated" not in str(caught.value)


def test_a_missing_file_in_an_empty_or_missing_directory(tmp_path: Path, runtime: Path) -> None:
    for path in (runtime / "k.json", tmp_path / "nowhere" / "k.json", place(tmp_path / "file") / "k.json"):
        with pytest.raises(ConnectionFileNotFound, match=r"no \.json file is there"):
            read(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (f'{{"key": "{SECRET}"'.encode(), "not JSON"),
        (f'"{SECRET}"'.encode(), "str"),
        (f'["{SECRET}"]'.encode(), "list"),
        (b"12", "int"),
        (b"null", "NoneType"),
        (b"[" * 100_000, "nested too deep"),
        (f'{{"key": "{SECRET}\xe9"}}'.encode("latin-1"), "not UTF-8"),
        (f'{{"key": "{SECRET}"}}'.encode("utf-16"), "not UTF-8"),
        (f'{{"key": "{SECRET}"}}'.encode() + b" " * 1024 * 1024, "1048576"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else None,
)
def test_a_file_without_a_json_object_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = place(tmp_path / "k.json", content)
    with pytest.raises(ConnectionFileError, match=problem) as caught:
        read(path)
    assert not isinstance(caught.value, ConnectionFileNotFound)
    assert str(path) in str(caught.value)
    assert SECRET not in shown(caught.value)


def test_a_file_of_just_the_greatest_size_is_read(tmp_path: Path) -> None:
    text = json.dumps(INFO.to_dict())
    assert read(place(tmp_path / "k.json", text.ljust(connection_file.MAX_BYTES))) == INFO


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConnectionFileError, match="not a regular file"):
        read(tmp_path / "pipe")
    with pytest.raises(ConnectionFileError, match="directory"):
        read(tmp_path)
    with pytest.raises(ConnectionFileError, match="null byte"):
        read("a\0b")


def _forbid(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    real = os.open

    def refuse(file: Any, *arguments: Any, **named: Any) -> int:
        if os.fspath(file) == os.fspath(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), file)
        return real(file, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)


def test_a_file_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place(tmp_path / "k.json")
    _forbid(monkeypatch, path)
    with pytest.raises(ConnectionFileError, match="Permission denied") as caught:
        read(path)
    assert isinstance(caught.value.__cause__, PermissionError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFileError, match="Permission denied"):
        read(place(tmp_path / "k.json", mode=0))


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"shell_port": 0}, "shell_port"), ({"ip": 5}, "ip"), ({"curve_secretkey": SECRET}, "curve_secretkey")],
)
def test_an_unusable_field_is_named_with_its_file(tmp_path: Path, fields: dict[str, Any], field: str) -> None:
    path = place(tmp_path / "k.json", json.dumps({"key": SECRET, **fields}))
    with pytest.raises(InvalidField) as caught:
        read(path)
    assert caught.value.field == field
    assert field in str(caught.value)
    assert str(path) in str(caught.value)
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_file_that_others_may_open_is_read_with_a_warning(tmp_path: Path, mode: int) -> None:
    path = place(tmp_path / "my k.json", mode=mode)
    with pytest.warns(InsecureFileWarning) as caught:
        assert read(path) == INFO
    text = str(caught[0].message)
    assert f"{mode:04o}" in text
    assert f"chmod 600 '{path}'" in text
    assert SECRET not in text
    assert caught[0].filename == __file__


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_the_owner_alone_gives_no_warning(tmp_path: Path, mode: int) -> None:
    assert read(place(tmp_path / "k.json", mode=mode)) == INFO


def test_reading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = open_descriptors()
    read(place(tmp_path / "k.json"))
    for path in (tmp_path, place(tmp_path / "bad.json", "["), tmp_path / "missing.json"):
        with pytest.raises(ConfigurationError):
            read(path)
    assert open_descriptors() == before


# write


def test_writes_to_a_new_file_in_the_runtime_directory(runtime: Path) -> None:
    first, second = ConnectionFile.write(INFO), ConnectionFile.write(INFO)
    assert first.path.parent == second.path.parent == runtime
    assert first.path != second.path
    assert first.path.match("kernel-????????-????-4???-????-????????????.json")
    assert first.info is INFO
    assert read(first.path) == INFO


def test_unknown_fields_survive(tmp_path: Path) -> None:
    fields = INFO.to_dict() | {"": None, "nested": {"a": [1, 2.5, {"\ud800": float("inf")}]}, "extra": True, "é": "ü"}
    source = place(tmp_path / "k.json", json.dumps(fields))
    written = ConnectionFile.write(read(source), tmp_path / "copy.json")
    assert json.loads(written.path.read_bytes()) == fields
    assert read(written.path) == read(source)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path, mask: int, overwrite: bool) -> None:
    path = tmp_path / "k.json"
    if overwrite:
        place(path, mode=0o666)
    with umask(mask):
        ConnectionFile.write(INFO, path, overwrite=overwrite)
    assert mode_of(path) == 0o600


def test_it_is_never_open_to_others_before_the_mode_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    real = os.fchmod

    def note(descriptor: int, mode: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", note)
    with umask(0):
        ConnectionFile.write(INFO, tmp_path / "k.json")
    assert modes == [0o600]


def test_missing_directories_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    with umask(0):
        ConnectionFile.write(INFO, tmp_path / "a" / "b" / "k.json")
    assert mode_of(tmp_path / "a") == mode_of(tmp_path / "a" / "b") == 0o700


def test_a_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    ConnectionFile.write(INFO, tmp_path / "k.json")
    assert mode_of(tmp_path) == 0o755


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    path = place(tmp_path / "k.json", "mine")
    with pytest.raises(ConnectionFileError, match="overwrite"):
        ConnectionFile.write(INFO, path)
    assert path.read_text() == "mine"
    ConnectionFile.write(INFO, path, overwrite=True)
    assert read(path) == INFO
    assert listed(tmp_path) == ["here", "k.json", "runtime"]


@pytest.mark.parametrize("target", ["other.json", "missing.json"])
def test_a_symbolic_link_is_never_written_through(tmp_path: Path, target: str) -> None:
    place(tmp_path / "other.json", "theirs")
    link = tmp_path / "k.json"
    link.symlink_to(tmp_path / target)
    with pytest.raises(ConnectionFileError, match="overwrite"):
        ConnectionFile.write(INFO, link)
    ConnectionFile.write(INFO, link, overwrite=True)
    assert not link.is_symlink()
    assert (tmp_path / "other.json").read_text() == "theirs"
    assert not (tmp_path / "missing.json").exists()


def _fail(*arguments: object, **named: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _interrupt(*arguments: object, **named: object) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["open", "fchmod", "fsync", "link", "replace"])
@pytest.mark.parametrize("failure", [_fail, _interrupt])
def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: Callable[..., NoReturn]
) -> None:
    place(tmp_path / "old.json", "old")
    path = tmp_path / ("old.json" if step == "replace" else "new.json")
    before, descriptors = listed(tmp_path), open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, step, failure)
        with pytest.raises((ConnectionFileError, KeyboardInterrupt)) as caught:
            ConnectionFile.write(INFO, path, overwrite=step == "replace")
    if isinstance(caught.value, ConnectionFileError):
        assert str(path) in str(caught.value)
        assert os.strerror(errno.ENOSPC) in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)
    assert SECRET not in shown(caught.value)
    assert listed(tmp_path) == before
    assert (tmp_path / "old.json").read_text() == "old"
    assert open_descriptors() == descriptors


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = place(tmp_path / "file", "")
    for path in (blocked / "k.json", tmp_path / "a\0b", tmp_path / ("x" * 300), Path("/")):
        with pytest.raises(ConnectionFileError):
            ConnectionFile.write(INFO, path)
    (tmp_path / "directory").mkdir()
    for overwrite in (False, True):
        with pytest.raises(ConnectionFileError):
            ConnectionFile.write(INFO, tmp_path / "directory", overwrite=overwrite)


def test_information_that_no_file_can_hold(tmp_path: Path, runtime: Path) -> None:
    with pytest.raises(ConnectionFileError, match="no form in JSON") as caught:
        ConnectionFile.write(INFO.replace(odd=object()))
    assert SECRET not in shown(caught.value)
    with pytest.raises(ConnectionFileError, match="1048576"):
        ConnectionFile.write(INFO.replace(large="x" * 1024 * 1024))
    assert listed(runtime) == []


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    infos = [INFO.replace(padding="x" * size) for size in (0, 300_000)]
    ConnectionFile.write(infos[0], path)
    seen: list[ConnectionInfo] = []
    failures: list[Exception] = []
    started, stop = threading.Event(), threading.Event()

    def keep_reading() -> None:
        deadline = time.monotonic() + 30
        try:
            while not stop.is_set() and time.monotonic() < deadline:
                seen.append(read(path))
                started.set()
        except Exception as error:  # noqa: BLE001 - the main thread reports it
            failures.append(error)
            started.set()

    reader = threading.Thread(target=keep_reading)
    reader.start()
    try:
        assert started.wait(10)
        for turn in range(200):
            ConnectionFile.write(infos[turn % 2], path, overwrite=True)
    finally:
        stop.set()
        reader.join(30)
    assert not reader.is_alive()
    assert failures == []
    assert all(info in infos for info in seen)
    assert read(path) == infos[1]
    assert listed(tmp_path) == ["here", "k.json", "runtime"]


def test_of_many_writers_of_one_path_exactly_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    won: list[ConnectionFile] = []
    lost: list[ConnectionFileError] = []
    together = threading.Barrier(8, timeout=10)

    def compete(number: int) -> None:
        together.wait()
        try:
            won.append(ConnectionFile.write(INFO.replace(number=number), path))
        except ConnectionFileError as error:
            lost.append(error)

    writers = [threading.Thread(target=compete, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert (len(won), len(lost)) == (1, 7)
    assert read(path) == won[0].info


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
curve_keys = st.text(string.ascii_letters + string.digits, min_size=40, max_size=40).map(str.encode)
known = {
    *PORT_FIELDS,
    "transport",
    "ip",
    "key",
    "signature_scheme",
    "kernel_name",
    "curve_publickey",
    "curve_secretkey",
}
infos = st.builds(
    ConnectionInfo,
    transport=names,
    ip=st.none() | names,
    key=st.text().map(str.encode),
    signature_scheme=st.sampled_from(["hmac-sha256", "hmac-md5"]),
    kernel_name=st.none() | names,
    curve_publickey=st.none() | curve_keys,
    curve_secretkey=st.none() | curve_keys,
    extra=st.dictionaries(st.text().filter(lambda name: name not in known), json_values, max_size=4),
    **{name: st.none() | st.integers(1, 65535) for name in PORT_FIELDS},
)


@given(info=infos)
@settings(deadline=None, max_examples=100)
def test_whatever_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, info: ConnectionInfo) -> None:
    with ConnectionFile.write(info, tmp_path_factory.getbasetemp() / "round" / "k.json") as file:
        assert read(file.path) == info


# remove


def test_removes_its_file_once(runtime: Path) -> None:
    file = ConnectionFile.write(INFO)
    assert file.remove()
    assert not file.remove()
    place(file.path, "somebody's")
    assert not file.remove()
    assert file.path.exists()


def test_as_a_context_manager_it_removes_on_exit(runtime: Path) -> None:
    with ConnectionFile.write(INFO) as file:
        assert file.path.exists()
    assert not file.path.exists()
    with pytest.raises(KeyError), ConnectionFile.write(INFO) as file:
        raise KeyError
    assert listed(runtime) == []


def test_the_file_outlives_the_object(runtime: Path) -> None:
    descriptors = open_descriptors()
    path = ConnectionFile.write(INFO).path
    assert read(path) == INFO
    assert open_descriptors() == descriptors


def test_removing_closes_the_descriptor(tmp_path: Path) -> None:
    before = open_descriptors()
    with ConnectionFile.write(INFO, tmp_path / "k.json") as file:
        assert open_descriptors() == before + 1
    assert not file.path.exists()
    assert open_descriptors() == before


def test_a_file_that_is_gone_is_not_removed(tmp_path: Path) -> None:
    with ConnectionFile.write(INFO, tmp_path / "k.json") as file:
        file.path.unlink()
        assert not file.remove()


def test_removal_finds_the_file_after_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ConnectionFile.write(INFO, "k.json")
    assert file.path == tmp_path / "here" / "k.json"
    monkeypatch.chdir(tmp_path)
    assert file.remove()


def test_an_edited_file_is_still_the_same(tmp_path: Path) -> None:
    file = ConnectionFile.write(INFO, tmp_path / "k.json")
    place(file.path, "{}", mode=0o644, modified=5)
    assert file.remove()


def test_who_did_not_write_the_file_does_not_remove_it(tmp_path: Path) -> None:
    first = ConnectionFile.write(INFO, tmp_path / "k.json")
    second = ConnectionFile.write(INFO, tmp_path / "k.json", overwrite=True)
    assert not first.remove()
    assert second.path.exists()
    assert second.remove()


def test_a_file_that_got_the_same_inode_number_is_not_removed(tmp_path: Path) -> None:
    # Many file systems give the number of a removed file to the next one: without care this fails at the second turn.
    path = tmp_path / "k.json"
    first = ConnectionFile.write(INFO, path)
    for _ in range(20):
        ConnectionFile.write(INFO, path, overwrite=True)
        assert path.stat().st_ino != first._identity[1]
    assert not first.remove()
    assert path.exists()


def test_a_link_to_the_file_in_its_place_is_not_removed(tmp_path: Path) -> None:
    file = ConnectionFile.write(INFO, tmp_path / "k.json")
    file.path.rename(tmp_path / "moved.json")
    file.path.symlink_to(tmp_path / "moved.json")
    assert not file.remove()
    assert file.path.is_symlink()
    assert (tmp_path / "moved.json").exists()


def test_a_forked_child_does_not_remove_the_file(tmp_path: Path) -> None:
    file = ConnectionFile.write(INFO, tmp_path / "k.json")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads that an import started
        child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException), file:
            status = 0 if not file.remove() else 2
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert file.path.exists()
    assert file.remove()


def test_another_process_does_not_remove_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ConnectionFile.write(INFO, tmp_path / "k.json")
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        assert not file.remove()
    assert file.remove()


def test_a_removal_that_the_system_refuses_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ConnectionFile.write(INFO, tmp_path / "k.json")
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", _fail)
        assert not file.remove()
    assert file.remove()


def test_repr_shows_no_secret(tmp_path: Path) -> None:
    file = ConnectionFile.write(INFO, tmp_path / "k.json")
    assert repr(file) == f"<ConnectionFile {tmp_path / 'k.json'}>"


# find


def test_without_a_name_the_newest_of_the_runtime_directory(tmp_path: Path, runtime: Path) -> None:
    place(runtime / "kernel-a.json", modified=10)
    newest = place(runtime / "kernel-b.json", modified=30)
    place(runtime / "kernel-c.json", modified=20)
    place(runtime / "jpserver-1.json", modified=40)
    place(tmp_path / "here" / "kernel-d.json", modified=50)
    assert find() == find(None) == newest


def test_newest_is_by_modification_not_by_access(runtime: Path) -> None:
    os.utime(place(runtime / "kernel-read-lately.json"), (1000, 10))
    os.utime(place(runtime / "kernel-new.json"), (0, 11))
    assert find() == find("kernel-") == find("kernel-*") == runtime / "kernel-new.json"


def test_an_existing_path_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_file, "runtime_dir", _fail)  # not even asked for
    path = place(tmp_path / "any name")
    assert find(path) == find(str(path)) == path
    assert find("../any name") == Path("../any name")


def test_a_file_name_in_the_current_then_in_the_runtime_directory(tmp_path: Path, runtime: Path) -> None:
    place(runtime / "kernel-k.json", modified=10)
    place(runtime / "my-kernel-k.json", modified=20)
    assert find("kernel-k.json") == runtime / "kernel-k.json"
    place(tmp_path / "here" / "kernel-k.json", modified=5)
    assert find("kernel-k.json") == Path("kernel-k.json")


def test_an_exact_name_with_glob_characters_comes_before_its_pattern(runtime: Path) -> None:
    exact = place(runtime / "kernel-[1].json", modified=1)
    place(runtime / "kernel-1.json", modified=2)
    assert find("kernel-[1].json") == exact


def test_a_pattern_in_both_directories(tmp_path: Path, runtime: Path) -> None:
    place(runtime / "kernel-1.json", modified=10)
    here = place(tmp_path / "here" / "kernel-2.json", modified=20)
    assert find("kernel-[12].json") == here
    assert find("kernel-?.json") == here
    assert find(f"{runtime}/k*.json") == runtime / "kernel-1.json"
    assert find("../runtime/k*").samefile(runtime / "kernel-1.json")


def test_part_of_a_name(runtime: Path) -> None:
    place(runtime / "kernel-ab12.json", modified=10)
    newest = place(runtime / "kernel-xab1.json", modified=20)
    place(runtime / "ab1.conn", modified=30)
    assert find("ab1") == newest, "connection files come before others"
    assert find("b12") == runtime / "kernel-ab12.json"
    assert find("1.co") == runtime / "ab1.conn"


def test_only_regular_files_are_found(tmp_path: Path, runtime: Path) -> None:
    (runtime / "kernel-directory.json").mkdir()
    (runtime / "kernel-dangling.json").symlink_to(runtime / "nothing")
    os.mkfifo(runtime / "kernel-x.json-ipc-1")
    place(runtime / ".kernel-hidden.tmp")
    (tmp_path / "here" / "kernel").mkdir()
    for name in (
        None,
        "kernel",
        "kernel*",
        "*",
        "directory",
        "kernel-directory.json",
        "",
        "a\0b",
        "x" * 300,
    ):
        with pytest.raises(ConnectionFileNotFound):
            find(name)


def test_a_path_is_taken_as_it_stands_and_reading_it_says_what_is_wrong(runtime: Path) -> None:
    assert find(str(runtime / "nothing.json")) == runtime / "nothing.json"
    with pytest.raises(ConnectionFileNotFound, match=str(runtime)):
        read(find(str(runtime / "nothing.json")))
    with pytest.raises(ConnectionFileError, match="Is a directory"):
        read(find(f"{runtime}/"))


def test_a_file_that_vanishes_during_the_search(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stays = place(runtime / "kernel-stays.json", modified=1)
    goes = place(runtime / "kernel-goes.json", modified=2)
    real = Path.stat

    def vanish(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if self == goes:
            goes.unlink(missing_ok=True)
        return real(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", vanish)
    assert find() == stays


def test_a_find_that_fails_says_where_it_looked_and_what_is_there(tmp_path: Path, runtime: Path) -> None:
    with pytest.raises(ConnectionFileNotFound, match=r"no \.json file is there"):
        find()
    for number in range(8):
        place(runtime / f"kernel-model{number}.json", modified=number)
    place(runtime / "zzz.json", modified=99)
    with pytest.raises(ConnectionFileNotFound) as caught:
        find("modle1")
    text = str(caught.value)
    assert "'modle1'" in text
    assert str(runtime) in text
    assert str(tmp_path / "here") in text
    assert "kernel-model1.json" in text
    assert text.count("kernel-model") <= 5
    assert "zzz" not in text
    with pytest.raises(ConnectionFileNotFound) as caught:
        find("§" * 40)
    assert "zzz.json, kernel-model7.json" in str(caught.value), "nothing similar: the newest"
    assert str(caught.value).count(".json") == 5


def test_the_runtime_directory_is_jupyters(runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert runtime_dir() == runtime
    monkeypatch.delenv("JUPYTER_RUNTIME_DIR")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    assert runtime_dir() == tmp_path / "data" / "runtime"


def test_a_missing_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "new"))
    with pytest.raises(ConnectionFileNotFound, match="new"):
        find()
    file = ConnectionFile.write(INFO)
    assert mode_of(tmp_path / "new") == 0o700
    assert find() == file.path


# the stock implementation


def test_reads_what_jupyter_client_writes(runtime: Path) -> None:
    name, fields = stock.write_connection_file(
        str(runtime / "kernel-stock.json"), key=SECRET.encode(), kernel_name="python3", jupyter_session="a.ipynb"
    )
    info = read(name)
    assert info.to_dict() == fields
    assert info.key == SECRET.encode()
    assert info.extra == {"jupyter_session": "a.ipynb"}
    assert find("stock") == Path(name)


def test_jupyter_client_loads_what_we_write() -> None:
    with ConnectionFile.write(INFO) as file:
        assert stock.find_connection_file(file.path.name) == str(file.path)
        client = BlockingKernelClient(connection_file=str(file.path))
        client.load_connection_file()
        assert [getattr(client, name) for name in PORT_FIELDS] == [getattr(INFO, name) for name in PORT_FIELDS]
        assert (client.transport, client.ip, client.session.key) == ("tcp", "127.0.0.1", SECRET.encode())
