"""What the kernel asks on stdin, and the answers of input hooks."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice, InvalidMessage, MessageTooLarge
from kernelwire.execution import END_OF_INPUT, Execution
from kernelwire.message_channel import MessageChannel
from kernelwire.messages import Message
from kernelwire.requests import FlushRequest, PlainRequest, Request
from kernelwire.session import Session

_log = logging.getLogger(__name__)


class Spawn(Protocol):
    """Begins a task."""

    def __call__(
        self, work: Callable[[Execution, Message], Awaitable[None]], execution: Execution, question: Message, /
    ) -> "asyncio.Task[None]":
        """Of a function and its arguments."""


OUTPUT_TIME: Final = 0.5
"""Seconds in which a kernel that asks answers on control, and in which what it has published is dealt with here."""


class Questions:
    """Reads stdin, and has each question answered by its execution's input hook.

    What the kernel has published before it asks comes first, though it comes on another wire: a user is to see what a
    question is about. A kernel that cannot say how far it was (it answers nothing on control while it waits for the
    answer) is not asked again.

    Arguments:
        channel: stdin.
        session: makes the answers.
        find: the request that a message belongs to.
        spawn: begins a task.
        ask: sends a request and waits for its reply; with no time limit.
    """

    def __init__(
        self,
        channel: MessageChannel,
        session: Session,
        find: Callable[[Message], Request | None],
        spawn: Spawn,
        ask: Callable[[PlainRequest, None], Awaitable[object]],
    ) -> None:
        self._channel = channel
        self._session = session
        self._find = find
        self._spawn = spawn
        self._ask: Callable[[PlainRequest, None], Awaitable[object]] | None = ask
        self._answering: dict[str, asyncio.Task[None]] = {}

    async def read(self) -> None:
        """For as long as the channel lasts. Raises as its `receive`."""
        while True:
            try:
                question = await self._channel.receive()
            except GapNotice:  # what the kernel asks is missing: it may wait, and can be interrupted
                continue
            request = self._find(question)
            if question.msg_type == "input_request" and isinstance(request, Execution) and request.input_hook:
                self.stop(request)  # a new question takes the place of an old one
                self._answering[request.message.msg_id] = self._spawn(self._answer, request, question)

    def stop(self, request: Request) -> None:
        """Nobody waits for the answer to this request's question any more."""
        if self._answering and (answering := self._answering.pop(request.message.msg_id, None)) is not None:
            answering.cancel()

    async def _output_first(self, execution: Execution) -> None:
        if self._ask is not None:
            # What is published comes in order. On control, since on shell the kernel is at work.
            flush = FlushRequest(self._session.message("kernel_info_request"), Channel.CONTROL)
            asking = asyncio.ensure_future(self._ask(flush, None))
            try:
                await asyncio.wait([asking], timeout=OUTPUT_TIME)
                if not flush.replied:
                    self._ask = None
                else:  # what was published is long in coming: it comes, or the request ends without it
                    await asyncio.wait([asking])
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        await execution.caught_up(OUTPUT_TIME)

    async def _answer(self, execution: Execution, question: Message) -> None:
        await self._output_first(execution)
        value = await execution.answer(question)
        try:
            await self._channel.send(self._session.message("input_reply", {"value": value}, parent=question))
        except (InvalidMessage, MessageTooLarge):
            _log.exception("the input hook's answer cannot be sent")
            value = END_OF_INPUT
            await self._channel.send(self._session.message("input_reply", {"value": value}, parent=question))
