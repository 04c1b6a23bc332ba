"""Whoever runs the wire can cut it, and nothing else: each attempt is noticed, and nothing comes of it."""

import asyncio
import base64
import io
import itertools
import logging
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ConnectionLost
from kernelwire.testing.faults import Direction, Passing, Tamper
from kernelwire.testing.harness import Client, Pair
from kernelwire.testing.kit import Group, behaviour
from kernelwire.testing.traffic import PACE, Traffic

GREETING = 3
"""Pieces each way with which a connection begins."""

HEADER = 4
"""Bytes of a piece that may be its length: changed, they only make somebody wait for what never comes."""

SOME = [100] * 14

CANARY = "a canary in clear text"

Work = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Lets messages pass until that is set, and checks them."""

Change = Callable[[Sequence[bytes]], Sequence[bytes]]
"""What becomes of pieces that follow each other: what comes out instead of all of them."""


def _change(direction: Direction, change: Change, *, count: int = 1, first: int = GREETING) -> Tamper:
    """Once: changes so many pieces of a direction, from the one on place `first` of its pipe on, or a later one."""
    held: list[bytes] = []

    def tamper(passing: Passing) -> Sequence[bytes]:
        if passing.direction is not direction or passing.place < first or len(held) == count:
            return [passing.data]
        held.append(passing.data)
        return change(held) if len(held) == count else []

    return tamper


async def _assert_noticed(pair: Pair, work: Work, tamper: Tamper, *, anew: bool = False) -> None:
    """The connection does not outlive this, and no message is lost, changed, repeated or out of order.

    Arguments:
        pair: what it happens to.
        work: lets messages pass meanwhile.
        tamper: what is done to them.
        anew: on a new connection, from its first byte on.
    """
    middle = pair.middle
    last = middle.opened + anew
    middle.tamper = lambda passing: tamper(passing) if passing.pipe <= last else [passing.data]
    if anew:
        middle.cut()
    noticed = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work(noticed))
        await middle.until_opened(last + 1)
        noticed.set()
    middle.tamper = None


async def _open(pair: Pair) -> Work:
    """A client, and messages between the kernel and it."""
    return (await Traffic.open(pair, await pair.connect())).flow


@behaviour(47, Group.REMOTE, "encrypted", "resume")
async def a_changed_bit_is_noticed(pair: Pair, chance: Random) -> None:
    """One bit is flipped, in each piece of a connection's beginning and in what follows, both ways, 96 times."""
    work = await _open(pair)

    def flip(pieces: Sequence[bytes]) -> Sequence[bytes]:
        flipped = bytearray(pieces[0])
        flipped[chance.randrange(HEADER, len(flipped))] ^= 1 << chance.randrange(8)
        return [bytes(flipped)]

    for direction in Direction:
        for index in [*range(GREETING)] * 4:
            await _assert_noticed(pair, work, _change(direction, flip, first=index), anew=True)
        for _ in range(36):
            await _assert_noticed(pair, work, _change(direction, flip))


@behaviour(48, Group.REMOTE, "encrypted", "resume")
async def a_dropped_piece_is_noticed(pair: Pair, _: Random) -> None:
    """A piece is left out, either way."""
    await _assert_all_noticed(pair, lambda _pieces: [])


@behaviour(49, Group.REMOTE, "encrypted", "resume")
async def a_repeated_piece_is_noticed(pair: Pair, _: Random) -> None:
    """A piece comes twice, either way."""
    await _assert_all_noticed(pair, lambda pieces: [pieces[0], pieces[0]])


@behaviour(50, Group.REMOTE, "encrypted", "resume")
async def swapped_pieces_are_noticed(pair: Pair, _: Random) -> None:
    """Two pieces change places, either way."""
    await _assert_all_noticed(pair, lambda pieces: [pieces[1], pieces[0]], count=2)


async def _assert_all_noticed(pair: Pair, change: Change, *, count: int = 1) -> None:
    work = await _open(pair)
    for direction in (*Direction, *Direction):
        await _assert_noticed(pair, work, _change(direction, change, count=count))


