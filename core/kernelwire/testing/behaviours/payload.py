"""Frames arrive as they left, bit by bit."""

import array
import asyncio
import hashlib
import math
import mmap
from collections.abc import Sequence
from random import Random
from typing import Any

from kernelwire.errors import InvalidMessage, MessageTooLarge
from kernelwire.messages import WireMessage
from kernelwire.testing.harness import Client, Pair
from kernelwire.testing.kit import Group, behaviour

DELIMITER = b"<IDS|MSG>"

LARGE = 100_000_000
"""Bytes of a buffer that a notebook may well have, or the transport's bound if that is less."""

ROOM = 10_000
"""Bytes of such a message that its other parts need."""


async def _echo(pair: Pair, client: Client, buffers: Sequence[Any]) -> list[bytes]:
    """Buffers to the kernel and back, on shell."""
    request = client.session.message("request", buffers=buffers)
    await client.shell.send(request)
    received, wire = await pair.kernel.shell.receive_from()
    reply = pair.kernel.session.message("reply", parent=received, buffers=received.buffers)
    await pair.kernel.shell.send(reply, wire.peer)
    return [bytes(buffer) for buffer in (await client.shell.receive()).buffers]


@behaviour(11, Group.PAYLOAD)
async def buffers_keep_their_number_and_lengths(pair: Pair, _: Random) -> None:
    """No buffer, an empty one, one byte, several mixed, and 1,000 small ones."""
    client = await pair.connect()
    cases: list[list[bytes]] = [[], [b""], [b"x"], [b"", b"ab", b""], [b"%d" % n for n in range(1000)]]
    for buffers in cases:
        assert await _echo(pair, client, buffers) == buffers


@behaviour(12, Group.PAYLOAD)
async def every_byte_value_passes(pair: Pair, chance: Random) -> None:
    """All 256 byte values, NULs, the wire's own delimiter, and random bytes."""
    client = await pair.connect()
    buffers = [bytes(range(256)), DELIMITER, b"\0" * 5, b"\0" + DELIMITER + b"\0", chance.randbytes(10_000)]
    assert await _echo(pair, client, buffers) == buffers


@behaviour(13, Group.PAYLOAD)
async def sizes_around_the_usual_limits_pass(pair: Pair, chance: Random) -> None:
    """64 KiB and 1 MB, one byte less and one more, and 16 MiB; in a buffer, and as text."""
    client = await pair.connect()
    for size in (65535, 65536, 65537, 999_999, 1_000_000, 1_000_001, 16 << 20):
        buffer = chance.randbytes(size)
        (echoed,) = await _echo(pair, client, [buffer])
        assert hashlib.sha256(echoed).digest() == hashlib.sha256(buffer).digest()
    await client.shell.send(client.message(text="x" * 1_000_000))
    assert (await pair.kernel.shell.receive()).content["text"] == "x" * 1_000_000


@behaviour(13, Group.PAYLOAD)
async def a_large_buffer_passes(pair: Pair, chance: Random) -> None:
    """100 MB, or as much as the transport's bound allows: to the kernel on shell, and to the client on iopub."""
    client = await pair.connect()
    data = chance.randbytes(1_000_000) * (max(1, min(LARGE, pair.capabilities.max_message_bytes - ROOM) // 1_000_000))
    digest = hashlib.sha256(data).digest()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.shell.send(client.session.message("request", buffers=[data])))
        (received,) = (await pair.kernel.shell.receive()).buffers
    assert hashlib.sha256(received).digest() == digest
    del received
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pair.kernel.iopub.send(pair.kernel.session.message("display_data", buffers=[data]), b"large"))
        while (message := await client.iopub.receive()).msg_type != "display_data":
            pass
    assert hashlib.sha256(message.buffers[0]).digest() == digest


@behaviour(14, Group.PAYLOAD)
async def any_buffer_may_be_sent_and_changed_afterwards(pair: Pair, _: Random) -> None:
    """bytearray, views that are not contiguous or not of bytes; they may be changed once the message was made."""
    client = await pair.connect()
    mutable = bytearray(b"a" * 100_000)
    numbers = array.array("d", [1.5, 2.5])
    every_other = memoryview(bytes(range(10)))[::2]
    request = client.session.message("request", buffers=[mutable, numbers, every_other])
    await client.shell.send(request)
    mutable[:] = b"b" * 100_000
    numbers[0] = 0
    received = [bytes(buffer) for buffer in (await pair.kernel.shell.receive()).buffers]
    assert received == [b"a" * 100_000, array.array("d", [1.5, 2.5]).tobytes(), bytes([0, 2, 4, 6, 8])]


@behaviour(15, Group.PAYLOAD)
async def text_is_not_touched(pair: Pair, _: Random) -> None:
    """Characters beyond the basic plane, combining ones (not normalised), control characters, a lone surrogate."""
    client = await pair.connect()
    for text in ("Grüße, 日本語, 😀", "e\u0301 is not \u00e9", "\0\x1b[31m\u2028\r\n\t", "\ud800 alone"):
        await client.shell.send(client.message(text=text))
        assert (await pair.kernel.shell.receive()).content == {"text": text}


@behaviour(16, Group.PAYLOAD)
async def odd_values_arrive_or_are_refused(pair: Pair, _: Random) -> None:
    """NaN and the infinities arrive as such, large integers exactly; what nests too deep is refused at the sender."""
    client = await pair.connect()
    sent = {"inf": [float("inf"), float("-inf")], "big": 2**70, "none": None, "text": "2026-01-01T00:00:00Z"}
    await client.shell.send(client.message(nan=float("nan"), **sent))
    content = dict((await pair.kernel.shell.receive()).content)
    nan = content.pop("nan")
    assert isinstance(nan, float)
    assert math.isnan(nan)
    assert content == sent
    deep: list[Any] = []
    for depth in range(100_000):
        deep = [deep, depth]
    try:
        await client.shell.send(client.message(deep=deep))
    except InvalidMessage:
        pass
    else:
        raise AssertionError("a message nested 100,000 deep was sent")
    finally:
        while deep:  # taking it down by recursion would overflow the stack
            deep = deep[0]
    await client.shell.send(client.message(after=1))
    assert (await pair.kernel.shell.receive()).content == {"after": 1}


@behaviour(17, Group.PAYLOAD)
async def too_large_a_message_is_refused_at_the_sender(pair: Pair, _: Random) -> None:
    """One byte over max_message_bytes raises MessageTooLarge, sends nothing, and the channel goes on."""
    client = await pair.connect()
    # Anonymous memory that nobody touches takes no room.
    with mmap.mmap(-1, pair.capabilities.max_message_bytes + 1, access=mmap.ACCESS_READ) as untouched:
        frames = [*client.wire().frames, memoryview(untouched)]
        try:
            await client.end.shell.send(WireMessage(frames))
        except MessageTooLarge:
            pass
        else:
            raise AssertionError("a message over the limit was sent")
        finally:
            del frames[-1]
    await client.shell.send(client.message(after=1))
    assert (await pair.kernel.shell.receive()).content == {"after": 1}


@behaviour(18, Group.PAYLOAD)
async def unknown_things_pass_untouched(pair: Pair, _: Random) -> None:
    """An unknown message type, further header fields, metadata, and a parent with fields of its own."""
    client = await pair.connect()
    parent = client.session.message("never_heard_of", subshell_id="s1", vendor={"a": [1, 2]})
    message = client.session.message("nor_of_this", parent=parent, metadata={"m": {"deep": [None]}}, extra=True)
    await client.shell.send(message)
    assert await pair.kernel.shell.receive() == message
