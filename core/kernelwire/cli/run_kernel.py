"""The kernel that a file is run in: one that is started for it and ended after it, or one that runs already."""

import argparse
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from kernelwire.cli.arguments import seconds, telling
from kernelwire.cli.visiting import visit
from kernelwire.client import KernelClient
from kernelwire.errors import ConfigurationError, NoSuchKernelspec
from kernelwire.execution import InputHook
from kernelwire.launcher import LocalLauncher
from kernelwire.manager import KernelManager

TRANSPORT: Final = "tcp"


class RunKernel(NamedTuple):
    """A kernel that answers.

    Attributes:
        client: of it.
        interrupt: interrupts it.
        kernelspec: what it was started from, as notebooks say it; None for one that ran already.
        farewell: what to say when the user does not want to wait for it any longer.
    """

    client: KernelClient
    interrupt: Callable[[], Awaitable[object]]
    kernelspec: Mapping[str, str] | None
    farewell: str


def add_kernel_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which kernel it is."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--kernel", metavar="NAME", help="start a kernel of this kernelspec")
    group.add_argument("--connect", metavar="CONNECTION", help="use the running kernel of this connection file")
    parser.add_argument("--transport", metavar="T", help=f"the transport to a kernel that is started ({TRANSPORT})")
    parser.add_argument("--cwd", metavar="DIR", help="the directory that a kernel is started in")
    parser.add_argument("--wait", type=seconds, default=60.0, metavar="S", help="seconds to wait for the kernel (60)")


def check_kernel_arguments(arguments: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigurationError: an option about starting for a kernel that is not started.
    """
    for option in ("transport", "cwd"):
        if arguments.connect is not None and getattr(arguments, option) is not None:
            raise ConfigurationError(f"--{option} is for a kernel that is started, and --connect names one that runs")


@asynccontextmanager
async def open_kernel(
    arguments: argparse.Namespace, name: str, *, cwd: str | os.PathLike[str] | None, input_hook: InputHook | None
) -> AsyncIterator[RunKernel]:
    """The kernel that was asked for, for as long as the context lasts.

    One that was started has ended afterwards: it was asked to, unless it is still at work.

    Arguments:
        arguments: the command line.
        name: the kernelspec, if one is to be started.
        cwd: the directory, if the command line names none.
        input_hook: answers what it asks.

    Raises:
        ConfigurationError, RequestFailed, ConnectionLost: it cannot be had; the text says why.
    """
    if arguments.connect is not None:
        async with visit(arguments.connect, timeout=arguments.wait, input_hook=input_hook) as kernel:
            yield RunKernel(kernel.client, kernel.interrupt, None, "not waiting any longer; the code may still run")
        return
    # What the kernel's process itself writes is shown if it dies: ipykernel repeats there what it has sent as output.
    launcher = LocalLauncher(pass_on=lambda data: None)
    async with KernelManager() as manager:
        try:
            with telling():
                await manager.start(
                    name,
                    transport=arguments.transport or TRANSPORT,
                    launcher=launcher,
                    cwd=arguments.cwd or cwd,
                    timeout=arguments.wait,
                )
        except NoSuchKernelspec as error:
            raise ConfigurationError(f"{error}; --kernel names another") from error
        spec = manager.kernel_spec
        kernelspec = {"name": spec.name, "display_name": spec.display_name, "language": spec.language}
        async with manager.client(input_hook=input_hook) as client:
            await client.ready(arguments.wait)
            try:
                yield RunKernel(client, manager.interrupt, kernelspec, "not waiting any longer; the kernel is ended")
            finally:
                await manager.shutdown(now=client.pending > 0)
