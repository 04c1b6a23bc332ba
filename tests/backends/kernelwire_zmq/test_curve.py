"""Encryption with the keys of the connection file."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import zmq

from kernelwire.connection import ConnectionInfo
from kernelwire.ends import KernelEnd
from kernelwire.errors import InvalidField, NoBeat, NotSupported
from kernelwire.messages import WireMessage
from kernelwire_zmq import ZmqBackend, curve

PUBLIC, SECRET = zmq.curve_keypair()
OTHER_PUBLIC, OTHER_SECRET = zmq.curve_keypair()
FRAMES = [b"signature", b"{}", b"{}", b"{}", b"{}"]

pytestmark = pytest.mark.skipif(not zmq.has("curve"), reason="this libzmq has no CURVE")


@pytest.fixture
def secured(info: ConnectionInfo) -> ConnectionInfo:
    return info.replace(curve_publickey=PUBLIC, curve_secretkey=SECRET)


@pytest.fixture
async def kernel(backend: ZmqBackend, secured: ConnectionInfo) -> AsyncIterator[KernelEnd]:
    async with await backend.serve(secured) as end:
        yield end


@pytest.mark.parametrize(
    "keys",
    [{}, {"curve_secretkey": None}, {"curve_publickey": None}],
    ids=["both keys", "only the public key", "only the secret key"],
)
async def test_who_has_read_the_file_gets_in(
    backend: ZmqBackend, secured: ConnectionInfo, kernel: KernelEnd, keys: dict[str, None]
) -> None:
    async with await backend.connect(secured.replace(**keys), identity=b"me") as client:
        await client.shell.send(WireMessage(FRAMES))
        request = await kernel.shell.receive()
        assert request.frames == FRAMES
        await kernel.shell.send(WireMessage(FRAMES, request.peer))
        assert (await client.shell.receive()).frames == FRAMES
        await client.iopub.ready()
        assert await client.heartbeat.beat(10) > 0


@pytest.mark.parametrize(
    "keys",
    [
        {"curve_publickey": None, "curve_secretkey": None},
        {"curve_publickey": OTHER_PUBLIC, "curve_secretkey": OTHER_SECRET},
        {"curve_publickey": OTHER_PUBLIC, "curve_secretkey": None},
    ],
    ids=["none", "another pair", "another public key"],
)
async def test_nobody_else_does(
    backend: ZmqBackend, secured: ConnectionInfo, kernel: KernelEnd, keys: dict[str, bytes | None]
) -> None:
    async with (
        await backend.connect(secured.replace(**keys), identity=b"thief") as thief,
        await backend.connect(secured, identity=b"me") as client,
    ):
        await thief.shell.send(WireMessage(FRAMES))
        with pytest.raises(NoBeat):
            await thief.heartbeat.beat(0.3)
        await client.shell.send(WireMessage(FRAMES))
        await client.iopub.ready()
        assert (await kernel.shell.receive()).peer == b"me"
        await kernel.iopub.send(WireMessage(FRAMES))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await thief.iopub.receive()
                pytest.fail("read without the key")


@pytest.mark.parametrize("open_end", ["connect", "serve"])
async def test_mismatching_pair(backend: ZmqBackend, secured: ConnectionInfo, open_end: str) -> None:
    info = secured.replace(curve_publickey=OTHER_PUBLIC)
    with pytest.raises(InvalidField) as caught:
        await (backend.connect(info, identity=b"me") if open_end == "connect" else backend.serve(info))
    assert caught.value.field == "curve_publickey"
    shows_no_key(caught.value, OTHER_PUBLIC, PUBLIC, SECRET)


async def test_a_kernel_needs_the_secret_key(backend: ZmqBackend, secured: ConnectionInfo) -> None:
    with pytest.raises(InvalidField) as caught:
        await backend.serve(secured.replace(curve_secretkey=None))
    assert caught.value.field == "curve_secretkey"
    shows_no_key(caught.value, PUBLIC)


@pytest.mark.parametrize("field", ["curve_publickey", "curve_secretkey"])
@pytest.mark.parametrize("key", [SECRET[:39], SECRET[:39] + b"~", SECRET + b"x"], ids=["39", "not Z85", "41"])
def test_no_key(field: str, key: bytes) -> None:
    with pytest.raises(InvalidField) as caught:
        ConnectionInfo(**{field: key})  # type: ignore[arg-type]
    assert caught.value.field == field
    shows_no_key(caught.value, key)


@pytest.mark.parametrize("apply", [curve.as_client, curve.as_server])
def test_a_refusal_by_libzmq_shows_no_key(
    apply: object, monkeypatch: pytest.MonkeyPatch, context: "zmq.Context[zmq.Socket[bytes]]"
) -> None:
    def refuse(_: bytes) -> bytes:
        raise zmq.ZMQError(zmq.EINVAL)

    monkeypatch.setattr(zmq, "curve_public", refuse)
    info = ConnectionInfo(curve_publickey=PUBLIC, curve_secretkey=SECRET)
    with pytest.raises(InvalidField) as caught:
        apply(context.socket(zmq.DEALER), info)  # type: ignore[operator]
    assert caught.value.field == "curve_secretkey"
    shows_no_key(caught.value, PUBLIC, SECRET)


def test_libzmq_without_curve(monkeypatch: pytest.MonkeyPatch, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    monkeypatch.setattr(zmq, "has", lambda _: False)
    socket = context.socket(zmq.DEALER)
    with pytest.raises(InvalidField, match="libsodium"):
        curve.as_client(socket, ConnectionInfo(curve_publickey=PUBLIC))


def test_keys_for_a_new_kernel(info: ConnectionInfo) -> None:
    made = [curve.with_keys(info) for _ in range(2)]
    for each in made:
        assert each.curve_secretkey is not None
        assert zmq.curve_public(each.curve_secretkey) == each.curve_publickey
        assert each.replace(curve_publickey=None, curve_secretkey=None) == info
        assert curve.with_keys(each) is each
    assert made[0].curve_secretkey != made[1].curve_secretkey
    only_public = info.replace(curve_publickey=PUBLIC)
    assert curve.with_keys(only_public) is only_public


def test_no_keys_from_a_libzmq_without_curve(monkeypatch: pytest.MonkeyPatch, backend: ZmqBackend) -> None:
    monkeypatch.setattr(zmq, "has", lambda _: False)
    with pytest.raises(NotSupported, match="libsodium"):
        backend.encrypt(ConnectionInfo())


def test_no_keys_no_encryption(context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    socket = context.socket(zmq.DEALER)
    curve.as_client(socket, ConnectionInfo())
    curve.as_server(socket, ConnectionInfo())
    assert socket.getsockopt(zmq.MECHANISM) == zmq.NULL


def shows_no_key(error: BaseException, *keys: bytes) -> None:
    links: list[BaseException] = [error]
    while (
        link := links[-1].__cause__ or (None if links[-1].__suppress_context__ else links[-1].__context__)
    ) is not None:
        links.append(link)
    for link in links:
        assert not [key for key in keys if key.decode("latin-1") in f"{link} {link!r}"]
