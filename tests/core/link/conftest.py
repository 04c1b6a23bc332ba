"""What the tests of the link's ends ask for."""

import asyncio
from collections.abc import AsyncIterator
from types import ModuleType

import pytest

from kernelwire.link import dialer, server

from ._pipes import Network, settle


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
async def no_task_is_left() -> AsyncIterator[None]:
    yield
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for when nothing comes of it: short, so that no test is long."""
    monkeypatch.setattr(dialer, "FIRST_DELAYS", (0.0, 0.0, 0.001))
    monkeypatch.setattr(dialer, "DELAY", 0.002)
    monkeypatch.setattr(dialer, "PATIENCE", 0.05)
    monkeypatch.setattr(dialer, "WIRE_PATIENCE", 0.05)
    monkeypatch.setattr(server, "WIRE_PATIENCE", 0.05)
    monkeypatch.setattr(dialer, "CLOSING_TIME", 0.05)
    monkeypatch.setattr(server, "PATIENCE", 0.05)
    monkeypatch.setattr(server, "ACCEPT_AGAIN", 0.001)


@pytest.fixture
def patient_host(in_haste: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that lets everything arrive, however busy the machine: what `in_haste` made short is long again."""
    _be_patient(server, monkeypatch)


@pytest.fixture
def patient(patient_host: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise, and its clients too."""
    _be_patient(dialer, monkeypatch)


def _be_patient(end: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATIENCE", "WIRE_PATIENCE", "LINGER"):
        monkeypatch.setattr(end, name, 60.0)
