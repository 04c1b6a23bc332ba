"""Sealing: frames that nobody on the way can read, alter, drop, repeat, reorder or turn back unnoticed. Pure.

Each connection begins with a handshake of two messages, :mod:`kernelwire.link.noise`, and has new keys, one for each
direction. Frames carry no number: both ends count, and a frame opens only as the next one of its direction. So whoever
runs the pipe can delay it and cut it, and nothing else. What a seal cannot show is that the last frames were withheld;
that is what sealed pings and a sealed goodbye are for.

==============  ==================================================  =======================================
state           what may be called                                  what ends it
==============  ==================================================  =======================================
handshake       ``write`` and ``read`` in turn, the initiator first  both messages done; or a bad one: broken
``finished``    ``split``, once                                     the ``Seal`` is made
sealed          ``seal`` and ``open``, as often as you like         a frame that does not open: broken
broken          nothing: everything raises ``SealBroken``           a new connection, a new handshake
==============  ==================================================  =======================================
"""

import os
from typing import Any, Final, NoReturn, Self

from kernelwire.errors import InvalidField, LocalError, MessageTooLarge, SealBroken
from kernelwire.link import noise
from kernelwire.link.noise import (
    INITIATOR,
    KEY_SIZE,
    RESPONDER,
    TAG_SIZE,
    CipherState,
    HandshakeState,
    X25519PrivateKey,
)

__all__ = [
    "HANDSHAKE_1_SIZE",
    "HANDSHAKE_2_SIZE",
    "REKEY_AFTER",
    "TAG_SIZE",
    "Handshake",
    "Seal",
    "check_secret",
    "new_private_key",
    "new_secret",
    "public_key",
]

HANDSHAKE_1_SIZE: Final = KEY_SIZE + TAG_SIZE
"""Bytes of the initiator's message beside its payload."""

HANDSHAKE_2_SIZE: Final = KEY_SIZE + TAG_SIZE
"""Bytes of the responder's message beside its payload."""

REKEY_AFTER: Final = 2**20
"""Frames of one direction under one key: 64 GiB of the largest, far below what AES-GCM allows."""

_BROKEN: Final = "the seal of this connection was broken before; a new handshake is needed"


class Handshake:
    """One end of the handshake that opens a connection; made by :meth:`initiator` or :meth:`responder`.

    Attributes:
        finished: whether both messages are done.
    """

    def __init__(self, state: HandshakeState) -> None:
        self._state: HandshakeState | None = state
        self._role = "initiator" if state.writes_next else "responder"
        self._broken = False
        self.finished = False

    @classmethod
    def initiator(cls, *, secret: bytes, host_key: bytes, prologue: bytes) -> Self:
        """The end that connects and writes first: a client.

        Arguments:
            secret: what the holders of the ticket share, 32 bytes.
            host_key: the host's public key, 32 bytes.
            prologue: what both ends must agree on, such as versions and the room. It is not sent.

        Raises:
            InvalidField: one of the first two is not 32 bytes, or no key that anybody could have.
        """
        _check_key("host_key", host_key)
        try:
            # Whatever the other factor, such a key gives zero: better said now than as a broken seal later.
            noise.exchange(X25519PrivateKey.generate(), host_key)
        except SealBroken as error:
            raise InvalidField("host_key", "a key that seals nothing; ask for a new ticket") from error
        return cls(HandshakeState(INITIATOR, psk=check_secret(secret), prologue=prologue, remote_static=host_key))

    @classmethod
    def responder(cls, *, secret: bytes, private_key: bytes, prologue: bytes) -> Self:
        """The end that is connected to: the host.

        Arguments:
            secret: as for the initiator.
            private_key: the host's, 32 bytes.
            prologue: as for the initiator.

        Raises:
            InvalidField: one of the first two is not 32 bytes.
        """
        static = _private("host_private_key", private_key)
        return cls(HandshakeState(RESPONDER, psk=check_secret(secret), prologue=prologue, static=static))

    def write(self, payload: bytes = b"") -> bytes:
        """The next message of ours, for the pipe.

        Arguments:
            payload: sealed inside. The initiator's can be read by whoever finds the host's private key later, and be
                played again by whoever recorded it.

        Raises:
            LocalError: it is the other end's turn, or both messages are done.
            MessageTooLarge: the payload makes it longer than 65,535 bytes.
            SealBroken: the handshake failed before, or the other end's key is none.
        """
        state = self._turn(write=True)
        if len(payload) > noise.MAX_MESSAGE - HANDSHAKE_1_SIZE:
            raise MessageTooLarge(len(payload) + HANDSHAKE_1_SIZE, noise.MAX_MESSAGE)
        return self._do(state.write, payload)

    def read(self, message: bytes | bytearray | memoryview) -> bytes:
        """The payload of the next message of theirs.

        The initiator's payload may come from a recording: act on nothing before its first frame was opened.

        Raises:
            LocalError: it is our turn, or both messages are done.
            SealBroken: it was altered or cut, or comes from somebody with another secret, for another host or with
                another prologue. The handshake is over then.
        """
        return self._do(self._turn(write=False).read, bytes(message))

    def split(self, *, rekey_after: int = REKEY_AFTER) -> "Seal":
        """What seals the connection from now on. Once only: a second one would use each number again.

        Arguments:
            rekey_after: frames of one direction after which its key is changed; the same at both ends.

        Raises:
            LocalError: not both messages are done, or it was done before.
        """
        if not self.finished or self._state is None:
            raise LocalError("a handshake is split once, when both of its messages are done")
        (first, second), self._state = self._state.split(), None
        sending, receiving = (first, second) if self._role == "initiator" else (second, first)
        return Seal(sending, receiving, rekey_after=rekey_after)

    def _turn(self, *, write: bool) -> HandshakeState:
        if self._broken:
            raise SealBroken(_BROKEN)
        if self.finished or self._state is None:
            raise LocalError("both messages of the handshake are done: call split()")
        if self._state.writes_next is not write:
            raise LocalError(f"it is the handshake's turn to {'read' if write else 'write'}")
        return self._state

    def _do(self, step: Any, data: bytes) -> bytes:
        try:
            result: bytes = step(data)
        except BaseException:
            self._broken, self._state = True, None
            raise
        assert self._state is not None
        self.finished = self._state.finished
        return result

    def __repr__(self) -> str:
        state = "broken" if self._broken else "finished" if self.finished else "under way"
        return f"<Handshake of the {self._role}, {state}>"

    def __reduce__(self) -> NoReturn:
        _refuse_copy(self)


