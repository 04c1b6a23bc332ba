"""The handshake that opens a sealed connection: ``Noise_NKpsk0_25519_AESGCM_SHA256``, this one pattern and no other.

Source: "The Noise Protocol Framework", revision 34, https://noiseprotocol.org/noise.html; the section that a definition
follows stands beside it. Bytes in, bytes out; :mod:`kernelwire.link.seal` is what others use.

The states of a handshake are the rows of ``MESSAGES``; an end does one row after the other, and each row's tokens from
left to right. A row is written by one end and read by the other; no row is done twice, and none after one that failed.

=======  =========  ===============  ======================================================================
row      writer     tokens           what both ends know after it
=======  =========  ===============  ======================================================================
before                               the secret (psk), the responder's public key (s), the prologue
0        initiator  psk, e, es       only who has the secret wrote it; only the responder's key can go on
1        responder  e, ee            the responder answers this very message; keys that nobody can find later
after                                split: one key for each direction
=======  =========  ===============  ======================================================================

Row 0 can be played again by whoever recorded it. Nothing may be done on its word, nor on its payload's, before the
first sealed frame of the initiator was opened: that one proves that it is there now.
"""

import hashlib
import hmac
from typing import Final

from kernelwire.errors import SealBroken, TransportUnavailable

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey as X25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as missing:
    raise TransportUnavailable(
        "a link needs the package cryptography; fix: pip install 'kernelwire[link]'"
    ) from missing

NAME: Final = b"Noise_NKpsk0_25519_AESGCM_SHA256"

INITIATOR: Final = 0
RESPONDER: Final = 1

# Section 7 and 9: "NK" with the modifier "psk0". The writer of a row is also its number.
MESSAGES: Final = (
    ("psk", "e", "es"),
    ("e", "ee"),
)
# Section 7.1: which of its own keys, and which of the other end's, each end takes for a Diffie-Hellman.
KEYS: Final = {
    "es": (("e", "s"), ("s", "e")),
    "ee": (("e", "e"), ("e", "e")),
}

KEY_SIZE: Final = 32
"""Bytes of every key here: X25519 private and public, the secret, AES-256, and of a SHA-256."""

TAG_SIZE: Final = 16
"""Bytes by which what is sealed is longer than what is in it."""

MAX_MESSAGE: Final = 65535
"""Bound on a handshake message (section 3). Noise bounds transport messages so too, which here their maker sees to."""

MAX_NONCE: Final = 2**64 - 1
"""Never used for a message: it is what a new key is made with (section 4.2)."""


class CipherState:
    """Section 5.1: a key and the number of the next message under it. Not to be copied: no number is used twice.

    Attributes:
        nonce: how many messages this key and those before it have sealed or opened.
    """

    __slots__ = ("_aead", "nonce")

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self.nonce = 0

    def encrypt(self, plaintext: bytes | bytearray | memoryview, associated: bytes | None = None) -> bytes:
        """The next message, sealed.

        Raises:
            SealBroken: the numbers are used up.
        """
        sealed = self._aead.encrypt(self._number(), plaintext, associated)
        self.nonce += 1
        return sealed

    def decrypt(self, ciphertext: bytes | bytearray | memoryview, associated: bytes | None = None) -> bytes:
        """The next message, opened.

        Raises:
            SealBroken: it is not what was sealed under this key with this number; or the numbers are used up.
        """
        try:
            plaintext = self._aead.decrypt(self._number(), ciphertext, associated)
        except InvalidTag as error:
            raise SealBroken("what arrived was not sealed by the other end, or not at this place") from error
        self.nonce += 1
        return plaintext

    def rekey(self) -> None:
        """Put a new key, made from the old one, in its place; the numbers go on (sections 4.2, 11.3)."""
        self._aead = AESGCM(self._aead.encrypt(_encoded(MAX_NONCE), bytes(KEY_SIZE), None)[:KEY_SIZE])

    def _number(self) -> bytes:
        if self.nonce >= MAX_NONCE:
            raise SealBroken("this connection has sealed all that it may; a new handshake is needed")
        return _encoded(self.nonce)


