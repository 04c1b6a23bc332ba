"""Sealing: what the other end sealed opens once and in its place, and nothing else does."""

import copy
import random
import traceback
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelwire.errors import InvalidField, LocalError, MessageTooLarge, SealBroken
from kernelwire.link.noise import CipherState
from kernelwire.link.seal import (
    HANDSHAKE_1_SIZE,
    HANDSHAKE_2_SIZE,
    REKEY_AFTER,
    TAG_SIZE,
    Handshake,
    Seal,
    check_secret,
    new_private_key,
    new_secret,
    public_key,
)

SECRET = new_secret()
PRIVATE_KEY = new_private_key()
HOST_KEY = public_key(PRIVATE_KEY)
PROLOGUE = b"room 7, version 1"


def client(*, secret: bytes = SECRET, host_key: bytes = HOST_KEY, prologue: bytes = PROLOGUE) -> Handshake:
    return Handshake.initiator(secret=secret, host_key=host_key, prologue=prologue)


def host(*, secret: bytes = SECRET, private_key: bytes = PRIVATE_KEY, prologue: bytes = PROLOGUE) -> Handshake:
    return Handshake.responder(secret=secret, private_key=private_key, prologue=prologue)


def pair(rekey_after: int = REKEY_AFTER) -> tuple[Seal, Seal]:
    """Both ends of a connection: the client's, the host's."""
    ours, theirs = client(), host()
    theirs.read(ours.write())
    ours.read(theirs.write())
    return ours.split(rekey_after=rekey_after), theirs.split(rekey_after=rekey_after)


def quick_pair(rekey_after: int = REKEY_AFTER) -> tuple[Seal, Seal]:
    """The same without the handshake, where there must be thousands."""
    there, back = b"there" * 6 + b"!!", b"back" * 8
    return (
        Seal(CipherState(there), CipherState(back), rekey_after=rekey_after),
        Seal(CipherState(back), CipherState(there), rekey_after=rekey_after),
    )


def shown(thing: object) -> str:
    """All that a report could show of a thing; of an error, its whole chain."""
    text = f"{thing!r} {thing}"
    while isinstance(thing, BaseException):
        text += f"{thing!r} {thing} {vars(thing)} {''.join(traceback.format_exception(thing))}"
        thing = thing.__cause__ or thing.__context__
    return text


# -- the handshake


def test_a_connection() -> None:
    ours, theirs = client(), host()
    first = ours.write()
    assert len(first) == HANDSHAKE_1_SIZE
    assert theirs.read(first) == b""
    assert not theirs.finished
    second = theirs.write()
    assert len(second) == HANDSHAKE_2_SIZE
    assert ours.read(second) == b""
    assert ours.finished
    assert theirs.finished
    a, b = ours.split(), theirs.split()
    for text in (b"to the host", b"", b"and on"):
        frame = a.seal(text)
        assert len(frame) == len(text) + TAG_SIZE
        assert b.open(frame) == text
    assert a.open(b.seal(b"back")) == b"back"


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=100))
@settings(max_examples=50, deadline=None)
def test_payloads_and_prologues(there: bytes, back: bytes, prologue: bytes) -> None:
    ours, theirs = client(prologue=prologue), host(prologue=prologue)
    first = ours.write(there)
    assert len(first) == HANDSHAKE_1_SIZE + len(there)
    assert theirs.read(first) == there
    assert ours.read(theirs.write(back)) == back
    assert theirs.split().open(ours.split().seal(b"x")) == b"x"


def test_the_largest_payload() -> None:
    ours = client()
    with pytest.raises(MessageTooLarge, match="65535"):
        ours.write(bytes(65535 - HANDSHAKE_1_SIZE + 1))
    payload = bytes(65535 - HANDSHAKE_1_SIZE)
    assert host().read(ours.write(payload)) == payload


def test_messages_may_be_read_from_a_larger_buffer() -> None:
    ours, theirs = client(), host()
    assert theirs.read(memoryview(b"##" + ours.write(b"hello"))[2:]) == b"hello"


def test_no_two_connections_are_alike() -> None:
    first, second = client(), client()
    assert first.write() != second.write()
    (a, _), (b, _) = pair(), pair()
    assert a.seal(b"same") != b.seal(b"same")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: client(prologue=b"room 8, version 1"), host),
        (lambda: client(prologue=b""), host),
        (lambda: client(secret=new_secret()), host),
        (lambda: client(host_key=public_key(new_private_key())), host),
    ],
    ids=["another room", "no room", "another secret", "another host"],
)
def test_strangers(ours: Callable[[], Handshake], theirs: Callable[[], Handshake]) -> None:
    stranger, end = ours(), theirs()
    with pytest.raises(SealBroken, match="not sealed by the other end"):
        end.read(stranger.write(b"let me in"))
    assert not end.finished


