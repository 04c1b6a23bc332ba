"""An alarm interrupts the main thread, says where, and gives back what was there before."""

import signal
import threading
import time

import pytest

from kernelwire.testing import alarm as module
from kernelwire.testing.alarm import Blocked, alarm


def sleep() -> None:
    time.sleep(1000)


def test_it_interrupts_and_says_where() -> None:
    with alarm(0.01) as blocked:
        sleep()
    assert blocked[0].startswith(f"sleep ({__file__}, line ")


def test_it_rings_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN", 0.01)
    with alarm(0.01) as blocked:
        for _ in range(3):
            with pytest.raises(Blocked):
                sleep()
    assert len(blocked) == 3


def test_it_does_not_ring_in_time() -> None:
    with alarm(1000) as blocked:
        pass
    assert blocked == []


def test_errors_pass() -> None:
    with pytest.raises(OSError, match="mine"), alarm(1000):
        raise OSError("mine")


def test_another_thread_has_none() -> None:
    seen: list[list[str]] = []

    def use() -> None:
        with alarm(0.001) as blocked:
            time.sleep(0.02)
        seen.append(blocked)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [[]]


def test_somebody_else_s_alarm_rings_afterwards() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rung.append(number))
    due, interval = signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with alarm(1000):
            time.sleep(0.05)
        assert rung == []
        while not rung:
            time.sleep(0.001)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, due, interval)
