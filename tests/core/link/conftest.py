"""What the tests of the link's ends ask for."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from kernelwire.link import dialer as module
from kernelwire.link import server

from ._pipes import settle


@pytest.fixture
async def no_task_is_left() -> AsyncIterator[None]:
    yield
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for when nothing comes of it: short, so that no test is long."""
    monkeypatch.setattr(module, "FIRST_DELAYS", (0.0, 0.0, 0.001))
    monkeypatch.setattr(module, "DELAY", 0.002)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(module, "WIRE_PATIENCE", 0.05)
    monkeypatch.setattr(server, "WIRE_PATIENCE", 0.05)
    monkeypatch.setattr(module, "CLOSING_TIME", 0.05)
    monkeypatch.setattr(server, "PATIENCE", 0.05)


@pytest.fixture
def patient(in_haste: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything is to arrive, however busy the machine: what `in_haste` made short is long again."""
    for end in (server, module):
        monkeypatch.setattr(end, "PATIENCE", 60.0)
        monkeypatch.setattr(end, "WIRE_PATIENCE", 60.0)
        monkeypatch.setattr(end, "LINGER", 60.0)
