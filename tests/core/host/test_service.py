"""What a host answers to those who have its ticket, in messages."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kernelwire import control, registry, ticket
from kernelwire.connection import ConnectionInfo
from kernelwire.host.service import Service
from kernelwire.host.state import StateFile

from .conftest import Machine

PATIENCE = 60.0


@pytest.fixture
async def info(machine: Machine) -> AsyncIterator[ConnectionInfo]:
    """Where a host takes requests."""
    with StateFile.taken("mine") as state:
        async with machine.host(state) as host:
            near = host.new_address()
            async with Service(host, near, ["good", "exits"]) as service:
                host.keep_service(near)
                await service.reach(PATIENCE)
                yield registry.load("pipes").for_clients(near)


async def ask(info: ConnectionInfo, msg_type: str, **content: Any) -> dict[str, Any]:
    reply = await control.ask(info, msg_type, content, timeout=PATIENCE)
    assert reply.msg_type == msg_type.replace("_request", "_reply")
    return dict(reply.content)


async def test_a_kernels_life(info: ConnectionInfo) -> None:
    names = [each["name"] for each in (await ask(info, "host_info_request"))["kernelspecs"]]
    assert names == ["good", "exits"]
    spawned = await ask(info, "spawn_request", kernel_name="good")
    assert spawned["status"] == "ok"
    assert spawned["ticket"].startswith("kernelwire1:")
    kernel_id = spawned["kernel_id"]
    status = await ask(info, "kernel_status_request", kernel_id=kernel_id)
    assert (status["state"], status["pid"], status["reason"]) == ("running", spawned["pid"], None)
    assert (await ask(info, "interrupt_request", kernel_id=kernel_id))["status"] == "ok"
    assert (await ask(info, "restart_request", kernel_id=kernel_id))["status"] == "ok"
    fates = await ask(info, "fate_request", kernel_id=kernel_id, msg_ids=["nobody's"])
    assert fates["fates"] == {"nobody's": "never passed on"}
    (listed,) = (await ask(info, "kernels_request"))["kernels"]
    assert listed["pid"] != spawned["pid"]
    assert (await ask(info, "shutdown_request", kernel_id=kernel_id))["status"] == "ok"
    assert (await ask(info, "kernels_request"))["kernels"] == []


@pytest.mark.parametrize(
    ("msg_type", "content", "ename", "says"),
    [
        ("spawn_request", {"kernel_name": "mute"}, "KernelspecError", "'mute' is not one that this host allows"),
        ("spawn_request", {}, "KernelspecError", "allows good, exits"),
        ("spawn_request", {"kernel_name": "good", "cwd": 3}, "LocalError", "cwd: text"),
        ("spawn_request", {"kernel_name": "good", "env": {"A": 1}}, "LocalError", "env: names and values"),
        ("spawn_request", {"kernel_name": "good", "cwd": "/nowhere"}, "LaunchFailed", "/nowhere"),
        ("spawn_request", {"kernel_name": "exits"}, "KernelExited", "not meant to live"),
        ("interrupt_request", {}, "LocalError", "kernel_id"),
        ("fate_request", {"kernel_id": "x", "msg_ids": []}, "LocalError", "no kernel 'x'"),
        ("shutdown_request", {"kernel_id": "x"}, "LocalError", "no kernel 'x'"),
        ("execute_request", {"code": "1"}, "NotSupported", "knows no 'execute_request'"),
    ],
)
async def test_what_cannot_be(
    info: ConnectionInfo, msg_type: str, content: dict[str, Any], ename: str, says: str
) -> None:
    reply = await ask(info, msg_type, **content)
    assert (reply["status"], reply["ename"]) == ("error", ename)
    assert says in reply["evalue"]
    assert (await ask(info, "kernels_request"))["kernels"] == []


async def test_a_kernel_that_was_asked_to_end_is_forgotten(info: ConnectionInfo) -> None:
    spawned = await ask(info, "spawn_request", kernel_name="good")
    await control.ask(ticket.decode(spawned["ticket"]).info, "shutdown_request", {"restart": False}, timeout=PATIENCE)
    async with asyncio.timeout(PATIENCE):
        while (await ask(info, "kernels_request"))["kernels"]:
            pass


async def test_a_kernel_that_has_died_can_be_started_again(info: ConnectionInfo) -> None:
    kernel_id = (await ask(info, "spawn_request", kernel_name="good"))["kernel_id"]
    for _ in range(2):
        status = await ask(info, "kernel_status_request", kernel_id=kernel_id)
        os.kill(status["pid"], signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            while (await ask(info, "kernel_status_request", kernel_id=kernel_id))["state"] == "running":
                pass
        assert (await ask(info, "restart_request", kernel_id=kernel_id))["status"] == "ok"
        assert (await ask(info, "kernel_status_request", kernel_id=kernel_id))["state"] == "running"
