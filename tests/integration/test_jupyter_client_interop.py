"""A stock jupyter_client client, blocking as most programs use it, against what we serve."""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import pytest
import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_core.utils import ensure_event_loop

from kernelwire import registry
from kernelwire.connection import ConnectionInfo
from kernelwire.session import Session
from kernelwire.testing.scripted import Run, ScriptedKernel

from ._kernels import PATIENCE, bridged, real_kernel

T = TypeVar("T")

TIMEOUT = int(PATIENCE)


PATIENT = 20.0
"""Seconds without a heartbeat until a client takes its kernel for dead. With one, a machine that is busy looks dead."""


async def _with_stock_client(
    info: ConnectionInfo, use: Callable[[BlockingKernelClient], T], time_to_dead: float = PATIENT
) -> T:
    """What `use` returns, called in a thread with a client that is connected to `info`."""

    def run() -> T:
        context = zmq.Context()
        client = BlockingKernelClient(context=context)
        client.load_connection_info(cast("Any", info.to_dict()))
        client.hb_channel.time_to_dead = time_to_dead  # before it begins to wait
        client.start_channels()
        try:
            return use(client)
        finally:
            client.stop_channels()
            context.term()
            # It made the thread a loop, and leaves it behind.
            ensure_event_loop().close()

    return await asyncio.to_thread(run)


@asynccontextmanager
async def _scripted(transport: str) -> AsyncIterator[ConnectionInfo]:
    async def script(run: Run) -> None:
        if run.code == "ask":
            await run.stream(f"{await run.input('name? ')}\n")
        elif run.code == "fail":
            raise ValueError("as asked")
        else:
            for line in run.code.splitlines():
                await run.stream(f"{line}\n")

    backend = registry.load(transport)
    info = backend.prepare(ConnectionInfo(transport=transport, key=secrets.token_hex(16).encode("ascii")))
    try:
        async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info), script):
            yield info
    finally:
        backend.release(info)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_it_uses_a_kernel_end_of_ours(transport: str) -> None:
    def use(client: BlockingKernelClient) -> None:
        client.wait_for_ready(timeout=TIMEOUT)
        assert client.kernel_info(reply=True, timeout=TIMEOUT)["content"]["implementation"] == "scripted"
        reply, printed = _executed(client, "one\ntwo")
        assert reply["status"] == "ok"
        assert printed == "one\ntwo\n"
        reply, printed = _executed(client, "fail")
        assert (reply["status"], reply["ename"], reply["evalue"]) == ("error", "ValueError", "as asked")
        matches = client.complete("wor", reply=True, timeout=TIMEOUT)["content"]["matches"]
        assert matches == ["wor_completed"]
        reply = client.shutdown(reply=True, timeout=TIMEOUT)
        assert reply["content"] == {"status": "ok", "restart": False}

    async with asyncio.timeout(110), _scripted(transport) as info:
        await _with_stock_client(info, use)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_it_answers_a_question(transport: str) -> None:
    def use(client: BlockingKernelClient) -> None:
        client.wait_for_ready(timeout=TIMEOUT)
        prompts = []

        def answer(message: dict[str, dict[str, str]]) -> None:
            prompts.append(message["content"]["prompt"])
            client.input("Ada")

        reply, printed = _executed(client, "ask", answer)
        assert reply["status"] == "ok"
        assert (prompts, printed) == (["name? "], "Ada\n")

    async with asyncio.timeout(110), _scripted(transport) as info:
        await _with_stock_client(info, use)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_it_hears_our_heartbeat_and_its_end(transport: str) -> None:
    def use(client: BlockingKernelClient, beating: Callable[[], None]) -> None:
        client.wait_for_ready(timeout=TIMEOUT)
        client.hb_channel.unpause()
        # It takes a kernel for alive until a beat was missed, so only the change says anything.
        assert client.is_alive()
        misses = threading.Event()
        client.hb_channel.call_handlers = lambda _since: misses.set()
        beating()
        assert misses.wait(TIMEOUT)

    loop = asyncio.get_running_loop()
    backend = registry.load(transport)
    info = backend.prepare(ConnectionInfo(transport=transport))
    async with asyncio.timeout(110):
        async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info)):

            def stop_beating() -> None:
                loop.call_soon_threadsafe(setattr, end, "beating", False)

            await _with_stock_client(info, lambda client: use(client, stop_beating), time_to_dead=1.0)
    backend.release(info)


@pytest.mark.parametrize(("far", "near"), [("tcp", ["ipc"]), ("ipc", ["tcp"]), ("tcp", ["inprocess", "tcp"])])
async def test_it_uses_a_real_kernel_through_bridges(far: str, near: list[str]) -> None:
    def use(client: BlockingKernelClient) -> None:
        client.wait_for_ready(timeout=TIMEOUT)
        reply, printed = _executed(client, "for i in range(1000): print(i, flush=True)")
        assert reply["status"] == "ok"
        assert printed.split() == [str(i) for i in range(1000)]
        reply, _ = _executed(client, "1 / 0")
        assert reply["ename"] == "ZeroDivisionError"
        reply, printed = _executed(client, "print(input())", lambda _message: client.input("Grace"))
        assert printed == "Grace\n"

    async with asyncio.timeout(110), real_kernel(far) as kernel, bridged(kernel.info, near) as info:
        await _with_stock_client(info, use)


async def test_a_bridged_kernel_is_alive_from_the_start() -> None:
    def use(client: BlockingKernelClient) -> list[object]:
        missed: list[object] = []
        client.hb_channel.call_handlers = missed.append
        client.wait_for_ready(timeout=TIMEOUT)
        for n in range(200):
            _executed(client, str(n))
        return missed

    async with asyncio.timeout(110), real_kernel() as kernel, bridged(kernel.info, ["tcp"]) as info:
        assert await _with_stock_client(info, use) == []


def _executed(
    client: BlockingKernelClient, code: str, answer: "Callable[[dict[str, dict[str, str]]], None] | None" = None
) -> tuple[dict[str, str], str]:
    """The content of the reply, and what was printed."""
    printed: list[str] = []

    def output(message: dict[str, dict[str, str]]) -> None:
        printed.append(message["content"].get("text", ""))

    reply = client.execute_interactive(
        code, allow_stdin=answer is not None, timeout=TIMEOUT, output_hook=output, stdin_hook=answer
    )
    return reply["content"], "".join(printed)
