"""JSON Web Tokens as this package writes and reads them: Ed25519 signatures, known claims, nothing else.

What a token may look like is decided before any of it is believed: its size, the one algorithm, what its header has.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.types import Options

from kernelwire_socketio.rooms import KEY_SIZE, bytes_of

AUDIENCE: Final = "kernelwire-relay"

MAX_SIZE: Final = 4096
"""Characters of a token at the most; real ones have some four hundred."""

LEEWAY: Final = 10.0
"""Seconds by which two clocks may differ."""

_ALGORITHM: Final = "EdDSA"
_OPTIONS: Final[Options] = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}


class BadToken(Exception):
    """The text says what is wrong with a token, and shows nothing of it."""


class NotNow(BadToken):
    """It is not valid yet, or not any more."""


def sign(claims: Mapping[str, Any], key: Ed25519PrivateKey, key_id: str) -> str:
    """A token with these claims, and the audience."""
    return jwt.encode({"aud": AUDIENCE, **claims}, key, algorithm=_ALGORITHM, headers={"kid": key_id})


def key_id_of(token: object) -> str:
    """Which key a token says that it was signed with.

    Raises:
        BadToken: it has not the form of one of ours.
    """
    if not isinstance(token, str) or not token:
        raise BadToken("there is none")
    if len(token) > MAX_SIZE:
        raise BadToken(f"it is longer than {MAX_SIZE} characters")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise BadToken("it is no token") from None
    if header.get("alg") != _ALGORITHM:
        raise BadToken(f"it is not signed with {_ALGORITHM}")
    if header.keys() != {"alg", "typ", "kid"} or header["typ"] != "JWT" or not isinstance(header["kid"], str):
        raise BadToken("its header is not that of one of ours")
    key_id: str = header["kid"]
    return key_id


def public_key(raw: str) -> Ed25519PublicKey:
    """The key that a token brings along.

    Raises:
        BadToken: it is none.
    """
    data = bytes_of(raw, KEY_SIZE)
    if data is None:
        raise BadToken("it names no key")
    return Ed25519PublicKey.from_public_bytes(data)


def verify(
    token: str, key: Ed25519PublicKey, names: Mapping[str, type], optional: Mapping[str, type]
) -> dict[str, Any]:
    """The claims of a token whose form was looked at by :func:`key_id_of`.

    Arguments:
        token: see there.
        key: that must have signed it.
        names: the claims that must be there beside the audience, and their types.
        optional: those that may.

    Raises:
        BadToken: another key signed it, it is for something else, or the claims are not these.
    """
    try:
        claims = jwt.decode(token, key, algorithms=[_ALGORITHM], audience=AUDIENCE, options=_OPTIONS)
    except jwt.InvalidAudienceError:
        raise BadToken("it is not for a relay") from None
    except jwt.MissingRequiredClaimError:
        raise BadToken("it does not say what it is for") from None
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise BadToken("its signature is wrong") from None
    del claims["aud"]
    for name, kind in names.items():
        if name not in claims:
            raise BadToken(f"it does not say {name!r}")
        _check(name, claims[name], kind)
    for name in claims.keys() - names.keys():
        if name not in optional:
            raise BadToken("it claims what there is not")
        _check(name, claims[name], optional[name])
    return claims


def check_times(claims: Mapping[str, Any], now: float, longest: float | None = None) -> None:
    """Look at ``iat`` and ``exp``.

    Arguments:
        claims: of a token.
        now: seconds since the epoch.
        longest: seconds from one to the other at the most.

    Raises:
        BadToken: it is valid for too long.
        NotNow: see there.
    """
    issued, expires = claims["iat"], claims["exp"]
    if longest is not None and expires - issued > longest:
        raise BadToken(f"it is valid for more than {longest:g} s")
    if issued > now + LEEWAY:
        raise NotNow(f"it is not valid yet, for {_span(issued - now)}")
    if expires < now - LEEWAY:
        raise NotNow(f"it has expired, {_span(now - expires)} ago")


def _check(name: str, value: object, kind: type) -> None:
    if kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    else:
        fits = type(value) is kind
    if not fits:
        raise BadToken(f"its {name!r} is of the wrong kind")


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
