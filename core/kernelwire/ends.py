"""What a backend returns: a client's end and a kernel's end, five channels each."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import Final, Self, TypeVar

from kernelwire.channels import (
    Channel,
    ControlChannel,
    HeartbeatChannel,
    IOPubChannel,
    IOPubPublisher,
    PeerEvents,
    ShellChannel,
    StdinChannel,
)
from kernelwire.errors import GapNotice, NotSupported, Undelivered
from kernelwire.loop_bound import LoopBound

_log = logging.getLogger(__name__)

T = TypeVar("T")

TellGap = Callable[[Channel, GapNotice, bytes], Awaitable[None]]
"""Tells one client, or on iopub all, that messages are missing: see :meth:`KernelEnd.tell_gap`."""

_ATTRIBUTES: Final = {
    Channel.SHELL: "shell",
    Channel.CONTROL: "control",
    Channel.STDIN: "stdin",
    Channel.IOPUB: "iopub",
    Channel.HEARTBEAT: "heartbeat",
}


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
            Undelivered: what was sent before is not known to have arrived, on a wire that knows. All is closed.
        """
        # Before a closer is taken off the stack, since it would be lost to the right loop.
        self._owner.check_loop()
        # Who comes second returns when all is closed, too.
        async with self._closing:
            await self._closers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self.aclose()
        except Undelivered as error:
            if exc[0] is None:
                raise
            _log.warning("%s", error)  # what has gone wrong before matters more


class ClientEnd(_End):
    """A client's five channels.

    Arguments:
        shell, control, stdin, iopub, heartbeat: the channels; None for those that `connect` was not asked for.
        on_close: awaited after the channels were closed, to release what they share.

    Attributes:
        shell, control, stdin, iopub, heartbeat: the channels. Touching one that was not opened raises NotSupported.
        channels: the names of those that were.
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
        opened = dict(zip(_ATTRIBUTES, (shell, control, stdin, iopub, heartbeat), strict=True))
        self.channels = frozenset(name for name, channel in opened.items() if channel is not None)
        for channel in opened.values():
            if channel is not None:
                self._closers.push_async_callback(channel.aclose)

    async def narrow(self, channels: Collection[Channel]) -> None:
        """Close all but these channels: a backend may open more than it was asked for. If that fails, all is closed.

        Raises:
            WrongLoop: as for the channels.
        """
        surplus = self.channels - set(channels)
        try:
            for name in surplus:
                attribute = _ATTRIBUTES[name]
                await getattr(self, attribute).aclose()
                setattr(self, f"_{attribute}", None)
        except BaseException:
            await self.aclose()
            raise
        self.channels -= surplus

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
        tell_gap: puts a gap notice in the way of one client, or on iopub of all; None where the wire has none.
        on_close: awaited after the channels were closed, to release what they share.

    Attributes:
        shell, control, stdin, iopub: the channels.
        beating: whether heartbeats are answered. A bridge sets it to False while the kernel behind it is dead.
        audible: whether what the kernel publishes can be heard here at all. While it is False no client's
            :meth:`~kernelwire.channels.IOPubChannel.ready` returns for the first time. A bridge sets it to False until
            it is ready itself.
        peers: see above.
        tells_gaps: whether clients can be told that messages are missing.
        connected: how many clients have a connection just now; None where the wire does not know.
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
        tell_gap: TellGap | None = None,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self.shell = shell
        self.control = control
        self.stdin = stdin
        self.iopub = iopub
        self.peers = peers
        self.tells_gaps = tell_gap is not None
        self.dropped = 0
        self.connected: int | None = None
        self._beating = asyncio.Event()
        self._audible = asyncio.Event()
        self._tell_gap = tell_gap
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

    async def tell_gap(self, channel: Channel, notice: GapNotice, peer: bytes = b"") -> None:
        """Tell that messages are missing at this place of a channel, which did not get as far as this end.

        Arguments:
            channel: shell, control, stdin or iopub.
            notice: the client's `receive` raises one like it.
            peer: the client who is told; on iopub all are.

        Raises:
            NotSupported: the wire has no gap notices: see `tells_gaps`.
            PeerGone: this client is not connected (any more).
            WrongLoop: as for the channels.
        """
        self._owner.check_loop()
        if self._tell_gap is None:
            raise NotSupported("this wire cannot tell its clients that messages are missing")
        await self._tell_gap(channel, notice, peer)

    async def wait_beating(self) -> None:
        """Until `beating` is True."""
        await self._beating.wait()

    async def wait_audible(self) -> None:
        """Until `audible` is True."""
        await self._audible.wait()


def not_opened(name: Channel) -> NotSupported:
    """What using a channel raises that `connect` was not asked for."""
    return NotSupported(f"the {name} channel was not opened: name it in connect(channels=...)")


def _opened(channel: T | None, name: Channel) -> T:
    if channel is None:
        raise not_opened(name)
    return channel