def test_an_answer_from_somebody_with_the_secret_but_not_the_key() -> None:
    """Another ticket holder cannot pose as the host."""
    ours = client()
    first = ours.write()
    impostor = host(private_key=new_private_key())
    with pytest.raises(SealBroken):
        impostor.read(first)
    answer = host()
    answer.read(client().write())
    with pytest.raises(SealBroken):
        ours.read(answer.write())  # meant for another client


@pytest.mark.parametrize("payload", [b"", b"hello"])
def test_every_bit_of_the_first_message(payload: bytes) -> None:
    first = client().write(payload)
    for bit in range(len(first) * 8):
        with pytest.raises(SealBroken):
            host().read(flipped(first, bit))
    host().read(first)


@pytest.mark.parametrize("payload", [b"", b"hello"])
def test_every_bit_of_the_second_message(payload: bytes) -> None:
    for bit in range((HANDSHAKE_2_SIZE + len(payload)) * 8):
        ours, theirs = client(), host()
        theirs.read(ours.write())
        with pytest.raises(SealBroken):
            ours.read(flipped(theirs.write(payload), bit))
        assert not ours.finished


def test_every_length_of_a_handshake_message() -> None:
    first = client().write(b"hello")
    for size in (*range(len(first)), len(first) + 1):
        with pytest.raises(SealBroken):
            host().read((first + b"x")[:size])


def test_a_reflected_handshake_message() -> None:
    ours = client()
    with pytest.raises(SealBroken):
        ours.read(ours.write())


def test_a_first_message_that_is_played_again_leads_nowhere() -> None:
    """Who recorded a whole connection gets the host's answer, and cannot go on from there."""
    ours, theirs = client(), host()
    first = ours.write(b"hello")
    theirs.read(first)
    second = theirs.write()
    ours.read(second)
    a, b = ours.split(), theirs.split()
    frames = [a.seal(b"one"), a.seal(b"two")]
    assert [b.open(frame) for frame in frames] == [b"one", b"two"]

    again = host()
    assert again.read(first) == b"hello"  # so nothing may be done on its word
    assert again.write() != second
    with pytest.raises(SealBroken):
        again.split().open(frames[0])


def test_turns() -> None:
    ours, theirs = client(), host()
    with pytest.raises(LocalError, match="turn to write"):
        ours.read(b"x" * 48)
    with pytest.raises(LocalError, match="turn to read"):
        theirs.write()
    first = ours.write()
    with pytest.raises(LocalError, match="turn to read"):
        ours.write()
    for end in (ours, theirs):
        with pytest.raises(LocalError, match="both of its messages"):
            end.split()
    theirs.read(first)  # none of these did any harm
    ours.read(theirs.write())
    for end in (ours, theirs):
        with pytest.raises(LocalError, match=r"call split\(\)"):
            end.write()
        with pytest.raises(LocalError, match=r"call split\(\)"):
            end.read(first)


def test_it_is_split_once() -> None:
    ours, theirs = client(), host()
    theirs.read(ours.write())
    ours.read(theirs.write())
    ours.split()
    with pytest.raises(LocalError, match="once"):
        ours.split()
    with pytest.raises(LocalError):
        ours.write()
    assert ours.finished


def test_a_handshake_that_failed_is_dead() -> None:
    end = host()
    good = client().write()
    with pytest.raises(SealBroken):
        end.read(flipped(good, 300))
    calls: list[Callable[[], bytes]] = [lambda: end.read(good), end.write]
    for call in calls:
        with pytest.raises(SealBroken, match="broken before"):
            call()
    with pytest.raises(LocalError):
        end.split()
    assert repr(end) == "<Handshake of the responder, broken>"


# -- the seal


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_bit_of_a_frame() -> None:
    frame = quick_pair()[0].seal(random.Random(1).randbytes(1024 - TAG_SIZE))
    accepted = 0
    for bit in range(8192):
        theirs = quick_pair()[1]
        try:
            theirs.open(flipped(frame, bit))
            accepted += 1
        except SealBroken:
            pass
    assert accepted == 0
    assert len(frame) * 8 == 8192
    quick_pair()[1].open(frame)


