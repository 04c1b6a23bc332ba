"""What is not claimed and works all the same is found."""

import asyncio
import dataclasses
from typing import cast

import pytest

from conformance.pipes import MemoryPipeBackend
from kernelwire.backend import Capabilities
from kernelwire.messages import WireMessage
from kernelwire.testing import BackendHarness, Harness, Status, absences
from kernelwire.testing.absences import ABSENCES, Undeclared
from kernelwire.testing.suite import try_one

from .behaviours._mutants import Mutant, Receive, spoil_receive


def without(harness: Harness, **claims: object) -> Harness:
    harness.capabilities = dataclasses.replace(harness.capabilities, **claims)  # type: ignore[arg-type]
    return harness


def test_there_is_one_for_each_capability() -> None:
    fields = {field.name for field in dataclasses.fields(Capabilities)} - {"max_message_bytes"}
    assert set(ABSENCES) == fields
    for name, behaviour in ABSENCES.items():
        assert behaviour.name == f"no_{name}"
        assert behaviour.summary.endswith(".")


@pytest.mark.parametrize("name", ["serve", "signed", "multi_client", "peer_events"])
def test_what_works_is_not_absent(name: str) -> None:
    outcome = try_one(without(BackendHarness("inprocess"), **{name: False}), ABSENCES[name])
    assert outcome.status is Status.FAIL
    assert isinstance(outcome.error, Undeclared)
    assert name in str(outcome.error)


def test_a_heartbeat_that_answers_is_one() -> None:
    outcome = try_one(without(BackendHarness("inprocess"), beat="none"), ABSENCES["beat"])
    assert isinstance(outcome.error, Undeclared)


@pytest.mark.parametrize("name", ["resume", "encrypted"])
def test_what_a_link_does_is_not_absent(name: str) -> None:
    harness = without(BackendHarness("memory-pipe", MemoryPipeBackend()), **{name: False})
    outcome = try_one(harness, ABSENCES[name])
    assert outcome.status is Status.FAIL
    assert isinstance(outcome.error, Undeclared)


@pytest.mark.parametrize("name", ["peer_events"])
def test_what_is_absent(name: str) -> None:
    outcome = try_one(BackendHarness("ipc"), ABSENCES[name])
    assert (outcome.status, outcome.note, outcome.error) == (Status.NOT_APPLICABLE, "absence verified", None)


@pytest.mark.parametrize("name", ["lossless_iopub", "gap_notice", "resume", "encrypted"])
def test_what_nobody_can_know(name: str) -> None:
    outcome = try_one(BackendHarness("ipc"), ABSENCES[name])
    assert (outcome.status, outcome.error) == (Status.NOT_APPLICABLE, None)
    assert outcome.note.startswith("not verified: ")


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = BackendHarness("not-installed", BackendHarness("inprocess")._backend)
    outcome = try_one(without(harness, serve=False), ABSENCES["serve"])
    assert outcome.note == "not verified: the backend is not installed"


def test_a_second_client_that_gets_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(_receive: Receive) -> Receive:
        async def spoilt() -> WireMessage:
            return cast("WireMessage", await asyncio.get_running_loop().create_future())

        return spoilt

    monkeypatch.setattr(absences, "PATIENCE", 0.1)
    mutant = without(Mutant(client=spoil_receive("shell", spoil)), multi_client=False)
    assert try_one(mutant, ABSENCES["multi_client"]).note == "absence verified"
