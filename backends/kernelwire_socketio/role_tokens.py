"""Role tokens: how an end shows a relay that it belongs to a room. It signs them itself, for one connection each."""

import secrets
import time
from dataclasses import dataclass
from typing import Any, Final, Literal

from kernelwire_socketio.rooms import RoomKey, bytes_of, room_of, text_of
from kernelwire_socketio.tokens import BadToken, check_times, key_id_of, public_key, sign, verify

Role = Literal["host", "client"]

LIFE: Final = 60
"""Seconds that a token is valid for."""

_CLAIMS: Final = {"room": str, "role": str, "iat": float, "exp": float, "jti": str}
_HOST_CLAIMS: Final = {**_CLAIMS, "host": str, "instance": str}
_ID_SIZE: Final = 16


@dataclass(frozen=True)
class RoleClaims:
    """What a token says.

    Attributes:
        room: the room's id.
        role: see there.
        jti: no other token has it.
        expires: seconds since the epoch.
        host: a host's fingerprint; empty for a client.
        instance: tells a host that comes again from another one with the same key; empty for a client.
    """

    room: bytes
    role: Role
    jti: str
    expires: float
    host: str = ""
    instance: str = ""


def new_instance() -> str:
    """For a host, once in its life."""
    return text_of(secrets.token_bytes(_ID_SIZE))


def mint(key: RoomKey, role: Role, *, host: str = "", instance: str = "", now: float | None = None) -> str:
    """A token for one connection.

    Arguments:
        key: the room's.
        role: what its holder is.
        host: for a host, its fingerprint.
        instance: for a host, see :func:`new_instance`.
        now: seconds since the epoch, as the relay counts them; this machine's clock if None.
    """
    issued = int(time.time() if now is None else now)
    claims: dict[str, Any] = {
        "room": text_of(key.room),
        "role": role,
        "iat": issued,
        "exp": issued + LIFE,
        "jti": text_of(secrets.token_bytes(_ID_SIZE)),
    }
    if role == "host":
        claims |= {"host": host, "instance": instance}
    return sign(claims, key.private, text_of(key.public))


def check(token: object, role: Role, now: float) -> RoleClaims:
    """What a relay does with one.

    Arguments:
        token: what came.
        role: what its holder says that it is.
        now: seconds since the epoch.

    Raises:
        BadToken: it cannot be used.
        NotNow: not at this time.
    """
    key_id = key_id_of(token)
    assert isinstance(token, str)
    claims = verify(token, public_key(key_id), _HOST_CLAIMS if role == "host" else _CLAIMS, {})
    if claims["role"] != role:
        raise BadToken(f"it is none for a {role}")
    public = bytes_of(key_id)
    room = bytes_of(claims["room"])
    if public is None or room != room_of(public):
        raise BadToken("its key is not that of its room")
    for name in ("jti", *(("host", "instance") if role == "host" else ())):
        if bytes_of(claims[name], _ID_SIZE) is None:
            raise BadToken(f"its {name!r} is not {_ID_SIZE} bytes")
    check_times(claims, now, LIFE)
    return RoleClaims(room, role, claims["jti"], claims["exp"], claims.get("host", ""), claims.get("instance", ""))
