"""Broken transports of the kinds that are met in the wild, each with the behaviour that kills it.

docs/reference/mutants.md shows this list; the other modules of this folder have more of them.
"""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import pytest
from msgspec import structs

from conformance.pipes import MemoryPipeBackend
from kernelwire.errors import AddressInUse, ChannelClosed, InvalidField, MessageTooLarge
from kernelwire.link import log
from kernelwire.link.records import Position
from kernelwire.link.resume import InLane, OutLane
from kernelwire.messages import WireMessage
from kernelwire.signing import Signer
from kernelwire.testing import BackendHarness, Hanging, Harness, LeftBehind
from kernelwire.testing.harness import KEY

from ._mutants import BrokenLink, Elsewhere, Mutant, Receive, Send, Spoil, spoil_buffers, spoil_receive, spoil_send


class Broken(NamedTuple):
    """A mutant.

    Attributes:
        what: is wrong with it.
        killed_by: the behaviour's name.
        make: makes it.
        by: how it fails.
        watchdog: seconds after which it counts as hanging.
    """

    what: str
    killed_by: str
    make: Callable[[], Harness]
    by: type[BaseException] | tuple[type[BaseException], ...] = AssertionError
    watchdog: float = 30


def _send(spoil: Callable[[Send], Send], channel: str = "shell") -> Callable[[], Harness]:
    return lambda: Mutant(client=spoil_send(channel, spoil))


def _publish(spoil: Callable[[Send], Send]) -> Callable[[], Harness]:
    return lambda: Mutant(kernel=spoil_send("iopub", spoil))


def _heard(spoil: Callable[[Receive], Receive], channel: str = "shell") -> Callable[[], Harness]:
    return lambda: Mutant(kernel=spoil_receive(channel, spoil))


def _buffers(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[], Harness]:
    return _send(spoil_buffers(change))


def drop_every_97th(send: Send) -> Send:
    numbers = itertools.count(1)

    async def spoilt(message: WireMessage) -> None:
        if next(numbers) % 97:
            await send(message)

    return spoilt


def repeat_every_97th(send: Send) -> Send:
    numbers = itertools.count(1)

    async def spoilt(message: WireMessage) -> None:
        await send(message)
        if not next(numbers) % 97:
            await send(message)

    return spoilt


def swap_two(send: Send) -> Send:
    numbers = itertools.count(1)
    kept: list[WireMessage] = []

    async def spoilt(message: WireMessage) -> None:
        if next(numbers) == 20:
            kept.append(message)
            return
        await send(message)
        if kept:
            await send(kept.pop())

    return spoilt


def content_as_latin_1(send: Send) -> Send:
    signer = Signer(KEY)

    async def spoilt(message: WireMessage) -> None:
        parts = [bytes(part) for part in message.frames[1:5]]
        parts[3] = parts[3].decode("latin-1").encode("utf-8")
        await send(WireMessage([signer.sign(parts), *parts, *message.frames[5:]], message.peer))

    return spoilt


def as_the_last_client(receive: Receive) -> Receive:
    """Replies go to whoever was heard last but one."""
    peers = [b""]

    async def spoilt() -> WireMessage:
        message = await receive()
        peers.append(message.peer)
        return WireMessage(message.frames, peers[-2] or message.peer)

    return spoilt


def nameless(receive: Receive) -> Receive:
    async def spoilt() -> WireMessage:
        return WireMessage((await receive()).frames, b"the client")

    return spoilt


def all_nameless(end: Any) -> None:
    for channel in ("shell", "control", "stdin"):
        spoil_receive(channel, nameless)(end)


def shared_cursor() -> Harness:
    """What one client has read counts as read by all: who comes later to it gets the next one."""
    reached = 0

    def spoil(receive: Receive) -> Receive:
        read_here = 0

        async def spoilt() -> WireMessage:
            nonlocal read_here, reached
            message = await receive()
            read_here += 1
            while read_here < reached - 1:  # others are further
                message = await receive()
                read_here += 1
            reached = max(reached, read_here)
            return message

        return spoilt

    return Mutant(client=spoil_receive("iopub", spoil))


def signed_anew(receive: Receive) -> Receive:
    signer = Signer(KEY)

    async def spoilt() -> WireMessage:
        message = await receive()
        return WireMessage([signer.sign(message.frames[1:5]), *message.frames[1:]], message.peer)

    return spoilt