class Seal:
    """Seals what is sent and opens what is received on one connection; made by :meth:`Handshake.split`.

    For one thread, and not to be copied: a number that is used twice under one key gives the key away.

    Arguments:
        sending: the direction from here.
        receiving: the direction to here.
        rekey_after: frames of one direction after which its key is changed.
    """

    __slots__ = ("_broken", "_receiving", "_rekey_after", "_sending")

    def __init__(self, sending: CipherState, receiving: CipherState, *, rekey_after: int = REKEY_AFTER) -> None:
        if rekey_after < 1:
            raise LocalError("rekey_after: at least 1 frame is sealed under a key")
        self._sending = sending
        self._receiving = receiving
        self._rekey_after = rekey_after
        self._broken = False

    def seal(self, plaintext: bytes | bytearray | memoryview) -> bytes:
        """The next frame to send: 16 bytes longer than `plaintext`. Each must be sent, and in this order.

        Noise bounds a frame to 65,535 bytes. That is not checked here: whoever cuts the frames keeps it.

        Raises:
            SealBroken: a frame that arrived did not open before; or 2 to the power of 64 frames were sealed.
        """
        if self._broken:
            raise SealBroken(_BROKEN)
        sending = self._sending
        frame = sending.encrypt(plaintext)
        if sending.nonce % self._rekey_after == 0:
            sending.rekey()
        return frame

    def open(self, ciphertext: bytes | bytearray | memoryview) -> bytes:
        """What is in the next frame that was received.

        Raises:
            SealBroken: it is not the next frame that the other end sealed. The seal is dead then: every further call
                raises, and nothing that came before is taken back.
        """
        if self._broken:
            raise SealBroken(_BROKEN)
        receiving = self._receiving
        try:
            plaintext = receiving.decrypt(ciphertext)
        except SealBroken:
            self._broken = True
            raise
        if receiving.nonce % self._rekey_after == 0:
            receiving.rekey()
        return plaintext

    def __repr__(self) -> str:
        if self._broken:
            return "<Seal, broken>"
        return f"<Seal, frames sent {self._sending.nonce}, received {self._receiving.nonce}>"

    def __reduce__(self) -> NoReturn:
        _refuse_copy(self)


def new_secret() -> bytes:
    """A fresh secret for the holders of a ticket: 32 random bytes."""
    return os.urandom(KEY_SIZE)


def new_private_key() -> bytes:
    """A fresh private key for a host: 32 bytes."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_key(private: bytes) -> bytes:
    """The public key, 32 bytes, that belongs to a host's private one.

    Raises:
        InvalidField: `private` is not 32 bytes.
    """
    return noise.public_bytes(_private("host_private_key", private))


def check_secret(secret: bytes) -> bytes:
    """`secret` itself.

    Raises:
        InvalidField: it is not 32 bytes.
    """
    return _check_key("link_secret", secret)


def _check_key(field: str, value: object) -> bytes:
    # The value is never shown: it may be a secret, also where a public key should stand.
    if not isinstance(value, bytes):
        raise InvalidField(field, f"{type(value).__name__} where {KEY_SIZE} bytes are needed")
    if len(value) != KEY_SIZE:
        raise InvalidField(field, f"{len(value)} bytes where {KEY_SIZE} are needed")
    return value


def _private(field: str, value: object) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(_check_key(field, value))


def _refuse_copy(thing: object) -> NoReturn:
    raise TypeError(f"a {type(thing).__name__} cannot be copied: two would use one key and number twice")
