"""``kernelwire new-backend``: what it writes, and what it refuses."""

import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from kernelwire.cli import OK, UNUSABLE, main

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("pipe", [False, True])
def test_what_it_writes(here: Path, pipe: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-backend", "my_wire", *(["--pipe"] if pipe else [])]) == OK
    assert "kernelwire check my_wire" in capsys.readouterr().out
    project = here / "kernelwire-my-wire"
    modules = {"backend", "__init__"} | (set() if pipe else {"heartbeat", "server", "wire"})
    assert written(here) == {
        f"kernelwire-my-wire/{path}"
        for path in (
            *("LICENSE", "README.md", "pyproject.toml", "tests/test_conformance.py", "src/kernelwire_my_wire/py.typed"),
            *(f"src/kernelwire_my_wire/{module}.py" for module in modules),
        )
    }
    settings = tomllib.loads((project / "pyproject.toml").read_text())
    assert settings["project"]["name"] == "kernelwire-my-wire"
    entries = settings["project"]["entry-points"]["kernelwire.backends"]
    assert entries == {"my_wire": "kernelwire_my_wire:MyWireBackend"}
    readme = (project / "README.md").read_text()
    assert "FILE=$(kernelwire start --transport my_wire --kernel python3)" in readme
    for module in modules - {"__init__"}:
        assert f"`src/kernelwire_my_wire/{module}.py`" in readme


@pytest.mark.parametrize("pipe", [False, True])
def test_it_is_as_clean_as_this_project(here: Path, pipe: bool) -> None:
    main(["new-backend", "mywire", *(["--pipe"] if pipe else [])])
    project = here / "kernelwire-mywire"
    config = str(ROOT / "pyproject.toml")
    for command in (
        ["ruff", "check", "--no-cache", "--config", config, "."],
        ["ruff", "format", "--no-cache", "--check", "--config", config, "."],
        ["mypy", "--strict", "--config-file=", "--cache-dir=/dev/null", "--follow-imports=silent", "src", "tests"],
    ):
        words = [sys.executable, "-m", *command]
        done = subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=110, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_another_directory(here: Path) -> None:
    assert main(["new-backend", "mywire", "--directory", "some/where"]) == OK
    assert (here / "some/where/pyproject.toml").is_file()
    assert (here / "some/where").stat().st_mode & 0o077 == 0o055


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tcp", "'tcp' is taken: kernelwire provides"),
        ("zmq", "a package kernelwire_zmq is installed"),
        ("my-wire", "'my_wire' would do"),
        ("MyWire", "'mywire' would do"),
        ("1st", "a Python identifier in small letters is needed\n"),
        ("class", "a Python identifier in small letters is needed\n"),
        ("", "a Python identifier"),
        ("a__b", "'a_b' would do"),
        ("größe", "a Python identifier"),
        ("../up", "'up' would do"),
        ("a b\n", "'a_b' would do"),
    ],
)
def test_a_name_that_cannot_be(here: Path, name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-backend", name]) == UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["--directory", "kernelwire-mywire"]])
def test_a_directory_that_is_there(here: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (here / "kernelwire-mywire").mkdir()
    assert main(["new-backend", "mywire", *arguments]) == UNUSABLE
    assert "exists already" in capsys.readouterr().err
    assert list((here / "kernelwire-mywire").iterdir()) == []


def test_a_directory_that_cannot_be_made(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "file").write_text("")
    assert main(["new-backend", "mywire", "--directory", "file/project"]) == UNUSABLE
    assert "--directory file/project: cannot be written" in capsys.readouterr().err
    assert main(["new-backend", "mywire", "--directory", "x" * 300]) == UNUSABLE
    assert "cannot be written: File name too long" in capsys.readouterr().err
    assert written(here) == {"file"}


def test_all_or_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    assert main(["new-backend", "mywire"]) == UNUSABLE
    assert list(here.iterdir()) == []


def test_every_template_is_used(here: Path) -> None:
    main(["new-backend", "one"])
    main(["new-backend", "two", "--pipe"])
    templates = resources.files("kernelwire.cli") / "templates"
    names = {each.name.removesuffix(".template") for folder in templates.iterdir() for each in folder.iterdir()}
    assert names == {Path(path).name for path in written(here)} - {"py.typed"}
