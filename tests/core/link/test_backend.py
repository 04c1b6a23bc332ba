"""A backend of pipes: what its author writes, what it asks of a connection, and what becomes of keys."""

from collections.abc import Collection

import pytest

from kernelwire.backend import Backend
from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import InvalidField, InvalidIdentity, NotSupported, Undelivered
from kernelwire.link import seal
from kernelwire.link.backend import PipeBackend
from kernelwire.link.pipe import Pipe
from kernelwire.ticket import key_of, key_text

from ._pipes import INFO, MemoryBackend, joined, message, texts

KEYS = ("link_secret", "host_key", "host_private_key")


class ClientOnly(PipeBackend):
    async def open_pipe(self, info: ConnectionInfo) -> Pipe:
        raise AssertionError("nobody has asked for that")


async def test_an_author_owes_one_method_for_a_client_and_one_more_for_a_host() -> None:
    assert PipeBackend.__abstractmethods__ == {"open_pipe"}
    backend = ClientOnly()
    assert isinstance(backend, Backend)
    with pytest.raises(NotSupported, match="'mine' has no kernel end"):
        await backend.serve(backend.prepare(ConnectionInfo(transport="mine")))
    assert backend.room(ConnectionInfo()) == b""


def test_what_it_claims() -> None:
    claims = PipeBackend.capabilities
    assert (claims.gap_notice, claims.resume, claims.encrypted, claims.peer_events, claims.beat) == (
        (True,) * 4 + ("kernel",)
    )


# Keys


def test_a_new_kernel_gets_keys_that_belong_together() -> None:
    backend = ClientOnly()
    info, other = (backend.prepare(ConnectionInfo(transport="mine", ip="there", key=b"k")) for _ in range(2))
    assert seal.public_key(key_of(info, "host_private_key")) == key_of(info, "host_key")
    assert all(key_of(info, name) != key_of(other, name) for name in KEYS)
    assert (info.ip, info.key, info.transport) == ("there", b"k", "mine")


def test_what_is_set_already_stays() -> None:
    backend = ClientOnly()
    info = backend.prepare(ConnectionInfo(transport="mine"))
    assert backend.prepare(info) == info
    clients = backend.for_clients(info)
    assert backend.prepare(clients) == clients  # a client's end makes no new host of it


def test_clients_never_see_what_only_the_host_may_know() -> None:
    backend = ClientOnly()
    curve_key = b"0" * 40
    info = backend.prepare(ConnectionInfo(transport="mine", curve_secretkey=curve_key, extra={"note": "kept"}))
    clients = backend.for_clients(info)
    assert set(info.to_dict()) - set(clients.to_dict()) == {"host_private_key", "curve_secretkey"}
    assert clients.extra["note"] == "kept"


BAD = {
    "missing": None,
    "no text": 12,
    "no base64url": "?" * 43,
    "too short": "A" * 42,
    "too long": "A" * 44,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("field", ["link_secret", "host_key"])
async def test_a_bad_key_is_refused_before_anything_is_dialled(field: str, bad: object) -> None:
    extra = {**INFO.extra, field: bad}
    if bad is None:
        del extra[field]
    with pytest.raises(InvalidField, match=field) as caught:
        await ClientOnly().connect(INFO.replace(extra=extra), identity=b"me")
    assert str(bad) not in str(caught.value) or bad in (None, 12)


@pytest.mark.parametrize("since", [-1, "0", 1.0, True, 2**64])
async def test_a_beginning_that_cannot_be_is_refused(since: object) -> None:
    with pytest.raises(InvalidField, match="since"):
        await ClientOnly().connect(INFO.replace(since=since), identity=b"me")


async def test_a_client_may_begin_with_what_was_published_before_it_came() -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        for text in ("first", "second"):
            await kernel.iopub.send(message(text))
        async with await backend.connect(INFO.replace(since=1), identity=b"me") as end:
            assert (await end.iopub.receive()).frames == message("second").frames


async def test_a_host_key_that_nobody_can_have_is_refused() -> None:
    info = INFO.replace(host_key=key_text(bytes(32)))
    with pytest.raises(InvalidField, match="host_key"):
        await ClientOnly().connect(info, identity=b"me")


@pytest.mark.parametrize("field", ["link_secret", "host_private_key"])
async def test_a_bad_key_is_refused_before_anybody_listens(field: str) -> None:
    backend = MemoryBackend()
    for bad in (None, "?", "A" * 42):
        with pytest.raises(InvalidField, match=field):
            await backend.serve(INFO.replace(**{field: bad}))
    assert backend.network.closed == 0


@pytest.mark.parametrize("identity", [b"", b"\0me", b"x" * 65])
async def test_an_identity_that_cannot_be_is_refused(identity: bytes) -> None:
    with pytest.raises(InvalidIdentity):
        await ClientOnly().connect(INFO, identity=identity)


# Channels


@pytest.mark.parametrize("channels", [frozenset(Channel), {Channel.CONTROL}])
async def test_it_may_open_more_channels_than_it_is_asked_for(channels: Collection[Channel]) -> None:
    async with await MemoryBackend().connect(INFO, identity=b"me", channels=channels) as end:
        assert end.channels >= frozenset(channels)
        await end.narrow(channels)
        assert end.channels == frozenset(channels)


async def test_two_rooms_behind_one_intermediary_are_not_mixed_up() -> None:
    class Rooms(MemoryBackend):
        def room(self, info: ConnectionInfo) -> bytes:
            return str(info.extra.get("room")).encode()

    backend = Rooms()
    right, wrong = INFO.replace(room="right"), INFO.replace(room="wrong")
    async with await backend.serve(right) as kernel, await backend.connect(right, identity=b"a") as client:
        stray = await backend.connect(wrong, identity=b"b")
        await stray.shell.send(message("not for this kernel"))
        await client.shell.send(message("for this one"))
        assert await texts(kernel.shell, 1) == ["for this one"]
        await backend.network.dialled(4)
        with pytest.raises(Undelivered):
            await stray.aclose()


async def test_settings_are_the_backends_to_choose() -> None:
    class Small(MemoryBackend):
        log_limit = 10_000

    async with joined(Small()) as (_, kernel, client):
        await kernel.iopub.send(message("one larger than the log", size=50_000))
        assert await texts(client.iopub, 1) == ["one larger than the log"]
