"""Good transports, tried again with other seeds, raise no alarm. soak.py does it a hundred times."""

import pytest

from kernelwire.testing import suite


@pytest.mark.parametrize("name", ["inprocess"])
def test_no_false_alarm(name: str) -> None:
    report = suite.try_all(suite.harness_of(name), repeat=3)
    assert report.passed, report.failures
    assert report.headline.startswith("core ")
