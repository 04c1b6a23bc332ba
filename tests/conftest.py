"""What holds for all tests."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def pytest_configure() -> None:
    """Have signals heard, here and in processes that tests start: a shell has Ctrl-C ignored in what runs in the
    background, and nohup the end of a terminal.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # How long an example takes says more about the machine than about the code.
    settings.register_profile("kernelwire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("kernelwire")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """No test leaves a handler behind: a closed loop's swallows the next signal."""
    before = [signal.getsignal(each) for each in _SIGNALS]
    yield
    assert [signal.getsignal(each) for each in _SIGNALS] == before
