"""Five channels over one wire: the shared demultiplexer, so that no backend writes its own.

A backend whose wire carries (channel, message) pairs gives a function that transmits one pair, and feeds what arrives.
The channels, their queues, bounds and rules come from here. At a kernel's end there is one wire for each client.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from kernelwire.backend import ClientEnd, KernelEnd
from kernelwire.channels import (
    Channel,
    ControlChannel,
    HeartbeatChannel,
    IOPubChannel,
    IOPubPublisher,
    PeerEvent,
    PeerEvents,
    Receiver,
    Sender,
    ShellChannel,
    StdinChannel,
)
from kernelwire.errors import ChannelBusy, ChannelClosed, KernelwireError, MessageTooLarge, PeerGone, WireError
from kernelwire.inbox import GAP_LIMIT, HIGH_WATER, Inbox, LoopBound
from kernelwire.messages import WireMessage

Transmit = Callable[[Channel, WireMessage], Awaitable[None]]
"""Puts one message on the wire: all or nothing when cancelled; raises what `Sender.send` raises."""

_PEER_EVENTS: Final = 10_000

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
        on_close: as for ClientEnd.

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
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._inboxes = {name: Inbox[WireMessage](limit=held) for name in REQUEST_CHANNELS}
        self._iopub = self._inboxes[Channel.IOPUB] = Inbox[WireMessage](limit=iopub_held, drops=True)
        self._iopub_patience = iopub_held // 2
        outlets = {name: _Outlet(transmit, name, max_message_bytes) for name in REQUEST_CHANNELS}
        self._iopub_channel = _IOPub(self._iopub, audible)
        self.end = ClientEnd(
            shell=_Shell(outlets[Channel.SHELL], self._inboxes[Channel.SHELL]),
            control=_Control(outlets[Channel.CONTROL], self._inboxes[Channel.CONTROL]),
            stdin=_Stdin(outlets[Channel.STDIN], self._inboxes[Channel.STDIN]),
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
        on_close: as for KernelEnd.

    Attributes:
        end: the channels.
    """

    def __init__(
        self,
        *,
        max_message_bytes: int,
        held: int = HIGH_WATER,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._wires: dict[bytes, Transmit] = {}
        self._publishing = asyncio.Lock()
        self._inboxes = {name: Inbox[WireMessage](limit=held) for name in REQUEST_CHANNELS}
        outlets = {name: _Outlet(self._route, name, max_message_bytes) for name in REQUEST_CHANNELS}
        self._events = _PeerEvents()
        self.end = KernelEnd(
            shell=_Shell(outlets[Channel.SHELL], self._inboxes[Channel.SHELL]),
            control=_Control(outlets[Channel.CONTROL], self._inboxes[Channel.CONTROL]),
            stdin=_Stdin(outlets[Channel.STDIN], self._inboxes[Channel.STDIN]),
            iopub=_Publisher(_Outlet(self._publish, Channel.IOPUB, max_message_bytes)),
            peers=self._events,
            on_close=on_close,
        )

    def attach(self, peer: bytes, transmit: Transmit) -> None:
        """A client's wire opened. A peer that is known already is replaced, as the newer connection wins."""
        if peer in self._wires:
            self.detach(peer, self._wires[peer])
        self._wires[peer] = transmit
        self._events.put(PeerEvent(peer, True))

    def close(self) -> None:
        """No more peer events; the wires are the backend's to end."""
        self._events.close()

    def detach(self, peer: bytes, transmit: Transmit) -> None:
        """A client's wire ended; nothing happens if it is not attached, or if a newer one has replaced it."""
        if self._wires.get(peer) == transmit:
            del self._wires[peer]
            self._events.put(PeerEvent(peer, False))

    async def feed(self, peer: bytes, channel: Channel, message: WireMessage) -> None:
        """Deliver what a client's wire brought; waits while the kernel catches up.

        Raises:
            EndOfChannel: the kernel's side has closed the channel.
        """
        await self._inboxes[channel].put_when_room(WireMessage(message.frames, peer))

    async def _route(self, channel: Channel, message: WireMessage) -> None:
        wire = self._wires.get(message.peer)
        if wire is None:
            raise PeerGone("no client with this peer identity is connected")
        await wire(channel, WireMessage(message.frames))

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


class _Outlet(LoopBound):
    """The sending half: checks, then transmits. Closing it ends the sends that are waiting."""

    def __init__(self, transmit: Transmit, channel: Channel, max_message_bytes: int) -> None:
        super().__init__()
        self._transmit = transmit
        self._channel = channel
        self._max_message_bytes = max_message_bytes
        self._sending: set[asyncio.Task[object]] = set()
        self._closed = False

    async def send(self, message: WireMessage) -> None:
        self.check_loop()
        if self._closed:
            raise _closed()
        size = message.size
        if size > self._max_message_bytes:
            raise MessageTooLarge(size, self._max_message_bytes)
        task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        self._sending.add(task)
        try:
            await self._transmit(self._channel, message)
        except asyncio.CancelledError:
            # Ours if close() asked for it and nobody else did since; the same reckoning as asyncio.timeout's.
            if self._closed and task.cancelling() <= cancelling + 1:
                raise _closed() from None
            raise
        finally:
            self._sending.discard(task)
            if self._closed:  # whatever became of the cancellation, it was close()'s
                task.uncancel()

    def close(self) -> None:
        self.check_loop()
        if not self._closed:
            self._closed = True
            for task in self._sending:
                task.cancel()


def _closed() -> ChannelClosed:
    return ChannelClosed("the channel was closed by this end")


class _Duplex(Sender, Receiver):
    """Both halves as one channel."""

    def __init__(self, outlet: _Outlet, inbox: Inbox[WireMessage]) -> None:
        self._outlet = outlet
        self._inbox = inbox

    # Plain methods that hand on a coroutine: one frame less on every message.
    def send(self, message: WireMessage) -> Coroutine[Any, Any, None]:
        return self._outlet.send(message)

    def receive(self) -> Coroutine[Any, Any, WireMessage]:
        return self._inbox.receive()

    async def aclose(self) -> None:
        self._outlet.close()
        self._inbox.discard()


class _Shell(_Duplex, ShellChannel):
    pass


class _Control(_Duplex, ControlChannel):
    pass


class _Stdin(_Duplex, StdinChannel):
    pass


class _IOPub(IOPubChannel):
    """Connecting was subscribing, so it is ready as soon as the kernel can be heard at all."""

    def __init__(self, inbox: Inbox[WireMessage], audible: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        self._inbox = inbox
        self._audible = audible
        self._waiting: set[asyncio.Task[None]] = set()

    def receive(self) -> Coroutine[Any, Any, WireMessage]:
        return self._inbox.receive()

    async def ready(self) -> None:
        self._inbox.check_open()
        if self._audible is None:
            return
        waiting = asyncio.create_task(self._audible())
        self._waiting.add(waiting)
        try:
            await asyncio.wait([waiting])
        finally:
            self._waiting.discard(waiting)
            waiting.cancel()
        self._inbox.check_open()

    def end_waiting(self) -> None:
        for waiting in self._waiting:
            waiting.cancel()

    async def aclose(self) -> None:
        self._inbox.check_loop()
        self._inbox.discard()
        self.end_waiting()


class _Publisher(IOPubPublisher):
    def __init__(self, outlet: _Outlet) -> None:
        self._outlet = outlet

    def send(self, message: WireMessage) -> Coroutine[Any, Any, None]:
        return self._outlet.send(message)

    async def aclose(self) -> None:
        self._outlet.close()


class _PeerEvents(LoopBound, PeerEvents):
    """A bounded queue: when nobody reads, the oldest events go, since they tell of what is past."""

    def __init__(self) -> None:
        super().__init__()
        self._events: deque[PeerEvent] = deque(maxlen=_PEER_EVENTS)
        self._reader: asyncio.Future[None] | None = None
        self._closed = False

    def put(self, event: PeerEvent) -> None:
        self._events.append(event)
        self._wake()

    def close(self) -> None:
        self._closed = True
        self._wake()

    async def receive(self) -> PeerEvent:
        self.check_loop()
        if self._reader is not None:
            raise ChannelBusy("another task is receiving peer events")
        while not self._events:
            if self._closed:
                raise _closed()
            self._reader = self.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._events.popleft()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
