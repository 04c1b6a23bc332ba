"""Entry points from their files: the same as importlib.metadata finds, or the word that it must be asked."""

import sys
import zipfile
from collections.abc import Sequence
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire import entry_point_files, registry
from kernelwire.entry_point_files import Claim, NotPlain, claims

GROUP = "some.group"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one directory that distributions are looked for in."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [PathFinder])
    return tmp_path


def install(site: Path, directory: str, text: str) -> None:
    (site / directory).mkdir()
    (site / directory / "entry_points.txt").write_text(text, "utf-8")


def test_every_distribution_that_claims_a_name_is_found(site: Path) -> None:
    install(site, "one-1.0.dist-info", f"[{GROUP}]\nname = one.module:Class\nother = one:Other\n")
    install(
        site, "two_more-2.0.egg-info", f"[console_scripts]\nname=no:no\n\n[{GROUP}]\n# name = a:comment\nname=two:C\n"
    )
    install(site, "three-3.0.dist-info", "[another.group]\nname = three:Class\n")
    install(site, "four-4.0", f"[{GROUP}]\nname = no_distribution:Class\n")
    (site / "five-5.0.dist-info").mkdir()
    assert sorted(claims(GROUP, "name")) == [Claim("one", "one.module:Class"), Claim("two_more", "two:C")]
    assert claims(GROUP, "nobody's") == []


def test_one_that_is_on_the_path_twice_is_there_twice(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("before", "behind"):
        (site / folder).mkdir()
        install(site / folder, "one-1.0.dist-info", f"[{GROUP}]\nname = {folder}:Class\n")
    monkeypatch.setattr(sys, "path", [str(site / "before"), str(site / "behind")])
    assert claims(GROUP, "name") == [Claim("one", "before:Class"), Claim("one", "behind:Class")]


def test_the_working_directory_counts_where_it_is_on_the_path(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "one-1.0.dist-info", f"[{GROUP}]\nname = one:Class\n")
    monkeypatch.chdir(site)
    monkeypatch.setattr(sys, "path", ["", str(site / "that is not there")])
    assert claims(GROUP, "name") == [Claim("one", "one:Class")]


def test_an_archive_is_not_plain(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = site / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("one-1.0.dist-info/entry_points.txt", f"[{GROUP}]\nname = one:Class\n")
    monkeypatch.setattr(sys, "path", [str(archive)])
    with pytest.raises(NotPlain):
        claims(GROUP, "name")


def test_an_egg_is_not_plain(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(site / "one.egg")])
    with pytest.raises(NotPlain):
        claims(GROUP, "name")


def test_a_finder_of_distributions_is_not_plain(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_spec(
            self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
        ) -> ModuleSpec | None:
            return None

        def find_distributions(self, context: object) -> list[metadata.Distribution]:
            return []

    monkeypatch.setattr(sys, "meta_path", [PathFinder, Finder()])
    with pytest.raises(NotPlain):
        claims(GROUP, "name")


def test_finds_what_importlib_finds_here() -> None:
    found = claims(registry.GROUP, "tcp")
    (entry,) = metadata.entry_points(group=registry.GROUP, name="tcp")
    assert entry.dist is not None
    assert found == [Claim(entry.dist.name, entry.value)]


LINES = st.lists(
    st.sampled_from(
        [f"[{GROUP}]", "[other]", "", "  ", "# name = a:b", "name = a:b", "name=c.d:e", " name = f:g ", "else = h:i"]
    )
)


class Written(metadata.Distribution):
    """A distribution with one file.

    Arguments:
        text: of its entry_points.txt.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "entry_points.txt" else None

    def locate_file(self, path: object) -> Path:
        raise NotImplementedError


@given(LINES)
def test_reads_a_file_as_importlib_does(lines: list[str]) -> None:
    text = "\n".join(lines)
    expected = [(entry.name, entry.value) for entry in Written(text).entry_points if entry.group == GROUP]
    assert list(entry_point_files._entries(text, GROUP)) == expected
