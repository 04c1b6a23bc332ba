"""A backend: how one transport connects to a kernel's channels, and how it serves them.

To write one, subclass :class:`Backend`, name it in the entry-point group ``kernelwire.backends``, and run the
conformance kit over it. Two methods here, three for a channel, one for the heartbeat: six in all.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, TypeVar

from kernelwire.channels import (
    ALL_CHANNELS,
    Channel,
    ControlChannel,
    HeartbeatChannel,
    IOPubChannel,
    IOPubPublisher,
    PeerEvents,
    ShellChannel,
    StdinChannel,
)
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import NotSupported
from kernelwire.inbox import LoopBound

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backend claims; the conformance kit verifies each claim, and each declared absence.

    Attributes:
        serve: it has a kernel end.
        signed: messages carry signatures. False where the wire authenticates by itself and the signature is empty.
        multi_client: several clients on one kernel, each with its own replies.
        lossless_iopub: a client that reads gets everything, however fast the kernel publishes. False where the wire
            drops when it is full, without a word.
        gap_notice: what this backend drops, it reports with a GapNotice.
        resume: a break of the wire is mended without loss.
        encrypted: every connection is encrypted end to end.
        peer_events: a kernel end learns of clients that come and go.
        beat: who answers the heartbeat: the kernel itself, only the nearest peer, or nobody.
        max_message_bytes: bound on all frames of a message together.
    """

    serve: bool = True
    signed: bool = True
    multi_client: bool = True
    lossless_iopub: bool = False
    gap_notice: bool = False
    resume: bool = False
    encrypted: bool = False
    peer_events: bool = False
    beat: Literal["kernel", "peer", "none"] = "none"
    max_message_bytes: int = 256 * 1024 * 1024


class _End:
    """What both ends share: closing everything, as an async context manager too."""

    def __init__(self) -> None:
        self._closers = AsyncExitStack()
        self._closing = asyncio.Lock()
        self._owner = LoopBound()

    async def aclose(self) -> None:
        """Close every channel and release what the end holds. May be called twice; a cancelled call still closes.

        Raises:
            WrongLoop: as for the channels.
        """
        # Before a closer is taken off the stack, since it would be lost to the right loop.
        self._owner.check_loop()
        # Who comes second returns when all is closed, too.
        async with self._closing:
            await self._closers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()


