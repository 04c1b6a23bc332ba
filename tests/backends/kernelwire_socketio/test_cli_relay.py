"""The command: a real relay process, and everything that it refuses to begin with."""

import asyncio
import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from integration._certificates import Certificates
from integration._relays import RelayProcess, until
from kernelwire.cli import OK, UNUSABLE, main
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ConfigurationError
from kernelwire_socketio import SocketioBackend, cli_relay
from kernelwire_socketio.host_tokens import issue, new_key, read_private
from kernelwire_socketio.relay.limits import Limits

NewRelay = Callable[..., RelayProcess]


@pytest.fixture
def operator(tmp_path: Path) -> tuple[Path, Path]:
    """A private and a public key, in files."""
    private, public = tmp_path / "operator.pem", tmp_path / "operator.pem.pub"
    for path, data in zip((private, public), new_key(), strict=True):
        path.write_bytes(data)
    return private, public


async def passes(info: ConnectionInfo) -> None:
    """Something gets through."""
    backend = SocketioBackend()
    info = backend.prepare(info)
    listener = await backend.listen(info)
    client = await backend.open_pipe(backend.for_clients(info))
    host = await listener.accept()
    await client.send(b"hello")
    assert await host.receive() == b"hello"
    for each in (client, host, listener):
        await each.aclose()


def info(relay: RelayProcess, **fields: str) -> ConnectionInfo:
    return ConnectionInfo(transport="socketio", extra={"relay": relay.url, **fields})


def test_on_this_machine_it_needs_nothing(new_relay_process: NewRelay) -> None:
    relay = new_relay_process()
    assert relay.url.startswith("http://127.0.0.1:")
    asyncio.run(passes(info(relay)))
    assert [line["event"] for line in relay.lines()][:3] == ["started", "joined", "joined"]


