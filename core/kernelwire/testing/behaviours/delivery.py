"""Messages arrive, in order, where they should and nowhere else."""

import asyncio
from collections import defaultdict
from random import Random

from kernelwire.message_channel import MessageChannel
from kernelwire.testing.harness import Client, Pair
from kernelwire.testing.kit import Group, behaviour
from kernelwire.testing.scripted import Run, ScriptedKernel

MANY = 10_000

FLOOD = 20_000


async def _send_all(channel: MessageChannel, client: Client, count: int, **content: object) -> None:
    for number in range(count):
        await channel.send(client.message(number=number, **content))


async def _expect_in_order(channel: MessageChannel, count: int) -> None:
    # Each as it comes: waiting for the last of what is not complete would be waiting for ever.
    for number in range(count):
        received = (await channel.receive()).content["number"]
        assert received == number, f"message {received} where {number} is due"


@behaviour(1, Group.DELIVERY)
async def round_trip_on_each_channel(pair: Pair, _: Random) -> None:
    """A request and its reply on shell, control and stdin; a publication on iopub."""
    client = await pair.connect()
    kernel = pair.kernel
    for name in ("shell", "control", "stdin"):
        ours: MessageChannel = getattr(client, name)
        theirs: MessageChannel = getattr(kernel, name)
        request = client.session.message("request_on_" + name, {"text": "Grüße"})
        await ours.send(request)
        received, wire = await theirs.receive_from()
        assert received == request
        reply = kernel.session.message("reply_on_" + name, {"status": "ok"}, parent=received)
        await theirs.send(reply, wire.peer)
        answer = await ours.receive()
        assert answer == reply
        assert answer.is_child_of(request)
    await kernel.publish(text="to all")
    while (message := await client.iopub.receive()).msg_type != "display_data":
        pass  # a welcome
    assert message.content == {"text": "to all"}


@behaviour(2, Group.DELIVERY)
async def order_is_kept_on_each_channel(pair: Pair, _: Random) -> None:
    """10,000 messages on shell, and 10,000 on iopub, arrive each once and in order."""
    client = await pair.connect()

    async def publish_all() -> None:
        for number in range(MANY):
            await pair.kernel.publish(number=number)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_send_all(client.shell, client, MANY))
        tasks.create_task(_expect_in_order(pair.kernel.shell, MANY))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish_all())
        tasks.create_task(_expect_published(client, MANY))
    # What comes twice never comes out of a session, but it counts it.
    assert not pair.kernel.session.rejected, pair.kernel.session.rejected
    assert not client.session.rejected, client.session.rejected


@behaviour(3, Group.DELIVERY)
async def order_is_kept_for_each_of_eight_senders(pair: Pair, _: Random) -> None:
    """Eight tasks send on one channel at once: each one's messages arrive in its order, unmixed."""
    client = await pair.connect()
    async with asyncio.TaskGroup() as tasks:
        for sender in range(8):
            tasks.create_task(_send_all(client.shell, client, 200, sender=sender))
        due: dict[int, int] = defaultdict(int)
        for _message in range(8 * 200):
            content = (await pair.kernel.shell.receive()).content
            assert content["number"] == due[content["sender"]]
            due[content["sender"]] += 1
    assert due == dict.fromkeys(range(8), 200)


@behaviour(4, Group.DELIVERY)
async def replies_find_their_request(pair: Pair, _: Random) -> None:
    """100 requests sent before any is answered: each gets the reply that names it as parent."""
    client = await pair.connect()
    async with ScriptedKernel(pair.kernel.end, pair.kernel.session):
        requests = [client.session.message("kernel_info_request") for _ in range(100)]
        for request in requests:
            await client.shell.send(request)
        for request in requests:
            assert (await client.shell.receive()).is_child_of(request)


@behaviour(5, Group.DELIVERY, "multi_client")
async def publications_reach_every_client(pair: Pair, _: Random) -> None:
    """Three clients get all that is published, in the same order."""
    clients = [await pair.connect() for _ in range(3)]
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(_expect_published(client, 1000))
        for number in range(1000):
            await pair.kernel.publish(number=number)