class ClientEnd(_End):
    """A client's five channels.

    Arguments:
        shell, control, stdin, iopub, heartbeat: the channels; None for those that `connect` was not asked for.
        on_close: awaited after the channels were closed, to release what they share.

    Attributes:
        shell, control, stdin, iopub, heartbeat: the channels. Touching one that was not opened raises NotSupported.
    """

    def __init__(
        self,
        *,
        shell: ShellChannel | None = None,
        control: ControlChannel | None = None,
        stdin: StdinChannel | None = None,
        iopub: IOPubChannel | None = None,
        heartbeat: HeartbeatChannel | None = None,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self._shell = shell
        self._control = control
        self._stdin = stdin
        self._iopub = iopub
        self._heartbeat = heartbeat
        if on_close is not None:
            self._closers.push_async_callback(on_close)
        for channel in (shell, control, stdin, iopub, heartbeat):
            if channel is not None:
                self._closers.push_async_callback(channel.aclose)

    @property
    def shell(self) -> ShellChannel:
        """Requests and replies."""
        return _opened(self._shell, Channel.SHELL)

    @property
    def control(self) -> ControlChannel:
        """Requests that do not wait behind shell's."""
        return _opened(self._control, Channel.CONTROL)

    @property
    def stdin(self) -> StdinChannel:
        """The kernel's questions and our answers."""
        return _opened(self._stdin, Channel.STDIN)

    @property
    def iopub(self) -> IOPubChannel:
        """What the kernel publishes."""
        return _opened(self._iopub, Channel.IOPUB)

    @property
    def heartbeat(self) -> HeartbeatChannel:
        """The sign of life."""
        return _opened(self._heartbeat, Channel.HEARTBEAT)


class KernelEnd(_End):
    """A kernel's five channels. Every client of the kernel comes in here, told apart by ``peer``.

    Arguments:
        shell, control, stdin, iopub: the channels.
        peers: tells of clients that come and go; None where the wire does not know.
        on_close: awaited after the channels were closed, to release what they share.

    Attributes:
        shell, control, stdin, iopub: the channels.
        beating: whether heartbeats are answered. A bridge sets it to False while the kernel behind it is dead.
        audible: whether what the kernel publishes can be heard here at all. While it is False no client's
            :meth:`~kernelwire.channels.IOPubChannel.ready` returns for the first time. A bridge sets it to False until
            it is ready itself.
        peers: see above.
        dropped: messages that did not reach some subscriber of iopub because it does not keep up. An upper bound for
            each subscriber.
    """

    def __init__(
        self,
        *,
        shell: ShellChannel,
        control: ControlChannel,
        stdin: StdinChannel,
        iopub: IOPubPublisher,
        peers: PeerEvents | None = None,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self.shell = shell
        self.control = control
        self.stdin = stdin
        self.iopub = iopub
        self.peers = peers
        self.dropped = 0
        self._beating = asyncio.Event()
        self._audible = asyncio.Event()
        self.beating = self.audible = True
        if on_close is not None:
            self._closers.push_async_callback(on_close)
        for channel in (shell, control, stdin, iopub):
            self._closers.push_async_callback(channel.aclose)

    @property
    def beating(self) -> bool:  # noqa: D102 - documented with the class
        return self._beating.is_set()

    @beating.setter
    def beating(self, beating: bool) -> None:
        self._beating.set() if beating else self._beating.clear()

    @property
    def audible(self) -> bool:  # noqa: D102 - documented with the class
        return self._audible.is_set()

    @audible.setter
    def audible(self, audible: bool) -> None:
        self._audible.set() if audible else self._audible.clear()

    async def wait_beating(self) -> None:
        """Until `beating` is True."""
        await self._beating.wait()

    async def wait_audible(self) -> None:
        """Until `audible` is True."""
        await self._audible.wait()


class Backend(ABC):
    """One transport. Cheap to make; holds nothing between calls but what its open ends share.

    Attributes:
        capabilities: what this transport claims.
    """

    capabilities: ClassVar[Capabilities]

    @abstractmethod
    async def connect(
        self, info: ConnectionInfo, *, identity: bytes, channels: Collection[Channel] = ALL_CHANNELS
    ) -> ClientEnd:
        """Open a client's end.

        Where the wire queues, this returns before the kernel is there, and what is sent meanwhile is delivered when
        it comes. The same end goes on after a kernel restart on the same address.

        Arguments:
            info: where the kernel is.
            identity: 1 to 64 bytes chosen by the caller, not starting with NUL: equal on one client's channels, unique
                per client, stable over resume. A second client with the identity of a first takes its place.
            channels: those that will be used; a backend may open more.

        Raises:
            InvalidField: a field that this transport needs is missing or cannot be used.
            NotServed: nobody serves the address, on a wire that does not queue.
            ConnectionLost: the wire cannot be opened.
        """

    async def serve(self, info: ConnectionInfo) -> KernelEnd:
        """Open the kernel's end at an address that `prepare` completed.

        Raises:
            NotSupported: this transport has no kernel end.
            AddressInUse: somebody else serves there.
            InvalidField: as for `connect`.
        """
        raise NotSupported(f"transport {info.transport!r} has no kernel end")

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        """Complete the address for a new kernel: ports, paths, ids. What is set already stays.

        Blocking, but short. What this creates outside the process, `release` removes.

        Raises:
            InvalidField: what is set cannot be used.
        """
        return info

    def release(self, info: ConnectionInfo) -> None:  # noqa: B027 - a working default, not a duty
        """Remove what `prepare` and a kernel on this address may have left behind. Never fails for what is gone."""


def _opened(channel: T | None, name: Channel) -> T:
    if channel is None:
        raise NotSupported(f"the {name} channel was not opened: name it in connect(channels=...)")
    return channel
