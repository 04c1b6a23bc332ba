"""The reference pages list what is there: all of it, and nothing else."""

import dataclasses
import importlib
import inspect
import re
import tomllib
from pathlib import Path
from typing import Final

import kernelwire
from kernelwire import errors
from kernelwire.connection import ConnectionInfo
from kernelwire.testing import BEHAVIOURS
from kernelwire.testing.absences import ABSENCES

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"


def page(path: str) -> str:
    return (DOCS / path).read_text(encoding="utf-8")


def test_every_error_is_listed() -> None:
    classes = {
        name for name, value in inspect.getmembers(errors, inspect.isclass) if value.__module__ == errors.__name__
    }
    text = page("reference/errors.md")
    assert {name for name in classes if f"`{name}`" not in text} == set()
    listed = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
    assert listed <= classes


def test_the_behaviours_are_those_of_the_kit() -> None:
    rows = re.findall(
        r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \| (.+) \|$", page("reference/behaviours.md"), re.MULTILINE
    )
    expected = [
        (
            str(each.number),
            f"`{each.name}`",
            str(each.group),
            ", ".join(f"`{name}`" for name in each.requires) or "—",
            each.summary,
        )
        for each in BEHAVIOURS
    ]
    assert rows == expected


def test_the_absences_are_those_of_the_kit() -> None:
    rows = re.findall(r"^\| `(no_\w+)` \| (.+) \|$", page("reference/behaviours.md"), re.MULTILINE)
    assert rows == [(each.name, each.summary) for each in ABSENCES.values()]


def test_every_connection_field_is_listed() -> None:
    text = page("reference/connection-file.md")
    fields = {field.name for field in dataclasses.fields(ConnectionInfo)} - {"extra"}
    assert set(re.findall(r"^\| `(\w+)` \| (?:text|number) \|", text, re.MULTILINE)) == fields


def test_the_layers_are_those_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (c["layers"] for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert "\n".join(layers) + "\n```" in page("explanation/architecture.md")


def test_news_are_one_line_each() -> None:
    paths = [path for path in (DOCS / "changes").iterdir() if path.name != "README.md"]
    numbers = [path.name[:4] for path in paths]
    assert len(set(numbers)) == len(numbers)
    for path in paths:
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name), path.name
        assert re.fullmatch(r"(Added|Changed|Fixed): .+\.\n", path.read_text(encoding="utf-8")), path.name


def test_what_the_comparison_names_is_there() -> None:
    features, _, _ = page("reference/compared.md").partition("\n## Speed\n")
    rows = re.findall(r"^\| .+ \| (?:have|better|left out) \| (.*) \|$", features, re.MULTILINE)
    lines = features.splitlines()
    assert len(rows) == sum(line.startswith("| ") for line in lines) - len(re.findall("^## ", "\n".join(lines), re.M))
    for name in sorted({name for row in rows for name in re.findall(r"`((?:[A-Z]\w*|\w+\.\w+)(?:\.\w+)*)`", row)}):
        first, *rest = name.split(".")
        found = getattr(kernelwire, first, None) or importlib.import_module(f"kernelwire.{first}")
        for each in rest:
            assert hasattr(found, each) or each in inspect.get_annotations(found) or _documents(found, each), name
            found = getattr(found, each, found)


def _documents(cls: object, attribute: str) -> bool:
    """Whether the docstring of a class has it among the attributes of its instances."""
    return re.search(rf"^ +(\w+, )*{attribute}(, \w+)*: ", inspect.getdoc(cls) or "", re.MULTILINE) is not None