@behaviour(6, Group.DELIVERY, "multi_client")
async def replies_reach_only_who_asked(pair: Pair, chance: Random) -> None:
    """Five clients, 1,000 requests mixed at random, on shell and control: nobody gets another's reply."""
    clients = [await pair.connect() for _ in range(5)]

    async def answer(channel: MessageChannel) -> None:
        while True:
            request, wire = await channel.receive_from()
            await channel.send(pair.kernel.session.message("reply", parent=request), wire.peer)

    async with asyncio.TaskGroup() as tasks:
        answering = [tasks.create_task(answer(c)) for c in (pair.kernel.shell, pair.kernel.control)]
        asked: dict[tuple[int, str], list[str]] = defaultdict(list)
        for _request in range(1000):
            number, name = chance.randrange(5), chance.choice(["shell", "control"])
            request = clients[number].session.message("request")
            asked[number, name].append(request.msg_id)
            await getattr(clients[number], name).send(request)
        for (number, name), ids in asked.items():
            channel: MessageChannel = getattr(clients[number], name)
            for msg_id in ids:
                assert (await channel.receive()).parent_id == msg_id
        for task in answering:
            task.cancel()


@behaviour(7, Group.DELIVERY, "multi_client")
async def questions_reach_only_who_asked(pair: Pair, _: Random) -> None:
    """The kernel's input_request reaches the client whose request raised it, and its answer the kernel."""
    clients = [await pair.connect() for _ in range(3)]

    async def ask_back(run: Run) -> dict[str, object]:
        return {"answer": await run.input("who? ")}

    async with ScriptedKernel(pair.kernel.end, pair.kernel.session, ask_back):
        for number, client in [*enumerate(clients)] * 2:  # twice: what somebody got in vain shows the second time
            request = client.message(code="input()")
            await client.shell.send(request)
            question = await client.stdin.receive()
            assert question.is_child_of(request)
            answer = client.session.message("input_reply", {"value": f"client {number}"}, parent=question)
            await client.stdin.send(answer)
            assert (await client.shell.receive()).content["answer"] == f"client {number}"


@behaviour(8, Group.DELIVERY)
async def control_overtakes_shell(pair: Pair, _: Random) -> None:
    """With nobody reading shell, and megabytes waiting there, control goes through."""
    client = await pair.connect()
    load = bytes(1 << 20)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        for _message in range(128):
            await client.shell.send(client.session.message("request", buffers=[load]))
            sent += 1

    flooding = asyncio.create_task(flood())
    try:
        before = -1
        while sent > before and not flooding.done():  # until it is stuck, or the wire has taken all of it
            before = sent
            await asyncio.sleep(0.05)
        for _attempt in range(20):
            request = client.session.message("interrupt_request")
            await client.control.send(request)
            assert await pair.kernel.control.receive() == request
    finally:
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


@behaviour(9, Group.DELIVERY)
async def nothing_is_missed_after_ready(pair: Pair, _: Random) -> None:
    """A client that joins while the kernel publishes gets everything from its readiness on, without a hole."""
    published = 0
    stop = asyncio.Event()

    async def publish_on() -> None:
        nonlocal published
        while not stop.is_set():
            await pair.kernel.publish(number=published)
            published += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish_on())
        for _client in range(5):
            client = await pair.connect(ready=False)
            await client.end.iopub.ready()
            ready_at = published
            first = await _next_published(client)
            assert first <= ready_at, f"ready when {ready_at} were published, and the first one seen is {first}"
            await _expect_published(client, first + 50, first + 1)
        stop.set()


@behaviour(10, Group.DELIVERY)
async def a_client_has_one_identity(pair: Pair, _: Random) -> None:
    """The kernel sees one peer for one client on shell, control and stdin, and another for another client."""
    clients = [await pair.connect()]
    if pair.capabilities.multi_client:
        clients.append(await pair.connect())
    peers = set()
    for client in clients:
        seen = set()
        for name in ("shell", "control", "stdin"):
            await getattr(client, name).send(client.message())
            seen.add((await getattr(pair.kernel, name).receive_from())[1].peer)
        assert len(seen) == 1
        assert seen != {b""}
        peers |= seen
    assert len(peers) == len(clients)


async def _next_published(client: Client) -> int:
    """The number of the next publication; what a transport publishes by itself is passed over."""
    while (message := await client.iopub.receive()).msg_type != "display_data":
        pass
    return int(message.content["number"])


async def _expect_published(client: Client, end: int, start: int = 0) -> None:
    for number in range(start, end):
        received = await _next_published(client)
        assert received == number, f"publication {received} where {number} is due"


@behaviour(36, Group.DELIVERY, "lossless_iopub")
async def a_fast_publisher_loses_nothing(pair: Pair, _: Random) -> None:
    """20,000 messages, published as fast as the wire takes them: a client that reads gets each of them."""
    client = await pair.connect()

    async def publish() -> None:
        for number in range(FLOOD):
            await pair.kernel.publish(number=number)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        due = 0
        while due < FLOOD:
            message = await client.iopub.receive()
            if message.msg_type == "display_data":
                assert message.content["number"] == due, f"message {message.content['number']} where {due} is due"
                due += 1
