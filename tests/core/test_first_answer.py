"""The first answer of a kernel, and what is said of one that gives none."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import pytest

from kernelwire import first_answer
from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.errors import InvalidField, InvalidSignature
from kernelwire.messages import Message
from kernelwire.session import Session

Ask = Callable[[Channel], Awaitable[Message]]

OURS = Session(b"a key")
ANSWER = OURS.message("kernel_info_reply")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_answer, "_BUSY", 0.01)


async def never() -> Message:
    await asyncio.get_running_loop().create_future()
    return ANSWER


def hear(session: Session, speaker: Session) -> None:
    session.unpack(speaker.pack(ANSWER))


@pytest.mark.parametrize("answering", [Channel.SHELL, Channel.CONTROL])
async def test_who_answers_first(answering: Channel) -> None:
    async def ask(channel: Channel) -> Message:
        return ANSWER if channel is answering else await never()

    assert await first_answer.first_answer(ask, ALL_CHANNELS, OURS) is ANSWER


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (ALL_CHANNELS, [Channel.SHELL, Channel.CONTROL]),
        ({Channel.CONTROL}, [Channel.CONTROL]),
        ({Channel.IOPUB}, [Channel.SHELL]),  # which says itself that it is not open
    ],
)
async def test_who_is_asked(channels: Collection[Channel], expected: list[Channel]) -> None:
    asked: list[Channel] = []

    async def ask(channel: Channel) -> Message:
        asked.append(channel)
        return await never()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await first_answer.first_answer(ask, channels, OURS)
    assert asked == expected


async def test_another_key_is_not_waited_for() -> None:
    session = Session(b"a key")
    with pytest.raises(InvalidSignature):
        hear(session, Session(b"another key"))
    with pytest.raises(InvalidField, match=r"^connection field 'key': the kernel .* signs with another one"):
        await first_answer.first_answer(lambda _: never(), ALL_CHANNELS, session)


async def test_who_was_understood_once_has_the_right_key() -> None:
    session = Session(b"a key")
    hear(session, Session(b"a key"))
    with pytest.raises(InvalidSignature):
        hear(session, Session(b"another key"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await first_answer.first_answer(lambda _: never(), ALL_CHANNELS, session)


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert first_answer.why_silent(OURS, None) == ""
