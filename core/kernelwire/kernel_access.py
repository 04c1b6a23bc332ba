"""How a manager's kernel is reached: with clients for the length of a context, and on channels that stay open."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kernelwire.channels import Channel
from kernelwire.client import KernelClient
from kernelwire.connection import ConnectionInfo
from kernelwire.kernel_clients import KernelClients, OnKernelEnd


class KernelAccess(ABC):
    """The client side of :class:`kernelwire.KernelManager`."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()  # of whoever changes the kernel
        self._clients = KernelClients()

    @property
    @abstractmethod
    def info(self) -> ConnectionInfo:
        """Where clients reach the kernel.

        Raises:
            LocalError: there is none.
        """

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[KernelClient]:
        """A client of the kernel, for as long as the context lasts; it outlasts restarts. When the kernel's process
        ends, its requests end at once: with KernelExited, or as it was ended, with KernelRestarted or KernelDied.

        Options are those of :func:`kernelwire.connect`; raises as that and `info`.
        """
        async with self._clients.open(self.info, **options) as client:
            yield client

    @property
    def listeners(self) -> list[OnKernelEnd]:
        """Told when the kernel has ended: for clients that the manager does not know, in another loop say."""
        return self._clients.listeners

    @property
    def channels(self) -> KernelClient | None:
        """The client that `start_channels` has opened, while it is open and its kernel can be reached with it."""
        return self._clients.running

    @property
    def channels_running(self) -> bool:
        """Whether there are `channels`."""
        return self.channels is not None

    async def start_channels(
        self,
        *,
        shell: bool = True,
        iopub: bool = True,
        stdin: bool = True,
        hb: bool = True,
        control: bool = True,
        **options: Any,
    ) -> KernelClient:
        """A client of the kernel on these channels, until `stop_channels`, `shutdown`, `detach` or the manager's end.

        Otherwise as `client`. May be called again: with equal arguments it gives the same client. Without `stdin` the
        kernel is told that it may not ask.

        Raises:
            LocalError: there is no kernel, or channels are running that were asked for in another way.
        """
        asked = {
            Channel.SHELL: shell,
            Channel.IOPUB: iopub,
            Channel.STDIN: stdin,
            Channel.HEARTBEAT: hb,
            Channel.CONTROL: control,
        }
        async with self._turn:
            channels = frozenset(name for name, wanted in asked.items() if wanted)
            return await self._clients.start(self.info, channels=channels, **options)

    async def stop_channels(self) -> None:
        """Close what `start_channels` has opened, if anything. They may be started again."""
        await self._clients.stop()
