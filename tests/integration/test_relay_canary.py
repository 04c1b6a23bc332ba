"""What passes through a relay is nowhere in it: not on its wires, not in its logs, its metrics or its memory."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from integration._relays import RelayProcess
from kernelwire import registry
from kernelwire.client import connect
from kernelwire.connection import ConnectionInfo
from kernelwire.session import Session
from kernelwire.testing import Run, ScriptedKernel
from kernelwire.ticket import key_of
from kernelwire_socketio.host_tokens import issue, new_key, read_private

TEXT = f"a canary {secrets.token_hex(8)}"
KEY = f"key-{secrets.token_hex(16)}".encode()


def unmasked(stream: bytes) -> bytes:
    """What a client has sent over a websocket, without the mask that makes every byte look like any other."""
    at = stream.index(b"\r\n\r\n") + 4
    found = bytearray(stream[:at])
    while at + 6 <= len(stream):
        size, at = stream[at + 1] & 0x7F, at + 2
        if size == 126:
            size, at = int.from_bytes(stream[at : at + 2], "big"), at + 2
        elif size == 127:
            size, at = int.from_bytes(stream[at : at + 8], "big"), at + 8
        mask, at = stream[at : at + 4], at + 4
        found += bytes(byte ^ mask[place % 4] for place, byte in enumerate(stream[at : at + size]))
        at += size
    return bytes(found)


@asynccontextmanager
async def recorded(port: int, record: bytearray) -> AsyncIterator[int]:
    """A port that leads to another; what passes is kept."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, masked: bool) -> None:
        passed = bytearray()
        while data := await reader.read(65536):
            passed += data
            writer.write(data)
            await writer.drain()
        writer.close()
        record.extend(unmasked(bytes(passed)) if masked else passed)

    tasks: set[asyncio.Task[object]] = set()

    async def lead(near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        far, far_out = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(near, far_out, masked=True), copy(far, near_out, masked=False))

    server = await asyncio.start_server(lead, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def memory_of(pid: int) -> Iterator[bytes]:
    """What a process can write to, piece by piece."""
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode = line.split()[:2]
            if not mode.startswith("rw") or "[v" in line:
                continue
            start, end = (int(each, 16) for each in span.split("-"))
            try:
                memory.seek(start)
                yield memory.read(end - start)
            except OSError:
                continue


def forms(secret: bytes) -> list[bytes]:
    """How a secret could stand somewhere: plain, or in one of the usual clothes."""
    inner = [encode(secret[at:])[4:-8] for at in range(3) for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    return [secret, secret.hex().encode(), secret.decode("latin-1").encode("utf-16-le"), *inner]


async def script(run: Run) -> None:
    await run.stream(f"{TEXT} printed {run.code}\n")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="memory of another process is not to be had here")
async def test_a_canary_is_nowhere(tmp_path: Path) -> None:
    private, public = new_key()
    (tmp_path / "public.pem").write_bytes(public)
    token = issue(read_private(private, "a file"), valid=600)
    record = bytearray()
    with RelayProcess(tmp_path, "--host-key", str(tmp_path / "public.pem")) as relay:
        async with recorded(int(relay.url.rsplit(":", 1)[1]), record) as port:
            backend = registry.load("socketio")
            url = f"http://127.0.0.1:{port}"
            fields = {"relay": url, "host_token": token}
            info = backend.prepare(ConnectionInfo(transport="socketio", key=KEY, extra=fields))
            async with (
                await backend.serve(info) as kernel_end,
                ScriptedKernel(kernel_end, Session.of(info), script),
                connect(backend.for_clients(info)) as client,
            ):
                await client.ready(60)
                for number in range(50):
                    result = await client.execute(f"{TEXT} {number}")
                    assert TEXT in result.outputs[0].content["text"]
                memory = list(memory_of(relay.pid))
            metrics = str(relay.metrics())
        log = relay.log.read_text()
    needles = [TEXT.encode(), KEY, key_of(info, "link_secret"), key_of(info, "host_private_key"), private]
    assert len(record) > 50 * len(TEXT)
    assert sum(map(len, memory)) > 10_000_000
    # What it does know, so that a search that finds nothing means something.
    assert any(token.encode() in piece for piece in memory)
    assert token.encode() in record
    for needle in needles:
        for form in forms(needle):
            assert form not in record
            assert not any(form in piece for piece in memory)
    for text in (log, metrics):
        assert token not in text
        assert not any(form.decode("latin-1") in text for needle in needles for form in forms(needle))
