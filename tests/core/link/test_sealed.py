"""A sealed pipe: who may open one, how long that may take, and what becomes of bytes that somebody has touched."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from kernelwire.errors import ConnectionLost, InvalidField, LinkViolation, SealBroken
from kernelwire.link import framing, seal, sealed
from kernelwire.link.framing import MAGIC, PREAMBLE, VERSION, Deframer, WrongVersion, frame
from kernelwire.link.records import FRAME_LIMIT
from kernelwire.link.sealed import SealedPipe, Secrets

from ._pipes import CAPACITY, MemoryPipe, SwiftPipe, pair, settle, swift_pair

PRIVATE = seal.new_private_key()
SECRET = seal.new_secret()
HOST = Secrets(SECRET, seal.public_key(PRIVATE), PRIVATE, room=b"a room")
CLIENT = Secrets(SECRET, HOST.host_key, room=b"a room")


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def ends() -> tuple[MemoryPipe, MemoryPipe]:
    return pair()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "HANDSHAKE_TIME", 0.02)


async def connected(near: MemoryPipe, far: MemoryPipe) -> tuple[SealedPipe, SealedPipe]:
    client, host = await asyncio.gather(SealedPipe.dial(near, CLIENT), SealedPipe.answer(far, HOST))
    return client, host


async def test_what_goes_in_comes_out(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    client, host = await connected(*ends)
    for sender, receiver in ((client, host), (host, client)):
        for plaintext in (b"x", bytes(FRAME_LIMIT), b"the last"):
            await sender.send(plaintext)
            assert await receiver.receive() == plaintext


async def test_whoever_runs_the_pipe_sees_nothing_of_it(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    near, far = ends
    client, _ = await connected(near, far)
    await client.send(b"nobody else's business")
    assert b"business" not in await far.receive()


def test_no_secret_is_shown() -> None:
    shown = repr(HOST)
    for secret in (SECRET, PRIVATE):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
    assert (HOST.prologue, CLIENT.prologue) == (PREAMBLE + b"a room",) * 2


# Who is let in


STRANGERS = {
    "another secret": Secrets(seal.new_secret(), HOST.host_key, room=b"a room"),
    "another host's key": Secrets(SECRET, seal.public_key(seal.new_private_key()), room=b"a room"),
    "another room": Secrets(SECRET, HOST.host_key, room=b"another"),
}


@pytest.mark.parametrize("secrets", STRANGERS.values(), ids=STRANGERS.keys())
async def test_a_stranger_is_not_let_in(secrets: Secrets, ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    near, far = ends
    dialling = asyncio.create_task(SealedPipe.dial(near, secrets))
    with pytest.raises(SealBroken):
        await SealedPipe.answer(far, HOST)
    assert near.incoming.passed == 0  # not even that a host is here
    await far.aclose()
    with pytest.raises(Exception, match="closed"):
        await dialling


async def test_a_false_host_is_found_out(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    near, far = ends
    dialling = asyncio.create_task(SealedPipe.dial(near, CLIENT))
    await far.receive()
    await far.send(PREAMBLE + frame(bytes(seal.HANDSHAKE_2_SIZE)))
    with pytest.raises(SealBroken):
        await dialling


async def test_a_key_that_nobody_can_have(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    with pytest.raises(InvalidField, match="host_key"):
        await SealedPipe.dial(ends[0], Secrets(SECRET, bytes(32)))


async def test_a_client_of_another_version_is_told_ours(
    ends: tuple[MemoryPipe, MemoryPipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = ends
    await near.send(MAGIC + bytes([VERSION + 1]) + frame(b"whatever it says"))
    with pytest.raises(WrongVersion):
        await SealedPipe.answer(far, HOST)
    monkeypatch.setattr(framing, "VERSION", VERSION + 1)  # as the other end has it
    with pytest.raises(WrongVersion) as caught:
        Deframer(100).feed(await near.receive())
    assert caught.value.version == VERSION


async def test_a_host_of_another_version_is_named(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    near, far = ends
    await far.send(MAGIC + bytes([VERSION + 1]))
    with pytest.raises(WrongVersion) as caught:
        await SealedPipe.dial(near, CLIENT)
    assert caught.value.version == VERSION + 1


# How long it may take, and how much it may hold


@pytest.mark.usefixtures("hasty")
async def test_a_host_that_says_nothing(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    with pytest.raises(ConnectionLost, match=r"within 0\.02 s"):
        await SealedPipe.dial(ends[0], CLIENT)


@pytest.mark.usefixtures("hasty")
async def test_a_client_that_says_nothing(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    with pytest.raises(ConnectionLost, match=r"within 0\.02 s"):
        await SealedPipe.answer(ends[1], HOST)


@pytest.mark.usefixtures("hasty")
async def test_one_who_says_something_all_the_time_but_never_enough(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    near, far = ends

    async def dribble() -> None:
        for octet in PREAMBLE + frame(bytes(1000)):
            await near.send(bytes([octet]))
            await asyncio.sleep(0.001)

    dribbling = asyncio.create_task(dribble())
    with pytest.raises(ConnectionLost):
        await SealedPipe.answer(far, HOST)
    dribbling.cancel()
    await asyncio.wait([dribbling])


@pytest.mark.usefixtures("hasty")
async def test_a_client_that_takes_nothing(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    near, far = ends
    near.incoming.frozen = True
    await far.send(bytes(1024 * 1024))  # nobody takes that, so what follows waits
    dialling = asyncio.create_task(SealedPipe.dial(near, CLIENT))
    for shaking in (SealedPipe.answer(far, HOST), dialling):
        with pytest.raises(ConnectionLost):
            await shaking


async def test_a_stranger_cannot_make_the_host_hold_much(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    near, far = ends
    await near.send(PREAMBLE + frame(bytes(FRAME_LIMIT))[:100])
    with pytest.raises(LinkViolation, match="too large"):
        await SealedPipe.answer(far, HOST)


async def test_a_flood_of_frames_ends_with_the_first(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    near, far = ends
    await near.send(PREAMBLE + frame(b"x") * 1000)
    with pytest.raises(SealBroken):
        await SealedPipe.answer(far, HOST)


async def test_bytes_that_are_none_are_the_end(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    """Who forgets that the end of a stream reads as b"" must not keep the loop for itself."""
    near, far = ends
    client, _ = await connected(near, far)
    far.outgoing._pieces.append(b"")
    with pytest.raises(ConnectionLost, match="ended"):
        await client.receive()


# Cancellation


async def test_a_cancelled_handshake_leaves_nothing() -> None:
    for shaking in (SealedPipe.dial(pair()[0], CLIENT), SealedPipe.answer(pair()[1], HOST)):
        task = asyncio.create_task(shaking)
        await settle(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_cancelled_receive_loses_nothing(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    client, host = await connected(*ends)
    for number in range(20):
        receiving = asyncio.create_task(host.receive())
        await settle(3)
        receiving.cancel()
        await asyncio.wait([receiving])
        await client.send(b"%d" % number)
        assert await host.receive() == b"%d" % number


# What somebody on the way may try


async def sealed_frames(client: SealedPipe, far: MemoryPipe, count: int) -> list[bytes]:
    for number in range(count):
        await client.send(b"frame %d" % number)
    return [await far.receive() for _ in range(count)]


TRICKS: dict[str, Callable[[bytes, bytes, bytes], list[bytes]]] = {
    "one bit flipped": lambda a, b, c: [a[:-1] + bytes([a[-1] ^ 1])],
    "dropped": lambda a, b, c: [b],
    "repeated": lambda a, b, c: [a, a],
    "swapped": lambda a, b, c: [b, a],
    "cut": lambda a, b, c: [frame(a[4:-1])],
    "empty": lambda a, b, c: [frame(b"")],
    "made up": lambda a, b, c: [frame(bytes(40))],
    "two as one": lambda a, b, c: [frame(a[4:] + b[4:])],
}


@pytest.mark.parametrize("trick", TRICKS.keys())
async def test_nothing_false_is_accepted(trick: str, ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    near, far = ends
    client, host = await connected(near, far)
    a, b, c = await sealed_frames(client, far, 3)
    for piece in TRICKS[trick](a, b, c):
        await near.send(piece)
    if trick == "repeated":
        assert await host.receive() == b"frame 0"
    with pytest.raises(SealBroken):
        await host.receive()
    await near.send(c)
    with pytest.raises(SealBroken):  # nor anything after it
        await host.receive()


async def test_what_an_end_has_sent_cannot_be_sent_back_to_it(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    near, far = ends
    client, _ = await connected(near, far)
    (mine,) = await sealed_frames(client, far, 1)
    await far.send(mine)
    with pytest.raises(SealBroken):
        await client.receive()


async def test_a_recorded_client_is_answered_and_gets_nowhere(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    near, far = ends
    dialling = asyncio.create_task(SealedPipe.dial(near, CLIENT))
    recorded = [await far.receive()]
    near.incoming.frozen = True
    genuine = pair()
    await genuine[0].send(recorded[0])
    host = await SealedPipe.answer(genuine[1], HOST)  # the same words do open a handshake
    await genuine[0].send(frame(bytes(60)))  # what would be the hello cannot be made, nor repeated
    with pytest.raises(SealBroken):
        await host.receive()
    dialling.cancel()
    await asyncio.wait([dialling])


# What is handed over where it comes, and sent where there is room


@pytest.fixture
def swift_ends() -> tuple[SwiftPipe, SwiftPipe]:
    return swift_pair()


async def test_what_comes_is_poured_in_the_moment_in_which_it_comes(swift_ends: tuple[SwiftPipe, SwiftPipe]) -> None:
    client, host = await connected(*swift_ends)
    assert client.send_now([b"waits already"]) is None
    poured: list[bytes] = []
    assert host.pour(poured.extend)
    assert poured == [b"waits already"]
    assert client.send_now([b"1", b"2", bytes(FRAME_LIMIT)]) is None
    assert poured[1:] == [b"1", b"2", bytes(FRAME_LIMIT)]
    await client.send(b"3")
    assert poured[-1] == b"3"


async def test_a_pipe_that_does_not_pour_is_received_from(ends: tuple[MemoryPipe, MemoryPipe]) -> None:
    client, host = await connected(*ends)
    poured: list[bytes] = []
    assert not host.pour(poured.extend)
    await client.send(b"x")
    assert await host.receive() == b"x"
    assert poured == []


async def with_the_handshake(near: MemoryPipe, far: MemoryPipe, *plaintexts: bytes) -> tuple[SealedPipe, SealedPipe]:
    """A client and a host, whose last frame waits; those before it came in one piece with its half of the handshake."""
    flow = near.incoming
    flow.frozen = True
    dialling = asyncio.create_task(SealedPipe.dial(near, CLIENT))
    host = await SealedPipe.answer(far, HOST)
    for plaintext in plaintexts:
        await host.send(plaintext)
    *together, last = flow._pieces
    flow._pieces.clear()
    flow._pieces.extend((b"".join(together), last))
    flow.thaw()
    return await dialling, host


@pytest.mark.parametrize("pairs", [pair, swift_pair])
async def test_what_came_in_one_piece_with_the_handshake_is_poured_first(
    pairs: Callable[[], tuple[MemoryPipe, MemoryPipe]],
) -> None:
    client, host = await with_the_handshake(*pairs(), b"1", b"2", b"3")
    poured: list[bytes] = []
    if client.pour(poured.extend):
        await host.send(b"4")
        assert poured == [b"1", b"2", b"3", b"4"]
    else:
        assert poured == [b"1", b"2"]
        assert await client.receive() == b"3"


@pytest.mark.parametrize("pairs", [pair, swift_pair])
async def test_what_is_wrong_with_what_came_first_is_said_at_once(
    pairs: Callable[[], tuple[MemoryPipe, MemoryPipe]],
) -> None:
    client, _ = await with_the_handshake(*pairs(), b"1", b"2", b"3")
    handed: list[bytes] = []

    def refuse(plaintexts: Sequence[bytes]) -> None:
        handed.extend(plaintexts)
        raise LinkViolation("not this")

    with pytest.raises(LinkViolation, match="not this"):
        client.pour(refuse)
    assert handed == [b"1"]


@pytest.mark.parametrize("trick", TRICKS.keys())
async def test_nothing_false_is_poured(trick: str, swift_ends: tuple[SwiftPipe, SwiftPipe]) -> None:
    near, far = swift_ends
    client, host = await connected(near, far)
    a, b, c = await sealed_frames(client, far, 3)
    poured: list[bytes] = []
    assert host.pour(poured.extend)
    with contextlib.suppress(ConnectionResetError):  # the first of two may have ended it
        for piece in TRICKS[trick](a, b, c):
            await near.send(piece)
    with pytest.raises(SealBroken):
        await host.receive()
    with pytest.raises(ConnectionResetError):  # nor anything after it
        await near.send(c)
    assert poured == ([b"frame 0"] if trick == "repeated" else [])


async def test_what_is_behind_a_false_frame_in_one_piece_is_not_poured(swift_ends: tuple[SwiftPipe, SwiftPipe]) -> None:
    near, far = swift_ends
    client, host = await connected(near, far)
    a, b, c = await sealed_frames(client, far, 3)
    poured: list[bytes] = []
    assert host.pour(poured.extend)
    await near.send(a + b[:-1] + bytes([b[-1] ^ 1]) + c)
    with pytest.raises(SealBroken):
        await host.receive()
    assert poured == [b"frame 0"]


async def test_what_the_sink_raises_ends_the_pipe(swift_ends: tuple[SwiftPipe, SwiftPipe]) -> None:
    client, host = await connected(*swift_ends)
    handed: list[bytes] = []

    def refuse(plaintexts: Sequence[bytes]) -> None:
        handed.extend(plaintexts)
        raise LinkViolation("not this")

    assert host.pour(refuse)
    assert client.send_now([b"1", b"2"]) is None
    with pytest.raises(LinkViolation, match="not this"):
        await host.receive()
    assert handed == [b"1", b"2"]


@pytest.mark.parametrize("pairs", [pair, swift_pair])
async def test_several_frames_go_as_one_piece(pairs: Callable[[], tuple[MemoryPipe, MemoryPipe]]) -> None:
    near, far = pairs()
    client, host = await connected(near, far)
    if (waiting := client.send_now([b"1", b"", b"22"])) is not None:
        await waiting
    assert len(near.outgoing._pieces) == 1
    assert [await host.receive() for _ in range(3)] == [b"1", b"", b"22"]


async def test_where_the_pipe_is_full_sending_waits(swift_ends: tuple[SwiftPipe, SwiftPipe]) -> None:
    client, host = await connected(*swift_ends)
    large = bytes(FRAME_LIMIT)
    count = 0
    while (waiting := client.send_now([large])) is None:
        count += 1
    assert count >= CAPACITY // FRAME_LIMIT
    sending = asyncio.ensure_future(waiting)
    await settle()
    assert not sending.done()
    for _ in range(count + 1):  # what waited has its place behind what was taken
        assert await host.receive() == large
    await sending


@pytest.mark.parametrize("pairs", [pair, swift_pair])
async def test_on_a_broken_pipe_nothing_counts_as_sent(pairs: Callable[[], tuple[MemoryPipe, MemoryPipe]]) -> None:
    near, far = pairs()
    client, _ = await connected(near, far)
    await far.aclose()

    async def send() -> None:
        if (waiting := client.send_now([b"x"])) is not None:
            await waiting

    with pytest.raises(ConnectionResetError):
        await send()
