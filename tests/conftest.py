"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """Have Ctrl-C heard, here and in processes that tests start: a shell ignores it in what runs in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
