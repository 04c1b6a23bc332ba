"""Five channels over one wire: the shared demultiplexer, so that no backend writes its own.

A backend whose wire carries (channel, message) pairs gives a function that transmits one pair, and feeds what arrives.
The channels, their queues, bounds and rules come from here. At a kernel's end there is one wire for each client.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from kernelwire.channels import Channel, HeartbeatChannel, PeerEvent
from kernelwire.ends import ClientEnd, KernelEnd, TellGap
from kernelwire.errors import GapNotice, KernelwireError, PeerGone, WireError
from kernelwire.inbox import GAP_LIMIT, HIGH_WATER, Inbox
from kernelwire.messages import WireMessage
from kernelwire.queued_channels import (
    Outlet,
    QueuedControl,
    QueuedIOPub,
    QueuedPeerEvents,
    QueuedPublisher,
    QueuedShell,
    QueuedStdin,
    TransmitNow,
)
from kernelwire.queued_channels import Transmit as Transmit


class Taker(Protocol):
    """A wire's far side in this very process."""

    def takes_now(self, channel: Channel) -> bool:
        """Whether `put` may be called, so that nobody has to wait."""

    def put(self, channel: Channel, content: WireMessage | GapNotice) -> None:
        """Deliver."""


REQUEST_CHANNELS: Final = (Channel.SHELL, Channel.CONTROL, Channel.STDIN)


class ClientDemultiplexer:
    """The client's side of one wire.

    Arguments:
        transmit: puts a message on the wire.
        heartbeat: the end's heartbeat channel.
        max_message_bytes: bound on the frames of a message together.
        held: bound in bytes for what is held unread on each of shell, control and stdin.
        iopub_held: the same for iopub, beyond which the oldest are dropped with a gap notice.
        audible: waits until the kernel's end is audible; None if it always is.
        transmit_now: puts a message on the wire, if that needs no wait; whether it did. None if it always may need one.
        is_audible: whether the kernel's end is known to be audible; None if that is never known.
        on_room: called when a channel that was full has room again.
        on_close: as for ClientEnd.
        pours: whether `put` and `feed` may run the reader's code: not where the sender calls them itself.

    Attributes:
        end: the channels.
    """

    def __init__(
        self,
        transmit: Transmit,
        heartbeat: HeartbeatChannel,
        *,
        max_message_bytes: int,
        held: int = HIGH_WATER,
        iopub_held: int = GAP_LIMIT,
        audible: Callable[[], Coroutine[Any, Any, None]] | None = None,
        on_room: Callable[[], None] | None = None,
        on_close: Callable[[], Awaitable[None]] | None = None,
        transmit_now: TransmitNow | None = None,
        is_audible: Callable[[], bool] | None = None,
        pours: bool = False,
    ) -> None:
        self._inboxes = {name: Inbox[WireMessage](limit=held, on_room=on_room) for name in REQUEST_CHANNELS}
        self._iopub = self._inboxes[Channel.IOPUB] = Inbox[WireMessage](limit=iopub_held, drops=True)
        self._iopub_patience = iopub_held // 2
        outlets = {name: Outlet(transmit, name, max_message_bytes, transmit_now) for name in REQUEST_CHANNELS}
        self._iopub_channel = QueuedIOPub(self._iopub, audible, is_audible=is_audible, pours=pours)
        self.end = ClientEnd(
            shell=QueuedShell(outlets[Channel.SHELL], self._inboxes[Channel.SHELL], pours=pours),
            control=QueuedControl(outlets[Channel.CONTROL], self._inboxes[Channel.CONTROL], pours=pours),
            stdin=QueuedStdin(outlets[Channel.STDIN], self._inboxes[Channel.STDIN], pours=pours),
            iopub=self._iopub_channel,
            heartbeat=heartbeat,
            on_close=on_close,
        )

    async def feed(self, channel: Channel, message: WireMessage) -> None:
        """Deliver what the wire brought; waits while the reader of a full channel catches up.

        A wire that feeds all channels from one task would so hold up control behind a full shell, which the waist
        forbids: it must give each channel a window of its own.

        Raises:
            EndOfChannel: this side has closed the channel.
        """
        inbox = self._inboxes[channel]
        if inbox is self._iopub and inbox.held > self._iopub_patience:
            # Before anything is dropped, a reader that keeps up gets its turn; a feeder may have none to give.
            await asyncio.sleep(0)
        await inbox.put_when_room(message)

    def put(self, channel: Channel, content: WireMessage | GapNotice) -> None:
        """As `feed`, without a wait, for a wire that has windows: it asks `is_full` before it grants more.

        A gap notice is raised in its place.
        """
        inbox = self._inboxes[channel]
        if isinstance(content, GapNotice):
            inbox.put_gap(content)
        else:
            inbox.put(content)

    def is_full(self, channel: Channel) -> bool:
        """Whether the channel's reader has to catch up before more should come. Never so for iopub, which drops."""
        return self._inboxes[channel].full

    def takes_now(self, channel: Channel) -> bool:
        """Whether `put` does what `feed` would do, which then would not wait."""
        inbox = self._inboxes[channel]
        return not inbox.full if inbox is not self._iopub else inbox.held <= self._iopub_patience

    def close(self, error: KernelwireError | None = None) -> None:
        """The wire ended: readers get what is held, then `error` (EndOfChannel if none)."""
        for inbox in self._inboxes.values():
            inbox.close(error)
        self._iopub_channel.end_waiting()