class HandshakeState:
    """Sections 5.2 and 5.3 for this pattern: both ends' states, from the first message to the keys of the connection.

    Arguments:
        role: INITIATOR or RESPONDER.
        psk: the secret, 32 bytes.
        prologue: what both ends must agree on, in the clear; if they do not, the first message is refused.
        static: the responder's private key; the initiator has none.
        remote_static: the responder's public key, which the initiator must know.
        ephemeral: for tests with published values; by default a new one, as it must be.

    Attributes:
        row: how many messages were written or read.
        hash: of the whole handshake up to here, the same at both ends.
    """

    def __init__(
        self,
        role: int,
        *,
        psk: bytes,
        prologue: bytes,
        static: X25519PrivateKey | None = None,
        remote_static: bytes | None = None,
        ephemeral: X25519PrivateKey | None = None,
    ) -> None:
        self._role = role
        self._psk = psk
        self._ours = {"e": ephemeral or X25519PrivateKey.generate()}
        self._theirs: dict[str, bytes] = {}
        if role == RESPONDER:
            assert static is not None
            self._ours["s"] = static
            responders_key = public_bytes(static)
        else:
            assert remote_static is not None
            self._theirs["s"] = responders_key = remote_static
        self.row = 0
        # InitializeSymmetric: a name of just 32 bytes stands for itself.
        self.hash = self._chaining_key = NAME
        self._cipher: CipherState
        self._mix_hash(prologue)
        self._mix_hash(responders_key)

    @property
    def writes_next(self) -> bool:
        """Whether the next message is this end's to write."""
        return self.row < len(MESSAGES) and self.row == self._role

    @property
    def finished(self) -> bool:
        """Whether both messages are done."""
        return self.row == len(MESSAGES)

    def write(self, payload: bytes = b"") -> bytes:
        """The next message, with `payload` sealed in it.

        Raises:
            SealBroken: the other end's key is one of the few that give no secret.
        """
        message = b""
        for word in MESSAGES[self.row]:
            if word == "e":
                message += self._mix_public(public_bytes(self._ours["e"]))
            else:
                self._mix(word)
        sealed = self._cipher.encrypt(payload, self.hash)
        self._mix_hash(sealed)
        self.row += 1
        return message + sealed

    def read(self, message: bytes) -> bytes:
        """The payload of the other end's next message.

        Raises:
            SealBroken: it is too short or too long, altered, from somebody without the secret, for another key or
                prologue, or no answer to our own message.
        """
        if not KEY_SIZE + TAG_SIZE <= len(message) <= MAX_MESSAGE:
            raise SealBroken(f"a handshake message of {len(message)} bytes, which none is")
        for word in MESSAGES[self.row]:
            if word == "e":
                self._theirs["e"] = self._mix_public(message[:KEY_SIZE])
            else:
                self._mix(word)
        sealed = message[KEY_SIZE:]
        payload = self._cipher.decrypt(sealed, self.hash)
        self._mix_hash(sealed)
        self.row += 1
        return payload

    def split(self) -> tuple[CipherState, CipherState]:
        """The two directions: the initiator's, then the responder's. Once only."""
        assert self.finished
        first, second = hkdf(self._chaining_key, b"", 2)
        return CipherState(first), CipherState(second)

    def _mix_public(self, key: bytes) -> bytes:
        # Section 9.2: with a psk, the ephemeral key goes into the key too, lest two sessions share one.
        self._mix_hash(key)
        self._mix_key(key)
        return key

    def _mix(self, word: str) -> None:
        if word == "psk":
            # MixKeyAndHash
            self._chaining_key, hashed, key = hkdf(self._chaining_key, self._psk, 3)
            self._mix_hash(hashed)
            self._cipher = CipherState(key)
        else:
            ours, theirs = KEYS[word][self._role]
            self._mix_key(exchange(self._ours[ours], self._theirs[theirs]))

    def _mix_key(self, material: bytes) -> None:
        self._chaining_key, key = hkdf(self._chaining_key, material, 2)
        self._cipher = CipherState(key)

    def _mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()


def exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    """X25519 (section 12.1), which refuses the public keys that make every result zero.

    Raises:
        SealBroken: `public` is one of them.
    """
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise SealBroken("the other end's key gives no secret, whatever our own is") from error
    if not any(shared):  # the library says so already; what hangs on it is worth a second look
        raise SealBroken("the other end's key gives no secret, whatever our own is")
    return shared


def public_bytes(private: X25519PrivateKey) -> bytes:
    """The public key that belongs to `private`, 32 bytes."""
    return private.public_key().public_bytes_raw()


def hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """Section 4.3: two or three values of 32 bytes."""
    secret = hmac.digest(chaining_key, material, "sha256")
    values = [hmac.digest(secret, b"\x01", "sha256")]
    while len(values) < outputs:
        values.append(hmac.digest(secret, values[-1] + bytes([len(values) + 1]), "sha256"))
    return values


def _encoded(nonce: int) -> bytes:
    # Section 12.4: four zero bytes, and eight of the number, big-endian.
    return nonce.to_bytes(12, "big")
