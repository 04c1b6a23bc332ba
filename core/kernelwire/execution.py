"""One running execute_request: its output as it comes, and its result."""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kernelwire.errors import EndOfChannel, GapNotice, KernelwireError
from kernelwire.inbox import GAP_LIMIT, Inbox
from kernelwire.messages import Message


class InputRequest(NamedTuple):
    """The kernel wants a line from the user.

    Attributes:
        prompt: to be shown.
        password: whether what is typed must not be.
    """

    prompt: str
    password: bool


InputHook = Callable[[InputRequest], Awaitable[str]]
"""Answers an input request."""


@dataclass(frozen=True)
class ExecuteResult:
    """How an execution ended.

    Attributes:
        status: ``ok``, ``error`` or ``aborted`` (an earlier error stopped it from running).
        outputs: everything published for it except its status, in order.
        reply: the execute_reply.
    """

    status: str
    outputs: tuple[Message, ...] = field(repr=False)
    reply: Message = field(repr=False)

    @property
    def text(self) -> str:
        """What was written to standard output."""
        return "".join(
            str(message.content.get("text", ""))
            for message in self.outputs
            if message.msg_type == "stream" and message.content.get("name") == "stdout"
        )

    @property
    def data(self) -> dict[str, Any] | None:
        """The MIME bundle of the last execute_result; None if there was none."""
        for message in reversed(self.outputs):
            if message.msg_type == "execute_result":
                return dict(message.content.get("data") or {})
        return None

    @property
    def execution_count(self) -> int | None:
        """The number of the prompt; None if it did not run."""
        count = self.reply.content.get("execution_count")
        return count if isinstance(count, int) else None

    @property
    def error(self) -> tuple[str, str, list[str]] | None:
        """Name, value and traceback lines of the error; None if there was none."""
        if self.status != "error":
            return None
        content = self.reply.content
        traceback = [str(line) for line in content.get("traceback") or ()]
        return str(content.get("ename", "")), str(content.get("evalue", "")), traceback


class _Output(NamedTuple):
    """A message for the reader, with what it counts for; a gap notice counts for nothing."""

    message: Message | GapNotice
    size: int


class Execution:
    """Iterate over it for the messages as they come, await it for the :class:`ExecuteResult`; or first one, then the
    other. The request is sent when either begins. Made by :meth:`KernelClient.execute`.

    An execution is over when both its reply and its idle status have come, since neither waits for the other.

    Arguments:
        request: the execute_request.
        start: has it sent, and sees to it that `on_reply`, `on_output`, `on_gap` and `fail` are called.
        input_hook: answers what the kernel asks.
    """

    def __init__(self, request: Message, start: Callable[["Execution"], None], input_hook: InputHook | None) -> None:
        self.request = request
        self.input_hook = input_hook
        self._start = start
        self._started = False
        self._inbox = Inbox[_Output](limit=GAP_LIMIT, drops=True)
        self._outputs: list[Message] = []
        self._reply: Message | None = None
        self._idle = False

    @property
    def done(self) -> bool:
        """Whether reply and idle have come."""
        return self._reply is not None and self._idle

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Output messages (stream, display_data, execute_result, error, ...) until the execution is over.

        Raises:
            GapNotice: output is missing here; iterate again to go on.
            KernelDied, RequestTimeout: the execution ended without its reply.
            ChannelClosed, EndOfChannel, ConnectionLost: the connection did.
        """
        self._ensure_started()
        while True:
            try:
                message, _ = await self._inbox.receive()
            except EndOfChannel:
                if self.done:
                    return
                raise
            if isinstance(message, GapNotice):
                raise message
            self._outputs.append(message)
            yield message

    def __await__(self) -> Generator[Any, None, ExecuteResult]:
        """Read the rest of the output, then the result.

        Raises:
            GapNotice, KernelDied, RequestTimeout, ChannelClosed, EndOfChannel, ConnectionLost: as iteration.
        """
        return self._result().__await__()

    def on_reply(self, reply: Message) -> None:
        """The reply has come."""
        self._reply = reply
        # A kernel that skips a request need not publish a status for it.
        if reply.content.get("status") == "aborted":
            self._idle = True
        self._finish()

    def on_output(self, message: Message, size: int) -> None:
        """Something was published for this request; `size` in bytes."""
        if message.msg_type != "status":
            self._inbox.put(_Output(message, size))
        elif message.content.get("execution_state") == "idle":
            self._idle = True
            self._finish()

    def on_gap(self, notice: GapNotice) -> None:
        """Published messages are missing here, perhaps of this request."""
        self._inbox.put(_Output(notice, 0))

    def fail(self, error: KernelwireError) -> None:
        """No reply will come."""
        self._inbox.close(error)

    def _finish(self) -> None:
        if self.done:
            self._inbox.close()

    def _ensure_started(self) -> None:
        if not self._started:
            self._start(self)
            self._started = True

    async def _result(self) -> ExecuteResult:
        async for _ in self:
            pass
        assert self._reply is not None
        status = str(self._reply.content.get("status", "ok"))
        return ExecuteResult(status, tuple(self._outputs), self._reply)
