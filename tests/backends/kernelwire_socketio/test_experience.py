"""What people are told of a relay that is away, and when."""

import asyncio
import logging

import pytest

from integration._relay_scenes import Scene
from kernelwire_socketio import client_pipe, experience
from kernelwire_socketio.experience import PATIENCE, Experience


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_moment_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with_relay = Experience("the relay", clock)
    for _ in range(3):
        with_relay.failed("away")
        clock.now += PATIENCE * 0.9
        with_relay.succeeded()
    assert not caplog.records


def test_one_line_is_enough(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with_relay = Experience("the relay", clock)
    for why in ("away", "away", "away", "elsewhere", "elsewhere"):
        with_relay.failed(why)
        clock.now += PATIENCE
    with_relay.succeeded()
    with_relay.succeeded()
    assert [record.getMessage() for record in caplog.records] == [
        "away; trying again",
        "elsewhere; trying again",
        "the relay: all is well again",
    ]


async def test_a_host_that_is_missing_is_told_of(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client_pipe, "PATIENCE", 0.01)
    dialling = asyncio.create_task(scene.dial())
    async with asyncio.timeout(60):
        while not caplog.records:
            await asyncio.sleep(0.001)
    await scene.listen()
    await dialling
    assert [record.getMessage() for record in caplog.records] == [
        f"the kernel's host is not at the relay at {scene.url}/ just now; trying again",
        f"the relay at {scene.url}/: all is well again",
    ]


async def test_a_relay_that_is_away_is_told_of(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(experience, "PATIENCE", 0)
    caplog.set_level(logging.WARNING)
    await scene.relay.close()
    with pytest.raises(Exception, match="cannot be reached"):
        await scene.dial()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"the relay at {scene.url}/ cannot be reached: ")