def torn(send: Send) -> Send:
    async def spoilt(message: WireMessage) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await send(WireMessage(message.frames[:6], message.peer))
            raise
        await send(message)

    return spoilt


def loses_when_cancelled(receive: Receive) -> Receive:
    async def spoilt() -> WireMessage:
        message = await receive()
        await asyncio.sleep(0)
        return message

    return spoilt


def swallows_cancellation(receive: Receive) -> Receive:
    async def spoilt() -> WireMessage:
        while True:
            with suppress(asyncio.CancelledError):
                return await receive()

    return spoilt


def leaks_a_task(_end: Any) -> None:
    loop = asyncio.get_running_loop()
    loop.leaked = loop.create_task(asyncio.Event().wait())  # type: ignore[attr-defined]


def hangs_on_close(end: Any) -> None:
    async def for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    end.aclose = for_ever


def wakes_nobody(receive: Receive) -> Receive:
    async def spoilt() -> WireMessage:
        try:
            return await receive()
        except ChannelClosed:
            await asyncio.get_running_loop().create_future()
            raise

    return spoilt


def keeps_the_last(send: Send) -> Send:
    held: list[WireMessage] = []

    async def spoilt(message: WireMessage) -> None:
        held.append(message)
        if len(held) > 1:
            await send(held.pop(0))

    return spoilt


def one_lane(end: Any) -> None:
    lock = asyncio.Lock()

    def one_at_a_time(send: Send) -> Send:
        async def spoilt(message: WireMessage) -> None:
            async with lock:
                await send(message)

        return spoilt

    spoil_send("shell", one_at_a_time)(end)
    spoil_send("control", one_at_a_time)(end)


def drops_what_is_too_large(send: Send) -> Send:
    async def spoilt(message: WireMessage) -> None:
        with suppress(MessageTooLarge):
            await send(message)

    return spoilt


def drops_when_full(send: Send) -> Send:
    numbers = itertools.count(1)

    async def spoilt(message: WireMessage) -> None:
        if not 30 < next(numbers) < 60:  # its queue was full then
            await send(message)

    return spoilt


def beats_for_the_dead(end: Any) -> None:
    async def spoilt(_timeout: float) -> float:
        return 0.0

    end.heartbeat.beat = spoilt


def repeats_after_a_cut(patch: pytest.MonkeyPatch) -> None:
    go_on, on_data = OutLane.resume, InLane.on_data

    def spoilt(lane: OutLane, position: Position) -> None:
        is_kept = not position.offset and lane._first <= position.received
        go_on(lane, Position(position.received - 1, 0) if is_kept else position)

    patch.setattr(InLane, "on_data", lambda lane, data: on_data(lane, structs.replace(data, seq=lane._received + 1)))
    patch.setattr(OutLane, "resume", spoilt)


def gap_miscounted(patch: pytest.MonkeyPatch) -> None:
    pack = vars(log)["pack_gap"]
    patch.setattr(log, "pack_gap", lambda channel, count, size, reason: pack(channel, count + 1, size, reason))


def claims(harness: Callable[[], Harness], **claim: Any) -> Callable[[], Harness]:
    def make() -> Harness:
        made = harness()
        made.capabilities = dataclasses.replace(made.capabilities, **claim)
        return made

    return make


def _client(spoil: Spoil) -> Callable[[], Harness]:
    return lambda: Mutant(client=spoil)


ORDER, BUFFERS = "order_is_kept_on_each_channel", "buffers_keep_their_number_and_lengths"

