"""Cancellation loses nothing, and one who is slow does not stop the others."""

import asyncio
from random import Random

from kernelwire.errors import ChannelBusy, GapNotice
from kernelwire.messages import WireMessage
from kernelwire.testing.harness import Client, Pair
from kernelwire.testing.kit import Group, behaviour


@behaviour(33, Group.CONCURRENCY)
async def a_cancelled_receive_loses_nothing(pair: Pair, chance: Random) -> None:
    """1,000 receives cancelled at random moments while messages come: each message is received once, in order."""
    client = await pair.connect()
    count = 1000

    async def send_all() -> None:
        for number in range(count):
            await client.shell.send(client.message(number=number))
            if chance.random() < 0.3:
                await asyncio.sleep(0)

    sending = asyncio.create_task(send_all())
    received: list[WireMessage] = []
    cancelled = 0
    while len(received) < count:
        receiving = asyncio.create_task(pair.kernel.end.shell.receive())
        if cancelled < 1000:
            cancelled += 1
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            receiving.cancel()
        # Whether it was in time is for the task to say.
        (outcome,) = await asyncio.gather(receiving, return_exceptions=True)
        if isinstance(outcome, WireMessage):
            message = pair.kernel.session.unpack(outcome.frames)
            if message.msg_type != "kernel_info_request":
                assert message.content["number"] == len(received)
                received.append(outcome)
        else:
            assert isinstance(outcome, asyncio.CancelledError), repr(outcome)
    await sending
    # One that nothing will come to: it must end because it was cancelled.
    await _settle(pair, client)
    receiving = asyncio.create_task(pair.kernel.end.shell.receive())
    await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.wait([receiving])
    assert receiving.cancelled()


@behaviour(34, Group.CONCURRENCY)
async def a_cancelled_send_is_all_or_nothing(pair: Pair, chance: Random) -> None:
    """1,000 sends, many cancelled: what arrives is whole and in order, and what was sent to the end is there."""
    client = await pair.connect()
    finished: set[int] = set()
    arrived: list[int] = []

    async def receive_all() -> None:
        while True:
            message = await pair.kernel.shell.receive()
            if message.content.get("last"):
                return
            assert [bytes(buffer) for buffer in message.buffers] == [b"one", b"two" * 30_000, b"three"]
            arrived.append(message.content["number"])

    receiving = asyncio.create_task(receive_all())
    for number in range(1000):
        request = client.session.message("request", {"number": number}, buffers=[b"one", b"two" * 30_000, b"three"])
        sending = asyncio.create_task(client.shell.send(request))
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            sending.cancel()
        (outcome,) = await asyncio.gather(sending, return_exceptions=True)
        if outcome is None:
            finished.add(number)
        else:
            assert isinstance(outcome, asyncio.CancelledError), repr(outcome)
    await client.shell.send(client.message(last=True))
    await receiving
    assert arrived == sorted(set(arrived))
    assert finished <= set(arrived)


@behaviour(35, Group.CONCURRENCY)
async def a_second_reader_is_refused(pair: Pair, _: Random) -> None:
    """Two receives on one channel: the second raises ChannelBusy, and the first is not disturbed."""
    client = await pair.connect()
    for end, sender in ((pair.kernel.end.shell, client.end.shell), (pair.kernel.end.control, client.end.control)):
        await _settle(pair, client)
        first = asyncio.create_task(end.receive())
        await asyncio.sleep(0)
        try:
            await end.receive()
        except ChannelBusy:
            pass
        else:
            raise AssertionError("two tasks received on one channel")
        sent = client.wire(number=1)
        await sender.send(sent)
        assert [bytes(frame) for frame in (await first).frames][4] == sent.frames[4]


async def _settle(pair: Pair, client: Client) -> None:
    """Read what the transport itself may have sent, so that the next receive waits."""
    for ours, theirs in ((client.shell, pair.kernel.shell), (client.control, pair.kernel.control)):
        mark = client.message(mark=1)
        await ours.send(mark)
        assert await theirs.receive() == mark


@behaviour(36, Group.CONCURRENCY, "gap_notice")
async def who_falls_behind_is_told_what_is_missing(pair: Pair, _: Random) -> None:
    """96 MiB are published before a client reads: it gets all of it, in order, or notices in place of what is gone."""
    client = await pair.connect()
    load, last = bytes(1 << 20), 95
    published = 0

    async def publish_all() -> None:
        nonlocal published
        for number in range(last + 1):
            message = pair.kernel.session.message("display_data", {"number": number}, buffers=[load])
            await pair.kernel.iopub.send(message, b"display_data")
            published += 1

    async with asyncio.TaskGroup() as tasks:
        publishing = tasks.create_task(publish_all())
        before = -1
        while published > before and not publishing.done():  # until the wire has taken all of it, or makes it wait
            before = published
            await asyncio.sleep(0.05)
        due, exact = 0, True
        while due <= last:
            try:
                message = await client.iopub.receive()
            except GapNotice as notice:
                exact = exact and notice.count is not None
                due += notice.count or 0
                continue
            if message.msg_type == "display_data":
                number = message.content["number"]
                assert number == due if exact else number >= due, f"message {number} where {due} is due"
                due, exact = number + 1, True


@behaviour(37, Group.CONCURRENCY, "multi_client")
async def one_who_does_not_read_stops_nobody(pair: Pair, _: Random) -> None:
    """A client that never reads iopub: another one gets all of it, and shell works for both."""
    idler = await pair.connect()
    client = await pair.connect()
    text = "x" * 1000

    async def read() -> None:
        number = 0
        while number < 5000:
            message = await client.iopub.receive()
            if message.msg_type == "display_data":
                assert message.content["number"] == number
                number += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        for number in range(5000):
            await pair.kernel.publish(number=number, text=text)
    for each in (idler, client):
        request = each.message(number=1)
        await each.shell.send(request)
        received, wire = await pair.kernel.shell.receive_from()
        assert received == request
        await pair.kernel.shell.send(pair.kernel.session.message("reply", parent=request), wire.peer)
        assert (await each.shell.receive()).is_child_of(request)
