"""What the tests of a client's end of a link share."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import (
    KernelwireError,
)
from kernelwire.link.dialer import Dialer
from kernelwire.link.peer import Timing
from kernelwire.link.sealed import Secrets

from ._pipes import (
    CLIENT,
    MemoryBackend,
    Network,
    message,
)

CHANNELS = ("shell", "control", "stdin", "iopub")


def dialer(network: Network, secrets: Secrets = CLIENT, timing: Timing | None = None) -> Dialer:
    return Dialer(
        network.open_pipe,
        secrets,
        b"me",
        max_message_bytes=10_000_000,
        iopub_held=1_000_000,
        timing=timing or Timing(),
    )


Use = Callable[[], Coroutine[Any, Any, object]]


def receives(end: ClientEnd) -> list[Use]:
    return [getattr(end, name).receive for name in CHANNELS]


async def ends_with(end: ClientEnd, error: type[KernelwireError], match: str) -> None:
    """Every use of the end says so, again and again."""
    uses: list[Use] = [*receives(end), end.iopub.ready, functools.partial(end.heartbeat.beat, 60)]
    uses += [functools.partial(getattr(end, name).send, message("x")) for name in CHANNELS[:3]]
    for use in (*uses, *uses):
        with pytest.raises(error, match=match):
            await use()


def take_down(network: Network) -> None:
    """What is connected breaks, and nobody can be reached for now."""
    network.down = OSError("nobody there")
    network.cut()


async def crash(backend: MemoryBackend, kernel: KernelEnd) -> None:
    """The host is gone without a word, and nobody can be reached for now."""
    take_down(backend.network)
    await kernel.aclose()
