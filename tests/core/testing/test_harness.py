"""Pairs, and the harnesses that make them."""

import asyncio
from pathlib import Path

import pytest

from conformance.pipes import MemoryPipeBackend
from kernelwire import KernelEnd
from kernelwire.errors import ChannelClosed, EndOfChannel, GapNotice, NotSupported, UnknownTransport
from kernelwire.testing import BackendHarness, BridgeHarness, Resources


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))


async def test_a_pair_talks() -> None:
    async with BackendHarness("inprocess").open() as pair:
        client = await pair.connect()
        sent = client.message(number=1)
        await client.shell.send(sent)
        received, wire = await pair.kernel.shell.receive_from()
        assert received == sent
        assert wire.peer
        await pair.kernel.publish(number=2)
        assert (await client.iopub.receive()).content == {"number": 2}


async def test_what_a_transport_asks_by_itself_is_passed_over() -> None:
    async with BackendHarness("inprocess").open() as pair:
        client = await pair.connect()
        for msg_type in ("kernel_info_request", "mine"):
            await client.shell.send(client.session.message(msg_type))
        assert (await pair.kernel.shell.receive()).msg_type == "mine"


async def test_clients_differ_and_may_have_another_key() -> None:
    async with BackendHarness("inprocess").open() as pair:
        clients = [await pair.connect(), await pair.connect(), await pair.connect(key=b"another")]
        assert len({client.session.session_id for client in clients}) == 3
        await clients[2].shell.send(clients[2].message())
        await clients[0].shell.send(clients[0].message())
        await clients[1].shell.send(clients[1].message())
        peers = {(await pair.kernel.shell.receive_from())[1].peer for _ in range(2)}
        assert len(peers) == 2
        assert pair.kernel.session.rejected == {"InvalidSignature": 1}


async def test_a_client_need_not_be_ready() -> None:
    async with BackendHarness("inprocess").open() as pair:
        pair.kernel.end.audible = False
        client = await pair.connect(ready=False)
        ready = asyncio.create_task(client.end.iopub.ready())
        await asyncio.sleep(0)
        assert not ready.done()
        pair.kernel.end.audible = True
        await ready


async def test_everything_closes_with_the_pair() -> None:
    async with BackendHarness("inprocess").open() as pair:
        client = await pair.connect()
    for receive in (client.end.shell.receive, pair.kernel.end.shell.receive):
        with pytest.raises(ChannelClosed):
            await receive()


async def test_the_kernel_closes_even_if_a_client_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise OSError("the client's end does not close")

    async def use() -> None:
        async with BackendHarness("inprocess").open() as pair:
            kernels.append(pair.kernel.end)
            client = await pair.connect()
            monkeypatch.setattr(client.end, "aclose", fail)

    kernels: list[KernelEnd] = []
    with pytest.raises(OSError, match="does not close"):
        await use()
    with pytest.raises((ChannelClosed, EndOfChannel)):
        await kernels[0].shell.receive()


@pytest.mark.parametrize("transports", [("ipc",), ("tcp",), ("inprocess", "ipc"), ("tcp", "inprocess", "ipc")])
async def test_every_opening_is_fresh_and_leaves_nothing(transports: tuple[str, ...], tmp_path: Path) -> None:
    harness = BackendHarness(*transports) if len(transports) == 1 else BridgeHarness(*transports)
    before = Resources.now()
    addresses = []
    for _ in range(2):
        async with harness.open() as pair:
            client = await pair.connect()
            await client.shell.send(client.message(number=1))
            assert (await pair.kernel.shell.receive()).content == {"number": 1}
            addresses.append(pair.client_info.address)
            if len(transports) > 1:
                assert pair.client_info.key != pair.kernel_info.key
    assert await before.settled() == []
    assert [path for path in tmp_path.rglob("*") if path.is_socket()] == []
    assert len(set(addresses)) == 2 or transports[-1] == "ipc"


# Trouble, where the transport is made of pipes


def pipes() -> BackendHarness:
    return BackendHarness("memory-pipe", MemoryPipeBackend())


async def test_pipes_go_through_a_middle() -> None:
    async with pipes().open() as pair:
        client = await pair.connect()
        assert pair.middle.opened == 1
        pair.middle.cut()
        await client.shell.send(client.message(number=1))
        assert (await pair.kernel.shell.receive()).content == {"number": 1}
        assert pair.middle.opened == 2
        assert "host_private_key" in pair.kernel_info.extra
        assert "host_private_key" not in pair.client_info.extra


async def test_a_kernel_may_be_served_again_at_its_address() -> None:
    async with pipes().open() as pair:
        client, first = await pair.connect(), pair.kernel
        await pair.restart_kernel()
        assert pair.kernel is not first
        with pytest.raises(ChannelClosed):
            await first.shell.receive()
        with pytest.raises(GapNotice):
            await client.shell.receive()
        await client.shell.send(client.message(number=1))
        assert (await pair.kernel.shell.receive()).content == {"number": 1}


async def test_another_kernel_is_another() -> None:
    async with pipes().open() as pair, pair.another() as other:
        clients = [await each.connect() for each in (pair, other)]
        for each, client in zip((pair, other), clients, strict=True):
            await client.shell.send(client.message(number=id(each)))
        for each in (pair, other):
            assert (await each.kernel.shell.receive()).content == {"number": id(each)}


async def test_a_client_may_have_an_identity_of_the_tests_choice() -> None:
    async with BackendHarness("inprocess").open() as pair:
        client = await pair.connect(identity=b"chosen")
        await client.shell.send(client.message())
        assert (await pair.kernel.shell.receive_from())[1].peer == b"chosen"


async def test_what_is_frozen_goes_with_the_pair() -> None:
    before = Resources.now()
    async with pipes().open() as pair:
        await pair.connect()
        pair.middle.freeze()
    assert await before.settled() == []


async def test_who_has_no_such_power_says_so() -> None:
    async with BridgeHarness("inprocess", "ipc").open() as pair:
        for use in (lambda: pair.middle, pair.another):
            with pytest.raises(NotSupported):
                use()
        with pytest.raises(NotSupported):
            await pair.restart_kernel()


def test_names_and_claims() -> None:
    chain = BridgeHarness("inprocess", "tcp")
    assert BackendHarness("tcp").name == "tcp"
    assert chain.name == "inprocess→tcp"
    assert BackendHarness("inprocess").capabilities.lossless_iopub
    # A chain has no more than its weakest link.
    assert not chain.capabilities.lossless_iopub
    assert chain.capabilities.beat == "kernel"
    assert chain.capabilities.signed
    assert not chain.capabilities.encrypted
    assert not chain.capabilities.serve
    assert not chain.capabilities.resume
    with pytest.raises(UnknownTransport):
        BackendHarness("pigeon")