def test_every_length_of_a_frame() -> None:
    frame = quick_pair()[0].seal(bytes(100))
    for size in (*range(len(frame)), len(frame) + 1, 2 * len(frame)):
        with pytest.raises(SealBroken):
            quick_pair()[1].open((frame * 2)[:size])


@pytest.mark.parametrize(
    "hostile",
    [
        lambda frames: frames[1:],
        lambda frames: [frames[0], *frames[2:]],
        lambda frames: [frames[0], *frames],
        lambda frames: [frames[0], frames[2], frames[1]],
        lambda frames: [frames[0], frames[0] + frames[1]],
        lambda frames: [frames[0], b""],
        lambda frames: [frames[0], bytes(TAG_SIZE)],
    ],
    ids=["first dropped", "dropped", "duplicated", "swapped", "joined", "empty", "zeros"],
)
def test_a_hostile_pipe(hostile: Callable[[list[bytes]], list[bytes]]) -> None:
    """Whatever opens is a beginning of what was sent; then it is noticed, and over."""
    ours, theirs = pair()
    sent = [b"one", b"two", b"three"]
    opened: list[bytes] = []

    def receive() -> None:
        for frame in hostile([ours.seal(text) for text in sent]):
            opened.append(theirs.open(frame))

    with pytest.raises(SealBroken, match="not sealed by the other end"):
        receive()
    assert opened == sent[: len(opened)]
    assert len(opened) < 2


def test_a_reflected_frame() -> None:
    ours, _ = pair()
    with pytest.raises(SealBroken):
        ours.open(ours.seal(b"mine"))


def test_a_frame_of_another_connection() -> None:
    (ours, _), (_, theirs) = pair(), pair()
    with pytest.raises(SealBroken):
        theirs.open(ours.seal(b"cross-wired"))


def test_a_broken_seal_is_dead() -> None:
    ours, theirs = pair()
    good = ours.seal(b"good")
    with pytest.raises(SealBroken):
        theirs.open(b"bad" * 10)
    calls: list[Callable[[], bytes]] = [lambda: theirs.open(good), lambda: theirs.seal(b"x")]
    for call in calls:
        with pytest.raises(SealBroken, match="broken before"):
            call()
    assert repr(theirs) == "<Seal, broken>"
    ours.seal(b"this end cannot know yet")


def test_a_type_that_cannot_be_sealed_does_no_harm() -> None:
    ours, theirs = pair()
    with pytest.raises(TypeError):
        ours.seal("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        theirs.open("text")  # type: ignore[arg-type]
    assert theirs.open(ours.seal(b"bytes")) == b"bytes"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_can_be_sealed_and_opened(kind: Callable[[bytes], bytes]) -> None:
    ours, theirs = pair()
    frame = ours.seal(kind(b"some bytes"))
    assert type(frame) is bytes
    opened = theirs.open(kind(frame))
    assert type(opened) is bytes
    assert opened == b"some bytes"
    assert theirs.open(memoryview(b"##" + ours.seal(memoryview(b"--cut")[2:]))[2:]) == b"cut"


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=2000)), max_size=30),
    st.integers(min_value=1, max_value=7),
)
@settings(max_examples=100, deadline=None)
def test_any_conversation(frames: list[tuple[bool, bytes]], rekey_after: int) -> None:
    ours, theirs = quick_pair(rekey_after)
    for to_host, data in frames:
        sender, receiver = (ours, theirs) if to_host else (theirs, ours)
        assert receiver.open(sender.seal(data)) == data


@given(st.lists(st.binary(max_size=50), min_size=2, max_size=8), st.data())
@settings(max_examples=200, deadline=None)
def test_any_other_order(texts: list[bytes], data: st.DataObject) -> None:
    ours, theirs = quick_pair(rekey_after=3)
    frames = [ours.seal(text) for text in texts]
    order = data.draw(st.lists(st.integers(0, len(frames) - 1), max_size=10))
    right = 0
    while right < len(order) and order[right] == right:
        right += 1
    for number in order[:right]:
        assert theirs.open(frames[number]) == texts[number]
    if right < len(order):
        with pytest.raises(SealBroken):
            theirs.open(frames[order[right]])


