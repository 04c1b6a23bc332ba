"""The end of a client's end of a link: what still goes, what is said to be lost, and what it leaves."""

import asyncio
import contextlib
import functools
from collections.abc import Callable

import pytest

from kernelwire.channels import Receiver
from kernelwire.ends import KernelEnd
from kernelwire.errors import ChannelClosed, GapNotice, Undelivered, WrongLoop
from kernelwire.link import dialer as module

from ._dialers import CHANNELS, Use, dialer, ends_with, receives, take_down
from ._pipes import (
    INFO,
    MemoryBackend,
    Network,
    joined,
    message,
    settle,
    text,
    texts,
)

pytestmark = pytest.mark.usefixtures("no_task_is_left", "in_haste")


@pytest.mark.usefixtures("patient")
async def test_what_was_sent_before_closing_arrives_and_the_host_is_told() -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel:
        assert kernel.peers is not None
        for _ in range(2):
            async with await backend.connect(INFO, identity=b"me") as client:
                for number in range(300):
                    await client.shell.send(message(number, size=5000))
                await client.control.send(message("last"))
            assert await texts(kernel.shell, 300) == [str(number) for number in range(300)]
            assert await texts(kernel.control, 1) == ["last"]
            assert [(await kernel.peers.receive()).joined for _ in range(2)] == [True, False]
        assert backend.network.open_pipes == 0


@pytest.mark.usefixtures("patient")
async def test_the_host_is_told_even_while_it_says_much() -> None:
    """A client that hung up first would take from the host what it has not read yet."""
    async with joined() as (backend, kernel, client):
        assert kernel.peers is not None
        await kernel.peers.receive()
        publishing = asyncio.create_task(_publish_all(kernel))
        await settle(100)
        order: list[str] = []
        near, far = backend.network.pairs[-1]
        near.on_close = lambda: order.append("client")
        far.on_close = lambda: order.append("host")
        await client.aclose()
        assert order[0] == "host"
        assert (await kernel.peers.receive()).joined is False
        publishing.cancel()
        await asyncio.wait([publishing])


async def _publish_all(kernel: KernelEnd) -> None:
    number = 0
    while True:
        await kernel.iopub.send(message(number, size=2000))
        number += 1
        await asyncio.sleep(0)


@pytest.mark.usefixtures("patient")
async def test_closing_waits_as_long_as_there_is_progress() -> None:
    async with joined() as (backend, kernel, client):
        for number in range(4):
            await client.shell.send(message(number, size=1_000_000))

        async def meddle() -> None:
            for _ in range(10):
                await settle(20)
                backend.network.cut()

        async with asyncio.TaskGroup() as group:
            group.create_task(meddle())
            group.create_task(client.aclose())
        assert await texts(kernel.shell, 4) == ["0", "1", "2", "3"]


