"""HMAC over the four JSON parts, under any hash that Python has.

Source: "Messaging in Jupyter", section "The Wire Protocol"; RFC 2104.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from kernelwire.errors import InvalidField
from kernelwire.messages import Frame

DEFAULT_SCHEME: Final = "hmac-sha256"

_JOIN_LIMIT: Final = 65536
"""Up to this size one joined copy hashes faster than separate updates."""


class Signer:
    """Signs and verifies under one key. Safe to share between threads.

    Arguments:
        key: the connection's ``key``; empty means that nothing is signed and everything verifies.
        scheme: ``hmac-`` and the name of a hash.

    Attributes:
        scheme: as given.
        signs: whether there is a key.

    Raises:
        InvalidField: the scheme cannot be used, or the key is not bytes.
    """

    def __init__(self, key: bytes, scheme: str = DEFAULT_SCHEME) -> None:
        self.scheme = scheme
        # Made even without a key, so that a bad scheme never waits to be found until somebody sets one.
        hashes = _keyed_hashes(key, scheme)
        self._hashes = hashes if key else None
        self.signs = bool(key)

    def sign(self, parts: Sequence[Frame]) -> bytes:
        """Hex digits over `parts`, in order; empty without a key. Faster if they are `joined`."""
        if self._hashes is None:
            return b""
        inner, outer = self._hashes
        digest = inner.copy()
        for part in parts if len(parts) == 1 else joined(parts, sum(map(len, parts))):
            digest.update(part)
        whole = outer.copy()
        whole.update(digest.digest())
        return whole.hexdigest().encode("ascii")

    def verify(self, signature: Frame, parts: Sequence[Frame]) -> bool:
        """Whether `signature` is genuine, in time that does not depend on where it differs."""
        return self._hashes is None or hmac.compare_digest(self.sign(parts), signature)

    def agrees_with(self, other: "Signer") -> bool:
        """Whether both make the same signatures: equal keys and schemes, or no keys at all."""
        return hmac.compare_digest(self.sign([b"probe"]), other.sign([b"probe"]))

    def __repr__(self) -> str:
        return f"<Signer {self.scheme if self.signs else 'unsigned'}>"


def joined(parts: Sequence[Frame], size: int) -> Sequence[Frame]:
    """The same `size` bytes in one piece, where that hashes faster; once for all who sign or verify them."""
    return (b"".join(parts),) if size <= _JOIN_LIMIT else parts


def _keyed_hashes(key: bytes, scheme: str) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """An HMAC's two hashes once they have taken the key, to be copied for each message.

    As :mod:`hmac` does it, which takes twice as long to copy its own.
    """
    if not isinstance(key, bytes):
        raise InvalidField("key", f"{type(key).__name__} where bytes are needed")
    prefix, _, name = scheme.partition("-")
    if prefix != "hmac" or not name:
        raise InvalidField("signature_scheme", f"{scheme!r} is not 'hmac-' and the name of a hash")
    try:
        block_size = hmac.HMAC(key, digestmod=name).block_size
        if len(key) > block_size:
            key = hashlib.new(name, key).digest()
        padded = key.ljust(block_size, b"\0")
        return hashlib.new(name, padded.translate(hmac.trans_36)), hashlib.new(name, padded.translate(hmac.trans_5C))
    except (ValueError, TypeError):  # unknown, or of no fixed length (shake)
        known = ", ".join(sorted(n for n in hashlib.algorithms_guaranteed if not n.startswith("shake")))
        raise InvalidField("signature_scheme", f"no hash {name!r} for an HMAC; this Python has {known}") from None
