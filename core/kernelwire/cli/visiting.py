"""A client of a kernel that runs already, and goes on without us: for `exec`, and for `run --connect`."""

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

from kernelwire import connection_file, control
from kernelwire.cli.arguments import PATIENCE
from kernelwire.cli.liveness import why_away
from kernelwire.cli.running import Record, RunningKernel, read
from kernelwire.cli.running_code import INTERRUPT_TIME
from kernelwire.client import KernelClient, connect
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ConfigurationError, InvalidField, KernelDied, RequestTimeout
from kernelwire.execution import InputHook
from kernelwire.first_answer import why_silent
from kernelwire.kernel_address import SPOKEN
from kernelwire.processes import RunningProcess

_COMES_BACK: Final = 3.0
"""Seconds in which a kernel that has ended may be started again in its place."""

_LOOK: Final = 0.1
"""Seconds between two looks for that."""


class Visit(NamedTuple):
    """A kernel that answers.

    Attributes:
        client: of it.
        interrupt: interrupts it, as its kernelspec wants it where that is known; else by a message.
    """

    client: KernelClient
    interrupt: Callable[[], Awaitable[object]]


@asynccontextmanager
async def visit(text: str, *, timeout: float, input_hook: InputHook | None) -> AsyncIterator[Visit]:
    """A kernel that answers, for as long as the context lasts. Where the kernel's process can be seen, its
    end ends the client's requests; elsewhere the heartbeat does.

    Arguments:
        text: the connection file, as for :func:`kernelwire.connect`.
        timeout: seconds until it must answer; the user is told when that is not soon.
        input_hook: answers what it asks.

    Raises:
        ConfigurationError: the file cannot be used; or the kernel has another key than it says.
        KernelDied: its process has ended.
        RequestTimeout: it does not answer in time.
    """
    path = connection_file.find(text).absolute()
    kernel = read(path)
    async with connect(kernel.info, input_hook=input_hook) as client:
        watching = asyncio.create_task(_watch(kernel, client))
        try:
            await _answered(kernel, client, timeout)
            yield Visit(client, functools.partial(_interrupt, kernel, client))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def _interrupt(kernel: RunningKernel, client: KernelClient) -> None:
    record = read(kernel.path).record  # it may have been started again meanwhile
    if record is None or not record.kernel.is_here:
        await client.interrupt(INTERRUPT_TIME)
    else:
        process = RunningProcess(record.kernel, group=True)
        await control.interrupt(kernel.info, process, record.interrupt_mode, timeout=INTERRUPT_TIME)


async def _watch(kernel: RunningKernel, client: KernelClient) -> None:
    """Tell the client of the ends of the kernel's processes."""
    record = kernel.record
    if record is None or not record.kernel.is_here:
        return
    while record is not None:
        await RunningProcess(record.kernel).wait()
        client.on_kernel_end(KernelDied("the kernel's process has ended"))
        record = await _successor(kernel, record)
    again = f"'kernelwire restart {kernel.path}' starts it again"
    client.on_kernel_end(KernelDied(f"the kernel is dead: its process has ended; {again}"), for_good=True)


async def _successor(kernel: RunningKernel, before: Record) -> Record | None:
    """What is known of the process that was started in the place of one that has ended; None if none is."""
    with suppress(TimeoutError, ConfigurationError):  # there is no such file any more
        async with asyncio.timeout(_COMES_BACK):
            while (record := read(kernel.path).record) is None or record.kernel == before.kernel:  # noqa: ASYNC110 - no event
                await asyncio.sleep(_LOOK)
            return record
    return None


async def _answered(kernel: RunningKernel, client: KernelClient, timeout: float) -> None:
    info = kernel.info

    async def tell() -> None:
        await asyncio.sleep(PATIENCE)
        doubt = await _why_away(info, client) or why_silent(client.session, client.heartbeat)
        print(f"kernelwire: waiting for the kernel to answer{doubt} (Ctrl-C to give up)", file=sys.stderr)

    telling = asyncio.create_task(tell())
    try:
        await client.ready(timeout)
    except RequestTimeout as error:
        raise RequestTimeout(f"{error}{await _why_away(info, client)}") from None
    except InvalidField as error:
        raise ConfigurationError(f"{error} (in {kernel.path})") from None
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _why_away(info: ConnectionInfo, client: KernelClient) -> str:
    if info.transport in SPOKEN or client.heartbeat.is_beating:
        return await why_away(info)
    return "; nothing comes from there: its host, or what is in between, is away"
