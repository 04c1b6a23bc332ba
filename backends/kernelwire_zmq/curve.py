"""CURVE: encryption of the wire by libzmq, with the keys that the connection file holds.

Source: RFC 26/CurveZMQ; the fields are those that jupyter_client 8.9 writes.
"""

from typing import Final

import zmq

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import InvalidField, NotSupported

_NO_CURVE: Final = "this libzmq was built without CURVE; install libsodium and pyzmq"


def with_keys(info: ConnectionInfo) -> ConnectionInfo:
    """Add a new pair of keys, unless there is one.

    Raises:
        NotSupported: this libzmq has no CURVE.
    """
    if info.curve_publickey is not None or info.curve_secretkey is not None:
        return info
    if not zmq.has("curve"):
        raise NotSupported(_NO_CURVE)
    public, secret = zmq.curve_keypair()
    return info.replace(curve_publickey=public, curve_secretkey=secret)


def as_client(socket: "zmq.Socket[bytes]", info: ConnectionInfo) -> None:
    """Encrypt to the kernel's public key. Without a key in the file this does nothing.

    Raises:
        InvalidField: a key is no key, or this libzmq has no CURVE.
    """
    if info.curve_publickey is None and info.curve_secretkey is None:
        return
    public, secret = _pair(info)
    # A file with the public key only lets us in under a key of our own; one with both proves that we have read it.
    own_public, own_secret = (public, secret) if secret is not None else zmq.curve_keypair()
    socket.curve_serverkey = public
    socket.curve_publickey = own_public
    socket.curve_secretkey = own_secret


def as_server(socket: "zmq.Socket[bytes]", info: ConnectionInfo) -> None:
    """Accept encrypted connections only. Without a key in the file this does nothing.

    Raises:
        InvalidField: the secret key is missing, a key is no key, or this libzmq has no CURVE.
    """
    if info.curve_publickey is None and info.curve_secretkey is None:
        return
    _, secret = _pair(info)
    if secret is None:
        raise InvalidField("curve_secretkey", "missing; a kernel's end needs it to decrypt")
    socket.curve_server = True
    socket.curve_secretkey = secret


def _pair(info: ConnectionInfo) -> tuple[bytes, bytes | None]:
    if not zmq.has("curve"):
        raise InvalidField("curve_publickey", _NO_CURVE)
    secret = info.curve_secretkey
    if secret is None:
        assert info.curve_publickey is not None
        return info.curve_publickey, None
    try:
        public = zmq.curve_public(secret)
    except (zmq.ZMQError, ValueError):
        raise InvalidField("curve_secretkey", "not a CURVE key in Z85") from None
    if info.curve_publickey not in (None, public):
        raise InvalidField("curve_publickey", "does not belong to curve_secretkey")
    return public, secret