TROUBLES: dict[str, Callable[[Network], None]] = {
    "frozen": Network.freeze,
    "nobody to be reached": take_down,
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
async def test_closing_costs_no_more_than_its_patience(
    trouble: Callable[[Network], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER", 3600.0)
    async with joined() as (backend, _, client):
        trouble(backend.network)
        await client.shell.send(message("cannot arrive", size=1_000_000))
        with pytest.raises(Undelivered) as caught:
            await client.aclose()
        assert (caught.value.count, caught.value.size) == (1, 1_000_013)
        await client.aclose()  # it is closed, and has said so
        await ends_with(client, ChannelClosed, "closed by this end")
        assert all(near.closings for near, _ in backend.network.pairs)
        backend.network.thaw()


async def test_what_was_lost_by_closing_is_no_news_to_whom_something_else_went_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        async with await MemoryBackend().connect(INFO, identity=b"me") as client:
            await client.shell.send(message("cannot arrive"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert "closed before 1 messages of 13 bytes" in caplog.text


async def test_a_client_counts_what_the_host_has_not_handled_and_nothing_else() -> None:
    async with joined() as (backend, kernel, client):
        for number in range(10):
            await client.shell.send(message(number))
            await client.control.send(message(number))
        for name in ("shell", "control"):
            assert await texts(getattr(kernel, name), 10) == [str(number) for number in range(10)]
            await getattr(kernel, name).send(message("which says that all was handled", b"me"))
            await getattr(client, name).receive()
        take_down(backend.network)
        for number in range(3):
            await client.stdin.send(message(number, size=100))
        with pytest.raises(Undelivered) as caught:
            await client.aclose()
        assert (caught.value.count, caught.value.size) == (3, 303)


async def test_what_a_host_could_not_send_before_it_closed_is_a_gap() -> None:
    async with joined() as (_, kernel, client):
        client.shell._inbox.full = True  # type: ignore[attr-defined] # so that nothing is granted after what was
        for number in range(100, 200):
            await kernel.iopub.send(message(number, size=50_000))
            await kernel.shell.send(message(number, b"me", size=1000))
        await kernel.aclose()
        client.shell._inbox.full = False  # type: ignore[attr-defined]
        for channel, size in ((client.iopub, 50_003), (client.shell, 1003)):
            notice = await _first_gap(channel)
            assert notice.count is not None
            assert 0 < notice.count < 100
            assert notice.size == notice.count * size


async def _first_gap(channel: Receiver) -> GapNotice:
    """After messages that are as they must be, and with those that are missing a hundred."""
    count = 0
    while True:
        try:
            received = await channel.receive()
        except GapNotice as notice:
            missing = notice
            break
        assert text(received) == str(100 + count)
        count += 1
    assert count + (missing.count or 0) == 100
    assert "closed before" in missing.reason
    return missing


async def test_closing_against_somebody_who_never_shakes_hands_costs_no_more(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER", 3600.0)
    end = dialer(network).end
    await end.shell.send(message("cannot arrive"))

    async def hang_up() -> None:
        while True:
            await (await network.accept()).aclose()

    hanging_up = asyncio.create_task(hang_up())
    with pytest.raises(Undelivered, match="1 messages of 13 bytes"):
        await end.aclose()
    hanging_up.cancel()
    await asyncio.wait([hanging_up])


async def test_closing_in_the_middle_of_anything_leaves_nothing() -> None:
    """While dialling, shaking hands, greeting, reading and writing."""
    for turns in range(60):
        backend = MemoryBackend()
        async with await backend.serve(INFO):
            end = await backend.connect(INFO, identity=b"me")
            await settle(turns)
            await end.aclose()
        assert backend.network.open_pipes == 0


async def test_closing_while_dialling_hangs(network: Network) -> None:
    network.dialling = asyncio.get_running_loop().create_future()
    end = dialer(network).end
    await network.dialled(1)
    await end.aclose()
    assert network.dialling.cancelled()


async def test_a_cancelled_closing_still_closes() -> None:
    for turns in (0, 1, 3, 10):
        async with joined() as (backend, _, client):
            backend.network.freeze()
            await client.shell.send(message("cannot arrive"))
            closing = asyncio.create_task(client.aclose())
            await settle(turns)
            closing.cancel()
            await asyncio.wait([closing])
            with contextlib.suppress(Undelivered):  # from whichever of the two comes to it
                await client.aclose()
            assert all(near.closings for near, _ in backend.network.pairs)
            backend.network.thaw()


async def test_closing_twice_at_once() -> None:
    async with joined() as (_, _, client):
        await asyncio.gather(client.aclose(), client.aclose())
        await client.aclose()


async def test_another_loop_is_refused() -> None:
    async with joined() as (_, kernel, client):
        uses: list[Use] = [*receives(client), client.iopub.ready, client.aclose]
        uses.append(functools.partial(client.heartbeat.beat, 1))
        uses += [functools.partial(getattr(client, name).send, message("x")) for name in CHANNELS[:3]]

        def elsewhere() -> None:
            for use in uses:
                with pytest.raises(WrongLoop):
                    asyncio.run(use())

        await asyncio.to_thread(elsewhere)
        await client.shell.send(message("goes on"))
        assert await texts(kernel.shell, 1) == ["goes on"]