def test_the_address_is_printed(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kernelwire.cli", "relay", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=60) as answer:
            assert answer.read() == b"ok"
    finally:
        process.terminate()
        rest, _ = process.communicate()
    assert rest == ""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(new_relay_process: NewRelay, signum: int) -> None:
    relay = new_relay_process()
    process = relay.process
    assert process is not None
    os.kill(relay.pid, signum)
    assert process.wait(60) == OK
    relay.process = None
    assert [line["event"] for line in relay.lines()] == ["started", "ending", "ended"]


def test_for_others_it_has_tls_and_wants_tokens(
    new_relay_process: NewRelay, certificates: Certificates, operator: tuple[Path, Path]
) -> None:
    private, public = operator
    relay = new_relay_process(
        *("--host", "0.0.0.0", "--host-key", str(public)),
        *("--tls-cert", str(certificates.certificate), "--tls-key", str(certificates.key)),
    )
    port = relay.url.rsplit(":", 1)[1]
    assert relay.url == f"https://{socket.gethostname()}:{port}"
    token = issue(read_private(private.read_bytes(), "a file"), valid=60)
    there = ConnectionInfo(
        transport="socketio", extra={"relay": f"https://127.0.0.1:{port}", "relay_ca": str(certificates.authority)}
    )
    asyncio.run(passes(there.replace(host_token=token)))
    for _ in range(5):
        with pytest.raises(ConfigurationError, match="a host token is needed"):
            asyncio.run(passes(there))
    gc.collect()  # a socket that outlives its loop is a warning, and so an error


def test_keys_may_come_from_the_environment(new_relay_process: NewRelay, operator: tuple[Path, Path]) -> None:
    private, public = operator
    relay = new_relay_process(**{cli_relay.KEYS: public.read_text()})
    with pytest.raises(ConfigurationError, match="a host token is needed"):
        asyncio.run(passes(info(relay)))
    asyncio.run(passes(info(relay, host_token=issue(read_private(private.read_bytes(), "a file"), valid=60))))


def test_behind_a_proxy_it_listens_to_what_that_says(new_relay_process: NewRelay, operator: tuple[Path, Path]) -> None:
    relay = new_relay_process("--behind-proxy", "--host-key", str(operator[1]), "--deadline", "1")
    host, port = relay.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.sendall(
            b"GET /socket.io/?transport=websocket&EIO=4 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"X-Forwarded-For: 10.0.0.1\r\n\r\n"
        )
        until(lambda: relay.lines("dropped"))
    assert relay.lines("dropped")[0]["source"] == "10.0.0.1"


def test_limits_may_be_set(new_relay_process: NewRelay) -> None:
    relay = new_relay_process("--clients", "3", "--rate", "1000000", "--stall", "1.5", "--no-metrics")
    limits = json.loads(relay.lines("started")[0]["limits"])
    assert (limits["clients"], limits["rate"], limits["stall"], limits["joins"]) == (3, 1_000_000, 1.5, 0)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        relay.metrics()


def test_every_limit_that_may_be_set_is_one() -> None:
    assert set(cli_relay._LIMITS) <= set(Limits.__dataclass_fields__)


EXPOSED = ("--host", "0.0.0.0")

UNUSABLE_ONES = {
    "exposed": (EXPOSED, "others can connect there, so TLS is needed"),
    "exposed with a key": ((*EXPOSED, "--host-key", "KEY"), "so TLS is needed"),
    "exposed without a key": ((*EXPOSED, "--tls-cert", "CERT", "--tls-key", "CERTKEY"), "a key is needed for who may"),
    "behind a proxy without a key": (("--behind-proxy",), "a key is needed for who may"),
    "any address": (("--host", ""), "no address|TLS is needed"),
    "no such address": (("--host", "no-such-host.invalid"), "no address of this machine"),
    "another machine's": (("--host", "192.0.2.1", "--behind-proxy", "--host-key", "KEY"), "cannot be listened on"),
    "half of TLS": (("--tls-cert", "CERT"), "belong together"),
    "no certificate": (
        ("--tls-cert", "/nowhere", "--tls-key", "CERTKEY"),
        "--tls-cert /nowhere: cannot be read: No such",
    ),
    "another's key": (("--tls-cert", "CERT", "--tls-key", "OTHER"), "cannot be used: key values mismatch"),
    "a certificate that is none": (("--tls-cert", "KEY", "--tls-key", "KEY"), "cannot be used: "),
    "no key": (("--host-key", "/nowhere"), "--host-key /nowhere: cannot be read: No such"),
    "a private key": (("--host-key", "PRIVATE"), "a private key; a relay needs the public one"),
    "a key that is none": (("--host-key", "CERT"), "no public key as|no public key in PEM"),
}


@pytest.mark.parametrize(("arguments", "problem"), UNUSABLE_ONES.values(), ids=UNUSABLE_ONES)
def test_what_it_refuses_to_begin_with(
    arguments: tuple[str, ...],
    problem: str,
    certificates: Certificates,
    operator: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(cli_relay.KEYS, raising=False)
    other = Certificates(tmp_path / "other")
    files = {
        "KEY": operator[1],
        "PRIVATE": operator[0],
        "CERT": certificates.certificate,
        "CERTKEY": certificates.key,
        "OTHER": other.key,
    }
    words = [str(files.get(word, word)) for word in arguments]
    assert main(["relay", "--port", "0", *words]) == UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kernelwire: ")
    assert err.count("\n") == 1
    assert re.search(problem, err), err


def test_a_port_that_is_taken(relay_process: RelayProcess, capsys: pytest.CaptureFixture[str]) -> None:
    port = relay_process.url.rsplit(":", 1)[1]
    assert main(["relay", "--port", port]) == UNUSABLE
    assert f"--port {port}: cannot be listened on" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "65536"),
        ("--port", "x"),
        ("--clients", "0"),
        ("--clients", "many"),
        ("--rate", "-1"),
        ("--deadline", "inf"),
        ("--deadline", "nan"),
        ("--sockets", "1.5"),
    ],
)
def test_numbers_are_looked_at(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["relay", *arguments])
    assert ended.value.code == UNUSABLE
    assert f"argument {arguments[0]}: {arguments[1]}: a number from" in capsys.readouterr().err


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli_relay, "find_spec", lambda name: None)
    assert main(["relay", "--port", "0"]) == UNUSABLE
    assert "pip install 'kernelwire[relay]'" in capsys.readouterr().err
