"""What the kit tests: a kernel's end, and clients that connect to it."""

import itertools
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from kernelwire import registry
from kernelwire.backend import Backend, Capabilities
from kernelwire.bridging import open_bridge
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import NotSupported, Undelivered
from kernelwire.message_channel import MessageChannel, MessageReceiver, MessageSender
from kernelwire.messages import Message, WireMessage
from kernelwire.session import Session

if TYPE_CHECKING:
    from kernelwire.testing.faults import Middle

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
        middle: power over what is on the way. A transport that claims `resume` or `encrypted` is tested by its means.
        serve_again: opens the kernel's end once more, at the same address.
        open_another: opens a pair of another kernel on the same transport.
        connect_at: opens a client's end at an address that may be unusable.

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
        middle: "Middle | None" = None,
        serve_again: Callable[[], Awaitable[KernelEnd]] | None = None,
        open_another: "Callable[[], AbstractAsyncContextManager[Pair]] | None" = None,
        connect_at: Callable[[ConnectionInfo, bytes], Awaitable[ClientEnd]] | None = None,
    ) -> None:
        self._middle = middle
        self._serve_again = serve_again
        self._open_another = open_another
        self._connect_at = connect_at
        self.kernel = Kernel(kernel, Session.of(kernel_info))
        self.kernel_info = kernel_info
        self.client_info = client_info
        self.capabilities = capabilities
        self._open_client = open_client
        self._clients = AsyncExitStack()
        self._numbers = itertools.count(1)

    @property
    def middle(self) -> "Middle":
        """Power over what is on the way.

        Raises:
            NotSupported: the harness gives none.
        """
        if self._middle is None:
            raise NotSupported(
                "`resume` and `encrypted` are tested by faults, and this harness gives no `middle`: "
                "give its pairs one, as kernelwire.testing.faults says, or do not claim them"
            )
        return self._middle

    async def connect(self, *, ready: bool = True, key: bytes | None = None, identity: bytes | None = None) -> Client:
        """A new client, closed with the pair.

        Arguments:
            ready: wait until its iopub and its stdin are.
            key: sign with this key instead of the right one.
            identity: its own; one that no other client has if None.
        """
        info = self.client_info if key is None else self.client_info.replace(key=key)
        end = await self._open_client(identity or f"client-{next(self._numbers)}-{os.getpid()}".encode())
        await self._clients.enter_async_context(end)
        if ready:
            await end.iopub.ready()
            await end.stdin.ready()
        return Client(end, Session.of(info))

    async def connect_at(self, info: ConnectionInfo) -> ClientEnd:
        """A client's end at another address, for the caller to close.

        Raises:
            NotSupported: the harness cannot.
            whatever the transport does.
        """
        if self._connect_at is None:
            raise NotSupported("this harness cannot connect elsewhere: give its pairs `connect_at`")
        return await self._connect_at(info, f"client-{next(self._numbers)}-{os.getpid()}".encode())

    async def restart_kernel(self) -> None:
        """Close the kernel's end, and open it again at the same address, as a new process would.

        Raises:
            NotSupported: the harness cannot.
        """
        if self._serve_again is None:
            raise NotSupported("this harness cannot serve again")
        await self.kernel.end.aclose()
        self.kernel = Kernel(await self._serve_again(), Session.of(self.kernel_info))

    def another(self) -> "AbstractAsyncContextManager[Pair]":
        """A pair of another kernel on the same transport.

        Raises:
            NotSupported: the harness cannot.
        """
        if self._open_another is None:
            raise NotSupported("this harness cannot open another kernel")
        return self._open_another()

    async def close_clients(self) -> None:
        """Close every client. What has not arrived then was not to arrive: many behaviours end in the middle."""
        with suppress(Undelivered):
            await self._clients.aclose()

    async def aclose(self) -> None:
        """Close the clients, then the kernel."""
        try:
            await self.close_clients()
        finally:
            await self.kernel.end.aclose()


class Known(NamedTuple):
    """What an author declares of a behaviour that the transport does not show yet.

    Attributes:
        reason: for people, with an address to read more at.
        until: the version of the transport's distribution from which on it counts as a failure all the same.
    """

    reason: str
    until: str


