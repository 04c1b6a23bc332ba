"""Breaks of the wire cost nothing; and where something had to go, the client learns exactly what."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

from kernelwire.errors import GapNotice
from kernelwire.messages import Message, WireMessage
from kernelwire.testing.faults import Direction, Middle, Passing
from kernelwire.testing.harness import Client, Pair
from kernelwire.testing.kit import Group, behaviour
from kernelwire.testing.traffic import Traffic

LARGE = 150_000
"""Bytes of a message that fills several frames."""

GREETING = 8
"""Pieces of a connection that are more telling than those that follow."""

OVERFLOW = 96
"""Messages, of 512 KiB each, that no transport is expected to keep for somebody who is away."""


def _script(chance: Random) -> list[int]:
    """40 mixed messages, of which two fill several frames: one each way."""
    sizes = [chance.choice([0, 1, 100, 3000]) for _ in range(40)]
    sizes[0] = sizes[1] = LARGE
    return sizes


def _telling(sizes: list[int], chance: Random) -> set[int]:
    """Where to cut a stream of pieces of these sizes: at the ends of pieces, after their first bytes, in the middle."""
    offsets: set[int] = set()
    start = 0
    for index, size in enumerate(sizes):
        inside = sorted({1, 3, 4, size // 2, size - 1, size} & set(range(1, size + 1)))
        chosen = inside if index < GREETING else chance.sample(inside, 1)
        offsets.update(start + each for each in chosen)
        start += size
    return offsets


@behaviour(41, Group.RELIABLE, "resume")
async def a_cut_anywhere_costs_nothing(pair: Pair, chance: Random) -> None:
    """40 mixed messages, cut at each kind of byte, and just after an acknowledgement: all arrive once and in order."""
    middle = pair.middle
    client = await pair.connect()
    traffic = await Traffic.open(pair, client)
    script = _script(chance)
    middle.record = True
    middle.cut()
    await traffic.exchange(script)
    middle.record = False
    sizes = [len(passing.data) for passing in middle.passed]
    offsets = _telling(sizes, chance) | {chance.randrange(1, sum(sizes)) for _ in range(20)}
    for offset in sorted(offsets):
        middle.cut()
        middle.cut_after(offset)
        await traffic.exchange(script)
    for stream in traffic.streams:
        back = Direction.TO_CLIENT if stream.to_kernel else Direction.TO_HOST
        await stream.send([1])
        await asyncio.gather(_next_piece(middle, back), stream.receive(1))
        middle.cut()
        await traffic.exchange(script)
    middle.slice = 1  # and byte by byte
    middle.cut()
    await traffic.exchange([1] * len(traffic.streams))


async def _next_piece(middle: Middle, direction: Direction) -> None:
    """Wait until a piece passes in this direction."""
    passed = asyncio.Event()

    def look(passing: Passing) -> list[bytes]:
        if passing.direction is direction:
            passed.set()
        return [passing.data]

    middle.tamper = look
    await passed.wait()
    middle.tamper = None


@behaviour(42, Group.RELIABLE, "resume")
async def a_hundred_cuts_cost_nothing(pair: Pair, chance: Random) -> None:
    """100 cuts at random moments while 5,000 messages go both ways: all arrive once and in order."""
    middle = pair.middle
    traffic = await Traffic.open(pair, await pair.connect())
    middle.cut_after(*(chance.randrange(1, 60_000) for _ in range(100)))
    sent = 0
    while sent < 5000 or middle.cuts < 100:
        await traffic.exchange([chance.choice([0, 10, 500]) for _ in range(1000)])
        sent += 1000


@behaviour(43, Group.RELIABLE, "resume")
async def silence_is_noticed(pair: Pair, _: Random) -> None:
    """Nothing passes any more, though the wire looks whole: it is dialled anew, and what was sent meanwhile arrives."""
    middle = pair.middle
    traffic = await Traffic.open(pair, await pair.connect())
    for _round in range(2):
        await traffic.exchange([100] * 14)
        middle.freeze()
        async with asyncio.TaskGroup() as tasks:
            exchanging = tasks.create_task(traffic.exchange([100] * 140))
            await middle.until_dialled(middle.dialled + 1)
            assert not exchanging.done()
            middle.thaw()


@behaviour(44, Group.RELIABLE, "resume", "gap_notice")
async def what_did_not_fit_is_counted(pair: Pair, _: Random) -> None:
    """48 MiB are published for a client that nothing reaches: it gets one exact gap notice in place of what had to go.

    Idle statuses, errors and replies never have to. In the middle of it, they make two gaps of one.
    """
    client = await pair.connect()
    peer = (await Traffic.open(pair, client)).peer
    pair.middle.freeze()
    sizes = await _publish_too_much(pair, peer, client.message(), after=0)
    pair.middle.thaw()
    assert await _missing(client, sizes) == 1
    pair.middle.down()
    request = client.message()
    sizes = await _publish_too_much(pair, peer, request, after=OVERFLOW // 4)
    pair.middle.up()
    assert await _missing(client, sizes) == 2
    for _reply in range(2):
        reply = await client.shell.receive()
    assert reply.is_child_of(request)


async def _publish_too_much(pair: Pair, peer: bytes, request: Message, *, after: int) -> list[int]:
    """Publish numbered messages, and `after` so many of them what ends a request; return their sizes."""
    kernel = pair.kernel
    sizes = []
    for number in range(OVERFLOW):
        if number == after:
            await kernel.iopub.send(kernel.session.message("error", {"ename": "E"}, parent=request), b"error")
            await kernel.shell.send(kernel.session.message("execute_reply", {"status": "error"}, parent=request), peer)
            idle = kernel.session.message("status", {"execution_state": "idle"}, parent=request)
            await kernel.iopub.send(idle, b"status")
        message = kernel.session.message("display_data", {"number": number}, buffers=[bytes(512 * 1024)])
        wire = WireMessage(kernel.session.pack(message), b"display_data")
        sizes.append(wire.size)
        await kernel.end.iopub.send(wire)
    return sizes


async def _missing(client: Client, sizes: list[int]) -> int:
    """Receive what was published, with an exact notice of all that is missing; return how many notices there were."""
    due = gaps = 0
    endings = []
    while due < len(sizes):
        published, gap = await _or_gap(lambda: _published(client))
        if gap is not None:
            gaps += 1
            assert gap.count is not None, "the gap is not counted"
            missing = sum(sizes[due : due + gap.count])
            assert gap.size in (None, missing), f"a gap of {gap.size} bytes where {missing} are missing"
            due += gap.count
        elif published is not None and published.msg_type == "display_data":
            number = published.content["number"]
            assert number == due, f"message {number} where {due} is due"
            due += 1
        elif published is not None:
            endings.append(published.msg_type)
    assert endings == ["error", "status"], f"of what ends a request only {endings} came"
    return gaps


async def _or_gap(receive: Callable[[], Awaitable[Message]]) -> tuple[Message | None, GapNotice | None]:
    try:
        return await receive(), None
    except GapNotice as notice:
        return None, notice


async def _published(client: Client) -> Message:
    while (message := await client.iopub.receive()).msg_type == "iopub_welcome":
        pass
    return message


@behaviour(45, Group.RELIABLE, "resume")
async def an_intermediary_may_go_and_come(pair: Pair, _: Random) -> None:
    """Whoever runs the wire goes down three times, for longer and longer: what is sent meanwhile arrives afterwards."""
    middle = pair.middle
    traffic = await Traffic.open(pair, await pair.connect())
    for attempts in (1, 3, 5):
        middle.down()
        async with asyncio.TaskGroup() as tasks:
            exchanging = tasks.create_task(traffic.exchange([100] * 140))
            await middle.until_dialled(middle.dialled + attempts)
            assert not exchanging.done()
            middle.up()


@behaviour(46, Group.RELIABLE, "resume", "gap_notice")
async def a_kernel_end_may_start_anew(pair: Pair, _: Random) -> None:
    """Another kernel's end takes the place of the first: a gap notice tells so, nothing is run twice, and work goes on.

    Whether the first has said goodbye, or was gone from one moment to the next with much under way.
    """
    client = await pair.connect()
    arrived: Counter[str] = Counter()
    for crashes in (False, True):
        await _restart(pair, client, arrived, crashes=crashes)
    assert set(arrived.values()) == {1}, "a request arrived more than once"


async def _restart(pair: Pair, client: Client, arrived: Counter[str], *, crashes: bool) -> None:
    middle = pair.middle
    if crashes:  # what has arrived, nobody acknowledges
        middle.tamper = lambda passing: [passing.data] if passing.direction is Direction.TO_HOST else []
    for number in range(20):
        await client.shell.send(client.message(number=number))
    for _ in range(10):
        arrived[(await pair.kernel.shell.receive()).msg_id] += 1
    if crashes:
        middle.down()
        middle.tamper = None
        await client.shell.send(client.message(number=20))
    await pair.restart_kernel()
    middle.up()
    for receive in (client.shell.receive, client.control.receive, client.stdin.receive, client.iopub.receive):
        await _gap(receive)
    last = client.message()
    await client.shell.send(last)
    while True:
        request, wire = await pair.kernel.shell.receive_from()
        arrived[request.msg_id] += 1
        if request == last:
            break
    await pair.kernel.shell.send(pair.kernel.session.message("reply", parent=last), wire.peer)
    assert (await client.shell.receive()).is_child_of(last)
    await client.end.iopub.ready()
    await pair.kernel.publish(number="afterwards")
    assert (await _published(client)).content["number"] == "afterwards"


async def _gap(receive: Callable[[], Awaitable[Message]]) -> None:
    """Until the notice that something of unknown extent is missing."""
    gap = None
    while gap is None:
        _, gap = await _or_gap(receive)
    assert gap.count is None, "nobody can have counted what is missing"
