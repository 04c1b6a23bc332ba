"""Whether a socket is connected, by its monitor: zmq connects in the background, and again after each break."""

import asyncio
import struct
from typing import Final

import zmq

from kernelwire.errors import ChannelClosed
from kernelwire_zmq.wire import Wire

CONNECTED: Final = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
GONE: Final = int(zmq.EVENT_DISCONNECTED)

_EVENT: Final = struct.Struct("=Hi")
"""A monitor's message: the event, and a value. Source: zmq_socket_monitor(3)."""


class Connected:
    """Watches one socket that connects to one address.

    Arguments:
        socket: the socket.
        monitor: its monitor, for :data:`CONNECTED` and :data:`GONE`.
    """

    def __init__(self, socket: "zmq.Socket[bytes]", monitor: "zmq.Socket[bytes]") -> None:
        self._socket = socket
        self._connected = asyncio.Event()
        self._closed = False
        self._monitor = Wire(monitor, self._take_event)

    async def wait(self) -> None:
        """Until it is connected.

        Raises:
            ChannelClosed: closed before or meanwhile.
        """
        if not self._closed:
            await self._connected.wait()
        if self._closed:
            raise ChannelClosed("the channel was closed by this end")

    def close(self) -> None:
        """Stop watching; those who wait raise ChannelClosed."""
        if not self._closed:
            self._closed = True
            self._connected.set()
            self._socket.disable_monitor()
            self._monitor.close(0)

    def _take_event(self) -> None:
        event = take_event(self._monitor.socket)
        if event & CONNECTED:
            self._connected.set()
        elif event & GONE:
            self._connected.clear()


def take_event(monitor: "zmq.Socket[bytes]") -> int:
    """Take one event off a monitor that has one.

    Raises:
        zmq.Again: it has none.
    """
    event, _value = _EVENT.unpack(monitor.recv_multipart(zmq.NOBLOCK)[0])
    return int(event)
