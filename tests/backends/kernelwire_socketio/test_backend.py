"""The backend: its fields, and real clients through a real relay process."""

import asyncio
from collections.abc import Callable

import pytest

from integration._relays import RelayProcess
from kernelwire import registry
from kernelwire.bridging import open_bridge
from kernelwire.client import connect
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ConfigurationError, InvalidField, TransportUnavailable
from kernelwire.session import Session
from kernelwire.testing import Run, ScriptedKernel
from kernelwire.ticket import PRIVATE_FIELDS, decode, encode, key_of
from kernelwire_socketio import SocketioBackend
from kernelwire_socketio.backend import VARIABLE
from kernelwire_socketio.rooms import RoomKey

BACKEND = SocketioBackend()
INFO = ConnectionInfo(transport="socketio", key=b"a key", extra={"relay": "https://relay.example"})


def test_a_new_kernel_gets_its_keys() -> None:
    info = BACKEND.prepare(INFO)
    assert {"link_secret", "host_key", "host_private_key"} <= set(info.extra)
    assert BACKEND.prepare(info) == info
    assert BACKEND.room(info) == RoomKey(key_of(info, "link_secret")).room


def test_the_environment_knows_a_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "https://other.example")
    assert BACKEND.prepare(ConnectionInfo(transport="socketio")).extra["relay"] == "https://other.example"
    assert BACKEND.prepare(INFO).extra["relay"] == "https://relay.example"
    monkeypatch.setenv(VARIABLE, "nonsense")
    with pytest.raises(InvalidField, match="'relay': no address"):
        BACKEND.prepare(ConnectionInfo(transport="socketio"))
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(InvalidField, match="'relay': missing"):
        BACKEND.prepare(ConnectionInfo(transport="socketio"))


def test_clients_get_no_secret_of_the_host() -> None:
    info = BACKEND.for_clients(BACKEND.prepare(INFO.replace(host_token="a.b.c")))
    assert not set(PRIVATE_FIELDS) & set(info.extra)
    assert decode(encode(info)).info == info


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util
    import sys

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "socketio" else real(name))
    monkeypatch.delitem(sys.modules, "kernelwire_socketio.backend")
    with pytest.raises(TransportUnavailable, match=r"pip install 'kernelwire\[socketio\]'"):
        registry.load("socketio")


@pytest.mark.parametrize(
    ("field", "value"), [("relay", None), ("relay", "nonsense"), ("link_secret", "short"), ("host_key", None)]
)
async def test_fields_that_cannot_be_used(field: str, value: object) -> None:
    info = BACKEND.prepare(INFO).replace(**{field: value})
    with pytest.raises(ConfigurationError, match=f"'{field}'"):
        async with connect(info) as client:
            await client.ready(60)


async def script(run: Run) -> None:
    if run.code == "count":
        for number in range(100):
            await run.stream(f"{number}\n")
    elif run.code == "ask":
        await run.stream(await run.input("name? "))


async def test_a_bridge_makes_a_kernel_reachable(relay_process: RelayProcess) -> None:
    near = registry.load("tcp").prepare(ConnectionInfo(transport="tcp", key=b"near"))
    far = ConnectionInfo(transport="socketio", key=b"far", extra={"relay": relay_process.url})
    async with (
        await registry.load("tcp").serve(near) as kernel_end,
        ScriptedKernel(kernel_end, Session.of(near), script),
        open_bridge(near, far) as served,
    ):
        info = BACKEND.for_clients(served)
        async with connect(info) as client, connect(info) as other:
            assert (await client.ready(60)).content["status"] == "ok"
            await other.ready(60)
            result = await client.execute("count")
            text = "".join(output.content["text"] for output in result.outputs)
            assert text == "".join(f"{number}\n" for number in range(100))


def test_two_loops_one_after_the_other(new_relay_process: Callable[..., RelayProcess]) -> None:
    relay = new_relay_process()
    info = BACKEND.prepare(INFO.replace(relay=relay.url))

    async def once() -> None:
        async with (
            await BACKEND.serve(info) as kernel_end,
            ScriptedKernel(kernel_end, Session.of(info), script),
            connect(BACKEND.for_clients(info)) as client,
        ):
            await client.ready(60)

    for _ in range(2):
        asyncio.run(once())
    assert len(relay.lines("joined")) == 4
