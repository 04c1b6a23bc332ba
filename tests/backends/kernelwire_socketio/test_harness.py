"""The kit's way to the relay: found by its entry point, and nothing of it stays."""

import asyncio
import gc
import os

import psutil
import pytest

from kernelwire.errors import ConnectionLost
from kernelwire.testing import BEHAVIOURS, Status, run
from kernelwire.testing.suite import harness_of
from kernelwire_socketio import harness as module
from kernelwire_socketio.backend import VARIABLE
from kernelwire_socketio.harness import SocketioHarness


@pytest.fixture(autouse=True)
def no_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_it_is_found() -> None:
    assert isinstance(harness_of("socketio"), SocketioHarness)


def test_behaviours() -> None:
    before = set(psutil.Process().children())
    harness = harness_of("socketio")
    for name in ("round_trip_on_each_channel", "clients_may_come_and_go", "crossed_wires_are_noticed"):
        (behaviour,) = (each for each in BEHAVIOURS if each.name == name)
        outcome = run(harness, behaviour)
        assert outcome.status is Status.PASS, str(outcome)
        assert VARIABLE not in os.environ
    assert len(set(psutil.Process().children()) - before) == 1
    del harness
    gc.collect()
    assert set(psutil.Process().children()) <= before


async def test_two_pairs_share_a_relay() -> None:
    async with asyncio.timeout(60), SocketioHarness().open() as one, one.another() as other:
        assert one.kernel_info.extra["relay"] == other.kernel_info.extra["relay"] == os.environ[VARIABLE]


async def test_a_relay_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "/bin/false")  # type: ignore[attr-defined]
    with pytest.raises(ConnectionLost, match="kernelwire relay"):
        async with SocketioHarness().open():
            pass
