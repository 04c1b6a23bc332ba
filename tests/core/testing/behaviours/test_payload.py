"""Transports that touch what they carry, and the behaviours that kill them."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from kernelwire.errors import ChannelClosed, MessageTooLarge
from kernelwire.messages import Message, WireMessage
from kernelwire.session import Session
from kernelwire.testing.harness import KEY

from ._mutants import Mutant, Send, assert_killed, spoil_buffers, spoil_send


@pytest.mark.parametrize(
    ("change", "name"),
    [
        pytest.param(
            lambda buffers: [b for b in buffers if b], "buffers_keep_their_number_and_lengths", id="lose empty ones"
        ),
        pytest.param(
            lambda buffers: [b"".join(buffers)] if buffers else [],
            "buffers_keep_their_number_and_lengths",
            id="merge them",
        ),
        pytest.param(lambda buffers: buffers[:255], "buffers_keep_their_number_and_lengths", id="count in one byte"),
        pytest.param(
            lambda buffers: [b[:65536] for b in buffers], "sizes_around_the_usual_limits_pass", id="truncate at 64 KiB"
        ),
        pytest.param(
            lambda buffers: [b if len(b) < 1_000_000 else b[:-1] + b"\0" for b in buffers],
            "sizes_around_the_usual_limits_pass",
            id="spoil the last byte of a large one",
        ),
        pytest.param(lambda buffers: [b[: 1 << 26] for b in buffers], "a_large_buffer_passes", id="truncate at 64 MiB"),
        pytest.param(lambda buffers: [b.rstrip(b"\0") for b in buffers], "every_byte_value_passes", id="strip NULs"),
        pytest.param(
            lambda buffers: [b.decode("utf-8", "replace").encode() for b in buffers],
            "every_byte_value_passes",
            id="take them for text",
        ),
        pytest.param(
            lambda buffers: [b.replace(b"<IDS|MSG>", b"") for b in buffers],
            "every_byte_value_passes",
            id="look for the delimiter",
        ),
        pytest.param(
            lambda buffers: [b.replace(b"a", b"b") for b in buffers],
            "any_buffer_may_be_sent_and_changed_afterwards",
            id="send what the caller made of it later",
        ),
    ],
)
def test_buffers(change: Callable[[list[bytes]], list[bytes]], name: str) -> None:
    assert_killed(Mutant(client=spoil_send("shell", spoil_buffers(change))), name)


def reencode(change: Callable[[Message], Message]) -> Callable[[Send], Send]:
    """A wire that decodes messages, and signs anew what it makes of them."""

    def spoil(send: Send) -> Send:
        reader, writer = Session(KEY), Session(KEY)

        async def spoilt(message: WireMessage) -> None:
            await send(WireMessage(writer.pack(change(reader.unpack(message.frames))), message.peer))

        return spoilt

    return spoil


def only_known_header_fields(message: Message) -> Message:
    known = ("msg_id", "msg_type", "username", "session", "date", "version")
    return msgspec.structs.replace(message, header={k: v for k, v in message.header.items() if k in known})


def null_for_nan(message: Message) -> Message:
    content = {k: None if v != v else v for k, v in message.content.items()}
    return msgspec.structs.replace(message, content=content)


def text_as_utf8(message: Message) -> Message:
    """Surrogates have no form in it."""
    content = {
        k: v.encode("utf-8", "replace").decode("utf-8") if isinstance(v, str) else v for k, v in message.content.items()
    }
    return msgspec.structs.replace(message, content=content)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (only_known_header_fields, "unknown_things_pass_untouched"),
        (lambda message: msgspec.structs.replace(message, metadata={}), "unknown_things_pass_untouched"),
        (null_for_nan, "odd_values_arrive_or_are_refused"),
        (text_as_utf8, "text_is_not_touched"),
    ],
)
def test_parts(change: Callable[[Message], Message], name: str) -> None:
    assert_killed(Mutant(client=spoil_send("shell", reencode(change))), name)


def drop_what_is_too_large(send: Send) -> Send:
    async def spoilt(message: WireMessage) -> None:
        try:
            await send(message)
        except MessageTooLarge:
            return

    return spoilt


def break_over_what_is_too_large(send: Send) -> Send:
    broken: list[Any] = []

    async def spoilt(message: WireMessage) -> None:
        if broken:
            raise ChannelClosed("broken by what was too large")
        try:
            await send(message)
        except MessageTooLarge:
            broken.append(True)
            raise

    return spoilt


def test_a_limit_without_a_word() -> None:
    name = "too_large_a_message_is_refused_at_the_sender"
    assert_killed(Mutant(client=spoil_send("shell", drop_what_is_too_large)), name)


def test_a_limit_that_ends_the_channel() -> None:
    name = "too_large_a_message_is_refused_at_the_sender"
    assert_killed(Mutant(client=spoil_send("shell", break_over_what_is_too_large)), name, ChannelClosed)
