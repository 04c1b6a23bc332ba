"""Who is let in: every bad token of the list, and what is told of it."""

from typing import Any

import jwt
import pytest

from kernelwire_socketio import refusals
from kernelwire_socketio.events import VERSION
from kernelwire_socketio.host_tokens import HostKeys, issue, key_id, new_key, read_private, read_public
from kernelwire_socketio.refusals import Refused
from kernelwire_socketio.relay import admission
from kernelwire_socketio.relay.admission import Admission
from kernelwire_socketio.relay.limits import Limits
from kernelwire_socketio.role_tokens import LIFE, mint
from kernelwire_socketio.rooms import RoomKey, text_of
from kernelwire_socketio.tokens import AUDIENCE, sign

KEY = RoomKey(b"a" * 32)
NOW = 1_800_000_000.0
HOST = text_of(b"h" * 16)
PRIVATE, PUBLIC = new_key()
OPERATOR = read_private(PRIVATE, "a file")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def make(clock: Clock, *, host_keys: bool = True, **limits: Any) -> Admission:
    return Admission(Limits(**limits), HostKeys(read_public(PUBLIC, "a file")) if host_keys else None, clock)


def host(**more: Any) -> dict[str, Any]:
    return {"v": VERSION, "role": "host", "token": mint(KEY, "host", host=HOST, instance=HOST, now=NOW), **more}


def client(**more: Any) -> dict[str, Any]:
    return {"v": VERSION, "role": "client", "token": mint(KEY, "client", now=NOW), **more}


def role_claims(**more: Any) -> dict[str, Any]:
    return {"room": text_of(KEY.room), "role": "client", "iat": NOW, "exp": NOW + 60, "jti": HOST} | more


def test_a_client_needs_no_word_of_an_operator() -> None:
    claims, grant = make(Clock()).admit(client())
    assert (claims.room, claims.role, grant) == (KEY.room, "client", None)


def test_a_host_needs_one() -> None:
    claims, grant = make(Clock()).admit(host(host_token=issue(OPERATOR, valid=60, rooms=2, now=NOW)))
    assert claims.host == HOST
    assert grant is not None
    assert grant.rooms == 2


def test_on_one_s_own_machine_nobody_does() -> None:
    assert make(Clock(), host_keys=False).admit(host(host_token="nonsense"))[1] is None


def unsigned(claims: dict[str, Any]) -> str:
    return jwt.encode({"aud": AUDIENCE, **claims}, None, algorithm="none", headers={"kid": text_of(KEY.public)})  # type: ignore[arg-type]


BAD = {
    "nothing": (None, refusals.TOKEN),
    "a list": ([1], refusals.TOKEN),
    "no version": ({"role": "client"}, refusals.TOKEN),
    "another version": (client(v=VERSION + 1), refusals.VERSION),
    "no role": (client(role=None), refusals.TOKEN),
    "another role": (client(role="operator"), refusals.TOKEN),
    "no token": (client(token=None), refusals.TOKEN),
    "1 MB": (client(token="x" * 1_000_000), refusals.TOKEN),
    "alg none": (client(token=unsigned(role_claims())), refusals.TOKEN),
    "another alg": (
        client(token=jwt.encode(role_claims(aud=AUDIENCE), KEY.public, "HS256", {"kid": text_of(KEY.public)})),
        refusals.TOKEN,
    ),
    "expired": (client(token=mint(KEY, "client", now=NOW - 120)), refusals.CLOCK),
    "not yet valid": (client(token=mint(KEY, "client", now=NOW + 120)), refusals.CLOCK),
    "aud": (client(token=sign(role_claims(aud="other"), KEY.private, text_of(KEY.public))), refusals.TOKEN),
    "role": (client(token=host()["token"]), refusals.TOKEN),
    "room of another": (
        client(token=sign(role_claims(room=text_of(b"x" * 32)), KEY.private, text_of(KEY.public))),
        refusals.TOKEN,
    ),
    "kid": (client(token=sign(role_claims(), KEY.private, "/dev/null")), refusals.TOKEN),
    "another's kid": (
        client(token=sign(role_claims(), KEY.private, text_of(RoomKey(b"b" * 32).public))),
        refusals.TOKEN,
    ),
    "host token missing": (host(), refusals.HOST_TOKEN),
    "host token of another": (
        host(host_token=issue(read_private(new_key()[0], "a file"), valid=60, now=NOW)),
        refusals.HOST_TOKEN,
    ),
    "host token over-scoped": (
        host(
            host_token=sign(
                {"scope": "host admin", "iat": NOW, "exp": NOW + 60, "jti": "x"},
                OPERATOR,
                key_id(OPERATOR.public_key()),
            )
        ),
        refusals.HOST_TOKEN,
    ),
    "host token expired": (host(host_token=issue(OPERATOR, valid=60, now=NOW - 120)), refusals.HOST_TOKEN),
    "host token not yet valid": (host(host_token=issue(OPERATOR, valid=60, now=NOW + 120)), refusals.HOST_TOKEN),
    "host token for another room": (
        host(host_token=issue(OPERATOR, valid=60, room=text_of(b"x" * 32), now=NOW)),
        refusals.HOST_TOKEN,
    ),
    "a role token as host token": (host(host_token=client()["token"]), refusals.HOST_TOKEN),
    "a host token as role token": (client(token=issue(OPERATOR, valid=60, now=NOW)), refusals.TOKEN),
}


@pytest.mark.parametrize(("shown", "code"), BAD.values(), ids=BAD)
def test_nobody_else_comes_in(shown: object, code: str) -> None:
    with pytest.raises(Refused) as refused:
        make(Clock()).admit(shown)
    assert refused.value.code == code
    assert "\n" not in refused.value.text
    assert len(refused.value.text) < 200
    token = shown.get("token") if isinstance(shown, dict) else None
    assert not (isinstance(token, str) and token in refused.value.text)
    assert (refused.value.now == NOW) == (code == refusals.CLOCK)


def test_a_token_is_good_for_one_time() -> None:
    clock = Clock()
    door = make(clock)
    shown = client()
    door.admit(shown)
    for seconds in (0, 1, LIFE):
        clock.now = NOW + seconds
        with pytest.raises(Refused, match="used before"):
            door.admit(shown)


def test_used_tokens_are_forgotten_when_they_are_worth_nothing() -> None:
    clock = Clock()
    door = make(clock)
    for second in range(1000):
        clock.now = NOW + second
        door.admit(client(token=mint(KEY, "client", now=clock.now)))
    assert len(door._seen) < 100


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_MEMORY", 3)
    clock = Clock()
    door = make(clock)
    for _ in range(3):
        door.admit(client())
    with pytest.raises(Refused) as refused:
        door.admit(client())
    assert refused.value.code == refusals.RATE
    clock.now += 200
    door.admit(client(token=mint(KEY, "client", now=clock.now)))


def test_a_room_is_not_stormed() -> None:
    clock = Clock()
    door = make(clock, joins=5)
    for _ in range(5):
        door.admit(client())
    with pytest.raises(Refused) as refused:
        door.admit(client())
    assert refused.value.code == refusals.RATE
    other = RoomKey(b"b" * 32)
    door.admit(client(token=mint(other, "client", now=NOW)))
    clock.now += 12
    door.admit(client(token=mint(KEY, "client", now=clock.now)))
