"""Links that whoever runs the wire can read or deceive, and the behaviours that kill them."""

from collections.abc import Callable

import pytest

from kernelwire.errors import ConnectionLost, GapNotice
from kernelwire.link.dialer import Dialer
from kernelwire.link.framing import MAGIC, Deframer
from kernelwire.link.host import Member
from kernelwire.link.noise import TAG_SIZE, CipherState, HandshakeState, X25519PrivateKey
from kernelwire.link.peer import Timing
from kernelwire.link.seal import Seal
from kernelwire.link.sealed import Secrets
from kernelwire.testing import BEHAVIOURS, Level
from kernelwire.testing.through import Through

from ._mutants import BrokenLink, assert_killed, assert_works_otherwise
from .test_reliable import take_any_number

Spoil = Callable[[pytest.MonkeyPatch], None]


def all_of(*spoils: Spoil) -> Spoil:
    def spoil(patch: pytest.MonkeyPatch) -> None:
        for each in spoils:
            each(patch)

    return spoil


def no_seal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Seal, "seal", lambda _, plaintext: bytes(plaintext) + bytes(TAG_SIZE))
    patch.setattr(Seal, "open", lambda _, ciphertext: bytes(ciphertext)[:-TAG_SIZE])


def numbers_on_the_wire(patch: pytest.MonkeyPatch) -> None:
    """Frames say which number they have, and any will do."""

    def seal(seal: Seal, plaintext: bytes) -> bytes:
        return seal._sending.nonce.to_bytes(8, "big") + seal._sending.encrypt(plaintext)

    def open_(seal: Seal, ciphertext: bytes) -> bytes:
        seal._receiving.nonce = int.from_bytes(ciphertext[:8], "big")
        return seal._receiving.decrypt(ciphertext[8:])

    patch.setattr("kernelwire.link.sealed.TAG_SIZE", TAG_SIZE + 8)
    patch.setattr(Seal, "seal", seal)
    patch.setattr(Seal, "open", open_)


def one_key_for_all(patch: pytest.MonkeyPatch) -> None:
    """For both directions of all connections."""
    patch.setattr(HandshakeState, "split", lambda _: (CipherState(bytes(32)), CipherState(bytes(32))))


def no_ping(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Through, "timing", Timing(ping_after=1000, dead_after=1000))


def one_host_for_all(patch: pytest.MonkeyPatch) -> None:
    """All kernels have the same keys, and the room is not bound."""
    patch.setattr("kernelwire.link.seal.new_secret", lambda: bytes(32))
    patch.setattr("kernelwire.link.seal.new_private_key", lambda: bytes(range(32)))
    patch.setattr(Secrets, "prologue", b"")


def any_version(patch: pytest.MonkeyPatch) -> None:
    def greet(deframer: Deframer, view: memoryview) -> int:
        if len(view) <= len(MAGIC):
            return 0
        deframer._greeted = True
        return len(MAGIC) + 1

    patch.setattr(Deframer, "_greet", greet)


def the_same_keys_each_time(patch: pytest.MonkeyPatch) -> None:
    key = X25519PrivateKey.from_private_bytes(bytes(range(32)))
    patch.setattr("kernelwire.link.noise.X25519PrivateKey.generate", lambda: key)


def any_secret(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Member, "is_newly", lambda _member, _hello: True)


def a_break_is_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Dialer, "_note", lambda dialer, *_: dialer._fail(ConnectionLost("broken")))


def numbers(*others: Spoil) -> Spoil:
    """What each end counts by itself is not looked at, in frames nor in lanes."""
    return all_of(numbers_on_the_wire, take_any_number, *others)


MUTANTS: list[tuple[str, Spoil]] = [
    ("a_changed_bit_is_noticed", no_seal),
    ("a_dropped_piece_is_noticed", numbers()),
    ("a_repeated_piece_is_noticed", numbers()),
    ("swapped_pieces_are_noticed", numbers()),
    ("a_reflected_piece_is_noticed", numbers(one_key_for_all)),
    ("a_truncated_piece_is_noticed", a_break_is_the_end),
    ("crossed_wires_are_noticed", one_host_for_all),
    ("crossed_wires_are_noticed", numbers(one_key_for_all)),
    ("a_withheld_end_is_noticed", no_ping),
    ("a_replayed_beginning_is_noticed", all_of(the_same_keys_each_time, any_secret)),
    ("a_downgrade_is_refused", any_version),
    ("an_identity_cannot_be_taken", any_secret),
    ("nothing_passes_in_clear", no_seal),
]


@pytest.mark.parametrize(("name", "spoil"), MUTANTS)
def test_it_is_killed(name: str, spoil: Spoil) -> None:
    broken = BrokenLink(spoil)
    assert_works_otherwise(broken)
    assert_killed(broken, name, (AssertionError, GapNotice, ConnectionLost), watchdog=2)


def test_every_behaviour_kills_one() -> None:
    assert {name for name, _ in MUTANTS} == {each.name for each in BEHAVIOURS if each.level is Level.REMOTE}
