"""One running execute_request: its output as it comes, and its result."""

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from kernelwire.errors import EndOfChannel, GapNotice, Incomplete, InvalidMessage, KernelwireError
from kernelwire.inbox import GAP_LIMIT, Inbox
from kernelwire.messages import Message
from kernelwire.outputs import Output, fold_all
from kernelwire.requests import Request

_log = logging.getLogger(__name__)

END_OF_INPUT: Final = "\x04"
"""What stands for the end of input in an input_reply; ipykernel makes an EOFError of it."""

_LOOK: Final = 0.005
"""Seconds between two looks at how far a reader has come."""


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
    def cell_outputs(self) -> tuple[Output, ...]:
        """The outputs as a notebook keeps them, with updates and clearing done."""
        return fold_all(self.outputs)

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


class Starter(Protocol):
    """Sends executions: the router."""

    def start(self, execution: "Execution") -> None:
        """Have it sent as soon as its output can be heard."""

    def withdraw(self, execution: "Execution") -> bool:
        """Whether it was not sent yet, and so never will be."""


class _Output(NamedTuple):
    """A message for the reader, with what it counts for; a gap notice counts for nothing."""

    message: Message | GapNotice
    size: int


class Execution(Request):
    """Iterate over it for the messages as they come, await it for the :class:`ExecuteResult`; or first one, then the
    other. The request is sent when either begins. Made by :meth:`KernelClient.execute`.

    An execution is over when both its reply and its idle status have come, since neither waits for the other. One that
    nobody iterates over or awaits is never sent; it warns of that when it goes away.

    Arguments:
        message: the execute_request.
        starter: has it sent, and sees to it that the methods of :class:`~kernelwire.requests.Request` are called.
        input_hook: answers what the kernel asks.
        keep: whether what is iterated over is kept for the result.

    Attributes:
        input_hook: as given.
    """

    def __init__(
        self, message: Message, starter: "Starter", input_hook: InputHook | None, *, keep: bool = True
    ) -> None:
        self._used = False
        super().__init__(message)
        self.input_hook = input_hook
        self._starter = starter
        self._keep = keep
        self._started = False
        self._inbox = Inbox[_Output](limit=GAP_LIMIT, drops=True)
        self._outputs: list[Message] = []
        self._reply: Message | None = None

    @property
    def done(self) -> bool:
        return self.replied and self.idle

    @property
    def begun(self) -> bool:
        """Whether the kernel is known to work on it, or to have done so: until then it may be at work on other code."""
        return self.kernel_session is not None

    def __aiter__(self) -> AsyncIterator[Message]:
        """Output messages (stream, display_data, execute_result, error, ...) until the execution is over.

        Raises:
            GapNotice: output is missing here; iterate again to go on.
            KernelDied, KernelRestarted, NoReply, OutcomeUnknown: the execution ended without its reply.
            Incomplete: it has its reply, but not all of its output; raised after what there is.
            InvalidMessage, MessageTooLarge: the request cannot be sent.
            ChannelClosed, EndOfChannel, ConnectionLost: the connection did.
        """
        return self._messages(keep=self._keep)

    def __await__(self) -> Generator[Any, None, ExecuteResult]:
        """Read the rest of the output, then the result.

        Raises:
            as iteration. ``Incomplete.result`` is what there is.
        """
        return self._result().__await__()

    def __del__(self) -> None:
        if not self._used:
            warn_unused(self)

    def on_reply(self, reply: Message) -> None:
        super().on_reply(reply)
        self._reply = reply
        # A kernel that skips a request need not publish a status for it.
        if reply.content.get("status") == "aborted":
            self.idle = True
        self._finish()

    def on_output(self, message: Message, size: int) -> None:
        super().on_output(message, size)
        if message.msg_type != "status":
            self._inbox.put(_Output(message, size))
        self._finish()

    def on_gap(self, notice: GapNotice) -> None:
        self._inbox.put(_Output(notice, 0))

    def fail(self, error: KernelwireError) -> None:
        self._inbox.close(error)

    async def caught_up(self, patience: float) -> None:
        """Wait until whoever reads has dealt with all output that is here; for so many seconds at the most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while not self._inbox.exhausted:  # noqa: ASYNC110 - the way of a message must not cost more for this
                    await asyncio.sleep(_LOOK)

    async def answer(self, question: Message) -> str:
        """What the input hook says to an input_request; the end of input if it fails."""
        assert self.input_hook is not None
        content = question.content
        try:
            return await self.input_hook(InputRequest(str(content.get("prompt", "")), bool(content.get("password"))))
        except EOFError:
            return END_OF_INPUT
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return END_OF_INPUT  # the hook's own idea; the kernel must not wait for it for ever
        except Exception:  # noqa: BLE001 - the caller's code; likewise
            _log.exception("the input hook failed")
            return END_OF_INPUT

    def _finish(self) -> None:
        if self.done:
            self._inbox.close()

    async def _messages(self, *, keep: bool) -> AsyncIterator[Message]:
        self._used = True
        if not self._started:
            self._starter.start(self)
            self._started = True
        while True:
            try:
                message, _ = await self._inbox.receive()
            except EndOfChannel:
                if self.done:
                    return
                raise
            except Incomplete as error:
                error.result = self._so_far()
                raise
            except asyncio.CancelledError:
                # Given up before it was sent: no later kernel shall run it. Who reads on after all sends it then.
                self._started = not self._starter.withdraw(self)
                raise
            if isinstance(message, GapNotice):
                raise message
            if keep:
                self._outputs.append(message)
            yield message

    async def _result(self) -> ExecuteResult:
        async for _ in self._messages(keep=True):
            pass
        return self._so_far()

    def _so_far(self) -> ExecuteResult:
        assert self._reply is not None
        status = str(self._reply.content.get("status", "ok"))
        return ExecuteResult(status, tuple(self._outputs), self._reply)


def warn_unused(execution: object) -> None:
    """Say that code never ran. While :mod:`tracemalloc` traces, Python adds where it was to run."""
    text = "code was not sent to the kernel: iterate over its execution, or wait for its result"
    warnings.warn(text, RuntimeWarning, stacklevel=2, source=execution)


def checked_code(code: object) -> str:
    """Code, if it is any.

    Raises:
        InvalidMessage: it is no text.
    """
    if not isinstance(code, str):
        raise InvalidMessage(f"code: {type(code).__name__} where text is needed")
    return code


def check_execution(code: object, user_expressions: object) -> None:
    """Look at what somebody wants to execute, before anything is made of it.

    Raises:
        InvalidMessage: it is of the wrong kind; the text names the argument.
    """
    checked_code(code)
    if user_expressions is None:
        return
    if not isinstance(user_expressions, Mapping):
        raise InvalidMessage("user_expressions: a mapping from names to expressions is needed")
    for name, expression in user_expressions.items():
        if not isinstance(name, str) or not isinstance(expression, str):
            raise InvalidMessage("user_expressions: names and expressions are text")
