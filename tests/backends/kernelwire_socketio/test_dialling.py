"""What an end shows a relay, and what it makes of the answers."""

import asyncio
import time
from typing import Any

import pytest

from integration._relay_scenes import OpenScene, Scene
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import (
    AddressInUse,
    ConfigurationError,
    ConnectionLost,
    InvalidField,
    KernelwireError,
)
from kernelwire.ticket import key_text
from kernelwire_socketio import SocketioBackend, dialling, refusals
from kernelwire_socketio.dialling import Dialling
from kernelwire_socketio.events import VERSION
from kernelwire_socketio.experience import Experience
from kernelwire_socketio.refusals import Refused
from kernelwire_socketio.role_tokens import check, mint
from kernelwire_socketio.rooms import RoomKey

FIELDS = {
    "relay": "https://relay.example/kernels",
    "link_secret": key_text(b"a" * 32),
    "host_key": key_text(b"k" * 32),
}


def info(**fields: Any) -> ConnectionInfo:
    return ConnectionInfo(transport="socketio", extra={**FIELDS, **fields})


def as_host(**fields: Any) -> Dialling:
    return Dialling.as_host(info(**fields), lambda _: Experience("the relay"))


def test_what_is_shown_is_new_each_time_and_good() -> None:
    client = Dialling.as_client(info(), lambda _: Experience("the relay"))
    one, other = client.shown(), client.shown()
    assert one["token"] != other["token"]
    assert check(one["token"], "client", time.time()).room == RoomKey(b"a" * 32).room
    assert one.keys() == {"v", "role", "token"}
    host = as_host(host_token="a.b.c\n")
    shown = host.shown()
    assert (shown["role"], shown["host_token"]) == ("host", "a.b.c")
    assert check(shown["token"], "host", time.time()).instance == host.instance


@pytest.mark.parametrize("token", [7, "x" * 5000, "\N{SNOWMAN}", "x" * 1_000_000])
def test_what_is_no_token_is_not_even_sent(token: object) -> None:
    with pytest.raises(InvalidField, match="'host_token': no token; one is text of at most 4096 characters"):
        as_host(host_token=token)


@pytest.mark.parametrize("field", ["relay", "link_secret", "host_key"])
def test_what_is_needed_is_named(field: str) -> None:
    with pytest.raises(InvalidField, match=f"'{field}'"):
        as_host(**{field: None})


def test_no_secret_is_shown() -> None:
    host = as_host(host_token="a.b.c")
    assert "a.b.c" not in repr(host)
    assert FIELDS["link_secret"] not in repr(host)


@pytest.mark.parametrize(
    ("refused", "kind", "text"),
    [
        (Refused(refusals.VERSION, "another version"), ConfigurationError, "refuses this host: another version"),
        (Refused(refusals.TOKEN, "bad"), ConfigurationError, "refuses this host: bad"),
        (Refused(refusals.HOST_TOKEN, "bad"), InvalidField, "'host_token': the relay at .* refuses it: bad"),
        (Refused(refusals.CONFLICT, "another"), AddressInUse, "has another host for this kernel"),
        (Refused(refusals.FULL, "full"), ConnectionLost, "just now: full"),
        (Refused(refusals.RATE, "slowly"), ConnectionLost, "just now: slowly"),
        (Refused(refusals.CLOCK, "early", 5.0), ConnectionLost, "just now: early"),
        (Refused("of next year", "so"), ConnectionLost, "just now: so"),
    ],
)
def test_each_refusal_has_its_meaning(refused: Refused, kind: type[KernelwireError], text: str) -> None:
    error = as_host()._explain(refused)
    assert type(error) is kind
    with pytest.raises(kind, match=text):
        raise error


async def test_a_clock_that_is_wrong_is_no_matter(open_scene: OpenScene) -> None:
    for ahead in (-90_000, 90_000):
        scene = await open_scene(clock=lambda ahead=ahead: time.time() + ahead)
        listener = await scene.listen()
        scene.backend = SocketioBackend()  # which has not met this relay yet
        with pytest.raises(ConnectionLost, match="do the clocks differ"):
            await scene.dial()
        await (await scene.dial()).send(b"hello")
        assert await (await listener.accept()).receive() == b"hello"


def forged(**changes: Any) -> Any:
    def forge(key: RoomKey, role: Any, **more: Any) -> Any:
        if "key" in changes:
            key = RoomKey(changes["key"])
        token = mint(key, role, **{**more, **{k: v for k, v in changes.items() if k in ("now", "host")}})
        return changes.get("token", token)

    return forge


@pytest.mark.parametrize(
    ("forge", "text"),
    [
        (forged(token=None), "there is none"),
        (forged(token="x" * 10_000), "longer than 4096 characters"),
        (forged(token="a.b.c"), "it is no token"),
        (forged(now=0), "has expired"),
        (forged(now=10**10), "not valid yet"),
    ],
)
async def test_one_line_says_what_is_wrong(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, forge: Any, text: str
) -> None:
    monkeypatch.setattr(dialling, "mint", forge)
    async with asyncio.timeout(30):
        with pytest.raises(KernelwireError, match=text) as error:
            await scene.dial()
    assert "\n" not in str(error.value)
    assert scene.url in str(error.value)


async def test_a_megabyte_ends_the_connection(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "mint", forged(token="x" * 1_000_000))
    async with asyncio.timeout(30):
        with pytest.raises(ConnectionLost):
            await scene.dial()
    assert scene.relay.counts.dropped == {"too much to join": 1}


async def test_a_relay_of_another_version(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "VERSION", VERSION + 1)
    with pytest.raises(ConfigurationError, match=f"the relay speaks version {VERSION} of its protocol"):
        await scene.dial()
