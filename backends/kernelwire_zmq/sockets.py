"""Open the sockets of one end: all of them, or none."""

from typing import Any

import zmq

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import InvalidField
from kernelwire_zmq import addresses, curve
from kernelwire_zmq.contexts import SharedContext
from kernelwire_zmq.errors import opening


class Sockets:
    """Makes sockets for one end; `abandon` closes those made so far, for an end that did not come to be.

    Arguments:
        contexts: where the sockets' context comes from; one use of it is taken until `release`.
        info: whose addresses and keys to use.
    """

    def __init__(self, contexts: SharedContext, info: ConnectionInfo) -> None:
        self._contexts = contexts
        self._info = info
        self._context = contexts.acquire()
        self._made: list[zmq.Socket[bytes]] = []

    def connect(self, kind: int, field: str, **options: Any) -> "zmq.Socket[bytes]":
        """A socket connected to the address of a port field.

        Raises:
            InvalidField: the address or a key cannot be used.
        """
        endpoint = addresses.address(self._info, field)
        socket = self._make(kind, options)
        curve_checked(curve.as_client, socket, self._info)
        with opening(endpoint, field):
            socket.connect(endpoint)
        return socket

    def bind(self, kind: int, field: str, **options: Any) -> "zmq.Socket[bytes]":
        """A socket bound to the address of a port field.

        Raises:
            AddressInUse: somebody else is bound there.
            InvalidField: the address or a key cannot be used.
        """
        endpoint = addresses.address(self._info, field)
        if self._info.transport == "ipc":
            addresses.claim_ipc(endpoint, field)
        socket = self._make(kind, options)
        curve_checked(curve.as_server, socket, self._info)
        with opening(endpoint, field):
            socket.bind(endpoint.replace("://*:", "://0.0.0.0:"))
        return socket

    async def abandon(self) -> None:
        """Close what was made, and release the context."""
        for socket in self._made:
            socket.close(0)
        await self.release()

    async def release(self) -> None:
        """Give up the context, once the sockets are closed."""
        self._made.clear()
        await self._contexts.release()

    def _make(self, kind: int, options: dict[str, Any]) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        self._made.append(socket)
        socket.setsockopt(zmq.LINGER, 0)
        if self._info.ip is not None and ":" in self._info.ip and self._info.transport != "ipc":
            socket.setsockopt(zmq.IPV6, 1)
        for name, value in options.items():
            socket.setsockopt(getattr(zmq, name), value)
        return socket


def curve_checked(apply: Any, socket: "zmq.Socket[bytes]", info: ConnectionInfo) -> None:
    """Set up encryption; libzmq's refusal of a key becomes an InvalidField."""
    try:
        apply(socket, info)
    except zmq.ZMQError:
        raise InvalidField("curve_publickey", "not a CURVE key in Z85") from None
