"""The conformance kit's way to transport ``socketio``: with a relay of its own, unless the environment names one."""

import json
import os
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from kernelwire.errors import ConnectionLost
from kernelwire.testing import BackendHarness, Pair
from kernelwire_socketio.backend import VARIABLE

_GRACE: Final = 10.0
"""Seconds that a relay has to end."""


class SocketioHarness(BackendHarness):
    """Its relay is a process, which begins with the first pair and ends with the harness, or with this process."""

    def __init__(self) -> None:
        super().__init__("socketio")
        self._relay = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pair]:
        """A fresh kernel's end in a fresh room."""
        if os.environ.get(VARIABLE):
            async with super().open() as pair:
                yield pair
            return
        if not self._relay:
            process, self._relay = _start()
            weakref.finalize(self, _stop, process)
        os.environ[VARIABLE] = self._relay  # where `prepare` looks for it
        try:
            async with super().open() as pair:
                yield pair
        finally:
            del os.environ[VARIABLE]


def _start() -> "tuple[subprocess.Popen[bytes], str]":
    command = [sys.executable, "-m", "kernelwire.cli", "relay", "--port", "0", "--json"]
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdout is not None
    with process.stdout as pipe:
        line = pipe.readline()
    if not line:
        _stop(process)
        raise ConnectionLost("no relay: `kernelwire relay` says why")
    return process, str(json.loads(line)["url"])


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
