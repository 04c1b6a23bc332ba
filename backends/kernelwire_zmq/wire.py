"""One zmq socket with its file descriptor on the event loop: send without blocking, drain without starving.

zmq's descriptor is edge-triggered and shared by both directions: any call on the socket may swallow the edge that told
of incoming messages, so EVENTS is asked again after every send. Source: zmq_getsockopt(3), ZMQ_FD.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import zmq

from kernelwire.errors import ChannelClosed, PeerGone
from kernelwire.loop_bound import LoopBound
from kernelwire.messages import Frame
from kernelwire_zmq.errors import broken

# As plain integers: an enum costs a conversion on each of the ten calls that a message takes.
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_NOBLOCK: Final = int(zmq.NOBLOCK)
_NOBLOCK_MORE: Final = int(zmq.NOBLOCK) | int(zmq.SNDMORE)

ZERO_COPY: Final = 65536
"""From this size on, handing zmq a reference is cheaper than a copy."""

_RETRY: Final = 0.02
"""Seconds after which a full socket is tried again, should both of its edges have been missed."""

_BATCH: Final = 64
"""Messages taken off a socket before other tasks get their turn: no more than a reader takes in its turn (see
:mod:`kernelwire.inbox`), or what zmq holds compactly would pile up as Python objects."""


class Wire(LoopBound):
    """A socket of the running loop.

    Arguments:
        socket: bound or connected by the caller; closed by `close`.
        take: takes one message off the socket and deals with it; raises zmq.Again when there is none.

    Attributes:
        socket: as given.
    """

    def __init__(self, socket: "zmq.Socket[bytes]", take: Callable[[], None]) -> None:
        super().__init__()
        self.socket = socket
        self.closed = False
        self._take = take
        self._get: Callable[[int], Any] = socket.getsockopt
        self._fd = int(socket.getsockopt(zmq.FD))
        self._waiting: dict[bytes, deque[asyncio.Event]] = {}  # sends that found no room, by peer
        self._paused = False
        self._scheduled = False
        self.loop.add_reader(self._fd, self._stirred)
        self.kick()

    def pause(self) -> None:
        """Take nothing off the socket until `resume`: zmq, and then the network, make the senders wait."""
        self._paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        self._paused = False
        self.kick()

    def kick(self) -> None:
        """Look at the socket soon, whatever its descriptor says."""
        if not self._scheduled and not self.closed:
            self._scheduled = True
            self.loop.call_soon(self._pump)

    def hand_on(self) -> None:
        """Take what is there before the loop comes to it, unless paused."""
        # Where senders wait, to ask could swallow the edge that they wait for.
        if not self._waiting and self._readable():
            self._pump()

    def drain(self) -> None:
        """Take everything that is there now, even if paused."""
        # To be told by an error that there is nothing more takes four times as long.
        while not self.closed and self._get(_EVENTS) & _POLLIN:
            self._take()

    async def send(self, parts: Sequence[Frame], peer: bytes = b"") -> None:
        """Put one multi-part message on the socket, waiting while it is full; all or nothing if cancelled.

        Arguments:
            parts: all of them, a ROUTER's routing included.
            peer: who they are for, on a ROUTER: a peer that does not read holds up nobody else's messages.

        Raises:
            PeerGone: a ROUTER that does not know the peer.
            ChannelClosed, ConnectionLost, WrongLoop: as `Sender.send`.
        """
        self.check_loop()
        try:
            # Those who wait go first.
            if peer in self._waiting or not self.try_send(parts):
                await self._send_when_writable(parts, peer)
        finally:
            self.look()

    def send_now(self, parts: Sequence[Frame]) -> bool:
        """As `send`, if that needs no wait; return whether it was so. On a ROUTER never while anybody waits there.

        Raises:
            as `send`.
        """
        self.check_loop()
        if self._waiting:  # they go first
            return False
        try:
            return self.try_send(parts)
        finally:
            self.look()

    def look(self) -> None:
        """To be called after a `try_send`, failed or not: it may have swallowed an edge."""
        if self._waiting or self._readable():
            self.kick()

    def try_send(self, parts: Sequence[Frame]) -> bool:
        """Put one message on the socket now; False, and nothing sent, if it is full.

        Raises:
            PeerGone, ChannelClosed, ConnectionLost: as `send`.
        """
        if self.closed:
            raise _closed()
        send = self.socket.send
        last = len(parts) - 1
        whole = True
        for i, part in enumerate(parts):
            try:
                if len(part) < ZERO_COPY:
                    send(part, _NOBLOCK_MORE if i < last else _NOBLOCK)
                else:
                    send(_native(part), _NOBLOCK_MORE if i < last else _NOBLOCK, copy=False)
            except zmq.Again:
                if i == 0:
                    return False
                # The pipe died under a message half sent. zmq has taken back what it had, and swallows the rest
                # up to the last part, which it must be given; then the whole may be sent again.
                whole = False
            except zmq.ZMQError as error:
                if error.errno == zmq.EHOSTUNREACH:
                    raise PeerGone("no client with this peer identity is connected") from error
                raise broken(error) from error
        return whole

    def close(self, linger: int) -> None:
        """Close the socket; pending sends raise ChannelClosed. `linger` is in milliseconds, as zmq's LINGER."""
        if self.closed:
            return
        self.closed = True
        self.loop.remove_reader(self._fd)
        for turns in self._waiting.values():
            for turn in turns:
                turn.set()
        self.socket.close(linger)

    async def _send_when_writable(self, parts: Sequence[Frame], peer: bytes) -> None:
        if self.closed:
            raise _closed()
        turn = asyncio.Event()
        turns = self._waiting.setdefault(peer, deque())
        turns.append(turn)
        retry = self.loop.call_soon(self.kick)
        try:
            while True:
                await turn.wait()
                turn.clear()
                if self.try_send(parts):
                    return
                # That may have swallowed the edge of incoming messages, and to ask for those that of room to send. So
                # both are tried again; what comes in between even so is left to the clock. POLLOUT would not help:
                # a ROUTER's says that some peer has room, and an XPUB's says nothing.
                if self._readable():
                    self.kick()
                if self.try_send(parts):
                    return
                retry.cancel()
                retry = self.loop.call_later(_RETRY, self.kick)
        finally:
            retry.cancel()
            turns.remove(turn)
            if not turns:
                del self._waiting[peer]
            self.kick()

    def _readable(self) -> bool:
        return not self._paused and not self.closed and bool(self._get(_EVENTS) & _POLLIN)

    def _stirred(self) -> None:
        """The descriptor says that something has happened."""
        self._pump()

    def _pump(self) -> None:
        self._scheduled = False
        if self.closed:
            return
        events = self._get(_EVENTS)
        # Whatever it was that stirred the socket: it may be room, or a peer that is gone.
        for turns in self._waiting.values():
            turns[0].set()
        if self._paused or not events & _POLLIN:
            return
        try:
            self._take()
            more = self._readable()  # costs a quarter of the error that would say the same of a message that came alone
            for _ in range(_BATCH if more else 0):
                self._take()
                if self._paused or self.closed:
                    break
        except zmq.Again:
            more = False
        if not more and not self._waiting:
            return
        # There may be more to take; and taking may have swallowed the edge that told of room to send.
        self.kick()


def _closed() -> ChannelClosed:
    return ChannelClosed("the channel was closed by this end")


def _native(part: Frame) -> Any:
    """The zmq frame that a view came from, if it is all of it: zmq then counts references by itself."""
    origin = part.obj if isinstance(part, memoryview) else None
    return origin if isinstance(origin, zmq.Frame) and len(origin) == len(part) else part
