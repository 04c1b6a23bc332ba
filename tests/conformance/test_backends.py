"""The kit over every backend and both pipes, over chains of bridges, and over our ends against ends made by hand.

soak.py has more of it: every chain in full, and all of it again and again.
"""

from collections.abc import Callable, Collection
from functools import cache, partial

import pytest

from conformance.pipes import MemoryPipeBackend
from conformance.raw_zmq import RawHarness
from kernelwire.testing import (
    BEHAVIOURS,
    BackendHarness,
    Behaviour,
    BridgeHarness,
    Group,
    Harness,
    Level,
    Status,
    TransportConformance,
    run,
)
from kernelwire.testing.behaviours import delivery, payload

Make = Callable[[], Harness]
"""Makes a harness once the pipes are as good as installed."""


class TestInProcess(TransportConformance):
    harness = BackendHarness("inprocess")


class TestIpc(TransportConformance):
    harness = BackendHarness("ipc")


class TestTcp(TransportConformance):
    harness = BackendHarness("tcp")


class TestMemoryPipe(TransportConformance):
    harness = BackendHarness("memory-pipe", MemoryPipeBackend())


def chain(*names: str) -> tuple[str, Make]:
    return "→".join(names), cache(partial(BridgeHarness, *names))


def raw(transport: str, end: str) -> tuple[str, Make]:
    return f"{transport} raw {end}", cache(partial(RawHarness, transport, end))


PIPE = ("tcp-pipe", cache(partial(BackendHarness, "tcp-pipe")))

THE_PIPES_OWN = {
    "a_cut_anywhere_costs_nothing",
    "silence_is_noticed",
    "a_kernel_end_may_start_anew",
    "a_changed_bit_is_noticed",
    "crossed_wires_are_noticed",
    "nothing_passes_in_clear",
}
"""Of the levels above core, where another pipe could make a difference; the link does the rest, whatever the pipe."""

ALL_IN_ONE = chain("tcp", "memory-pipe", "ipc")

CHAINS = [
    chain("inprocess", "tcp"),
    chain("tcp", "inprocess"),
    chain("ipc", "tcp", "inprocess"),
    chain("tcp", "ipc", "tcp", "ipc"),
    chain("memory-pipe", "tcp-pipe"),
]

THE_BRIDGES_OWN = {
    "round_trip_on_each_channel",
    "replies_reach_only_who_asked",
    "questions_reach_only_who_asked",
    "nothing_is_missed_after_ready",
    "buffers_keep_their_number_and_lengths",
    "a_wrong_signature_is_dropped",
    "what_was_sent_before_closing_arrives",
    "clients_may_come_and_go",
    "it_beats_while_the_kernel_lets_it",
}
"""Where it could make a difference what is bridged to what."""

RAW = [raw("ipc", "kernel"), raw("tcp", "client")]

ON_THE_WIRE = {Group.DELIVERY, Group.PAYLOAD, Group.SIGNING, Group.HEARTBEAT}
"""What two ends must agree on; the rest is each end's own and would test the one that was made by hand."""

EXTRAS = {"peer_events", "lossless_iopub", "gap_notice"}
"""Capabilities that not all of them have; the pipes lack one of them."""

CORE = [each for each in BEHAVIOURS if each.level is Level.CORE]

CASES = [
    pytest.param(make, behaviour, id=f"{name}-{behaviour.name}")
    for made, behaviours in (
        ([PIPE], [*CORE, *(each for each in BEHAVIOURS if each.name in THE_PIPES_OWN)]),
        ([ALL_IN_ONE], CORE),
        (CHAINS, [each for each in CORE if each.name in THE_BRIDGES_OWN]),
        (RAW, [each for each in CORE if each.group in ON_THE_WIRE]),
    )
    for name, make in made
    for behaviour in behaviours
]


@pytest.mark.parametrize(("make", "behaviour"), CASES)
def test_behaviour(make: Make, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MANY", 1000)  # the transports themselves are tried with as much as there is
    monkeypatch.setattr(payload, "LARGE", 10_000_000)
    harness = make()
    outcome = run(harness, behaviour)
    if outcome.status is Status.NOT_APPLICABLE:
        assert any(getattr(harness.capabilities, name) in (False, "none") for name in behaviour.requires)
        return
    assert outcome.status is Status.PASS, str(outcome)


@pytest.mark.parametrize(
    "harness", [TestInProcess.harness, TestIpc.harness, TestTcp.harness], ids=lambda each: each.name
)
def test_the_built_in_backends_are_tried_in_full(harness: Harness) -> None:
    assert all(each.applies_to(harness.capabilities) for each in without(CORE, EXTRAS))


@pytest.mark.parametrize("make", [lambda: TestMemoryPipe.harness, PIPE[1]], ids=["memory-pipe", "tcp-pipe"])
def test_the_pipes_are_tried_in_full(make: Make) -> None:
    assert all(each.applies_to(make().capabilities) for each in without(BEHAVIOURS, {"lossless_iopub"}))


def without(behaviours: Collection[Behaviour], capabilities: Collection[str]) -> list[Behaviour]:
    return [each for each in behaviours if not set(capabilities).intersection(each.requires)]


def test_every_name_is_one() -> None:
    assert {each.name for each in BEHAVIOURS} >= THE_PIPES_OWN | THE_BRIDGES_OWN
