"""The bar, where there is one."""

import asyncio
import io
import sys
import threading

import pytest

from kernelwire.cli import progress
from kernelwire.cli.progress import Progress

PATIENCE = 60


class Terminal(io.StringIO):
    """A text stream that says it is one."""

    def isatty(self) -> bool:
        return True


async def drawn(stream: io.StringIO, total: int = 2) -> str:
    async with Progress("title", total, stream) as bar:
        for _ in range(total):
            bar.advance()
    return stream.getvalue()


async def test_on_a_terminal() -> None:
    threads = threading.active_count()
    text = await drawn(Terminal())
    assert threading.active_count() == threads
    assert "title:   0%" in text
    last = text.rstrip("\n").split("\r")[-1]
    assert "100%" in last
    assert "2/2 cells" in last


async def test_the_time_goes_on_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_TICK", 0.001)
    stream = Terminal()
    async with Progress("title", 2, stream):
        async with asyncio.timeout(PATIENCE):
            while stream.getvalue().count("\r") < 5:
                await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_elsewhere_and_for_nothing() -> None:
    assert await drawn(io.StringIO()) == ""
    assert await drawn(Terminal(), total=0) == ""


async def test_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert await drawn(Terminal()) == ""
