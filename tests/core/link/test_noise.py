"""The handshake against published values, and against a Noise library that others wrote."""

import hashlib
import hmac
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection

from kernelwire.errors import SealBroken
from kernelwire.link import noise, seal
from kernelwire.link.noise import INITIATOR, MESSAGES, RESPONDER, CipherState, HandshakeState, hkdf

VECTORS = json.loads((Path(__file__).parent / "noise_vectors.json").read_text())["vectors"]
PROLOGUE = b"kernelwire test"

SMALL_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (325606250916557431795983626356110631294008115727848805560023387167927233504).to_bytes(32, "little"),
    (39382357235489614581723060781553021112529911719440698176882885853963445705823).to_bytes(32, "little"),
    (2**255 - 19 - 1).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 19 + 1).to_bytes(32, "little"),
]
"""The public keys that give zero (RFC 7748, section 6.1), as listed at https://cr.yp.to/ecdh.html#validate."""


def private(text: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(text))


def ends_of(vector: dict[str, Any]) -> tuple[HandshakeState, HandshakeState]:
    return (
        HandshakeState(
            INITIATOR,
            psk=bytes.fromhex(vector["init_psks"][0]),
            prologue=bytes.fromhex(vector["init_prologue"]),
            remote_static=bytes.fromhex(vector["init_remote_static"]),
            ephemeral=private(vector["init_ephemeral"]),
        ),
        HandshakeState(
            RESPONDER,
            psk=bytes.fromhex(vector["resp_psks"][0]),
            prologue=bytes.fromhex(vector["resp_prologue"]),
            static=private(vector["resp_static"]),
            ephemeral=private(vector["resp_ephemeral"]),
        ),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_every_octet_is_the_published_one(vector: dict[str, Any]) -> None:
    assert vector["protocol_name"].encode() == noise.NAME
    ends = ends_of(vector)
    messages = [(bytes.fromhex(each["payload"]), bytes.fromhex(each["ciphertext"])) for each in vector["messages"]]
    for row, (payload, ciphertext) in enumerate(messages[:2]):
        writer, reader = ends if row == INITIATOR else ends[::-1]
        assert writer.writes_next
        assert not reader.writes_next
        assert writer.write(payload) == ciphertext
        assert reader.read(ciphertext) == payload
    assert ends[0].hash == ends[1].hash == bytes.fromhex(vector["handshake_hash"])
    ours, theirs = ends[0].split(), ends[1].split()
    for number, (payload, ciphertext) in enumerate(messages[2:]):
        direction = number % 2
        assert ours[direction].encrypt(payload) == ciphertext
        assert theirs[direction].decrypt(ciphertext) == payload
    assert ours[0].nonce == theirs[0].nonce == 2


def test_there_is_a_vector() -> None:
    assert len(VECTORS) == 1
    assert len(VECTORS[0]["messages"]) == 6


def test_the_table() -> None:
    assert MESSAGES == (("psk", "e", "es"), ("e", "ee"))
    assert len(noise.NAME) == 32, "InitializeSymmetric would have to hash or pad it"


def stranger(secret: bytes, *, private_key: bytes | None = None, host_key: bytes | None = None) -> NoiseConnection:
    """The other library's end: the responder's with `private_key`, the initiator's with `host_key`."""
    connection = NoiseConnection.from_name(noise.NAME)
    connection.set_psks(psk=secret)
    connection.set_prologue(PROLOGUE)
    if private_key is not None:
        connection.set_as_responder()
        connection.set_keypair_from_private_bytes(Keypair.STATIC, private_key)
    else:
        connection.set_as_initiator()
        connection.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, host_key)
    connection.start_handshake()
    return connection


def talk(ours: seal.Seal, theirs: NoiseConnection, frames: int, rekey_after: int) -> None:
    for number in range(frames):
        if number and number % rekey_after == 0:
            theirs.rekey_inbound_cipher()
            theirs.rekey_outbound_cipher()
        data = b"%d" % number * number
        assert theirs.decrypt(ours.seal(data)) == data
        assert ours.open(theirs.encrypt(data)) == data


def test_as_initiator_with_another_library() -> None:
    secret, key = seal.new_secret(), seal.new_private_key()
    theirs = stranger(secret, private_key=key)
    ours = seal.Handshake.initiator(secret=secret, host_key=seal.public_key(key), prologue=PROLOGUE)
    assert theirs.read_message(ours.write(b"hello")) == b"hello"
    assert ours.read(bytes(theirs.write_message(b"welcome"))) == b"welcome"
    assert ours.finished
    assert theirs.handshake_finished
    talk(ours.split(rekey_after=3), theirs, 10, 3)


