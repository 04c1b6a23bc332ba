"""No zmq exception leaves this package: each becomes one of kernelwire's, and is kept as its cause."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import zmq

from kernelwire.errors import AddressInUse, ChannelClosed, ConnectionLost, InvalidField, KernelwireError

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


@contextmanager
def opening(endpoint: str, field: str) -> Iterator[None]:
    """Map what goes wrong while a socket is made, and bound or connected.

    Arguments:
        endpoint: the zmq address, for the error's text.
        field: the connection field that the port came from; all else of the address is ``ip``.

    Raises:
        AddressInUse: somebody else is bound there.
        InvalidField: the address cannot be used.
        ConnectionLost: this process or machine has no room for another socket.
    """
    try:
        yield
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise AddressInUse(f"{field}: {endpoint} is in use by another process or socket") from error
        if error.errno in (zmq.EADDRNOTAVAIL, errno.ENODEV):
            raise InvalidField("ip", f"{endpoint}: not an address of this machine") from error
        if error.errno == errno.EACCES and endpoint.startswith("tcp:"):
            raise InvalidField(field, f"{endpoint}: permission denied") from error
        if error.errno in _EXHAUSTED:
            raise ConnectionLost(f"{endpoint}: {error.strerror}") from error
        raise InvalidField("ip", f"{endpoint}: {error.strerror}") from error


def broken(error: zmq.ZMQError) -> KernelwireError:
    """What a channel raises for an error that is not of opening."""
    if error.errno in (zmq.ETERM, zmq.ENOTSOCK):
        return ChannelClosed("the channel was closed by this end")
    return ConnectionLost(f"zmq: {error.strerror}")
