"""An operator's keys and tokens."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from kernelwire.errors import ConfigurationError
from kernelwire_socketio.host_tokens import (
    Grant,
    HostKeys,
    issue,
    key_id,
    new_key,
    read_private,
    read_public,
)
from kernelwire_socketio.rooms import text_of
from kernelwire_socketio.tokens import LEEWAY, BadToken, NotNow, sign

PRIVATE, PUBLIC = new_key()
KEY = read_private(PRIVATE, "a file")
KEYS = HostKeys(read_public(PUBLIC, "a file"))
NOW = 1_800_000_000.0
ROOM = b"r" * 32
GOOD = {"scope": "host", "iat": NOW, "exp": NOW + 60, "jti": "a token"}


def forged(**claims: Any) -> str:
    everything = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return sign(everything, KEY, key_id(KEY.public_key()))


def test_a_token_allows_what_it_says() -> None:
    grant = KEYS.check(issue(KEY, valid=60, rooms=2, clients=3, room=text_of(ROOM), now=NOW), ROOM, NOW)
    assert grant == Grant(grant.jti, NOW, NOW + 60, 2, 3, text_of(ROOM))
    grant = KEYS.check(issue(KEY, valid=60, now=NOW), ROOM, NOW)
    assert (grant.rooms, grant.clients, grant.room) == (None, None, None)


def test_several_keys_may_be_used_at_once() -> None:
    other_private, other_public = new_key()
    keys = HostKeys(read_public(PUBLIC + other_public, "a file"))
    for key in (KEY, read_private(other_private, "a file")):
        assert keys.check(issue(key, valid=60, now=NOW), ROOM, NOW)


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (forged(scope="client"), "scope is not that of a host"),
        (forged(scope="host admin"), "scope is not that of a host"),
        (forged(scope=["host"]), "'scope' is of the wrong kind"),
        (forged(scope=None), "does not say 'scope'"),
        (forged(rooms=0), "allows nothing"),
        (forged(clients=-1), "allows nothing"),
        (forged(rooms="9"), "'rooms' is of the wrong kind"),
        (forged(admin=True), "claims what there is not"),
        (forged(room=text_of(b"x" * 32)), "for another room"),
        (forged(room="nonsense"), "for another room"),
        (forged(exp=None), "does not say 'exp'"),
        (issue(read_private(new_key()[0], "a file"), valid=60, now=NOW), "no key of this relay"),
        (sign(GOOD, read_private(new_key()[0], "a file"), key_id(KEY.public_key())), "signature is wrong"),
        (None, "there is none"),
    ],
)
def test_bad_ones_are_refused(token: object, problem: str) -> None:
    with pytest.raises(BadToken, match=problem):
        KEYS.check(token, ROOM, NOW)


def test_it_has_its_time() -> None:
    token = issue(KEY, valid=100, now=NOW)
    KEYS.check(token, ROOM, NOW + 100)
    for then in (NOW - LEEWAY - 1, NOW + 100 + LEEWAY + 1):
        with pytest.raises(NotNow):
            KEYS.check(token, ROOM, then)
    assert KEYS.read(token).expires == NOW + 100


def test_keys_are_told_apart() -> None:
    other = generate_private_key(SECP256R1())
    other_private = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    other_public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for data, problem in (
        (PRIVATE, "a private key; a relay needs the public one"),
        (b"", "no public key in PEM"),
        (b"nonsense", "no public key in PEM"),
        (PUBLIC.replace(b"MCow", b"XXXX"), "no public key as"),
        (other_public, "no public key as"),
    ):
        with pytest.raises(ConfigurationError, match=f"^a file: {problem}"):
            read_public(data, "a file")
    for data in (PUBLIC, b"", other_private):
        with pytest.raises(ConfigurationError, match=r"^a file: no private key as"):
            read_private(data, "a file")