class KernelDemultiplexer:
    """The kernel's side of many wires, one for each client.

    Arguments:
        max_message_bytes: bound on the frames of a message together.
        held: bound in bytes for what is held unread on each channel.
        publish: puts a message on all wires at once; one after the other if None.
        publish_now: likewise, if nobody has to wait for that; whether it did.
        tell_gap: as for KernelEnd.
        has_takers: every client is attached with a taker, through which it can be told of a gap.
        on_room: called when a channel that was full has room again.
        on_close: as for KernelEnd.

    Attributes:
        end: the channels.
    """

    def __init__(
        self,
        *,
        max_message_bytes: int,
        held: int = HIGH_WATER,
        publish: Transmit | None = None,
        publish_now: TransmitNow | None = None,
        tell_gap: TellGap | None = None,
        has_takers: bool = False,
        on_room: Callable[[], None] | None = None,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._wires: dict[bytes, Transmit] = {}
        self._takers: dict[bytes, Taker] = {}
        self._at_once: dict[bytes, TransmitNow] = {}
        self._publishing = asyncio.Lock()
        self._inboxes = {name: Inbox[WireMessage](limit=held, on_room=on_room) for name in REQUEST_CHANNELS}
        outlets = {name: Outlet(self._route, name, max_message_bytes, self._route_now) for name in REQUEST_CHANNELS}
        self._events = QueuedPeerEvents()
        self.end = KernelEnd(
            shell=QueuedShell(outlets[Channel.SHELL], self._inboxes[Channel.SHELL]),
            control=QueuedControl(outlets[Channel.CONTROL], self._inboxes[Channel.CONTROL]),
            stdin=QueuedStdin(outlets[Channel.STDIN], self._inboxes[Channel.STDIN]),
            iopub=QueuedPublisher(self._publishing_outlet(publish, publish_now, max_message_bytes)),
            peers=self._events,
            tell_gap=self._tell_gap if has_takers else tell_gap,
            on_close=on_close,
        )

    def attach(
        self,
        peer: bytes,
        transmit: Transmit,
        taker: Taker | None = None,
        transmit_now: TransmitNow | None = None,
    ) -> None:
        """A client's wire opened. A peer that is known already is replaced, as the newer connection wins.

        Arguments:
            peer: who it is.
            transmit: puts a message on the wire.
            taker: the client's side, if it is in this process: what is published need not wait then.
            transmit_now: as `transmit`, if that needs no wait; whether it did. None if it always may need one.
        """
        if peer in self._wires:
            self.detach(peer, self._wires[peer])
        self._wires[peer] = transmit
        if taker is not None:
            self._takers[peer] = taker
        if transmit_now is not None:
            self._at_once[peer] = transmit_now
        self._events.put(PeerEvent(peer, True))

    def close(self) -> None:
        """No more peer events; the wires are the backend's to end."""
        self._events.close()

    def detach(self, peer: bytes, transmit: Transmit) -> None:
        """A client's wire ended; nothing happens if it is not attached, or if a newer one has replaced it."""
        if self._wires.get(peer) == transmit:
            del self._wires[peer]
            self._takers.pop(peer, None)
            self._at_once.pop(peer, None)
            self._events.put(PeerEvent(peer, False))

    async def feed(self, peer: bytes, channel: Channel, message: WireMessage) -> None:
        """Deliver what a client's wire brought; waits while the kernel catches up.

        Raises:
            EndOfChannel: the kernel's side has closed the channel.
        """
        await self._inboxes[channel].put_when_room(WireMessage(message.frames, peer))

    def put(self, peer: bytes, channel: Channel, message: WireMessage) -> None:
        """As `feed`, without a wait, for a wire that has windows: it asks `is_full` before it grants more."""
        self._inboxes[channel].put(WireMessage(message.frames, peer))

    def is_full(self, channel: Channel) -> bool:
        """Whether the kernel has to catch up on this channel before more should come."""
        return self._inboxes[channel].full

    async def _route(self, channel: Channel, message: WireMessage) -> None:
        wire = self._wires.get(message.peer)
        if wire is None:
            raise _gone()
        await wire(channel, WireMessage(message.frames))

    def _route_now(self, channel: Channel, message: WireMessage) -> bool:
        transmit_now = self._at_once.get(message.peer)
        return transmit_now is not None and transmit_now(channel, WireMessage(message.frames))

    async def _publish(self, channel: Channel, message: WireMessage) -> None:
        # One at a time: if a wire makes one publisher wait, no later one may overtake it on the others.
        await self._publishing.acquire()
        try:
            for wire in tuple(self._wires.values()):
                try:
                    await wire(channel, message)
                except WireError:  # this client is gone, which is nothing to the others
                    continue
        finally:
            self._publishing.release()

    async def _tell_gap(self, channel: Channel, notice: GapNotice, peer: bytes) -> None:
        if channel is Channel.IOPUB:
            async with self._publishing:  # not before what still waits to be published
                for taker in tuple(self._takers.values()):
                    taker.put(channel, notice)
        elif (taker_of_peer := self._takers.get(peer)) is not None:
            taker_of_peer.put(channel, notice)
        else:
            raise _gone()

    def _publish_now(self, channel: Channel, message: WireMessage) -> bool:
        takers = self._takers.values()
        if len(takers) != len(self._wires) or self._publishing.locked():
            return False
        for taker in takers:
            if not taker.takes_now(channel):
                return False
        for taker in takers:
            taker.put(channel, message)
        return True

    def _publishing_outlet(
        self, publish: Transmit | None, publish_now: TransmitNow | None, max_message_bytes: int
    ) -> Outlet:
        if publish is not None:
            return Outlet(publish, Channel.IOPUB, max_message_bytes, publish_now)
        return Outlet(self._publish, Channel.IOPUB, max_message_bytes, self._publish_now)


def _gone() -> PeerGone:
    return PeerGone("no client with this peer identity is connected")
