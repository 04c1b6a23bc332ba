"""Role tokens: for one room, one role, one minute."""

from typing import Any

import pytest

from kernelwire_socketio.role_tokens import LIFE, RoleClaims, check, mint, new_instance
from kernelwire_socketio.rooms import RoomKey, text_of
from kernelwire_socketio.tokens import LEEWAY, BadToken, NotNow, sign

KEY = RoomKey(b"a" * 32)
OTHER = RoomKey(b"b" * 32)
NOW = 1_800_000_000.0
HOST = text_of(b"h" * 16)
INSTANCE = text_of(b"i" * 16)
GOOD = {"room": text_of(KEY.room), "role": "client", "iat": NOW, "exp": NOW + 60, "jti": text_of(b"j" * 16)}


def forged(key: RoomKey = KEY, key_id: str | None = None, **claims: Any) -> str:
    everything = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return sign(everything, key.private, key_id or text_of(key.public))


def test_a_client_s() -> None:
    claims = check(mint(KEY, "client", now=NOW), "client", NOW)
    assert claims == RoleClaims(KEY.room, "client", claims.jti, NOW + LIFE)


def test_a_host_s() -> None:
    claims = check(mint(KEY, "host", host=HOST, instance=INSTANCE, now=NOW), "host", NOW)
    assert claims == RoleClaims(KEY.room, "host", claims.jti, NOW + LIFE, HOST, INSTANCE)


def test_no_two_are_the_same() -> None:
    one, other = (check(mint(KEY, "client"), "client", check_now()) for _ in range(2))
    assert one.jti != other.jti
    assert new_instance() != new_instance()


def check_now() -> float:
    import time

    return time.time()


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (forged(role="host"), "none for a client"),
        (mint(KEY, "host", host=HOST, instance=INSTANCE, now=NOW), "claims what there is not"),
        (forged(OTHER), "not that of its room"),
        (forged(key_id=text_of(OTHER.public)), "signature is wrong"),
        (forged(key_id="../../etc/passwd"), "names no key"),
        (forged(OTHER, key_id=text_of(KEY.public)), "signature is wrong"),
        (forged(room="short"), "not that of its room"),
        (forged(jti="short"), "'jti' is not 16 bytes"),
        (forged(jti=None), "does not say 'jti'"),
        (forged(exp=None), "does not say 'exp'"),
        (forged(iat=None), "does not say 'iat'"),
        (forged(exp=NOW + 61), "more than 60 s"),
        (forged(exp=NOW + 10**12, iat=NOW), "more than 60 s"),
        (forged(scope="host"), "claims what there is not"),
        (forged(nbf=NOW), "claims what there is not"),
        (forged(aud="other"), "not for a relay"),
    ],
)
def test_bad_ones_are_refused(token: str, problem: str) -> None:
    with pytest.raises(BadToken, match=problem):
        check(token, "client", NOW)


@pytest.mark.parametrize("later", [-LEEWAY - 1, LIFE + LEEWAY + 1])
def test_it_is_good_for_a_minute(later: float) -> None:
    token = mint(KEY, "client", now=NOW)
    check(token, "client", NOW + LIFE)
    with pytest.raises(NotNow):
        check(token, "client", NOW + later)


def test_a_host_must_say_which() -> None:
    with pytest.raises(BadToken, match="does not say 'host'"):
        check(forged(role="host"), "host", NOW)
    with pytest.raises(BadToken, match="'host' is not 16 bytes"):
        check(forged(role="host", host="x", instance=INSTANCE), "host", NOW)
    with pytest.raises(BadToken, match="'instance' is not 16 bytes"):
        check(forged(role="host", host=HOST, instance=HOST + "A"), "host", NOW)
