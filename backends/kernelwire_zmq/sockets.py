"""Open the sockets of one end: all of them, or none."""

from collections.abc import Callable
from typing import Any

import zmq

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import InvalidField
from kernelwire.loop_bound import LoopBound
from kernelwire_zmq import addresses, curve
from kernelwire_zmq.contexts import SharedContext
from kernelwire_zmq.errors import opening


class Sockets(LoopBound):
    """Makes sockets for one end. Nothing may listen to their descriptors before all are made: `release` closes those
    that nobody else has closed, and knows of no listeners.

    Arguments:
        contexts: where the sockets' context comes from; one use of it is taken until `release`.
        info: whose addresses and keys to use.
    """

    def __init__(self, contexts: SharedContext, info: ConnectionInfo) -> None:
        super().__init__()
        self._contexts = contexts
        self._info = info
        self._context = contexts.acquire()
        self._made: list[zmq.Socket[bytes]] = []
        self._bound: list[str] = []

    def connect(self, kind: int, field: str, **options: Any) -> "zmq.Socket[bytes]":
        """A socket connected to the address of a port field.

        Raises:
            InvalidField: the address or a key cannot be used.
            ConnectionLost: no room for another socket.
        """
        endpoint = addresses.address(self._info, field)
        with opening(endpoint, field):
            socket = self._make(kind, curve.as_client, options)
            socket.connect(endpoint)
        return socket

    def connect_watched(
        self, kind: int, field: str, events: int, **options: Any
    ) -> "tuple[zmq.Socket[bytes], zmq.Socket[bytes]]":
        """As `connect`, and a socket that tells of the first one's events, from before it is connected."""
        endpoint = addresses.address(self._info, field)
        with opening(endpoint, field):
            socket = self._make(kind, curve.as_client, options)
            monitor = socket.get_monitor_socket(events)
            self._made.append(monitor)
            socket.connect(endpoint)
        return socket, monitor

    def bind(self, kind: int, field: str, **options: Any) -> "zmq.Socket[bytes]":
        """A socket bound to the address of a port field.

        Raises:
            AddressInUse: somebody else is bound there.
            InvalidField: the address or a key cannot be used.
            ConnectionLost: no room for another socket.
        """
        endpoint = addresses.address(self._info, field).replace("://*:", "://0.0.0.0:")
        with opening(endpoint, field):
            socket = self._make(kind, curve.as_server, options)
            if self._info.transport == "ipc":
                addresses.claim_ipc(endpoint, field)
            socket.bind(endpoint)
        self._bound.append(endpoint)
        return socket

    async def release(self) -> None:
        """Close what is open, give up the context, and wait until the addresses are free for the next to bind.

        Raises:
            WrongLoop: called from another loop; nothing was released.
        """
        self.check_loop()
        for socket in self._made:
            socket.close()
        self._made.clear()
        await self._contexts.release()
        await addresses.until_free(self._bound)

    def _make(
        self, kind: int, encrypt: Callable[["zmq.Socket[bytes]", ConnectionInfo], None], options: dict[str, Any]
    ) -> "zmq.Socket[bytes]":
        self._made = [socket for socket in self._made if not socket.closed]
        socket = self._context.socket(kind)
        self._made.append(socket)
        socket.setsockopt(zmq.LINGER, 0)
        if self._info.ip is not None and ":" in self._info.ip and self._info.transport != "ipc":
            socket.setsockopt(zmq.IPV6, 1)
        for name, value in options.items():
            socket.setsockopt(getattr(zmq, name), value)
        try:
            encrypt(socket, self._info)
        except zmq.ZMQError:
            # Without a cause: libzmq's error may have the key in it.
            raise InvalidField("curve_publickey", "not a CURVE key in Z85") from None
        return socket