class Harness(ABC):
    """What the author of a transport gives to the kit.

    Attributes:
        name: for reports.
        capabilities: what the transport claims.
        known: failures that the author knows of, by the behaviour's name. Never one of the level *core*: there it
            counts as a failure.
    """

    name: str
    capabilities: Capabilities
    known: Mapping[str, Known] = MappingProxyType({})

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Pair]:
        """A fresh pair, in the running loop; everything of it is gone when the context is left."""


class BackendHarness(Harness):
    """The harness of any installed backend that has both ends.

    If it is made of pipes, its clients' pipes go through a :class:`~kernelwire.testing.faults.Middle`, which the
    behaviours of the levels *reliable* and *remote* command.

    Arguments:
        transport: its name.
        backend: the backend itself, if it is not installed under that name.
    """

    def __init__(self, transport: str, backend: Backend | None = None) -> None:
        self.name = transport
        self._backend = backend or registry.load(transport)
        self.capabilities = self._backend.capabilities

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pair]:
        """A fresh kernel end at a fresh address."""
        info = self._backend.prepare(ConnectionInfo(transport=self.name, key=KEY))
        client_info = self._backend.for_clients(info)
        middle, backend = _through_trouble(self._backend)

        async def connect_at(info: ConnectionInfo, identity: bytes) -> ClientEnd:
            return await backend.connect(info, identity=identity)

        async def open_client(identity: bytes) -> ClientEnd:
            return await connect_at(client_info, identity)

        async def serve() -> KernelEnd:
            return await backend.serve(info)

        try:
            pair = Pair(
                await serve(),
                open_client,
                kernel_info=info,
                client_info=client_info,
                capabilities=self.capabilities,
                middle=middle,
                serve_again=serve,
                open_another=self.open,
                connect_at=connect_at,
            )
            try:
                yield pair
            finally:
                await pair.aclose()
        finally:
            if middle is not None:
                await middle.aclose()
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
            client_info = pair.client_info
            for number, transport in enumerate(self._rest):
                key = KEY + str(number).encode()
                near = ConnectionInfo(transport=transport, key=key)
                near = await bridges.enter_async_context(open_bridge(client_info, near, time_to_dead=0.5))
                last = registry.load(transport)
                client_info = last.for_clients(near)

            async def connect_at(info: ConnectionInfo, identity: bytes) -> ClientEnd:
                return await last.connect(info, identity=identity)

            async def open_client(identity: bytes) -> ClientEnd:
                return await connect_at(client_info, identity)

            chain = Pair(
                pair.kernel.end,
                open_client,
                kernel_info=pair.kernel_info,
                client_info=client_info,
                capabilities=self.capabilities,
                connect_at=connect_at,
            )
            try:
                yield chain
            finally:
                # Clients first, then the bridges from the last to the first, then the kernel.
                await chain.close_clients()
                await bridges.aclose()


def _through_trouble(backend: Backend) -> "tuple[Middle | None, Backend]":
    """A backend whose pipes can be broken at will, if it is one of pipes."""
    if "kernelwire.link.backend" not in sys.modules:  # which needs more than others have installed
        return None, backend
    from kernelwire.link.backend import PipeBackend
    from kernelwire.testing.faults import Middle
    from kernelwire.testing.through import Through

    if not isinstance(backend, PipeBackend):
        return None, backend
    middle = Middle()
    return middle, Through(backend, middle)


def _of_chain(links: Sequence[Capabilities]) -> Capabilities:
    """What a chain can claim: no more than its weakest link. Nothing is encrypted from end to end: bridges read it."""
    return Capabilities(
        serve=False,  # only its first link's end could be opened again, which is not this chain's
        signed=all(link.signed for link in links),
        multi_client=all(link.multi_client for link in links),
        lossless_iopub=all(link.lossless_iopub for link in links),
        gap_notice=all(link.gap_notice for link in links),
        beat="kernel" if all(link.beat == "kernel" for link in links) else "peer",
        # What a client's own end refuses. What only a link further on does, the bridge before it drops.
        max_message_bytes=links[-1].max_message_bytes,
    )
