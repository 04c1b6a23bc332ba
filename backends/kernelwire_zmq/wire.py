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
from kernelwire.inbox import LoopBound
from kernelwire.messages import Frame
from kernelwire_zmq.errors import broken

# As plain integers: an enum costs a conversion on each of the ten calls that a message takes.
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_POLLOUT: Final = int(zmq.POLLOUT)
_NOBLOCK: Final = int(zmq.NOBLOCK)
_NOBLOCK_MORE: Final = int(zmq.NOBLOCK) | int(zmq.SNDMORE)

ZERO_COPY: Final = 65536
"""From this size on, handing zmq a reference is cheaper than a copy."""

_BATCH: Final = 256
"""Messages taken off a socket before other tasks get their turn."""


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
        self._writers: deque[asyncio.Event] = deque()
        self._paused = False
        self._scheduled = False
        self.loop.add_reader(self._fd, self._pump)
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

    async def send(self, parts: Sequence[Frame]) -> None:
        """Put one multi-part message on the socket, waiting while it is full; all or nothing if cancelled.

        Raises:
            PeerGone: a ROUTER that does not know the peer.
            ChannelClosed, ConnectionLost, WrongLoop: as `Sender.send`.
        """
        self.check_loop()
        # Those who wait go first.
        if self._writers or not self.try_send(parts):
            await self._send_when_writable(parts)
        if self._get(_EVENTS) & _POLLIN:
            self.kick()

    def try_send(self, parts: Sequence[Frame]) -> bool:
        """Put one message on the socket now; False, and nothing sent, if it is full.

        Raises:
            PeerGone, ChannelClosed, ConnectionLost: as `send`.
        """
        if self.closed:
            raise ChannelClosed("the channel was closed by this end")
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
        for writer in self._writers:
            writer.set()
        self.socket.close(linger)

    async def _send_when_writable(self, parts: Sequence[Frame]) -> None:
        turn = asyncio.Event()
        self._writers.append(turn)
        try:
            self.kick()
            while True:
                await turn.wait()
                turn.clear()
                if self.try_send(parts):
                    return
        finally:
            self._writers.remove(turn)
            self.kick()

    def _pump(self) -> None:
        self._scheduled = False
        if self.closed:
            return
        try:
            events = self._get(_EVENTS)
            if self._writers and events & _POLLOUT:
                self._writers[0].set()
            if not events & _POLLIN:
                return
            for _ in range(_BATCH):
                if self._paused or self.closed:
                    return
                self._take()
        except zmq.Again:
            # Taking the last message may have swallowed the edge that said "writable".
            if self._writers and self._get(_EVENTS) & _POLLOUT:
                self.kick()
            return
        self.kick()


def _native(part: Frame) -> Any:
    """The zmq frame that a view came from, if it is all of it: zmq then counts references by itself."""
    origin = part.obj if isinstance(part, memoryview) else None
    return origin if isinstance(origin, zmq.Frame) and len(origin) == len(part) else part
