"""What is not genuine is not delivered, and does not stop what is."""

from random import Random

from kernelwire.messages import WireMessage
from kernelwire.testing.harness import Client, Pair
from kernelwire.testing.kit import Group, behaviour


async def _assert_next_is_good(pair: Pair, client: Client, mark: int) -> None:
    await client.shell.send(client.message(good=mark))
    assert (await pair.kernel.shell.receive()).content == {"good": mark}


@behaviour(19, Group.SIGNING, "signed")
async def a_wrong_signature_is_dropped(pair: Pair, chance: Random) -> None:
    """A signature with one wrong digit, and genuine signatures over changed parts; the next good message passes."""
    client = await pair.connect()
    for part in range(5):
        frames = [bytes(frame) for frame in client.wire(bad=part).frames]
        position = chance.randrange(len(frames[part]))
        changed = bytearray(frames[part])
        changed[position] = ord("0") if changed[position] != ord("0") else ord("1")
        frames[part] = bytes(changed)
        await client.end.shell.send(WireMessage(frames))
        await _assert_next_is_good(pair, client, part)


@behaviour(20, Group.SIGNING, "signed")
async def an_absent_signature_is_dropped(pair: Pair, _: Random) -> None:
    """An empty signature is none, where there is a key."""
    client = await pair.connect()
    await client.end.shell.send(WireMessage([b"", *client.wire(bad=1).frames[1:]]))
    await _assert_next_is_good(pair, client, 1)


@behaviour(21, Group.SIGNING, "signed", "multi_client")
async def a_client_with_another_key_is_not_heard(pair: Pair, _: Random) -> None:
    """Nothing of a client that signs with another key is delivered; others are not disturbed."""
    stranger = await pair.connect(ready=False, key=b"another key")
    client = await pair.connect()
    for mark in range(10):
        await stranger.shell.send(stranger.message(bad=mark))
        await _assert_next_is_good(pair, client, mark)


@behaviour(23, Group.SIGNING, "signed")
async def a_replayed_message_is_delivered_once(pair: Pair, chance: Random) -> None:
    """The same frames again, at once and after much junk, are not delivered again."""
    client = await pair.connect()
    recorded = client.wire(once=1)
    await client.end.shell.send(recorded)
    assert (await pair.kernel.shell.receive()).content == {"once": 1}
    await client.end.shell.send(recorded)
    await _assert_next_is_good(pair, client, 1)
    # Some transports keep few messages waiting, so nobody must wait for the junk to be read all at once.
    for mark in range(20):
        for _ in range(100):
            junk = [chance.randbytes(32).hex().encode(), *client.wire(junk=1).frames[1:]]
            await client.end.shell.send(WireMessage(junk))
        await _assert_next_is_good(pair, client, mark)
    await client.end.shell.send(recorded)
    await _assert_next_is_good(pair, client, 0)


@behaviour(19, Group.SIGNING)
async def what_is_no_message_is_dropped(pair: Pair, chance: Random) -> None:
    """Too few frames, frames that are no JSON, JSON that is no object: dropped, and the next good message passes."""
    client = await pair.connect()
    sign = client.session.signer.sign
    good = [bytes(frame) for frame in client.wire().frames]
    for mark, parts in enumerate(
        (
            [],
            good[1:3],
            [b"", b"", b"", b""],
            [b"[]", b"{}", b"{}", b"{}"],
            [b"null", b"{}", b"{}", b"1"],
            [b"{}", b"{}", b"{}", b"{}"],
            [chance.randbytes(50) for _ in range(4)],
            [*good[1:4], b'{"cut off'],
        )
    ):
        await client.end.shell.send(WireMessage([sign(parts), *parts] if parts else []))
        await _assert_next_is_good(pair, client, mark)
