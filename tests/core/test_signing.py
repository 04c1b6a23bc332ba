import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelwire.errors import InvalidField
from kernelwire.messages import Frame
from kernelwire.signing import DEFAULT_SCHEME, Signer

FIXED_LENGTH = sorted(name for name in hashlib.algorithms_guaranteed if hashlib.new(name).digest_size)
KEY = b"a0436f6c-1916-498b-8eb9-e81ab9368e84"
PARTS: list[Frame] = [b'{"msg_type":"status"}', b"{}", b"{}", b'{"execution_state":"idle"}']

law = settings(deadline=None)


@pytest.mark.parametrize("name", FIXED_LENGTH)
def test_is_the_hmac_of_the_parts_for_every_hash(name: str) -> None:
    expected = hmac.new(KEY, b"".join(PARTS), name).hexdigest().encode()
    signer = Signer(KEY, f"hmac-{name}")
    assert signer.sign(PARTS) == expected
    assert signer.verify(expected, PARTS)


def test_agrees_with_rfc_4231() -> None:
    # Test case 2.
    signer = Signer(b"Jefe")
    assert signer.sign([b"what do ya want ", b"for nothing?"]) == (
        b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@law
@given(key=st.binary(min_size=1, max_size=200), parts=st.lists(st.binary(), max_size=6))
def test_is_hmac_sha256_unless_told_otherwise(key: bytes, parts: list[bytes]) -> None:
    digest = hmac.digest(key, b"".join(parts), "sha256")
    assert Signer(key).sign(parts) == digest.hex().encode()


@pytest.mark.parametrize("size", [0, 16383, 16384, 16385, 1_000_000])
def test_large_parts_are_signed_like_small_ones(size: int) -> None:
    parts: list[Frame] = [memoryview(bytes([n]) * size) for n in range(4)]
    assert Signer(KEY).sign(parts) == hmac.new(KEY, b"".join(parts), "sha256").hexdigest().encode()


@law
@given(st.binary(max_size=80))
def test_nothing_but_the_signature_verifies(signature: bytes) -> None:
    signer = Signer(KEY)
    good = signer.sign(PARTS)
    assert signer.verify(signature, PARTS) == (signature == good)


def test_every_bit_of_the_parts_and_the_signature_counts() -> None:
    signer = Signer(KEY)
    good = signer.sign(PARTS)
    for place in range(len(good)):
        assert not signer.verify(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :], PARTS)
        assert not signer.verify(good[:place], PARTS)
    assert not signer.verify(good.upper(), PARTS)
    assert not signer.verify(good, PARTS[::-1])
    assert not signer.verify(good, [*PARTS[:3], bytes(PARTS[3]) + b" "])


def test_signature_may_be_a_view() -> None:
    signer = Signer(KEY)
    assert signer.verify(memoryview(signer.sign(PARTS)), [memoryview(part) for part in PARTS])


def test_empty_key_signs_nothing_and_verifies_everything() -> None:
    signer = Signer(b"")
    assert not signer.signs
    assert signer.sign(PARTS) == b""
    assert signer.verify(b"", PARTS)
    assert signer.verify(b"anything", PARTS)


def test_signing_leaves_no_trace_in_the_signer() -> None:
    signer = Signer(KEY)
    assert signer.sign(PARTS) == signer.sign(PARTS)


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize(
    "scheme",
    ["", "hmac", "hmac-", "sha256", "HMAC-sha256", "hmac-nothing", "hmac-shake_128", "hmac-shake_256", "hmac-\0"],
)
def test_unusable_scheme_names_its_field_even_without_a_key(key: bytes, scheme: str) -> None:
    with pytest.raises(InvalidField, match="signature_scheme") as caught:
        Signer(key, scheme)
    assert caught.value.field == "signature_scheme"


@pytest.mark.parametrize("key", ["text", None, 5, bytearray(b"key")])
def test_key_that_is_no_bytes_is_named_as_the_fault(key: object) -> None:
    with pytest.raises(InvalidField) as caught:
        Signer(key)  # type: ignore[arg-type]
    assert caught.value.field == "key"


def test_repr_shows_the_scheme_and_no_key() -> None:
    assert repr(Signer(KEY)) == f"<Signer {DEFAULT_SCHEME}>"
    assert repr(Signer(b"")) == "<Signer unsigned>"
