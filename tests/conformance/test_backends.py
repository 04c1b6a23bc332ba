"""The kit over every backend and both pipes, over chains of bridges, and over our ends against ends made by hand."""

from collections.abc import Callable
from functools import cache, partial

import pytest

from conformance.raw_zmq import RawHarness
from kernelwire.testing import BEHAVIOURS, BackendHarness, Behaviour, BridgeHarness, Group, Harness, Level, Status, run

Make = Callable[[], Harness]
"""Makes a harness once the pipes are as good as installed."""


def whole(name: str) -> tuple[str, Make]:
    return name, cache(partial(BackendHarness, name))


def chain(*names: str) -> tuple[str, Make]:
    return "→".join(names), cache(partial(BridgeHarness, *names))


def raw(transport: str, end: str) -> tuple[str, Make]:
    return f"{transport} raw {end}", cache(partial(RawHarness, transport, end))


BUILT_IN = [whole(name) for name in ("inprocess", "ipc", "tcp")]

PIPES = [whole(name) for name in ("memory-pipe", "tcp-pipe")]

CHAINS = [
    chain("inprocess", "tcp"),
    chain("tcp", "inprocess"),
    chain("ipc", "tcp", "inprocess"),
    chain("tcp", "ipc", "tcp", "ipc"),
    chain("tcp", "memory-pipe", "ipc"),
    chain("memory-pipe", "tcp-pipe"),
]

RAW = [raw(transport, end) for transport in ("ipc", "tcp") for end in ("kernel", "client")]

ON_THE_WIRE = {Group.DELIVERY, Group.PAYLOAD, Group.SIGNING, Group.HEARTBEAT}
"""What two ends must agree on; the rest is each end's own and would test the one that was made by hand."""

EXTRAS = {"peer_events", "lossless_iopub"}
"""Capabilities that not all of them have."""

CASES = [
    pytest.param(make, behaviour, id=f"{name}-{behaviour.name}")
    for made, groups in ((BUILT_IN, set(Group)), (PIPES, set(Group)), (CHAINS, set(Group)), (RAW, ON_THE_WIRE))
    for name, make in made
    for behaviour in BEHAVIOURS
    if behaviour.group in groups
]


@pytest.mark.parametrize(("make", "behaviour"), CASES)
def test_behaviour(make: Make, behaviour: Behaviour) -> None:
    harness = make()
    outcome = run(harness, behaviour)
    if outcome.status is Status.NOT_APPLICABLE:
        assert any(getattr(harness.capabilities, name) in (False, "none") for name in behaviour.requires)
        return
    assert outcome.status is Status.PASS, str(outcome)


def test_the_built_in_backends_are_tried_in_full() -> None:
    for _, make in BUILT_IN:
        core = [each for each in BEHAVIOURS if each.level is Level.CORE and not EXTRAS.intersection(each.requires)]
        assert all(behaviour.applies_to(make().capabilities) for behaviour in core)


def test_the_pipes_are_tried_in_full() -> None:
    for _, make in PIPES:
        usual = [each for each in BEHAVIOURS if not EXTRAS.intersection(each.requires)]
        assert all(behaviour.applies_to(make().capabilities) for behaviour in usual)
