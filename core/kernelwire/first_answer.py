"""Waiting for the first answer of a kernel, and what can be said of one that gives none.

A kernel drops what is not signed with its key, and says nothing. So a wrong key looks like a kernel that is busy, but
for what it publishes: that does not verify here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from kernelwire.channels import Channel
from kernelwire.errors import InvalidField, InvalidSignature
from kernelwire.heartbeat import HeartbeatMonitor
from kernelwire.messages import Message
from kernelwire.session import Session

_BUSY: Final = 1.0
"""Seconds without an answer after which the kernel may be busy on that channel, or not be the one that is meant."""

DEAF: Final = "its heartbeat answers: it is busy, or has another key than this connection"
"""What can be said of a kernel that is there and does not answer, and that has sent nothing either."""


async def first_answer(
    ask: Callable[[Channel], Awaitable[Message]], channels: Collection[Channel], session: Session
) -> Message:
    """Ask a kernel on shell, if that takes long on control too, and return the first reply.

    Arguments:
        ask: sends a request on a channel, and waits for its reply.
        channels: those that are open.
        session: verifies what comes.

    Raises:
        InvalidField: the kernel has another key.
        as `ask`.
    """
    asked = [each for each in (Channel.SHELL, Channel.CONTROL) if each in channels] or [Channel.SHELL]
    answers: set[asyncio.Future[Message]] = set()
    try:
        while True:
            if asked:
                answers.add(asyncio.ensure_future(ask(asked.pop(0))))
            done, _ = await asyncio.wait(answers, timeout=_BUSY, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return done.pop().result()
            if session.is_foreign:
                raise InvalidField(
                    "key",
                    "the kernel at this address signs with another one: the connection is out of date, or was changed",
                )
    finally:
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)


def why_silent(session: Session, monitor: HeartbeatMonitor | None) -> str:
    """What may be the reason that a kernel has not answered, to be put behind that; empty if nothing is known."""
    if refused := session.rejected[InvalidSignature.__name__]:
        return f"; messages came whose signature is wrong ({refused}): is it the right key?"
    if monitor is not None and monitor.is_beating:
        return f"; {DEAF}"
    return ""
