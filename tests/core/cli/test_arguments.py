"""What command lines share."""

import argparse
import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwire.cli import arguments


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_seconds(number: float) -> None:
    assert arguments.seconds(str(number)) == number


@pytest.mark.parametrize("text", ["", "soon", "0", "-1", "nan", "inf", "1e999"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a number of seconds above 0 is needed"):
        arguments.seconds(text)


async def test_telling(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(arguments, "PATIENCE", 0.0)
    with arguments.telling():
        pass
    with arguments.telling() as told:
        told()
        await asyncio.sleep(0.01)
    assert capsys.readouterr().err == ""
    with arguments.telling():
        await asyncio.sleep(0.01)
    told_to_the_user = capsys.readouterr()
    assert told_to_the_user == ("", "kernelwire: waiting for the kernel to answer (Ctrl-C to give up)\n")


async def test_waiting_for_a_kernel() -> None:
    class Client:
        async def ready(self, timeout: float) -> None:
            self.timeout = timeout

    client: Any = Client()
    await arguments.wait_for_kernel(client, 5)
    assert client.timeout == 5
