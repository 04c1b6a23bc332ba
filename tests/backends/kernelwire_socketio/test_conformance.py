"""The kit over transport ``socketio``, with the relay in a process of its own."""

import pytest

from integration._relays import RelayProcess
from kernelwire.testing import BEHAVIOURS, BackendHarness, Behaviour, BridgeHarness, Status, run
from kernelwire_socketio.backend import VARIABLE


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.name)
def test_behaviour(behaviour: Behaviour, relay_process: RelayProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, relay_process.url)
    harness = BackendHarness("socketio")
    outcome = run(harness, behaviour)
    if outcome.status is Status.NOT_APPLICABLE:
        assert any(getattr(harness.capabilities, name) in (False, "none") for name in behaviour.requires)
        return
    assert outcome.status is Status.PASS, str(outcome)


@pytest.mark.parametrize("transports", [("tcp", "socketio"), ("socketio", "ipc")], ids="→".join)
@pytest.mark.parametrize(
    "name", ["round_trip_on_each_channel", "publications_reach_every_client", "questions_reach_only_who_asked"]
)
def test_behaviour_of_a_chain(
    transports: tuple[str, ...], name: str, relay_process: RelayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, relay_process.url)
    (behaviour,) = (each for each in BEHAVIOURS if each.name == name)
    outcome = run(BridgeHarness(*transports), behaviour)
    assert outcome.status is Status.PASS, str(outcome)