@behaviour(51, Group.REMOTE, "encrypted", "resume")
async def a_reflected_piece_is_noticed(pair: Pair, _: Random) -> None:
    """An end gets back what it has sent itself."""
    work = await _open(pair)
    there, back = Direction
    for source, sink in ((there, back), (back, there)) * 2:
        await _assert_noticed(pair, work, _carry((pair.middle.opened, source), (pair.middle.opened, sink)))


def _carry(source: tuple[int, Direction], sink: tuple[int, Direction]) -> Tamper:
    """Once: a piece of one pipe and direction is put before a piece of another."""
    kept: list[bytes] = []
    is_done = False

    def tamper(passing: Passing) -> Sequence[bytes]:
        nonlocal is_done
        if passing.place >= GREETING and (passing.pipe, passing.direction) == source:
            kept.append(passing.data)
        elif passing.place >= GREETING and (passing.pipe, passing.direction) == sink and kept and not is_done:
            is_done = True
            return [kept[0], passing.data]
        return [passing.data]

    return tamper


@behaviour(52, Group.REMOTE, "encrypted", "resume")
async def a_truncated_piece_is_noticed(pair: Pair, _: Random) -> None:
    """The end of a piece is missing, either way; something follows, or nothing does any more."""
    work = await _open(pair)
    for direction in Direction:
        for keep in (1, 20, -1):
            await _assert_noticed(pair, work, _change(direction, _shorten(keep)))
            await _assert_noticed(pair, work, _change(direction, _shorten_and_cut(pair, keep)))


def _shorten(keep: int) -> Change:
    return lambda pieces: [pieces[0][:keep]]


def _shorten_and_cut(pair: Pair, keep: int) -> Change:
    def change(pieces: Sequence[bytes]) -> Sequence[bytes]:
        pair.middle.cut_after(1)
        return [pieces[0][:keep]]

    return change


@behaviour(53, Group.REMOTE, "encrypted", "resume", "multi_client")
async def crossed_wires_are_noticed(pair: Pair, _: Random) -> None:
    """A client's wire is led to another kernel, and what one client sends or gets is put into another one's wire."""
    middle = pair.middle
    traffic = await Traffic.open(pair, client := await pair.connect())
    async with pair.another() as other:
        middle.destination = other.client_info
        opened = middle.opened
        middle.cut()
        async with asyncio.TaskGroup() as tasks:
            exchanging = tasks.create_task(traffic.exchange(SOME))
            await middle.until_opened(opened + 3)
            assert not exchanging.done()
            middle.destination = None
            middle.cut()
        await _assert_nobody_was_heard(other, await other.connect())
    first = middle.opened
    clients = [client, await pair.connect()]
    for direction in Direction:
        carry = _carry((first, direction), (middle.opened, direction))
        await _assert_noticed(pair, lambda noticed: _publish(pair, clients, noticed), carry)


async def _publish(pair: Pair, clients: Collection[Client], noticed: asyncio.Event) -> None:
    """Messages for several clients, which get all of them."""
    for number in itertools.count():
        await pair.kernel.publish(number=number)
        for client in clients:
            while (message := await client.iopub.receive()).msg_type != "display_data":
                pass
            assert message.content["number"] == number
        if noticed.is_set():
            return
        await asyncio.sleep(PACE)


async def _assert_nobody_was_heard(pair: Pair, client: Client) -> None:
    """Nobody but this client."""
    request = client.message()
    await client.shell.send(request)
    assert await pair.kernel.shell.receive() == request, "the kernel has heard somebody else"


@behaviour(54, Group.REMOTE, "encrypted", "resume")
async def a_withheld_end_is_noticed(pair: Pair, _: Random) -> None:
    """From some moment on nothing passes one way, while the other is open; or the wire is closed after that."""
    work = await _open(pair)
    for direction in Direction:
        await _assert_noticed(pair, work, _withhold(direction))
        await _assert_noticed(pair, work, _change(direction, _shorten_and_cut(pair, 0)))


def _withhold(direction: Direction) -> Tamper:
    return lambda passing: [] if passing.direction is direction else [passing.data]


