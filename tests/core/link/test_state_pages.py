"""The pages on the link say what the code does."""

import re
from pathlib import Path

import pytest

from kernelwire.link import framing, records, resume

from .state_pages import PAGES, REMAKE, made_anew, names_on, parts

WIRE_FORMAT = next(page for page in PAGES if page.name == "link-wire-format.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_says_what_the_code_does(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == made_anew(page), REMAKE


def test_every_part_stands_on_one_page() -> None:
    assert sorted(name for page in PAGES for name in names_on(page)) == sorted(parts())


def test_the_preamble_is_as_on_the_page() -> None:
    (octets,) = re.findall(r"The preamble is `([0-9a-f ]+)`", WIRE_FORMAT.read_text(encoding="utf-8"))
    assert bytes.fromhex(octets) == framing.PREAMBLE


def test_the_control_records_are_as_on_the_page() -> None:
    arrays = re.findall(r"^\| \[(\d+)(.*?)\] \| (\w+) \|", WIRE_FORMAT.read_text(encoding="utf-8"), re.MULTILINE)
    assert [(int(number), kind, fields.count(",")) for number, fields, kind in arrays] == [
        (kind.__struct_config__.tag, kind.__name__.lower(), len(kind.__struct_fields__)) for kind in records.CONTROLS
    ]


def test_statuses_are_due_as_on_the_page() -> None:
    text = WIRE_FORMAT.read_text(encoding="utf-8")
    assert f"after {resume._SPARSE_MESSAGES} messages or {resume._SPARSE_BYTES // 1024} KiB" in text
