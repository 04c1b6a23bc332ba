"""The example of a third party's backend: found by its entry point, and as good as the built-in ones."""

import pytest

from kernelwire import registry
from kernelwire.testing import BEHAVIOURS, BackendHarness, Behaviour, Status, run


def test_it_is_found_by_its_entry_point(installed: None) -> None:
    (found,) = (backend for backend in registry.installed() if backend.name == "queues")
    assert found.distribution == "kernelwire-queues"
    assert type(registry.load("queues")).__name__ == "QueueBackend"


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda each: each.name)
def test_conformance(behaviour: Behaviour, installed: None) -> None:
    outcome = run(BackendHarness("queues"), behaviour)
    assert outcome.status is not Status.FAIL, str(outcome)
