"""Work that is interrupted once, and cleans up."""

import asyncio
import os
import signal

import pytest

from kernelwire.cli import INTERRUPTED, signals

ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def test_what_it_returns() -> None:
    async def work() -> int:
        return 7

    assert signals.run(work()) == 7


@pytest.mark.parametrize("signum", ALL)
def test_an_interruption(signum: int) -> None:
    cleaned = []
    before = [signal.getsignal(each) for each in ALL]

    async def work() -> int:
        try:
            os.kill(os.getpid(), signum)
            await asyncio.get_running_loop().create_future()
        finally:
            for _ in range(3):
                os.kill(os.getpid(), signum)
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            cleaned.append(True)
        return 0

    assert signals.run(work()) == INTERRUPTED
    assert cleaned == [True]
    assert [signal.getsignal(each) for each in ALL] == before


def test_a_signal_that_is_ignored_from_the_start() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        async def work() -> int:
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.01)
            return 0

        assert signals.run(work()) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_and_a_cancellation_of_its_own() -> None:
    async def fails() -> int:
        raise ValueError("a reason")

    async def is_cancelled() -> int:
        raise asyncio.CancelledError

    with pytest.raises(ValueError, match="a reason"):
        signals.run(fails())
    with pytest.raises(asyncio.CancelledError):
        signals.run(is_cancelled())
