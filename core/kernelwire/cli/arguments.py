"""What subcommands share of their command lines: how a number of seconds is read, and a wait that says what it waits
for.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from kernelwire.client import KernelClient

PATIENCE: Final = 2.0
"""Seconds of waiting for a kernel after which the user is told."""


def seconds(text: str) -> float:
    """The `type` of an argument that is a number of seconds.

    Raises:
        argparse.ArgumentTypeError: it is no number, not above 0, or without an end.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: a number of seconds above 0 is needed")
    return number


@contextmanager
def telling() -> Iterator[Callable[[], None]]:
    """Tell the user that a kernel is waited for, if the context lasts; yields what ends that early."""

    def tell() -> None:
        print("kernelwire: waiting for the kernel to answer (Ctrl-C to give up)", file=sys.stderr)

    timer = asyncio.get_running_loop().call_later(PATIENCE, tell)
    try:
        yield timer.cancel
    finally:
        timer.cancel()


async def wait_for_kernel(client: KernelClient, timeout: float) -> None:
    """Wait until the kernel answers; tell the user when that is not soon.

    Arguments:
        client: of that kernel.
        timeout: seconds.

    Raises:
        RequestTimeout: it does not answer in time.
    """
    with telling():
        await client.ready(timeout)
