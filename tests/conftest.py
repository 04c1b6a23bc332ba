"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """Have signals heard, here and in processes that tests start: a shell has Ctrl-C ignored in what runs in the
    background, and nohup the end of a terminal.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