@behaviour(55, Group.REMOTE, "encrypted", "resume")
async def a_replayed_beginning_is_noticed(pair: Pair, _: Random) -> None:
    """What a client has said on a connection, from its first byte on, is said again on the next one."""
    middle = pair.middle
    traffic = await Traffic.open(pair, await pair.connect())
    middle.record = True
    middle.cut()
    await traffic.exchange(SOME)
    middle.record = False
    said = [each.data for each in middle.passed if each.direction is Direction.TO_HOST]
    for count in (2, GREETING, len(said)):
        await _assert_noticed(pair, traffic.flow, _say_again(said[:count]), anew=True)


def _say_again(said: Sequence[bytes]) -> Tamper:
    def tamper(passing: Passing) -> Sequence[bytes]:
        if passing.direction is Direction.TO_CLIENT:
            return [passing.data]
        return said if passing.place == 0 else []

    return tamper


@behaviour(56, Group.REMOTE, "encrypted", "resume")
async def a_downgrade_is_refused(pair: Pair, _: Random) -> None:
    """Somebody on the way says, for either end, that it speaks an older version, or a newer one."""
    work = await _open(pair)
    for direction in Direction:
        for version in (0, 2, 255):
            await _assert_noticed(pair, work, _change(direction, _with_version(version), first=0), anew=True)


def _with_version(version: int) -> Change:
    return lambda pieces: [pieces[0][:-1] + bytes([version])]


@behaviour(57, Group.REMOTE, "encrypted", "resume")
async def an_identity_cannot_be_taken(pair: Pair, _: Random) -> None:
    """Somebody else who may connect claims a client's identity, also while that one is away: refused.

    The client goes on, and its replies reach nobody else.
    """
    client = await pair.connect(identity=b"the first")
    traffic = await Traffic.open(pair, client)
    for is_away in (False, True):
        request = client.message()
        await client.shell.send(request)
        assert await pair.kernel.shell.receive() == request
        if is_away:
            pair.middle.down()
        impostor = await pair.connect(ready=False, identity=b"the first")
        await impostor.shell.send(impostor.message())
        pair.middle.up()
        for receive in (impostor.shell.receive, impostor.iopub.receive):
            try:
                await receive()
            except ConnectionLost:
                continue
            raise AssertionError("the impostor got something")
        await pair.kernel.shell.send(pair.kernel.session.message("reply", parent=request), traffic.peer)
        assert (await client.shell.receive()).is_child_of(request)
        await traffic.exchange(SOME)
        await _assert_nobody_was_heard(pair, client)


@behaviour(58, Group.REMOTE, "encrypted")
async def nothing_passes_in_clear(pair: Pair, _: Random) -> None:
    """Neither text, buffers, keys nor identities can be found in what passes, nor in what is logged."""
    middle = pair.middle
    middle.record = True
    with _log() as log:
        client = await pair.connect(identity=CANARY.encode())
        traffic = await Traffic.open(pair, client)
        request = client.session.message("request", {"code": CANARY}, buffers=[CANARY.encode()])
        await client.shell.send(request)
        assert await pair.kernel.shell.receive() == request
        await pair.kernel.shell.send(pair.kernel.session.message(CANARY, parent=request), traffic.peer)
        await client.shell.receive()
        await pair.kernel.publish(text=CANARY)
        await client.iopub.receive()
        middle.cut()
        await traffic.exchange(SOME)
    secrets = [CANARY.encode(), *_secrets(pair.kernel_info)]
    for direction in Direction:
        passed = b"".join(each.data for each in middle.passed if each.direction is direction)
        assert len(passed) > 1000, "what passes was not recorded"
        assert not any(secret in passed for secret in secrets), f"something can be read on its way {direction.value}"
    logged = log.getvalue().encode()
    assert not any(secret in logged for secret in secrets), "a secret, or what a message says, is in the log"


def _secrets(info: ConnectionInfo) -> list[bytes]:
    """As text, and as the bytes that they stand for."""
    texts = [value for name, value in info.extra.items() if "secret" in name or "private" in name]
    return [info.key, *(text.encode() for text in texts), *(base64.urlsafe_b64decode(text + "=") for text in texts)]


@contextmanager
def _log() -> Iterator[io.StringIO]:
    """What is logged, to the last detail."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logger = logging.getLogger("kernelwire")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
