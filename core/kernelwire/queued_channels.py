"""The waist's channels on queues: what goes out is handed to a function, what comes in is fed to an inbox."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from kernelwire.channels import (
    Channel,
    ControlChannel,
    IOPubChannel,
    IOPubPublisher,
    PeerEvent,
    PeerEvents,
    Receiver,
    Sender,
    ShellChannel,
    Sink,
    StdinChannel,
)
from kernelwire.errors import ChannelClosed, MessageTooLarge
from kernelwire.inbox import MESSAGE_OVERHEAD, Inbox
from kernelwire.loop_bound import LoopBound
from kernelwire.messages import WireMessage

Transmit = Callable[[Channel, WireMessage], Awaitable[None]]
"""Puts one message on the wire: all or nothing when cancelled; raises what `Sender.send` raises."""

TransmitNow = Callable[[Channel, WireMessage], bool]
"""Likewise, if that needs no wait; whether it did."""

_PEER_EVENTS: Final = 10_000


class Outlet(LoopBound):
    """The sending half: checks, then transmits. Closing it ends the sends that are waiting."""

    def __init__(
        self, transmit: Transmit, channel: Channel, max_message_bytes: int, transmit_now: TransmitNow | None = None
    ) -> None:
        super().__init__()
        self._transmit = transmit
        self._transmit_now = transmit_now
        self._channel = channel
        self._max_message_bytes = max_message_bytes
        self._sending: set[asyncio.Task[object]] = set()
        self._closed = False

    async def send(self, message: WireMessage) -> None:
        """As :meth:`kernelwire.channels.Sender.send`."""
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

    def send_now(self, message: WireMessage) -> bool:
        """As :meth:`kernelwire.channels.Sender.send_now`; False for what `send` will raise."""
        self.check_loop()
        if self._transmit_now is None or self._closed or message.size > self._max_message_bytes:
            return False
        return self._transmit_now(self._channel, message)

    def close(self) -> None:
        """End the sends that are waiting, and refuse further ones."""
        self.check_loop()
        if not self._closed:
            self._closed = True
            for task in self._sending:
                task.cancel()


def _closed() -> ChannelClosed:
    return ChannelClosed("the channel was closed by this end")


class _Receiving(Receiver):
    """The half of a channel that receives.

    Arguments:
        inbox: what has come.
        pours: whether what comes may be handed on where it comes: not where its sender is at work there.
    """

    def __init__(self, inbox: Inbox[WireMessage], *, pours: bool) -> None:
        self._inbox = inbox
        self._pours = pours

    # A plain method that hands on a coroutine, as sending is: one frame less on every message.
    def receive(self) -> Coroutine[Any, Any, WireMessage]:
        return self._inbox.receive()

    def pour(self, sink: Sink) -> bool:
        if self._pours:
            self._inbox.pour(sink)
        return self._pours

    def intercept(self, offer: Callable[[WireMessage], bool]) -> bool:
        self._inbox.intercept(offer)
        return True


class _Duplex(Sender, _Receiving):
    """Both halves as one channel.

    Arguments:
        outlet, inbox: the halves.
        pours: as for the half that receives.
    """

    def __init__(self, outlet: Outlet, inbox: Inbox[WireMessage], *, pours: bool = False) -> None:
        super().__init__(inbox, pours=pours)
        self._outlet = outlet

    def send(self, message: WireMessage) -> Coroutine[Any, Any, None]:
        return self._outlet.send(message)

    def send_now(self, message: WireMessage) -> bool:
        return self._outlet.send_now(message)

    async def aclose(self) -> None:
        self._outlet.close()
        self._inbox.discard()


class QueuedShell(_Duplex, ShellChannel):
    """The shell channel of either end."""


class QueuedControl(_Duplex, ControlChannel):
    """The control channel of either end."""


class QueuedStdin(_Duplex, StdinChannel):
    """The stdin channel of either end."""


class QueuedIOPub(_Receiving, IOPubChannel):
    """Connecting was subscribing, so it is ready as soon as the kernel can be heard at all.

    Arguments:
        inbox: what has come.
        audible: waits until the kernel's end is audible; None if it always is.
        is_audible: whether it is known to be, so that nobody need wait.
        pours: as for the other channels.
    """

    def __init__(
        self,
        inbox: Inbox[WireMessage],
        audible: Callable[[], Coroutine[Any, Any, None]] | None,
        *,
        is_audible: Callable[[], bool] | None = None,
        pours: bool = False,
    ) -> None:
        super().__init__(inbox, pours=pours)
        self._audible = audible
        self._is_audible = is_audible
        self._waiting: set[asyncio.Task[None]] = set()

    @property
    def is_ready(self) -> bool:
        return self._is_audible is not None and self._is_audible()

    async def ready(self) -> None:
        self._inbox.check_open()
        if self._audible is None or self.is_ready:
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
        """Those who wait for readiness look again whether the channel is open."""
        for waiting in self._waiting:
            waiting.cancel()

    async def aclose(self) -> None:
        self._inbox.check_loop()
        self._inbox.discard()
        self.end_waiting()


class QueuedPublisher(IOPubPublisher):
    """The kernel's side of iopub."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def send_now(self, message: WireMessage) -> bool:
        return self._outlet.send_now(message)

    def send(self, message: WireMessage) -> Coroutine[Any, Any, None]:
        return self._outlet.send(message)

    async def aclose(self) -> None:
        self._outlet.close()


class QueuedPeerEvents(PeerEvents):
    """Bounded: when nobody reads, the oldest events go."""

    def __init__(self) -> None:
        self._inbox = Inbox[PeerEvent](limit=_PEER_EVENTS * MESSAGE_OVERHEAD, drops=True)
        self.put = self._inbox.put

    def close(self) -> None:
        """No more events; those that are held can still be received."""
        self._inbox.close(_closed())

    def receive(self) -> Coroutine[Any, Any, PeerEvent]:
        return self._inbox.receive()
