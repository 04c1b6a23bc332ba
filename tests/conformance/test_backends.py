"""The kit over every backend, over chains of bridges, and over our ends against ends made by hand."""

import pytest

from conformance.raw_zmq import RawHarness
from kernelwire.testing import BEHAVIOURS, BackendHarness, Behaviour, BridgeHarness, Group, Harness, Status, run

WHOLE = [BackendHarness(name) for name in ("inprocess", "ipc", "tcp")]

CHAINS = [
    BridgeHarness("inprocess", "tcp"),
    BridgeHarness("tcp", "inprocess"),
    BridgeHarness("ipc", "tcp", "inprocess"),
    BridgeHarness("tcp", "ipc", "tcp", "ipc"),
]

RAW = [RawHarness(transport, end) for transport in ("ipc", "tcp") for end in ("kernel", "client")]

ON_THE_WIRE = {Group.DELIVERY, Group.PAYLOAD, Group.SIGNING, Group.HEARTBEAT}
"""What two ends must agree on; the rest is each end's own and would test the one that was made by hand."""

CASES = [
    pytest.param(harness, behaviour, id=f"{harness.name}-{behaviour.name}")
    for harnesses, groups in ((WHOLE, set(Group)), (CHAINS, set(Group)), (RAW, ON_THE_WIRE))
    for harness in harnesses
    for behaviour in BEHAVIOURS
    if behaviour.group in groups
]


@pytest.mark.parametrize(("harness", "behaviour"), CASES)
def test_behaviour(harness: Harness, behaviour: Behaviour) -> None:
    outcome = run(harness, behaviour)
    if outcome.status is Status.NOT_APPLICABLE:
        assert any(getattr(harness.capabilities, name) in (False, "none") for name in behaviour.requires)
        return
    assert outcome.status is Status.PASS, str(outcome)


def test_the_built_in_backends_are_tried_in_full() -> None:
    for harness in WHOLE:
        assert all(behaviour.applies_to(harness.capabilities) for behaviour in BEHAVIOURS)
