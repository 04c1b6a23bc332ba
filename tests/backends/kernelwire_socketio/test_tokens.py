"""Tokens that are not ours, whoever made them."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernelwire_socketio.rooms import text_of
from kernelwire_socketio.tokens import (
    AUDIENCE,
    LEEWAY,
    MAX_SIZE,
    BadToken,
    NotNow,
    check_times,
    key_id_of,
    public_key,
    sign,
    verify,
)

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key()
NAMES = {"text": str, "number": float}
CLAIMS = {"text": "a", "number": 1.5}


def part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def with_header(**header: Any) -> str:
    return f"{part({'alg': 'EdDSA', 'typ': 'JWT', 'kid': 'k', **header})}.{part(CLAIMS)}.AAAA"


def test_a_good_one_is_read() -> None:
    token = sign(CLAIMS, KEY, "a key")
    assert key_id_of(token) == "a key"
    assert verify(token, PUBLIC, NAMES, {}) == CLAIMS


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (None, "there is none"),
        (b"bytes", "there is none"),
        ("", "there is none"),
        ("x" * (MAX_SIZE + 1), "longer than"),
        ("x" * 2**20, "longer than"),
        ("a.b.c", "no token"),
        ("a", "no token"),
        ("\N{SNOWMAN}.a.b", "no token"),
        (with_header(alg="none"), "not signed with EdDSA"),
        (with_header(alg="HS256"), "not signed with EdDSA"),
        (with_header(alg=7), "not signed with EdDSA"),
        (with_header(kid=7), "no token"),
        (with_header(kid=None), "header is not|no token"),
        (with_header(crit=["exp"]), "header is not|no token"),
        (with_header(jku="http://somewhere"), "header is not"),
        (with_header(typ="other"), "header is not|no token"),
        (f"{part({'alg': 'EdDSA', 'typ': 'JWT'})}.{part(CLAIMS)}.AAAA", "header is not|no token"),
    ],
)
def test_the_form_is_looked_at_first(token: object, problem: str) -> None:
    with pytest.raises(BadToken, match=problem):
        key_id_of(token)


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"text": "a"}, "does not say 'number'"),
        ({**CLAIMS, "number": "1"}, "'number' is of the wrong kind"),
        ({**CLAIMS, "number": True}, "'number' is of the wrong kind"),
        ({**CLAIMS, "number": float("inf")}, "'number' is of the wrong kind"),
        ({**CLAIMS, "text": 1}, "'text' is of the wrong kind"),
        ({**CLAIMS, "more": 1}, "claims what there is not"),
        ({**CLAIMS, "optional": "x"}, "'optional' is of the wrong kind"),
        ({**CLAIMS, "aud": "somebody"}, "not for a relay"),
        ({**CLAIMS, "aud": None}, "not for a relay|what it is for"),
    ],
)
def test_the_claims_are_these_and_no_others(claims: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadToken, match=problem):
        verify(sign(claims, KEY, "k"), PUBLIC, NAMES, {"optional": int})


def test_an_audience_is_needed() -> None:
    token = jwt.encode(dict(CLAIMS), KEY, algorithm="EdDSA", headers={"kid": "k"})
    with pytest.raises(BadToken, match="what it is for"):
        verify(token, PUBLIC, NAMES, {})


def test_another_key_is_found_out() -> None:
    with pytest.raises(BadToken, match="signature is wrong"):
        verify(sign(CLAIMS, Ed25519PrivateKey.generate(), "k"), PUBLIC, NAMES, {})


def test_a_changed_byte_is_found_out() -> None:
    head, body, signature = sign(CLAIMS, KEY, "k").split(".")
    changed = part({"aud": AUDIENCE, **CLAIMS, "text": "b"})
    with pytest.raises(BadToken, match="signature is wrong"):
        verify(f"{head}.{changed}.{signature}", PUBLIC, NAMES, {})
    assert body != changed


def test_a_public_key_is_no_secret_for_another_algorithm() -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    raw = PUBLIC.public_bytes(Encoding.Raw, PublicFormat.Raw)
    token = jwt.encode({"aud": AUDIENCE, **CLAIMS}, raw, algorithm="HS256", headers={"kid": "k"})
    with pytest.raises(BadToken, match="not signed with EdDSA"):
        key_id_of(token)
    with pytest.raises(BadToken, match="signature is wrong"):
        verify(token, PUBLIC, NAMES, {})


@pytest.mark.parametrize("text", ["", "short", "/etc/passwd", text_of(bytes(31)), text_of(bytes(33)), "é" * 43])
def test_a_key_is_32_bytes(text: str) -> None:
    with pytest.raises(BadToken, match="names no key"):
        public_key(text)


@pytest.mark.parametrize(
    ("issued", "expires", "problem"),
    [
        (1000 + LEEWAY + 1, 1060, "not valid yet, for 11 s"),
        (900, 1000 - LEEWAY - 1, "expired, 11 s ago"),
        (0, 0, "expired, 17 min ago"),
        (-90_000, -90_000, "expired, 25 h ago"),
        (-1_000_000, -1_000_000, "expired, 12 d ago"),
    ],
)
def test_a_time_is_told(issued: float, expires: float, problem: str) -> None:
    with pytest.raises(NotNow, match=problem):
        check_times({"iat": issued, "exp": expires}, 1000)


def test_clocks_may_differ_a_little() -> None:
    check_times({"iat": 1000 + LEEWAY, "exp": 1060}, 1000)
    check_times({"iat": 900, "exp": 1000 - LEEWAY}, 1000)


def test_a_long_life_is_refused() -> None:
    with pytest.raises(BadToken, match="more than 60 s"):
        check_times({"iat": 1000, "exp": 1061}, 1000, 60)
