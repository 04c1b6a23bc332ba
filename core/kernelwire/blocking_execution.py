"""An execution for threads that wait: the part of it that runs in the client's loop, and the part that does not."""

import asyncio
import functools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, ParamSpec, TypeVar

from kernelwire.errors import ChannelBusy, GapNotice, LocalError
from kernelwire.execution import ExecuteResult, Execution, InputRequest, warn_unused
from kernelwire.interactive import checked, too_long
from kernelwire.loop_driver import LoopDriver, Outcome, Wait, was_closed
from kernelwire.messages import Message

P = ParamSpec("P")
T = TypeVar("T")

BlockingInputHook = Callable[[InputRequest], str | Awaitable[str]]
"""Answers an input request; called in the thread that waits for the execution. ``str()`` of what it gets is the prompt,
so the built-in ``input`` is one. What it returns may be an awaitable, which the client's loop then awaits."""

_BATCH: Final = 64
"""Messages taken in one go, so that each of them does not cost a start and a stop of the loop."""


class BlockingExecution:
    """Iterate over it for the messages as they come; call :meth:`result` for how it ended; or first one, then the
    other. The request is sent when either begins. Made by :meth:`BlockingKernelClient.execute`.

    One thread at a time may read. A wait that Ctrl-C or a time limit has ended may be taken up again: nothing is lost.

    Arguments:
        driver: the client's.
        make: makes the execution, in the loop.
        input_hook: answers what the kernel asks.
        keep: whether what is iterated over is kept for the result.
    """

    def __init__(
        self,
        driver: LoopDriver,
        make: Callable[..., Execution],
        input_hook: BlockingInputHook | None = None,
        *,
        keep: bool = True,
    ) -> None:
        self._used = False
        self._driver = driver
        self._make = make
        self._input_hook = input_hook
        self._keep = keep
        self._execution: Execution | None = None
        self._messages: AsyncIterator[Message] | None = None
        self._held: deque[Message | Exception | None] = deque()  # None stands for the end
        self._filling: asyncio.Task[None] | None = None
        self._waiting: Wait | None = None
        self._iterating: Wait | None = None
        self._errands: deque[Callable[[], None]] = deque()
        self._unread: list[Message] = []  # by the caller, but not any more by `result`

    def __del__(self) -> None:
        if not self._used:
            warn_unused(self)

    def __iter__(self) -> Iterator[Message]:
        """As iteration over :class:`~kernelwire.execution.Execution`.

        Raises:
            ChannelBusy: another thread reads.
        """
        while True:
            try:
                message = self._held.popleft()
            except IndexError:
                wait = Wait(self._errands)
                try:
                    self._read(wait, self._driver.wait, wait, functools.partial(self._fill, wait))
                except LocalError:
                    raise
                except BaseException:
                    # As in result(): what was not sent yet is not to be sent behind the caller's back.
                    self._driver.call(self._put_aside)
                    raise
                continue
            if message is None:
                return
            if isinstance(message, Exception):
                raise message
            yield message

    def result(self, timeout: float | None = None) -> ExecuteResult:
        """Read the rest of the output, then the result.

        Arguments:
            timeout: seconds to wait.

        Raises:
            RequestTimeout: it is not over in time; the code runs on, and `result` may be called again.
            as iteration. ``Incomplete.result`` is what there is.
        """
        outcome = Outcome[ExecuteResult](self._errands)
        with self._time_limit(timeout):
            return self._read(outcome, self._driver.run_as, outcome, self._rest)

    def follow(self, output_hook: Callable[[Message], object], timeout: float | None = None) -> ExecuteResult:
        """Give each output message to a hook, in this thread; return the result.

        Raises:
            as :meth:`BlockingKernelClient.execute_interactive`.
        """
        missing: GapNotice | None = None
        with self._time_limit(timeout):
            while True:
                try:
                    for message in self:
                        output_hook(message)
                    break
                except GapNotice as notice:
                    missing = missing or notice
            return checked(self.result(), missing)

    def _read(self, wait: Wait, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._waiting is not None:
            raise ChannelBusy("another thread reads the output of this execution")
        self._used = True
        try:
            self._waiting = wait
            return read(*args, **kwargs)
        finally:
            self._waiting = None

    @contextmanager
    def _time_limit(self, seconds: float | None) -> Iterator[None]:
        """End the waits of this thread when the time is over."""
        if seconds is None:
            yield
            return
        waits = True
        timer: asyncio.TimerHandle | None = None

        def start() -> None:
            nonlocal timer
            timer = self._driver.loop.call_later(seconds, self._send_on, expire)

        def expire() -> None:
            if waits:
                raise too_long(seconds)

        def stop() -> None:
            if timer is not None:
                timer.cancel()

        self._driver.call(start)
        try:
            yield
        finally:
            waits = False
            self._driver.call(stop)

    def _send_on(self, errand: Callable[[], None]) -> None:
        """Have the waiting thread do something. If none waits, the next one will."""
        self._errands.append(errand)
        if self._waiting is not None:
            self._driver.look(self._waiting)

    def _fill(self, wait: Wait) -> None:
        self._iterating = wait
        # A task that may outlive the wait, since more may have come than the one message that is waited for.
        if self._held:
            self._wake()
        elif self._filling is None or self._filling.done():
            self._filling = self._driver.loop.create_task(self._take(), name="kernelwire blocking iteration")
            self._filling.add_done_callback(self._wake)

    async def _take(self) -> None:
        """Hold what is there, and what comes until the next wait; never more than a batch."""
        try:
            messages = self._messages = self._messages or aiter(self._started())
            async for message in messages:
                self._held.append(message)
                if len(self._held) >= _BATCH:
                    return
                self._wake()
            self._held.append(None)
            self._messages = None
        except asyncio.CancelledError:
            self._messages = None
            if self._driver.closing:
                self._held.append(was_closed())
        except Exception as error:  # noqa: BLE001 - it is the reader's
            self._messages = None
            self._held.append(error)

    async def _rest(self) -> ExecuteResult:
        self._put_aside()
        if self._filling is not None:
            await asyncio.wait([self._filling])
        while self._held:
            message = self._held.popleft()
            if isinstance(message, Exception):
                raise message
            if message is not None:
                self._unread.append(message)
        try:
            if self._messages is not None:
                async for message in self._messages:
                    self._unread.append(message)
        finally:
            self._messages = None
        result = await self._started()
        # Only iterated over here, not by the caller.
        return result if self._keep else replace(result, outputs=(*self._unread, *result.outputs))

    def _put_aside(self) -> None:
        if self._filling is not None:
            self._filling.cancel()

    def _started(self) -> Execution:
        if self._execution is None:
            self._execution = self._make(input_hook=self._input_hook and self._ask)
        return self._execution

    def _wake(self, _: object = None) -> None:
        if self._iterating is not None and not self._iterating.done:
            self._driver.finish(self._iterating)

    async def _ask(self, question: InputRequest) -> str:
        """Have the waiting thread call the hook."""
        answered: asyncio.Future[tuple[str | Awaitable[str], Exception | None]] = self._driver.loop.create_future()
        self._send_on(functools.partial(self._answer, _Question(*question), answered))
        answer, error = await answered
        if error is not None:
            raise error
        return answer if isinstance(answer, str) else await answer

    def _answer(self, question: InputRequest, answered: "asyncio.Future[Any]") -> None:
        assert self._input_hook is not None
        try:
            answer: tuple[Any, Exception | None] = self._input_hook(question), None
        except Exception as error:  # noqa: BLE001 - the execution deals with it
            answer = "", error
        except BaseException:
            self._driver.call(answered.cancel)
            raise
        self._driver.call(_settle, answered, answer)


class _Question(InputRequest):
    """An input request that prompts as it is printed."""

    def __str__(self) -> str:
        return self.prompt


def _settle(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():
        future.set_result(result)