@pytest.mark.parametrize("rekey_after", [1, 2, 5])
def test_rekeying(rekey_after: int) -> None:
    """At the boundary of each direction for itself, and only there."""
    ours, theirs = quick_pair(rekey_after)
    plain, _ = quick_pair()
    for number in range(2 * rekey_after + 1):
        frame, unchanged = ours.seal(b"x"), plain.seal(b"x")
        assert (frame == unchanged) is (number < rekey_after)
        assert theirs.open(frame) == b"x"
    assert theirs.seal(b"y") == quick_pair()[1].seal(b"y"), "the other direction has sealed nothing yet"


def test_rekeying_at_one_end_only_is_noticed() -> None:
    ours, theirs = quick_pair(4)[0], quick_pair(5)[1]
    for _ in range(4):
        theirs.open(ours.seal(b"x"))
    with pytest.raises(SealBroken):
        theirs.open(ours.seal(b"x"))


def test_the_real_boundary() -> None:
    ours, theirs = quick_pair()
    ours._sending.nonce = theirs._receiving.nonce = REKEY_AFTER - 2
    old = CipherState(b"there" * 6 + b"!!")
    old.nonce = REKEY_AFTER - 2
    for same in (True, True, False, False):
        frame = ours.seal(b"x")
        assert (frame == old.encrypt(b"x")) is same
        assert theirs.open(frame) == b"x"
    assert REKEY_AFTER == 2**20


def test_rekey_after_less_than_one() -> None:
    with pytest.raises(LocalError, match="rekey_after"):
        quick_pair(0)


def test_no_number_is_used_twice() -> None:
    ours, theirs = quick_pair()
    ours._sending.nonce = theirs._receiving.nonce = 2**64 - 2
    assert theirs.open(ours.seal(b"last")) == b"last"
    for _ in range(2):
        with pytest.raises(SealBroken, match="new handshake"):
            ours.seal(b"too much")
        with pytest.raises(SealBroken):
            theirs.open(bytes(16))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_nothing_is_copied(copied: Callable[[object], object]) -> None:
    for thing in (pair()[0], client()):
        with pytest.raises(TypeError, match="cannot be copied"):
            copied(thing)


# -- keys


def test_keys() -> None:
    assert len({new_secret() for _ in range(10)}) == 10
    assert len({new_private_key() for _ in range(10)}) == 10
    assert len(new_secret()) == len(new_private_key()) == len(HOST_KEY) == 32
    assert check_secret(SECRET) is SECRET


def test_the_public_key_of_rfc_7748() -> None:
    """Section 6.1, Alice's."""
    private = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    assert public_key(private).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"


@pytest.mark.parametrize("value", [b"", b"short-secret", b"s" * 31, b"s" * 33, "s" * 32, None, bytearray(32)])
def test_keys_of_a_wrong_size(value: bytes) -> None:
    for field, call in (
        ("link_secret", lambda: check_secret(value)),
        ("link_secret", lambda: client(secret=value)),
        ("link_secret", lambda: host(secret=value)),
        ("host_key", lambda: client(host_key=value)),
        ("host_private_key", lambda: host(private_key=value)),
        ("host_private_key", lambda: public_key(value)),
    ):
        with pytest.raises(InvalidField, match="needed") as caught:
            call()
        assert caught.value.field == field
        said = f"{caught.value!r} {caught.value} {vars(caught.value)}"
        assert "short-secret" not in said
        assert "sss" not in said


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31)])
def test_a_host_key_that_seals_nothing(key: bytes) -> None:
    with pytest.raises(InvalidField, match="host_key"):
        client(host_key=key)


def test_nothing_shows_a_secret() -> None:
    ours, theirs = client(), host()
    theirs.read(ours.write())
    text = shown(ours) + shown(theirs)
    ours.read(theirs.write())
    a, b = ours.split(), theirs.split()
    text += shown(ours) + shown(a) + shown(b)
    payload = new_secret()
    calls: list[Callable[[], bytes]] = [
        lambda: b.open(a.seal(payload)[1:]),
        lambda: host().read(client(secret=new_secret()).write(payload)),
    ]
    for call in calls:
        with pytest.raises(SealBroken) as caught:
            call()
        text += shown(caught.value)
    for value in (SECRET, PRIVATE_KEY, HOST_KEY, payload):
        assert repr(value)[2:-1] not in text
        assert value.hex() not in text
    assert repr(a) == "<Seal, frames sent 1, received 0>"
    assert repr(ours) == "<Handshake of the initiator, finished>"
    assert repr(client()) == "<Handshake of the initiator, under way>"