def test_as_responder_with_another_library() -> None:
    secret, key = seal.new_secret(), seal.new_private_key()
    theirs = stranger(secret, host_key=seal.public_key(key))
    ours = seal.Handshake.responder(secret=secret, private_key=key, prologue=PROLOGUE)
    assert ours.read(bytes(theirs.write_message(b"hello"))) == b"hello"
    assert theirs.read_message(ours.write(b"welcome")) == b"welcome"
    talk(ours.split(rekey_after=3), theirs, 10, 3)


def test_hkdf_is_the_one_of_rfc_5869_with_an_empty_info() -> None:
    salt, material = b"\x0b" * 32, b"\x22" * 32
    pseudorandom = hmac.new(salt, material, hashlib.sha256).digest()
    block, stream = b"", b""
    for number in (1, 2, 3):
        block = hmac.new(pseudorandom, block + bytes([number]), hashlib.sha256).digest()
        stream += block
    assert b"".join(hkdf(salt, material, 3)) == stream
    assert hkdf(salt, material, 2) == hkdf(salt, material, 3)[:2]


@pytest.mark.parametrize("public", SMALL_ORDER, ids=lambda key: key.hex()[:8])
@pytest.mark.parametrize("high_bit", [0, 0x80])
def test_a_public_key_that_gives_zero_is_refused(public: bytes, high_bit: int) -> None:
    public = public[:-1] + bytes([public[-1] | high_bit])  # X25519 leaves the highest bit out
    with pytest.raises(SealBroken, match="gives no secret"):
        noise.exchange(X25519PrivateKey.generate(), public)


@pytest.mark.parametrize("public", SMALL_ORDER, ids=lambda key: key.hex()[:8])
def test_so_it_is_from_a_holder_of_the_secret(public: bytes) -> None:
    vector = VECTORS[0]
    responder = ends_of(vector)[1]
    with pytest.raises(SealBroken, match="gives no secret"):
        responder.read(public + bytes(16))
    initiator = ends_of(vector)[0]
    initiator.write()
    with pytest.raises(SealBroken, match="gives no secret"):
        initiator.read(public + bytes(16))


def test_a_library_that_lets_zero_through_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lax:
        def exchange(self, public: object) -> bytes:
            return bytes(32)

    with pytest.raises(SealBroken, match="gives no secret"):
        noise.exchange(Lax(), bytes(31) + b"\x01")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 32, 47, noise.MAX_MESSAGE + 1])
def test_a_handshake_message_of_a_wrong_size(size: int) -> None:
    with pytest.raises(SealBroken, match=f"of {size} bytes"):
        ends_of(VECTORS[0])[1].read(b"\x01" * size)


def test_numbers_end_before_the_one_for_new_keys() -> None:
    state, peer = CipherState(b"k" * 32), CipherState(b"k" * 32)
    state.nonce = peer.nonce = noise.MAX_NONCE - 1
    last = state.encrypt(b"the last")
    assert peer.decrypt(last) == b"the last"
    for _ in range(2):
        with pytest.raises(SealBroken, match="new handshake is needed"):
            state.encrypt(b"one more")
        with pytest.raises(SealBroken, match="new handshake is needed"):
            peer.decrypt(last)
    assert state.nonce == noise.MAX_NONCE


def test_a_new_key_comes_from_the_old_one_and_the_numbers_go_on() -> None:
    state, peer = CipherState(b"k" * 32), CipherState(b"k" * 32)
    first = state.encrypt(b"x")
    assert peer.decrypt(first) == b"x"
    state.rekey()
    assert state.nonce == 1
    second = state.encrypt(b"x")
    with pytest.raises(SealBroken):
        peer.decrypt(second)
    peer.rekey()
    assert peer.decrypt(second) == b"x"


def test_a_message_that_does_not_open_takes_no_number() -> None:
    state, peer = CipherState(b"k" * 32), CipherState(b"k" * 32)
    with pytest.raises(SealBroken):
        peer.decrypt(b"junk" * 10)
    assert peer.decrypt(state.encrypt(b"x")) == b"x"


def test_without_cryptography_it_says_what_to_install() -> None:
    script = """
import sys
sys.modules["cryptography"] = None
import kernelwire.ticket
from kernelwire.errors import TransportUnavailable
try:
    import kernelwire.link.seal
except TransportUnavailable as error:
    print(error, "|", type(error.__cause__).__name__)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        "a link needs the package cryptography; fix: pip install 'kernelwire[link]' | ModuleNotFoundError"
    )


def test_cryptography_is_imported_for_links_only() -> None:
    script = """
import sys
import kernelwire, kernelwire.client, kernelwire.ticket, kernelwire.connection_file, kernelwire.link
print({"cryptography", "msgpack"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "set()", done.stderr
