"""What is claimed beside what the other behaviours need is true."""

import asyncio
from random import Random

from kernelwire.testing.harness import Pair
from kernelwire.testing.kit import Group, behaviour

FLOOD = 20_000


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
