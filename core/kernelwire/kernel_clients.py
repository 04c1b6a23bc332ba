"""The clients of a manager's kernel. The manager knows at once what a heartbeat would tell them later."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, Final, Protocol

from kernelwire.channels import Channel
from kernelwire.client import KernelClient, connect
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import KernelwireError, LocalError

_LOOK = 0.02
"""Seconds between two looks at what is still under way."""

_REPLIES: Final = 1.0
"""Seconds in which a kernel that was interrupted replies, if what it executes can be interrupted at all."""


class OnKernelEnd(Protocol):
    """What is told when the kernel has ended, as :meth:`kernelwire.KernelClient.on_kernel_end`."""

    def __call__(self, error: KernelwireError, *, for_good: bool) -> None:
        """In the manager's loop; must not wait."""


class KernelClients:
    """Clients that were opened with :meth:`open`, for as long as that lasts, and one that stays until :meth:`stop`.

    Attributes:
        listeners: told of the kernel's end as the clients are: for clients in another loop.
    """

    def __init__(self) -> None:
        self.listeners: list[OnKernelEnd] = []
        self._open: set[KernelClient] = set()
        self._running: KernelClient | None = None
        self._options: Mapping[str, Any] = {}  # those of the client that runs
        self._stack = AsyncExitStack()
        self._turn = asyncio.Lock()

    @property
    def running(self) -> KernelClient | None:
        """The client that stays; None if there is none, or none that its kernel can still be reached with."""
        return self._running if self._running is not None and self._running.broken is None else None

    @asynccontextmanager
    async def open(self, info: ConnectionInfo, **options: Any) -> AsyncIterator[KernelClient]:
        """A client for as long as the context lasts. Options and errors are those of :func:`kernelwire.connect`."""
        async with connect(info, **options) as client:
            self._open.add(client)
            try:
                yield client
            finally:
                self._open.discard(client)

    async def start(self, info: ConnectionInfo, **options: Any) -> KernelClient:
        """The client that stays: the one that is there, if it was asked for in the same way, or a new one.

        Raises:
            LocalError: there is one that was asked for in another way.
            as `open`.
        """
        async with self._turn:
            if (client := self.running) is not None:
                if options != self._options:
                    raise LocalError("the channels are running with other options: call stop_channels() first")
                return client
            await self._stack.aclose()  # of one that is of no use any more
            client = await self._stack.enter_async_context(self.open(info, **options))
            self._running, self._options = client, options
            return client

    async def stop(self) -> None:
        """Close the client that stays. Nothing happens if there is none."""
        async with self._turn:
            self._running = None
            await self._stack.aclose()

    def on_kernel_end(self, error: KernelwireError, *, for_good: bool = False) -> None:
        """The kernel has ended; see :meth:`kernelwire.KernelClient.on_kernel_end`."""
        listeners: list[OnKernelEnd] = [client.on_kernel_end for client in self._open]
        for listener in listeners + self.listeners:
            listener(error, for_good=for_good)

    async def settled(self) -> None:
        """Once the kernel was interrupted: until it has replied to these clients, though not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_REPLIES):
                while any(client.pending for client in self._open):  # noqa: ASYNC110 - no event tells of that
                    await asyncio.sleep(_LOOK)

    async def last_words(self) -> None:
        """Once the kernel has ended for good: until the client that stays has read what it sent last."""
        while self._running is not None and self._running.pending:  # noqa: ASYNC110 - no event tells of that
            await asyncio.sleep(_LOOK)

    @contextmanager
    def heartbeats_paused(self) -> Iterator[None]:
        """What the clients' monitors see of a planned stop is no death."""
        monitors = [client.heartbeat for client in self._open if Channel.HEARTBEAT in client.end.channels]
        for monitor in monitors:
            monitor.pause()
        try:
            yield
        finally:
            for monitor in monitors:
                monitor.unpause()
