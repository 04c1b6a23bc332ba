"""Kernelspecs: the same ones that Jupyter finds, and a clear word about those that cannot be used."""

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from kernelwire import kernelspecs
from kernelwire.errors import ConfigurationError, KernelspecError, NoSuchKernelspec
from kernelwire.kernelspecs import NATIVE, KernelSpec

GOOD = {"argv": ["run", "{connection_file}"], "display_name": "A kernel", "language": "text"}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first of the directories that are looked in."""
    monkeypatch.setenv("JUPYTER_PATH", f"{tmp_path / 'first'}{os.pathsep}{tmp_path / 'second'}")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return tmp_path / "first"


def install(data: Path, name: str, content: object = None, **fields: Any) -> Path:
    directory = data / "kernels" / name
    directory.mkdir(parents=True)
    text = content if isinstance(content, str) else json.dumps({**GOOD, **fields} if content is None else content)
    (directory / "kernel.json").write_text(text)
    return directory


def test_reads_every_field(data: Path) -> None:
    directory = install(data, "mine", env={"A": "b"}, interrupt_mode="message", metadata={"debugger": True}, more=1)
    assert kernelspecs.get("mine") == KernelSpec(
        name="mine",
        argv=("run", "{connection_file}"),
        display_name="A kernel",
        language="text",
        env={"A": "b"},
        interrupt_mode="message",
        metadata={"debugger": True},
        resource_dir=directory,
    )


def test_the_first_directory_wins(data: Path, tmp_path: Path) -> None:
    install(tmp_path / "second", "mine", display_name="hidden")
    install(data, "mine", display_name="seen")
    install(tmp_path / "ipython", "old")
    assert kernelspecs.get("mine").display_name == "seen"
    assert kernelspecs.find_all()["mine"].display_name == "seen"
    assert kernelspecs.get("old").name == "old"


@pytest.mark.parametrize("name", ["mine", "Mine", "MINE"])
def test_case_does_not_matter(data: Path, name: str) -> None:
    install(data, "MiNe")
    assert kernelspecs.get(name).name == "mine"
    assert "mine" in kernelspecs.find_all()


@pytest.mark.filterwarnings("ignore:Invalid kernelspec directory name")
def test_finds_what_jupyter_finds(data: Path, tmp_path: Path) -> None:
    install(data, "mine")
    install(tmp_path / "second", "Other")
    install(tmp_path / "ipython", "old")
    (data / "kernels" / "empty").mkdir()
    (data / "kernels" / "file").touch()
    (data / "kernels" / "bad name").mkdir()
    (data / "kernels" / "bad name" / "kernel.json").write_text(json.dumps(GOOD))
    found = {name: str(spec.resource_dir) for name, spec in kernelspecs.find_all().items()}
    expected = {name: spec["resource_dir"] for name, spec in KernelSpecManager().get_all_specs().items()}
    assert found == expected


def test_the_native_one_is_there_without_being_installed(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(kernelspecs, "directories", lambda: [data / "kernels"])
    spec = kernelspecs.get(NATIVE.upper())
    assert spec.argv[0] == sys.executable
    assert spec.language == "python"
    assert spec.resource_dir is not None
    assert (spec.resource_dir / "logo-64x64.png").exists()
    assert kernelspecs.find_all() == {NATIVE: spec}
    install(data, NATIVE, display_name="installed")
    assert kernelspecs.get(NATIVE).display_name == "installed"
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setattr(kernelspecs, "directories", lambda: [tmp_path / "none"])
    assert kernelspecs.find_all() == {}
    with pytest.raises(NoSuchKernelspec, match="none is installed"):
        kernelspecs.get(NATIVE)


def test_ipykernel_is_not_imported_for_it() -> None:
    code = "import sys; from kernelwire import kernelspecs as k; k.find_all(); k.get(k.NATIVE); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"ipykernel", "IPython", "jupyter_client", "traitlets.config"} & set(out.split())


def test_no_such_kernelspec(data: Path) -> None:
    install(data, "julia-1.10")
    install(data, "ir")
    with pytest.raises(NoSuchKernelspec) as caught:
        kernelspecs.get("julia-1.9")
    assert caught.value.name == "julia-1.9"
    assert {"julia-1.10", "ir"} <= set(caught.value.available)
    assert "there are: julia-1.10" in str(caught.value)
    assert str(data / "kernels") in str(caught.value)
    with pytest.raises(NoSuchKernelspec, match=r"there are: .*ir"):
        kernelspecs.get("../ir/x")
    with pytest.raises(NoSuchKernelspec):
        kernelspecs.get("")


BROKEN: dict[str, tuple[object, str]] = {
    "empty": ("", "kernel.json"),
    "no JSON": ("{", "kernel.json"),
    "no object": ([1], "not an object"),
    "no argv": ({"display_name": "x"}, "'argv'"),
    "empty argv": ({"argv": []}, "'argv'"),
    "numbers in argv": ({"argv": [1]}, "'argv'"),
    "name": ({"argv": ["x"], "display_name": 1}, "'display_name'"),
    "env": ({"argv": ["x"], "env": {"A": 1}}, "'env'"),
    "env list": ({"argv": ["x"], "env": [1]}, "'env'"),
    "metadata": ({"argv": ["x"], "metadata": [1]}, "'metadata'"),
    "interrupt_mode": ({"argv": ["x"], "interrupt_mode": "shout"}, "'interrupt_mode'"),
}


@pytest.mark.parametrize(("content", "names"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_one(data: Path, content: object, names: str, caplog: pytest.LogCaptureFixture) -> None:
    directory = install(data, "broken", content)
    install(data, "good")
    with pytest.raises(KernelspecError, match=names) as caught:
        kernelspecs.get("broken")
    assert isinstance(caught.value, ConfigurationError)
    assert str(directory / "kernel.json") in str(caught.value)
    with caplog.at_level(logging.WARNING):
        found = kernelspecs.find_all()
    assert "good" in found
    assert "broken" not in found
    assert str(directory) in caplog.text


def test_one_that_is_no_utf_8_or_cannot_be_read(data: Path, tmp_path: Path) -> None:
    directory = install(data, "latin")
    (directory / "kernel.json").write_bytes(b'{"argv": ["\xff"]}')
    with pytest.raises(KernelspecError, match="UTF-8"):
        kernelspecs.get("latin")
    with pytest.raises(KernelspecError, match="cannot be read"):
        KernelSpec.from_directory("gone", tmp_path / "gone")


def test_one_that_is_not_for_our_eyes_hides_no_other(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(data, "locked")
    install(data, "open")
    stat = os.stat

    def guarded(path: Any, **options: Any) -> os.stat_result:
        if "locked" in str(path):  # as for anybody but root, before whom the tests could lock nothing
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", guarded)
    assert kernelspecs.get("open").name == "open"
    assert "locked" not in kernelspecs.find_all()


def test_the_command(tmp_path: Path) -> None:
    argv = ("python", "{connection_file}", "--at={resource_dir}", "{prefix}/x", "{other}", "{}", "a{connection_file}b")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    file = os.path.realpath(tmp_path / "real.json")
    spec = KernelSpec("x", argv, resource_dir=Path("/resources"))
    assert spec.command(tmp_path / "link.json") == [
        sys.executable,
        file,
        "--at=/resources",
        f"{sys.prefix}/x",
        "{other}",
        "{}",
        f"a{file}b",
    ]
    assert KernelSpec("x", (f"python{sys.version_info[0]}.{sys.version_info[1]}",)).command("f") == [sys.executable]
    assert KernelSpec("x", ("/bin/python", "{resource_dir}")).command("f") == ["/bin/python", "{resource_dir}"]


def test_more_words_for_the_command(tmp_path: Path) -> None:
    spec = KernelSpec("x", ("run", "{connection_file}"), resource_dir=Path("/resources"))
    file = os.path.realpath(tmp_path / "f")
    words = ["--debug", "--log={resource_dir}/{other}", "{connection_file}"]
    assert spec.command(tmp_path / "f", words) == ["run", file, "--debug", "--log=/resources/{other}", file]


@pytest.mark.parametrize(
    ("claimed", "known"),
    [
        (["curve"], {"curve"}),
        ("curve", {"curve"}),
        ([" CURVE ", "other"], {"curve", "other"}),
        ([], set()),
        (None, set()),
        ("", set()),
        (5, set()),
        ({"curve": True}, set()),
    ],
)
def test_what_it_claims_to_encrypt_with(claimed: object, known: set[str]) -> None:
    assert KernelSpec("x", ("x",), metadata={"supported_encryption": claimed}).supported_encryption == known
    assert KernelSpec("x", ("x",)).supported_encryption == set()


@pytest.mark.parametrize(("version", "claims"), [("7.3.0", True), ("10.0", True), ("7.2.9", False), ("?", False)])
def test_the_native_one_claims_what_its_version_can(
    monkeypatch: pytest.MonkeyPatch, data: Path, version: str, claims: bool
) -> None:
    monkeypatch.setattr(kernelspecs, "directories", lambda: [data / "kernels"])
    monkeypatch.setattr("importlib.metadata.version", lambda _name: version)
    assert ("curve" in kernelspecs.get(NATIVE).supported_encryption) is claims


@pytest.mark.parametrize(
    ("wanted", "provisioner"),
    [
        ({"provisioner_name": "k8s", "config": {}}, "k8s"),
        ({"provisioner_name": "local-provisioner"}, None),
        ({}, None),
        (None, None),
        ("k8s", None),
    ],
)
def test_the_provisioner_that_it_wants(wanted: object, provisioner: str | None) -> None:
    assert KernelSpec("x", ("x",), metadata={"kernel_provisioner": wanted}).provisioner == provisioner


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTSIDE", "outside")
    monkeypatch.setenv("BOTH", "process")
    monkeypatch.setenv("PYTHONEXECUTABLE", "wrong")
    spec = KernelSpec("x", ("x",), env={"A": "${OUTSIDE}/$GIVEN/${NONE}", "BOTH": "spec:${BOTH}", "MINE": "spec"})
    found = spec.environment({"GIVEN": "given", "MINE": "caller"})
    assert found["A"] == "outside/given/${NONE}"
    assert found["BOTH"] == "spec:process"
    assert found["MINE"] == "caller"
    assert found["OUTSIDE"] == "outside"
    assert "PYTHONEXECUTABLE" not in found
    assert os.environ["BOTH"] == "process"
