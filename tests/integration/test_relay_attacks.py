"""Attacks on a relay process, in sizes for every change; `soak_relay.py` has the large ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import _relay_attacks as attacks
from integration._relays import RelayProcess
from kernelwire_socketio import events
from kernelwire_socketio.relay.limits import FLOW_SHARE, HOST_PAUSE, ROOM_LIMIT

ALLOWANCE = 16.0
"""Megabytes that a relay may grow by, under any of them."""


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path, "--rooms", "1000") as relay:
        yield relay
        assert relay.process is not None
        assert relay.process.poll() is None, "it has died"
        assert "Traceback" not in relay.log.read_text()


@pytest.fixture
async def warm(relay: RelayProcess) -> RelayProcess:
    """One that has seen traffic: what that takes once is not what is measured."""
    await attacks.large_outputs(relay, 2, 4 * attacks.MEGABYTE)
    return relay


async def test_half_handshakes_hold_nobody_up(relay: RelayProcess) -> None:
    await attacks.half_handshakes(relay, 150)
    reasons = {line["reason"] for line in relay.lines("dropped")}
    assert reasons <= {"too many at once from one address", "too slow to join"}


async def test_malformed_frames_reach_nobody(relay: RelayProcess) -> None:
    assert await attacks.malformed_frames(relay, 300) == 0
    assert len(relay.log.read_text()) < 100_000


async def test_stalled_readers_take_no_room(warm: RelayProcess) -> None:
    assert (await attacks.stalled_readers(warm, 4)).megabytes < ALLOWANCE


async def test_floods_take_no_room(warm: RelayProcess) -> None:
    assert (await attacks.flooding_senders(warm, 4)).megabytes < ALLOWANCE


async def test_attachments_take_no_room(warm: RelayProcess) -> None:
    assert (await attacks.attachment_bomb(warm, 20)).megabytes < ALLOWANCE


async def test_half_messages_of_strangers_take_no_room(warm: RelayProcess) -> None:
    assert (await attacks.half_messages(warm, 200)).megabytes < ALLOWANCE / 4


async def test_large_outputs_pass_through(warm: RelayProcess) -> None:
    growth, _ = await attacks.large_outputs(warm, 4, 10 * attacks.MEGABYTE)
    assert growth.megabytes < ALLOWANCE
    assert 8 * FLOW_SHARE + ROOM_LIMIT < ALLOWANCE * attacks.MEGABYTE
    assert HOST_PAUSE + 8 * events.LIMIT < ALLOWANCE * attacks.MEGABYTE


async def test_idle_connections_are_small(warm: RelayProcess) -> None:
    assert await attacks.idle_connections(warm, 200) < 60
