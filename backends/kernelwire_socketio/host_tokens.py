"""Host tokens: an operator's word that somebody may open rooms at a relay. The relay has the public keys only."""

import hashlib
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from kernelwire.errors import ConfigurationError
from kernelwire_socketio.rooms import bytes_of, text_of
from kernelwire_socketio.tokens import BadToken, check_times, key_id_of, sign, verify

SCOPE: Final = "host"

_CLAIMS: Final = {"scope": str, "iat": float, "exp": float, "jti": str}
_LIMITS: Final = {"rooms": int, "clients": int, "room": str}
_PEM_START: Final = b"-----BEGIN "
_ID_SIZE: Final = 16


@dataclass(frozen=True)
class Grant:
    """What a host token allows.

    Attributes:
        jti: the token's name.
        issued, expires: seconds since the epoch.
        rooms: how many at a time; None for as many as the relay allows.
        clients: how many in each; None likewise.
        room: the only one, as base64url; None for any.
    """

    jti: str
    issued: float
    expires: float
    rooms: int | None = None
    clients: int | None = None
    room: str | None = None


def new_key() -> tuple[bytes, bytes]:
    """A private key, and the public one for the relay, in PEM."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_private(pem: bytes, where: str) -> Ed25519PrivateKey:
    """An operator's private key.

    Raises:
        ConfigurationError: it is none; the text says where it stood, and nothing of it.
    """
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{where}: no private key as 'kernelwire token new-key' makes it")
    return key


def read_public(pems: bytes, where: str) -> list[Ed25519PublicKey]:
    """The public keys in a text of one PEM block or several.

    Raises:
        ConfigurationError: there is none, or something else.
    """
    blocks = [_PEM_START + block for block in pems.split(_PEM_START)[1:]]
    keys = []
    for block in blocks:
        if b"PRIVATE KEY" in block.split(b"\n", 1)[0]:
            raise ConfigurationError(f"{where}: a private key; a relay needs the public one, of FILE.pub")
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigurationError(f"{where}: no public key as 'kernelwire token new-key' makes it")
        keys.append(key)
    if not keys:
        raise ConfigurationError(f"{where}: no public key in PEM, which begins with {_PEM_START.decode()}PUBLIC KEY")
    return keys


def issue(
    key: Ed25519PrivateKey,
    *,
    valid: float,
    rooms: int | None = None,
    clients: int | None = None,
    room: str | None = None,
    now: float | None = None,
) -> str:
    """A token.

    Arguments:
        key: the operator's.
        valid: seconds.
        rooms: see :class:`Grant`, as for the next two.
        clients: likewise.
        room: likewise.
        now: seconds since the epoch; this machine's clock if None.
    """
    issued = int(time.time() if now is None else now)
    claims: dict[str, Any] = {
        "scope": SCOPE,
        "iat": issued,
        "exp": issued + int(valid),
        "jti": text_of(secrets.token_bytes(_ID_SIZE)),
    }
    limits = {"rooms": rooms, "clients": clients, "room": room}
    claims |= {name: value for name, value in limits.items() if value is not None}
    return sign(claims, key, key_id(key.public_key()))


def key_id(key: Ed25519PublicKey) -> str:
    """A name for a key."""
    return text_of(hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).digest()[:12])


class HostKeys:
    """The keys whose tokens a relay accepts.

    Arguments:
        keys: public ones.
    """

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = {key_id(key): key for key in keys}

    def check(self, token: object, room: bytes, now: float) -> Grant:
        """What a token allows its holder who opens `room`.

        Raises:
            BadToken: it cannot be used here; :class:`~kernelwire_socketio.tokens.NotNow` if not at this time.
        """
        grant = self.read(token)
        check_times({"iat": grant.issued, "exp": grant.expires}, now)
        if grant.room is not None and bytes_of(grant.room) != room:
            raise BadToken("it is for another room")
        return grant

    def read(self, token: object) -> Grant:
        """What a token says, at whatever time and for whichever room. Raises as `check`."""
        key = self._keys.get(key_id_of(token))
        if key is None:
            raise BadToken("no key of this relay has signed it")
        assert isinstance(token, str)
        claims = verify(token, key, _CLAIMS, _LIMITS)
        if claims["scope"] != SCOPE:
            raise BadToken("its scope is not that of a host")
        if any(claims.get(name, 1) < 1 for name in ("rooms", "clients")):
            raise BadToken("it allows nothing")
        limits = {name: claims.get(name) for name in _LIMITS}
        return Grant(claims["jti"], claims["iat"], claims["exp"], **limits)
