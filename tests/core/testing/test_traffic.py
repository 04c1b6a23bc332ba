"""Traffic finds what is lost, repeated, swapped, changed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kernelwire.messages import WireMessage
from kernelwire.testing import BackendHarness, Client, Pair
from kernelwire.testing.traffic import Traffic


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with BackendHarness("inprocess").open() as pair:
        yield pair


@pytest.fixture
async def client(pair: Pair) -> Client:
    return await pair.connect()


async def test_all_that_is_sent_arrives(pair: Pair, client: Client) -> None:
    traffic = await Traffic.open(pair, client)
    await traffic.exchange([])
    await traffic.exchange([0, 1, 1000] * 20)
    noticed = asyncio.Event()
    flowing = asyncio.create_task(traffic.flow(noticed))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not flowing.done()
    noticed.set()
    await flowing
    await traffic.exchange([10_000])


async def test_its_streams(pair: Pair, client: Client) -> None:
    traffic = await Traffic.open(pair, client)
    assert [stream.name for stream in traffic.streams if stream.to_kernel] == [
        "shell to the kernel",
        "control to the kernel",
        "stdin to the kernel",
    ]
    assert [stream.name for stream in traffic.streams if not stream.to_kernel] == [
        "shell to the client",
        "control to the client",
        "stdin to the client",
        "iopub",
    ]
    request = client.message()
    await client.shell.send(request)
    assert (await pair.kernel.shell.receive_from())[1].peer == traffic.peer


Send = Callable[[WireMessage], Awaitable[None]]


async def lose(send: Send, message: WireMessage, number: int) -> None:
    if number != 3:
        await send(message)


async def repeat(send: Send, message: WireMessage, number: int) -> None:
    for _ in range(1 + (number == 3)):
        await send(message)


async def change(send: Send, message: WireMessage, number: int) -> None:
    *parts, buffer = message.frames
    await send(WireMessage([*parts, bytes(buffer) + b"!" if number == 3 else buffer], message.peer))


@pytest.mark.parametrize("name", ["shell", "control", "stdin", "iopub"])
@pytest.mark.parametrize("fault", [lose, repeat, change])
async def test_what_is_wrong_is_found(
    pair: Pair,
    client: Client,
    fault: Callable[[Send, WireMessage, int], Awaitable[None]],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traffic = await Traffic.open(pair, client)
    channel = getattr(pair.kernel.end, name)
    send, count = channel.send, 0

    async def spoilt(message: WireMessage) -> None:
        nonlocal count
        count += 1
        await fault(send, message, count)

    monkeypatch.setattr(channel, "send", spoilt)
    with pytest.raises(ExceptionGroup) as caught:
        await traffic.exchange([5] * 70)
    assert caught.group_contains(AssertionError)
