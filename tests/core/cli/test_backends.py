"""``kernelwire backends``: what is installed, what it can do, and what is broken."""

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from kernelwire import registry

NOT_OURS = """
from kernelwire.backend import Backend

class Unfinished(Backend):
    '''Has no capabilities.'''

    async def connect(self, info, *, identity, channels=()):
        raise NotImplementedError
"""


@pytest.fixture
def site(tmp_path: Path) -> dict[str, str]:
    """Backends of other distributions, all of them broken in some way; as environment variables."""
    site = tmp_path / "site"
    info = site / "strange_wires-3.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-wires\nVersion: 3.2\n")
    (info / "entry_points.txt").write_text(
        f"[{registry.GROUP}]\n"
        "lost = no_module_of_this_name:Lost\n"
        "syntax = strange_syntax:Odd\n"
        "unfinished = strange_unfinished:Unfinished\n"
    )
    (site / "strange_syntax.py").write_text("def (\n")
    (site / "strange_unfinished.py").write_text(NOT_OURS)
    return {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}


async def test_json(command: Any) -> None:
    code, out, err = await command.run("backends", "--json")
    assert (code, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out) if row["distribution"] == "kernelwire"}
    assert {"inprocess", "ipc", "tcp"} <= rows.keys()
    for name in ("inprocess", "ipc", "tcp"):
        row = rows[name]
        assert (row["available"], row["error"]) == (True, None)
        assert row["version"] == metadata.version("kernelwire")
        assert row["capabilities"]["serve"] is True
        assert row["capabilities"]["beat"] == "kernel"
        assert row["capabilities"]["max_message_bytes"] > 0


async def test_text(command: Any) -> None:
    code, out, err = await command.run("backends")
    assert (code, err) == (0, "")
    heading, *lines = out.splitlines()
    assert heading.split() == ["TRANSPORT", "FROM"]
    names = [line.split()[0] for line in lines]
    assert names == sorted(names)
    assert {"inprocess", "ipc", "tcp"} <= set(names)
    assert all("serve" in line for line in lines if line.split()[1] == "kernelwire")


async def test_what_is_broken_is_listed_with_its_reason(command: Any, site: dict[str, str]) -> None:
    code, out, err = await command.run("backends", "--json", **site)
    assert (code, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)}
    for name, reason in (("lost", "no_module_of_this_name"), ("syntax", "SyntaxError"), ("unfinished", "capabilities")):
        row = rows[name]
        assert (row["available"], row["capabilities"]) == (False, None)
        assert (row["distribution"], row["version"]) == ("strange-wires", "3.2")
        assert reason in row["error"]
    assert all(rows[name]["available"] for name in ("inprocess", "ipc", "tcp"))


async def test_what_is_broken_has_one_line(command: Any, site: dict[str, str]) -> None:
    code, out, err = await command.run("backends", **site)
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert {"inprocess", "ipc", "tcp", "lost", "syntax", "unfinished"} <= lines.keys()
    for name in ("lost", "syntax", "unfinished"):
        assert "strange-wires 3.2  not available: " in lines[name]


async def test_a_reader_that_has_enough(command: Any) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = await command.start("backends", stdout=writing)
    os.close(writing)
    assert await command.end(process) == (1, "", "")
