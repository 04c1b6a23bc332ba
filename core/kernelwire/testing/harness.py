"""What the kit tests: a kernel's end, and clients that connect to it."""

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

from kernelwire import registry
from kernelwire.backend import Capabilities
from kernelwire.bridge import open_bridge
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.message_channel import MessageChannel, MessageReceiver, MessageSender
from kernelwire.messages import Message, WireMessage
from kernelwire.session import Session

KEY: Final = b"a key for tests, known to everybody"


class Client:
    """A client's end with a session, as the behaviours use it.

    Attributes:
        end: the raw channels.
        session: its own.
        shell, control, stdin, iopub: the channels with the session.
    """

    def __init__(self, end: ClientEnd, session: Session) -> None:
        self.end = end
        self.session = session
        self.shell = MessageChannel(end.shell, session)
        self.control = MessageChannel(end.control, session)
        self.stdin = MessageChannel(end.stdin, session)
        self.iopub = MessageReceiver(end.iopub, session)

    def message(self, **content: object) -> Message:
        """A request with some content."""
        return self.session.message("execute_request", content)

    def wire(self, **content: object) -> WireMessage:
        """The same, packed."""
        return WireMessage(self.session.pack(self.message(**content)))


class _WithoutNudges(MessageChannel):
    """A kernel's channel without what a transport may ask by itself to learn whether a client is ready."""

    async def receive_from(self) -> tuple[Message, WireMessage]:
        while True:
            message, wire = await super().receive_from()
            if message.msg_type != "kernel_info_request":
                return message, wire


class Kernel:
    """A kernel's end with a session.

    Attributes:
        end: the raw channels.
        session: its own.
        shell, control, stdin, iopub: the channels with the session.
    """

    def __init__(self, end: KernelEnd, session: Session) -> None:
        self.end = end
        self.session = session
        self.shell = _WithoutNudges(end.shell, session)
        self.control = _WithoutNudges(end.control, session)
        self.stdin = _WithoutNudges(end.stdin, session)
        self.iopub = MessageSender(end.iopub, session)

    async def publish(self, **content: object) -> None:
        """Publish a message with some content."""
        await self.iopub.send(self.session.message("display_data", content), b"display_data")


class Pair:
    """An open kernel's end, and clients for it.

    Arguments:
        kernel: the kernel's end.
        open_client: opens a client's end with an identity.
        kernel_info: whose key the kernel's side signs with.
        client_info: whose key the clients sign with; another one behind a bridge.
        capabilities: what is claimed for this pair.

    Attributes:
        kernel: the kernel's side.
        kernel_info, client_info, capabilities: as given.
    """

    def __init__(
        self,
        kernel: KernelEnd,
        open_client: Callable[[bytes], Awaitable[ClientEnd]],
        *,
        kernel_info: ConnectionInfo,
        client_info: ConnectionInfo,
        capabilities: Capabilities,
    ) -> None:
        self.kernel = Kernel(kernel, Session.of(kernel_info))
        self.kernel_info = kernel_info
        self.client_info = client_info
        self.capabilities = capabilities
        self._open_client = open_client
        self._clients = AsyncExitStack()
        self._numbers = itertools.count(1)

    async def connect(self, *, ready: bool = True, key: bytes | None = None) -> Client:
        """A new client, closed with the pair.

        Arguments:
            ready: wait until its iopub and its stdin are.
            key: sign with this key instead of the right one.
        """
        info = self.client_info if key is None else self.client_info.replace(key=key)
        end = await self._open_client(f"client-{next(self._numbers)}-{os.getpid()}".encode())
        await self._clients.enter_async_context(end)
        if ready:
            await end.iopub.ready()
            await end.stdin.ready()
        return Client(end, Session.of(info))

    async def close_clients(self) -> None:
        """Close every client."""
        await self._clients.aclose()

    async def aclose(self) -> None:
        """Close the clients, then the kernel."""
        try:
            await self.close_clients()
        finally:
            await self.kernel.end.aclose()


class Harness(ABC):
    """What the author of a transport gives to the kit.

    Attributes:
        name: for reports.
        capabilities: what the transport claims.
    """

    name: str
    capabilities: Capabilities

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Pair]:
        """A fresh pair, in the running loop; everything of it is gone when the context is left."""


class BackendHarness(Harness):
    """The harness of any installed backend that has both ends.

    Arguments:
        transport: its name.
    """

    def __init__(self, transport: str) -> None:
        self.name = transport
        self._backend = registry.load(transport)
        self.capabilities = self._backend.capabilities

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pair]:
        """A fresh kernel end at a fresh address."""
        info = self._backend.prepare(ConnectionInfo(transport=self.name, key=KEY))

        async def open_client(identity: bytes) -> ClientEnd:
            return await self._backend.connect(info, identity=identity)

        try:
            pair = Pair(
                await self._backend.serve(info),
                open_client,
                kernel_info=info,
                client_info=info,
                capabilities=self.capabilities,
            )
            try:
                yield pair
            finally:
                await pair.aclose()
        finally:
            self._backend.release(info)


class BridgeHarness(Harness):
    """A kernel on the first transport, clients on the last, and a bridge between each two. Every side has its own key.

    Arguments:
        transports: at least two names.
    """

    def __init__(self, *transports: str) -> None:
        self.name = "→".join(transports)
        self._first = BackendHarness(transports[0])
        self._rest = transports[1:]
        self.capabilities = _of_chain([registry.load(name).capabilities for name in transports])

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pair]:
        """A fresh kernel end, and fresh bridges."""
        async with AsyncExitStack() as bridges, self._first.open() as pair:
            info = pair.kernel_info
            for number, transport in enumerate(self._rest):
                key = KEY + str(number).encode()
                info = await bridges.enter_async_context(
                    open_bridge(info, ConnectionInfo(transport=transport, key=key), time_to_dead=0.5)
                )
            last = registry.load(info.transport)
            client_info = info

            async def open_client(identity: bytes) -> ClientEnd:
                return await last.connect(client_info, identity=identity)

            chain = Pair(
                pair.kernel.end,
                open_client,
                kernel_info=pair.kernel_info,
                client_info=client_info,
                capabilities=self.capabilities,
            )
            try:
                yield chain
            finally:
                # Clients first, then the bridges from the last to the first, then the kernel.
                await chain.close_clients()
                await bridges.aclose()


def _of_chain(links: Sequence[Capabilities]) -> Capabilities:
    """What a chain can claim: no more than its weakest link."""
    return Capabilities(
        signed=all(link.signed for link in links),
        multi_client=all(link.multi_client for link in links),
        lossless_iopub=all(link.lossless_iopub for link in links),
        gap_notice=all(link.gap_notice for link in links),
        encrypted=all(link.encrypted for link in links),
        beat="kernel" if all(link.beat == "kernel" for link in links) else "peer",
        max_message_bytes=min(link.max_message_bytes for link in links),
    )
