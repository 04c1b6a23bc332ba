"""Closing is safe at any moment, and says what it does."""

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from random import Random

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import (
    ChannelClosed,
    EndOfChannel,
    InvalidField,
    KernelwireError,
    NotServed,
    WireError,
    WrongLoop,
)
from kernelwire.testing.harness import Pair
from kernelwire.testing.kit import Group, behaviour

CHANNELS = ("shell", "control", "stdin")


async def _assert_raises(expected: type[Exception], call: Callable[[], Awaitable[object]]) -> None:
    try:
        await call()
    except expected:
        return
    raise AssertionError(f"{expected.__name__} was not raised")


@behaviour(24, Group.LIFECYCLE)
async def closing_twice_is_closing_once(pair: Pair, _: Random) -> None:
    """Channels and ends may be closed twice, by several tasks at once, and by a task that is cancelled."""
    client = await pair.connect()
    for name in (*CHANNELS, "iopub"):
        channel = getattr(client.end, name)
        await asyncio.gather(*(channel.aclose() for _ in range(3)))
        await channel.aclose()
    await asyncio.gather(*(client.end.aclose() for _ in range(3)))
    await client.end.aclose()

    other = await pair.connect()
    closing = asyncio.create_task(other.end.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await other.end.aclose()
    await _assert_raises(ChannelClosed, lambda: other.end.shell.send(other.wire()))
    await asyncio.gather(pair.kernel.end.aclose(), pair.kernel.end.aclose())


@behaviour(25, Group.LIFECYCLE)
async def a_closed_channel_says_so(pair: Pair, _: Random) -> None:
    """After aclose, sending and receiving raise ChannelClosed; so does a heartbeat, and waiting for readiness."""
    client = await pair.connect()
    end = client.end
    wire = client.wire()
    await end.aclose()
    for name in CHANNELS:
        channel = getattr(end, name)
        await _assert_raises(ChannelClosed, functools.partial(channel.send, wire))
        await _assert_raises(ChannelClosed, channel.receive)
    await _assert_raises(ChannelClosed, end.iopub.receive)
    await _assert_raises(ChannelClosed, end.iopub.ready)
    if pair.capabilities.beat != "none":
        await _assert_raises(ChannelClosed, lambda: end.heartbeat.beat(1))
    await pair.kernel.end.aclose()
    await _assert_raises(ChannelClosed, lambda: pair.kernel.end.iopub.send(wire))
    await _assert_raises(ChannelClosed, pair.kernel.end.shell.receive)


@behaviour(26, Group.LIFECYCLE)
async def closing_wakes_who_waits(pair: Pair, _: Random) -> None:
    """A receive that waits raises ChannelClosed when its own end closes, on every channel of both ends."""
    client = await pair.connect()
    waiting = []
    for end, names in ((client.end, (*CHANNELS, "iopub")), (pair.kernel.end, CHANNELS)):
        for name in names:
            waiting.append(asyncio.create_task(_drain(getattr(end, name).receive)))
    await asyncio.sleep(0)
    await client.end.aclose()
    await pair.kernel.end.aclose()
    for outcome in await asyncio.gather(*waiting):
        assert isinstance(outcome, ChannelClosed | EndOfChannel), repr(outcome)


async def _drain(receive: Callable[[], Awaitable[object]]) -> Exception:
    while True:
        try:
            await receive()
        except (ChannelClosed, WireError) as outcome:
            return outcome


@behaviour(27, Group.LIFECYCLE)
async def what_was_sent_before_closing_arrives(pair: Pair, _: Random) -> None:
    """A client that sends 100 messages and closes at once: the kernel gets all of them."""
    client = await pair.connect()
    for number in range(100):
        await client.shell.send(client.message(number=number))
    await client.end.aclose()
    received = [(await pair.kernel.shell.receive()).content["number"] for _ in range(100)]
    assert received == list(range(100))


@behaviour(28, Group.LIFECYCLE, "peer_events")
async def the_kernel_learns_who_comes_and_goes(pair: Pair, _: Random) -> None:
    """A kernel's end is told of each client that comes, and of each that goes, with the name of its messages."""
    events = pair.kernel.end.peers
    assert events is not None, "the kernel's end has no peer events"
    for _client in range(3):
        client = await pair.connect()
        await client.shell.send(client.message())
        wire = (await pair.kernel.shell.receive_from())[1]
        for joined in (True, False):
            event = await events.receive()
            assert (event.peer, event.joined) == (wire.peer, joined), "another client, or not what it did"
            await client.end.aclose()


@behaviour(29, Group.LIFECYCLE, "serve")
async def nobody_there_is_said_or_waited_for(pair: Pair, _: Random) -> None:
    """To connect where no kernel is served raises an error of kernelwire's, or opens an end that is never ready."""
    await pair.kernel.end.aclose()
    try:
        client = await pair.connect(ready=False)
    except KernelwireError as error:
        _assert_keeps_secrets(error, pair.client_info)
        return
    ready = asyncio.create_task(client.end.iopub.ready())
    await asyncio.wait([ready], timeout=0.2)
    if ready.done():
        outcome = ready.exception()
        assert isinstance(outcome, KernelwireError), f"ready, and nobody is there: {outcome!r}"
        _assert_keeps_secrets(outcome, pair.client_info)
    await client.end.aclose()
    await asyncio.gather(ready, return_exceptions=True)


@behaviour(29, Group.LIFECYCLE)
async def a_field_that_cannot_be_used_is_named(pair: Pair, _: Random) -> None:
    """Each field of the address, left out or of another type: connecting raises what names it, and shows no secret."""
    info = pair.client_info
    address = [name for name in info.to_dict() if name not in ("transport", "key", "signature_scheme")]
    for name in address:
        for value in (None, {"not": "usable"}, "\0"):
            try:
                changed = info.replace(**{name: value})
            except InvalidField:  # by kernelwire itself, which knows this field
                continue
            try:
                async with asyncio.timeout(5):
                    end = await pair.connect_at(changed)
            except KernelwireError as error:
                _assert_names(error, name)
                _assert_keeps_secrets(error, info)
            else:
                await end.aclose()


def _assert_names(error: BaseException, field: str) -> None:
    if not isinstance(error, NotServed | WireError):  # then it can be used, and leads to nobody
        assert field in str(error), f"the error does not name the field {field}: {error}"


def _assert_keeps_secrets(error: BaseException, info: ConnectionInfo) -> None:
    secrets = [value for name, value in info.extra.items() if "secret" in name or "private" in name or "token" in name]
    for secret in (info.key.decode("utf-8", "replace"), *secrets):
        assert not secret or str(secret) not in str(error), "the error shows a secret"


async def _come_and_go(pair: Pair, number: int) -> None:
    """A client connects, is heard and answered, and leaves."""
    client = await pair.connect()
    await client.shell.send(client.message(number=number))
    request, wire = await pair.kernel.shell.receive_from()
    assert request.content == {"number": number}
    await pair.kernel.shell.send(pair.kernel.session.message("reply", parent=request), wire.peer)
    assert (await client.shell.receive()).is_child_of(request)
    await client.end.aclose()


@behaviour(31, Group.LIFECYCLE, "serve")
async def an_address_can_be_served_again(pair: Pair, _: Random) -> None:
    """A kernel's end is closed and opened again at the same address, three times: new clients are answered."""
    for number in range(3):
        await _come_and_go(pair, number)
        await pair.restart_kernel()


@behaviour(30, Group.LIFECYCLE)
async def clients_may_come_and_go(pair: Pair, _: Random) -> None:
    """20 clients in a row, each heard and answered; nothing of them stays."""
    for number in range(20):
        await _come_and_go(pair, number)


@behaviour(32, Group.LIFECYCLE)
async def another_loop_is_refused(pair: Pair, _: Random) -> None:
    """Use from an event loop in another thread raises WrongLoop, and changes nothing."""
    client = await pair.connect()
    wire = client.wire()
    outcomes: list[type[BaseException] | None] = []

    async def misuse() -> None:
        for call in (
            lambda: client.end.shell.send(wire),
            client.end.shell.receive,
            client.end.iopub.receive,
            pair.kernel.end.shell.receive,
            lambda: pair.kernel.end.iopub.send(wire),
        ):
            try:
                await call()
            except WrongLoop as error:
                outcomes.append(type(error))
            else:
                outcomes.append(None)

    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def elsewhere() -> None:
        asyncio.run(misuse())
        loop.call_soon_threadsafe(done.set)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await done.wait()
    thread.join()
    assert outcomes == [WrongLoop] * 5
    await client.shell.send(client.message(after=1))
    assert (await pair.kernel.shell.receive()).content == {"after": 1}
