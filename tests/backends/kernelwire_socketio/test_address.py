"""Where a relay is, and what people are told when it is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from integration._certificates import Certificates
from integration._relay_scenes import OpenScene, Scene
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ConnectionLost, InvalidField, KernelwireError, NotServed
from kernelwire_socketio.address import Address


def address(relay: Any, **fields: Any) -> Address:
    return Address.of(ConnectionInfo(transport="socketio", extra={"relay": relay, **fields}))


@pytest.mark.parametrize(
    ("relay", "origin", "path"),
    [
        ("http://127.0.0.1:7171", "http://127.0.0.1:7171", "socket.io"),
        ("https://relay.example", "https://relay.example", "socket.io"),
        ("https://relay.example/", "https://relay.example", "socket.io"),
        ("wss://relay.example:8443/kernels/", "https://relay.example:8443", "kernels/socket.io"),
        ("ws://[::1]:80/a/b", "http://[::1]:80", "a/b/socket.io"),
    ],
)
def test_addresses_are_read(relay: str, origin: str, path: str) -> None:
    read = address(relay)
    assert (read.origin, read.path) == (origin, path)


@pytest.mark.parametrize(
    ("relay", "problem"),
    [
        (None, "missing"),
        (7, "no address"),
        ("", "begins with https://"),
        ("relay.example", "begins with https://"),
        ("localhost:7171", "begins with https://"),
        ("ftp://relay.example", "begins with https://"),
        ("https://", "begins with https://"),
        ("https://relay.example:99999", "no address"),
        ("https://relay.example:x", "no address"),
        ("https://[::1", "no address"),
        ("https://relay.example:0", "begins with https://"),
        ("https://relay example", "no address"),
        ("https://relay.example\n", "no address"),
        ("https://user:word@relay.example", "a name and a password"),
        ("https://relay.example/?token=x", "a query"),
    ],
)
def test_other_texts_are_none(relay: object, problem: str) -> None:
    with pytest.raises(InvalidField, match=f"^connection field 'relay': .*{problem}") as error:
        address(relay)
    assert "word" not in str(error.value).replace("password", "")


def test_it_is_known_which_is_on_this_machine() -> None:
    assert all(address(f"http://{host}:1").is_local for host in ("127.0.0.1", "localhost", "[::1]", "127.1.2.3"))
    assert not any(address(f"http://{host}:1").is_local for host in ("relay.example", "10.0.0.1", "localhost.example"))


@pytest.mark.parametrize("ca", [7, "", "/nowhere/at/all", __file__])
def test_certificates_must_be_some(ca: object) -> None:
    with pytest.raises(InvalidField, match="'relay_ca'"):
        address("https://relay.example", relay_ca=ca).ssl_context()


async def problem_of(scene: Scene, relay: str, **fields: Any) -> KernelwireError:
    with pytest.raises(KernelwireError) as error:
        await scene.dial(relay=relay, **fields)
    text = str(error.value)
    assert "\n" not in text
    assert relay.rstrip("/") in text
    return error.value


async def test_nobody_listens(scene: Scene, unused_tcp_port: int) -> None:
    error = await problem_of(scene, f"http://127.0.0.1:{unused_tcp_port}")
    assert isinstance(error, ConnectionLost)
    assert str(error).endswith("cannot be reached: Connection refused")


async def test_there_is_no_such_host(scene: Scene) -> None:
    error = await problem_of(scene, "http://no-such-host.invalid")
    assert isinstance(error, ConnectionLost)


async def test_it_is_somewhere_else(scene: Scene) -> None:
    error = await problem_of(scene, f"{scene.url}/somewhere/else")
    assert isinstance(error, NotServed)
    assert str(error).endswith("no relay answers there (HTTP 404); check the address")


@asynccontextmanager
async def another_server(status: int) -> AsyncIterator[str]:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status)

    server = web.Server(answer)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await server.shutdown(0.1)
        await listening.wait_closed()


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (200, NotServed, "without websockets; check the address, or the proxy"),
        (400, NotServed, r"no relay answers there \(HTTP 400\); .* a proxy in between that passes no websockets"),
        (401, NotServed, r"no relay answers there \(HTTP 401\)"),
        (429, ConnectionLost, "just now"),
        (502, ConnectionLost, "just now"),
        (503, ConnectionLost, "just now"),
    ],
)
async def test_something_else_answers(scene: Scene, status: int, kind: type[Exception], text: str) -> None:
    async with another_server(status) as url:
        with pytest.raises(kind, match=text):
            await scene.dial(relay=url)


async def test_it_speaks_something_else(scene: Scene) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    await problem_of(scene, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    server.close()


async def test_a_relay_that_was_there_is_only_away(scene: Scene) -> None:
    await scene.listen()
    await scene.dial()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kernelwire_socketio.relay.server.PATH", "/moved/")
        with pytest.raises(ConnectionLost, match="HTTP 404"):
            await scene.dial()


async def test_tls_with_a_private_authority(open_scene: OpenScene, certificates: Certificates) -> None:
    scene = await open_scene(tls=certificates.context())
    assert scene.url.startswith("https://")
    listener = await scene.listen(relay_ca=str(certificates.authority))
    await (await scene.dial(relay_ca=str(certificates.authority))).send(b"hello")
    assert await (await listener.accept()).receive() == b"hello"


async def test_tls_that_nobody_vouches_for(open_scene: OpenScene, certificates: Certificates, tmp_path: Path) -> None:
    scene = await open_scene(tls=certificates.context())
    with pytest.raises(NotServed, match="certificate is not trusted: "):
        await scene.dial()
    other = Certificates(tmp_path / "other")
    with pytest.raises(NotServed, match="certificate is not trusted: "):
        await scene.dial(relay_ca=str(other.authority))


async def test_tls_for_another_name(open_scene: OpenScene, tmp_path: Path) -> None:
    other = Certificates(tmp_path / "other", address="127.0.0.9")
    scene = await open_scene(tls=other.context())
    with pytest.raises(NotServed, match=r"certificate is not trusted: .*not valid for"):
        await scene.dial(relay_ca=str(other.authority))


async def test_tls_that_has_expired(open_scene: OpenScene, tmp_path: Path) -> None:
    expired = Certificates(tmp_path / "expired", days=-1)
    scene = await open_scene(tls=expired.context())
    with pytest.raises(NotServed, match="certificate is not trusted: certificate has expired"):
        await scene.dial(relay_ca=str(expired.authority))


async def test_tls_where_there_is_none(scene: Scene) -> None:
    error = await problem_of(scene, scene.url.replace("http:", "https:"))
    assert isinstance(error, NotServed)
    assert "is it http:// there?" in str(error)


async def test_none_where_there_is_tls(open_scene: OpenScene, certificates: Certificates) -> None:
    scene = await open_scene(tls=certificates.context())
    await problem_of(scene, scene.url.replace("https:", "http:"))
