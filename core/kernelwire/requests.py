"""Requests under way, as values that change with what comes back: no channel, no task, no clock."""

import asyncio
from collections.abc import Callable, Sequence

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice, Incomplete, KernelwireError, NoReply
from kernelwire.messages import Message


class Request:
    """A request, and what has come back for it so far.

    Arguments:
        message: the request itself.
        channel: shell or control.

    Attributes:
        message: as given.
        channel: as given.
        suspects: the requests that this one asks after.
        sent: whether the wire has it, or is about to take it.
        replied: whether its reply has come.
        idle: whether the kernel has published that it is done with it.
        kernel_session: the session id of the kernel that works on it; None before the first sign of that.
        fate: how it ends if nothing more comes for it, since its kernel has ended; None while that is not known.
        listens: whether it waits for what is published. One that does not notes it all the same.
    """

    listens = True

    def __init__(self, message: Message, channel: Channel = Channel.SHELL) -> None:
        self.message = message
        self.channel = channel
        self.suspects: Sequence[Request] = ()
        self.sent = False
        self.replied = False
        self.idle = False
        self.kernel_session: str | None = None
        self.fate: KernelwireError | None = None

    @property
    def done(self) -> bool:
        """Whether nothing more is waited for."""
        return self.replied

    @property
    def half_done(self) -> bool:
        """Whether one of reply and idle status has come, and the other is still waited for."""
        return not self.done and (self.replied or self.idle)

    def on_reply(self, reply: Message) -> None:
        """Its reply has come."""
        self.replied = True

    def on_output(self, message: Message, size: int) -> None:
        """Something was published for it; `size` in bytes."""
        if message.msg_type == "status" and message.content.get("execution_state") == "idle":
            self.idle = True

    def on_gap(self, notice: GapNotice) -> None:
        """Published messages are missing here, perhaps of this request."""

    def fail(self, error: KernelwireError) -> None:
        """It ended without what is still waited for."""


class PlainRequest(Request):
    """A request that ends with its reply.

    Attributes:
        reply: the future reply.
    """

    listens = False

    def __init__(self, message: Message, channel: Channel = Channel.SHELL) -> None:
        super().__init__(message, channel)
        self.reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def on_reply(self, reply: Message) -> None:
        super().on_reply(reply)
        if not self.reply.done():
            self.reply.set_result(reply)

    def fail(self, error: KernelwireError) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)
            self.reply.exception()  # perhaps nobody will ask: the caller may be on its way out for another reason


class FlushRequest(PlainRequest):
    """A request that ends when both its reply and its idle status have come: everything published before it has too."""

    listens = True

    def __init__(self, message: Message, channel: Channel = Channel.SHELL) -> None:
        super().__init__(message, channel)
        self._reply: Message | None = None

    @property
    def done(self) -> bool:
        return self.replied and self.idle

    def on_reply(self, reply: Message) -> None:
        self._reply = reply
        self.replied = True
        self._finish()

    def on_output(self, message: Message, size: int) -> None:
        super().on_output(message, size)
        self._finish()

    def _finish(self) -> None:
        if self.done and self._reply is not None and not self.reply.done():
            self.reply.set_result(self._reply)


class Probe(Request):
    """Asks after requests that are half done, and for which nothing came for a while.

    What a kernel publishes comes in order, and so do its replies on one channel. So if the probe's idle status is here
    and an earlier request's is not, output was dropped on the way from the kernel; likewise for the reply.

    Arguments:
        message: any request.
        channel: the suspects'.
        suspects: requests that were half done when the probe was sent.
        end: called with each suspect that the probe has convicted, and its error.
    """

    def __init__(
        self,
        message: Message,
        channel: Channel,
        suspects: list[Request],
        end: Callable[[Request, KernelwireError], None],
    ) -> None:
        super().__init__(message, channel)
        self.suspects = suspects
        self._end = end

    @property
    def done(self) -> bool:
        return self.replied and self.idle

    def on_reply(self, reply: Message) -> None:
        super().on_reply(reply)
        for suspect in self.suspects:
            if suspect.idle and not suspect.replied:
                self._end(suspect, NoReply("the kernel is done with the request, and no reply has come"))

    def on_output(self, message: Message, size: int) -> None:
        super().on_output(message, size)
        if self.idle:
            self._convict_of_missing_output()

    def give_up(self) -> None:
        """Only one of the probe's own reply and idle status has come, and nothing since: as for it, so for them."""
        if self.replied:
            self._convict_of_missing_output()
        self._end(self, NoReply("half of the answer is missing"))

    def _convict_of_missing_output(self) -> None:
        for suspect in self.suspects:
            if suspect.replied and not suspect.done:
                self._end(suspect, Incomplete("output of this request was dropped on its way from the kernel"))
