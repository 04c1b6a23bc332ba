"""The shape of the repository: what lies where, and that nothing was forgotten."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BACKENDS = sorted(path.name for path in (ROOT / "backends").iterdir() if (path / "__init__.py").exists())
SOURCES = sorted(
    path for source_root in ("core", "backends") for path in (ROOT / source_root).rglob("*.py") if path.stat().st_size
)
LONGEST_MODULE = 400


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def contracts() -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in project()["tool"]["importlinter"]["contracts"]}


def test_file_of(source: Path) -> Path:
    """core/kernelwire/a/b.py is tested by tests/core/a/test_b.py, a package's __init__.py by test_init.py."""
    relative = source.relative_to(ROOT)
    name = {"__init__.py": "test_init.py", "__main__.py": "test_main.py"}.get(source.name, f"test_{source.name}")
    inner = relative.parts[2:-1] if relative.parts[0] == "core" else relative.parts[1:-1]
    return ROOT.joinpath("tests", relative.parts[0], *inner, name)


test_file_of.__test__ = False  # type: ignore[attr-defined] # its name is what it means


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_source_file_has_its_test_file(source: Path) -> None:
    assert test_file_of(source).is_file(), f"write {test_file_of(source).relative_to(ROOT)}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_small(source: Path) -> None:
    assert len(source.read_text().splitlines()) <= LONGEST_MODULE, "one idea a module: split it"


def test_the_contracts_know_every_backend() -> None:
    assert BACKENDS, "no backend found: the test looks in the wrong place"
    assert set(project()["tool"]["importlinter"]["root_packages"]) == {"kernelwire", *BACKENDS}
    assert set(BACKENDS) <= set(contracts()["The core knows no backend and no I/O library"]["forbidden_modules"])
    assert contracts()["Backends do not know each other"]["modules"] == BACKENDS
    assert contracts()["A room imports only downwards"]["exhaustive"] is True


def test_every_package_is_typed() -> None:
    for package in ("core/kernelwire", *(f"backends/{name}" for name in BACKENDS)):
        assert (ROOT / package / "py.typed").is_file()


def test_source_roots_are_no_packages() -> None:
    assert not (ROOT / "core/__init__.py").exists()
    assert not (ROOT / "backends/__init__.py").exists()


def test_the_top_level_is_fixed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    allowed = {"pyproject.toml", "README.md", "LICENSE", "Makefile", "core", "backends", "plugins", "tests", "docs"}
    assert {name for name in top if not name.startswith(".")} <= allowed
