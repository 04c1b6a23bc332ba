"""Entry points straight from their files, for one question that every client's start asks: is this name ours alone?

:mod:`importlib.metadata` answers it too, but to import it and have it look takes some 20 ms, a sixth of the time in
which a client starts. So what is plain is read here, and wherever something is not, :class:`NotPlain` says to ask it.
"""

import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import Final, NamedTuple

_SUFFIXES: Final = (".dist-info", ".egg-info")


class NotPlain(Exception):
    """Distributions may be somewhere else than in directories of ``sys.path``."""


class Claim(NamedTuple):
    """An entry of a group.

    Attributes:
        distribution: the name of the distribution, as its directory spells it.
        value: what the name stands for, as written: ``module:attribute``.
    """

    distribution: str
    value: str


def claims(group: str, name: str) -> list[Claim]:
    """Every entry of a group with this name that is on ``sys.path``, a distribution that is there twice twice.

    Raises:
        NotPlain: there may be more of them.
    """
    return [
        Claim(distribution, value)
        for distribution, text in _files(group)
        for each, value in _entries(text, group)
        if each == name
    ]


def _files(group: str) -> Iterator[tuple[str, str]]:
    """The texts that mention the group, with their distributions' names."""
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        raise NotPlain
    mark = f"[{group}]".encode()
    for root in sys.path:
        if root.endswith(".egg"):
            raise NotPlain
        try:
            names = os.listdir(root or ".")  # noqa: PTH208 - a Path for each of them would take most of the time
        except NotADirectoryError:  # an archive
            raise NotPlain from None
        except OSError:
            continue
        for name in names:
            if name.endswith(_SUFFIXES):
                try:
                    with open(f"{root or '.'}/{name}/entry_points.txt", "rb") as file:  # noqa: PTH123 - likewise
                        data = file.read()
                except OSError:
                    continue
                if mark in data:
                    yield name.partition("-")[0], str(data, "utf-8", "replace")


def _entries(text: str, group: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line[1:-1]
        elif section == group and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if equals:
                yield name.strip(), value.strip()
