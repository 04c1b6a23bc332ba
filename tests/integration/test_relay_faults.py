"""Clients and hosts at a real relay process, while wires break and the relay dies: nothing is lost or comes twice."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from integration import _relay_lines as lines
from integration._fault_proxy import Ending, FaultProxy, Trouble, proxied
from integration._relay_attacks import MEGABYTE, room_at
from integration._relay_load import kills
from integration._relays import PATIENCE, RelayProcess
from kernelwire.link.backend import PipeBackend
from kernelwire.link.peer import Timing
from kernelwire.messages import WireMessage


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path) as relay:
        yield relay


async def test_kills_of_the_relay_cost_nothing(relay: RelayProcess) -> None:
    seen = await kills(relay, clients=4, count=2, buffer=20 * MEGABYTE)
    assert (seen.lost, seen.repeated) == (0, 0), str(seen)


def first(trouble: Trouble) -> Callable[[], Trouble]:
    """The first connection has it, the others have none."""
    troubles: Iterator[Trouble] = itertools.chain([trouble], itertools.repeat(Trouble()))
    return lambda: next(troubles)


async def numbered(
    backend: PipeBackend, host_relay: str, client_relay: str, relay: RelayProcess, proxy: FaultProxy
) -> None:
    """A hundred lines, and as many requests, through a relay at these addresses; and the proxy must have cut once."""
    _, info = room_at(relay)
    backend.timing = Timing(ping_after=0.3, dead_after=1.0)
    async with AsyncExitStack() as stack:
        kernel = await stack.enter_async_context(await backend.serve(info.replace(relay=host_relay)))
        client_info = backend.for_clients(info).replace(relay=client_relay)
        client = await stack.enter_async_context(await backend.connect(client_info, identity=b"c"))
        await client.iopub.ready()
        published, requested = [], []

        async def publish() -> None:
            for number in range(100):
                await kernel.iopub.send(WireMessage([b"", b"{}", b"{}", b"{}", b"%d" % number]))
                await client.shell.send(WireMessage([b"", b"{}", b"{}", b"{}", b"%d" % number]))
                await asyncio.sleep(0.01)

        publishing = asyncio.create_task(publish())
        async with asyncio.timeout(PATIENCE):
            for _ in range(100):
                published.append(int(bytes((await client.iopub.receive()).frames[4])))
                requested.append(int(bytes((await kernel.shell.receive()).frames[4])))
        await publishing
        assert published == requested == list(range(100))
        assert proxy.disconnects == 1


ENDINGS = [Ending.RST, Ending.FIN, Ending.BLACK_HOLE]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_client_s_wire_breaks(relay: RelayProcess, ending: Ending) -> None:
    backend, _ = room_at(relay)
    async with proxied(int(relay.url.rsplit(":", 1)[1]), first(Trouble(ending, 8_000))) as proxy:
        await numbered(backend, relay.url, f"http://127.0.0.1:{proxy.port}", relay, proxy)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_host_s_wire_breaks(relay: RelayProcess, ending: Ending) -> None:
    backend, _ = room_at(relay)
    async with proxied(int(relay.url.rsplit(":", 1)[1]), first(Trouble(ending, 8_000))) as proxy:
        await numbered(backend, f"http://127.0.0.1:{proxy.port}", relay.url, relay, proxy)


async def test_a_planned_restart_costs_nothing(relay: RelayProcess) -> None:
    backend, info = room_at(relay)
    async with AsyncExitStack() as stack:
        kernel = await stack.enter_async_context(await backend.serve(info))
        client = await stack.enter_async_context(await backend.connect(backend.for_clients(info), identity=b"c"))
        await client.iopub.ready()
        for number in range(30):
            await kernel.iopub.send(WireMessage([b"", b"{}", b"{}", b"{}", b"%d" % number]))
            if number % 10 == 5:
                assert await asyncio.to_thread(relay.stop) == 0
                await asyncio.to_thread(relay.start)
        async with asyncio.timeout(PATIENCE):
            for number in range(30):
                assert int(bytes((await client.iopub.receive()).frames[4])) == number


async def test_lines_of_a_real_kernel_survive_a_cut_with_a_second_client_there(
    relay: RelayProcess, tmp_path: Path
) -> None:
    async with lines.impatient(), lines.hosted(relay, tmp_path) as info:
        for cut in ("second client", "new process"):  # `soak_relay.py` has all of them
            assert await lines.numbered(info, relay, cut, 60, tmp_path) == (0, 0, True)