GALLERY: Final[list[Broken]] = [
    Broken("drops every 97th request", ORDER, _send(drop_every_97th)),
    Broken("drops every 97th publication", "publications_reach_every_client", _publish(drop_every_97th)),
    Broken("repeats every 97th request", ORDER, _send(repeat_every_97th)),
    Broken("swaps two messages", ORDER, _send(swap_two)),
    Broken("merges the buffers into one", BUFFERS, _buffers(lambda them: [b"".join(them)] if them else [])),
    Broken("loses an empty buffer", BUFFERS, _buffers(lambda them: [each for each in them if each])),
    Broken(
        "truncates a buffer at 64 KiB",
        "sizes_around_the_usual_limits_pass",
        _buffers(lambda them: [each[:65536] for each in them]),
    ),
    Broken(
        "takes buffers for text",
        "every_byte_value_passes",
        _buffers(lambda them: [each.decode("utf-8", "replace").encode() for each in them]),
    ),
    Broken("decodes text as Latin-1", "text_is_not_touched", _send(content_as_latin_1)),
    Broken(
        "says nothing of a message over its limit",
        "too_large_a_message_is_refused_at_the_sender",
        _send(drops_what_is_too_large),
    ),
    Broken(
        "sends a reply to another client",
        "replies_reach_only_who_asked",
        _heard(as_the_last_client),
        (AssertionError, Hanging),
        3,
    ),
    Broken("has one name for all clients", "a_client_has_one_identity", lambda: Mutant(kernel=all_nameless)),
    Broken("has one iopub cursor for all clients", "publications_reach_every_client", shared_cursor),
    Broken("lets control wait behind shell", "control_overtakes_shell", _client(one_lane), Hanging, 0.5),
    Broken("accepts an absent signature", "an_absent_signature_is_dropped", _heard(signed_anew)),
    Broken("accepts a wrong signature", "a_wrong_signature_is_dropped", _heard(signed_anew)),
    Broken("tears a message whose sending is cancelled", "a_cancelled_send_is_all_or_nothing", _send(torn)),
    Broken(
        "loses a message whose receiving is cancelled",
        "a_cancelled_receive_loses_nothing",
        _heard(loses_when_cancelled),
    ),
    Broken("swallows a cancellation", "a_cancelled_receive_loses_nothing", _heard(swallows_cancellation), Hanging, 0.5),
    Broken("leaks a task for each client", "clients_may_come_and_go", _client(leaks_a_task), LeftBehind),
    Broken("hangs when it is closed", "closing_twice_is_closing_once", _client(hangs_on_close), Hanging, 0.3),
    Broken(
        "does not wake who waits when it is closed",
        "closing_wakes_who_waits",
        lambda: Mutant(client=spoil_receive("shell", wakes_nobody)),
        Hanging,
        0.3,
    ),
    Broken(
        "keeps the last message until the next",
        "what_was_sent_before_closing_arrives",
        _send(keeps_the_last),
        Hanging,
        0.3,
    ),
    Broken(
        "beats for a kernel that does not",
        "it_beats_while_the_kernel_lets_it",
        _client(beats_for_the_dead),
        Hanging,
        0.5,
    ),
    Broken(
        "beats for a kernel that is gone",
        "it_beats_for_nobody_who_is_gone",
        _client(beats_for_the_dead),
        Hanging,
        0.5,
    ),
    Broken(
        "drops what a slow client has not read, without a word",
        "who_falls_behind_is_told_what_is_missing",
        _publish(drops_when_full),
    ),
    Broken(
        "raises an error of its I/O library where nobody listens",
        "nobody_there_is_said_or_waited_for",
        lambda: Elsewhere(lambda _: ConnectionRefusedError("nobody listens")),
        ConnectionRefusedError,
    ),
    Broken(
        "shows the key in an error",
        "a_field_that_cannot_be_used_is_named",
        lambda: Elsewhere(lambda info: InvalidField("name", f"{info.to_dict()} cannot be used")),
    ),
    Broken(
        "keeps its address after it was closed",
        "an_address_can_be_served_again",
        lambda: Elsewhere(again=AddressInUse),
        AddressInUse,
    ),
    Broken(
        "delivers twice after a reconnection",
        "a_hundred_cuts_cost_nothing",
        lambda: BrokenLink(repeats_after_a_cut),
        watchdog=2,
    ),
    Broken("miscounts a gap", "what_did_not_fit_is_counted", lambda: BrokenLink(gap_miscounted)),
    Broken(
        "claims peer events that it has not",
        "the_kernel_learns_who_comes_and_goes",
        claims(lambda: BackendHarness("ipc"), peer_events=True),
    ),
    Broken(
        "mends its breaks without claiming it",
        "no_resume",
        claims(lambda: BackendHarness("memory-pipe", MemoryPipeBackend()), resume=False),
    ),
]
"""Each is killed by the behaviour that it names."""


def table() -> str:
    """For the page."""
    rows = "".join(f"| {each.what} | `{each.killed_by}` |\n" for each in GALLERY)
    return "| A transport that … | is killed by |\n|---|---|\n" + rows
