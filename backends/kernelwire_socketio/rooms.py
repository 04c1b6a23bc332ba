"""Rooms: where a relay brings a kernel's host and its clients together, and the key that shows who belongs there.

The key is made of the ``link_secret``, which host and clients share; the room's id is a hash of its public half. So a
room certifies itself: a relay that is shown the public half and a signature needs to know nothing beforehand.
"""

import base64
import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_SIZE: Final = 32


class RoomKey:
    """What host and clients sign with.

    Arguments:
        link_secret: 32 bytes.

    Attributes:
        private: signs.
        public: its other half, 32 bytes.
        room: the room's id, 32 bytes.
    """

    def __init__(self, link_secret: bytes) -> None:
        seed = HKDF(SHA256(), KEY_SIZE, salt=None, info=b"kernelwire room key").derive(link_secret)
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.room = room_of(self.public)


def room_of(public: bytes) -> bytes:
    """The id of the room that a key belongs to."""
    return hashlib.sha256(public).digest()


def fingerprint(host_key: bytes) -> str:
    """Tells a relay one host from another, and nothing else of it."""
    return text_of(hashlib.sha256(b"kernelwire host" + host_key).digest()[:16])


def text_of(data: bytes) -> str:
    """Bytes in base64url without padding."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def bytes_of(text: str, size: int = KEY_SIZE) -> bytes | None:
    """What `text` is the base64url of; None if that is not `size` bytes, or written differently."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    return data if len(data) == size and text_of(data) == text else None
