"""`serve` on every transport, for clients of ours and of others."""

import asyncio
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_core.utils import ensure_event_loop

from kernelwire import registry
from kernelwire.client import connect
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile
from kernelwire.errors import AddressInUse, InvalidKernel, LocalError, NotServed, UnknownTransport
from kernelwire.execution import InputRequest
from kernelwire.serving import Run, serve

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
PATIENCE = 60


class Shouts:
    async def execute(self, code: str, run: Run) -> str:
        await run.stream(code)
        if code == "ask":
            return await run.input("name? ")
        if code == "fail":
            raise LookupError("as asked")
        return code.upper()

    async def complete(self, code: str, cursor_pos: int) -> dict[str, object]:
        return {"matches": [code + "!"], "cursor_start": 0}


async def ada(_question: InputRequest) -> str:
    return "Ada"


@pytest.fixture
def pipes(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a transport of pipes: the one of the examples."""
    spec = importlib.util.spec_from_file_location("tcp_pipe_backend", EXAMPLES / "tcp_pipe_backend.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda name: module.TcpPipeBackend() if name == "pipes" else load(name))
    return "pipes"


@pytest.mark.parametrize("transport", ["tcp", "ipc", "inprocess", "pipes"])
@pytest.mark.usefixtures("pipes")
async def test_a_client_of_ours(transport: str) -> None:
    async with serve(Shouts(), transport) as info:
        assert info.key
        assert "host_private_key" not in info.extra
        async with connect(info, input_hook=ada) as client:
            await client.ready(PATIENCE)
            result = await client.execute("hello")
            assert (result.text, result.data) == ("hello", {"text/plain": "HELLO"})
            assert (await client.execute("ask")).data == {"text/plain": "Ada"}
            assert (await client.execute("fail")).status == "error"
            assert (await client.complete("he")).content["matches"] == ["he!"]


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_a_client_of_jupyter(transport: str) -> None:
    def use(client: BlockingKernelClient) -> list[object]:
        client.wait_for_ready(timeout=PATIENCE)
        shown: list[object] = []

        def show(message: dict[str, Any]) -> None:
            if message["msg_type"] in ("stream", "execute_result", "error"):
                shown.append(message["content"].get("text") or message["content"].get("data"))

        shown.append(client.execute_interactive("hello", output_hook=show, timeout=PATIENCE)["content"]["status"])
        answer = {"stdin_hook": lambda _: client.input("Ada")}
        reply = client.execute_interactive("ask", allow_stdin=True, output_hook=show, timeout=PATIENCE, **answer)
        shown.append(reply["content"]["execution_count"])
        shown.append(client.complete("he", reply=True, timeout=PATIENCE)["content"]["matches"])
        shown.append(client.is_alive())
        client.shutdown(reply=True, timeout=PATIENCE)
        return shown

    service = serve(Shouts(), transport)
    async with service as info:
        assert await _with_stock_client(info, use) == [
            *("hello", {"text/plain": "HELLO"}, "ok"),
            *("ask", {"text/plain": "Ada"}, 2),
            ["he!"],
            True,
        ]
        await service.wait()


async def _with_stock_client(info: ConnectionInfo, use: Callable[[BlockingKernelClient], Any]) -> Any:
    def run() -> Any:
        context = zmq.Context()
        client = BlockingKernelClient(context=context)
        client.load_connection_info(cast("Any", info.to_dict()))
        client.hb_channel.time_to_dead = 20.0  # with a second, a kernel on a busy machine looks dead
        client.start_channels()
        try:
            return use(client)
        finally:
            client.stop_channels()
            context.term()
            ensure_event_loop().close()

    return await asyncio.to_thread(run)


async def test_by_way_of_a_connection_file(tmp_path: Path) -> None:
    async with serve(Shouts(), ConnectionInfo(transport="ipc", kernel_name="shouts")) as info:
        assert info.kernel_name == "shouts"
        with ConnectionFile.write(info, tmp_path / "kernel.json") as file:
            async with connect(file.path) as client:
                assert (await client.execute("a")).status == "ok"


async def test_when_a_client_has_shut_it_down_nothing_is_served() -> None:
    service = serve(Shouts(), "inprocess")
    with pytest.raises(LocalError, match="enter the context first"):
        await service.wait()
    async with service as info:
        async with connect(info) as client:
            await client.shutdown()
        await service.wait()
        with pytest.raises(NotServed):
            async with connect(info):
                pass
    await service.wait()
    with pytest.raises(LocalError, match="entered before"):
        async with service:
            pass


async def test_an_address_that_is_taken() -> None:
    asked = ConnectionInfo(transport="inprocess", extra={"name": "mine"})
    async with serve(Shouts(), asked) as info:
        with pytest.raises(AddressInUse):
            async with serve(Shouts(), asked):
                pass
        async with connect(info) as client:
            assert (await client.execute("a")).status == "ok"


async def test_keys() -> None:
    key = b"a key for this test"
    async with serve(Shouts(), ConnectionInfo(transport="inprocess", key=key)) as info:
        assert info.key == key
    async with serve(Shouts(), "inprocess", allow_unsigned=True) as info, connect(info) as client:
        assert not info.key
        assert (await client.execute("a")).status == "ok"


async def test_what_cannot_be_served() -> None:
    with pytest.raises(InvalidKernel, match="no method execute"):
        serve(object())
    with pytest.raises(UnknownTransport):
        async with serve(Shouts(), "pigeon"):
            pass
