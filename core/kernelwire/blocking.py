"""The client without async: the only synchronous door.

No thread serves the wire. The client has an event loop of its own, and a thread that waits for something drives it
meanwhile. When several threads wait, one of them leads: it drives for all, and hands the lead on when its own wait is
over. Between calls nobody drives: what arrives then is held by the transport and dealt with in the next call.
"""

import asyncio
import atexit
import functools
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from kernelwire import client as async_client
from kernelwire.client import TIME_TO_DEAD, KernelClient
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ChannelBusy, LocalError
from kernelwire.execution import ExecuteResult, Execution, InputRequest
from kernelwire.loop_driver import LoopDriver, Outcome, Wait, was_closed
from kernelwire.messages import Message

P = ParamSpec("P")
T = TypeVar("T")

BlockingInputHook = Callable[[InputRequest], str | Awaitable[str]]
"""Answers an input request; called in the thread that waits for the execution. ``str()`` of what it gets is the prompt,
so the built-in ``input`` is one. What it returns may be an awaitable, which the client's loop then awaits."""

_BATCH: Final = 64
"""Messages taken in one go, so that each of them does not cost a start and a stop of the loop."""


def connect(
    connection: ConnectionInfo | str | os.PathLike[str],
    *,
    input_hook: BlockingInputHook | None = None,
    time_to_dead: float = TIME_TO_DEAD,
) -> "BlockingKernelClient":
    """A client of the kernel that a connection file describes: ``with kernelwire.blocking.connect(file) as client:``.

    Not for transport ``inprocess``, whose kernel would have to run in the client's own loop.

    Arguments:
        connection: as for :func:`kernelwire.connect`.
        input_hook: answers ``input()`` of the kernel; without one the kernel is told that there is no stdin.
        time_to_dead: as for :func:`kernelwire.connect`.

    Raises:
        ConfigurationError: the file, a field of it, or its transport cannot be used.
        WrongLoop: an event loop runs in this thread.
    """
    return BlockingKernelClient(connection, input_hook=input_hook, time_to_dead=time_to_dead)


class BlockingExecution:
    """Iterate over it for the messages as they come; call :meth:`result` for how it ended; or first one, then the
    other. The request is sent when either begins. Made by :meth:`BlockingKernelClient.execute`.

    One thread at a time may read. A wait that Ctrl-C has ended may be taken up again: nothing is lost.

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

    def result(self) -> ExecuteResult:
        """Read the rest of the output, then the result.

        Raises:
            as iteration. ``Incomplete.result`` is what there is.
        """
        outcome = Outcome[ExecuteResult](self._errands)
        return self._read(outcome, self._driver.run_as, outcome, self._rest)

    def _read(self, wait: Wait, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._waiting is not None:
            raise ChannelBusy("another thread reads the output of this execution")
        try:
            self._waiting = wait
            return read(*args, **kwargs)
        finally:
            self._waiting = None

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
        unread: list[Message] = []
        while self._held:
            message = self._held.popleft()
            if isinstance(message, Exception):
                raise message
            if message is not None:
                unread.append(message)
        try:
            if self._messages is not None:
                async for message in self._messages:
                    unread.append(message)
        finally:
            self._messages = None
        result = await self._started()
        # Only iterated over here, not by the caller.
        return result if self._keep else replace(result, outputs=(*unread, *result.outputs))

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
        """Have the waiting thread call the hook. If none waits, the next one will."""
        answered: asyncio.Future[tuple[str | Awaitable[str], Exception | None]] = self._driver.loop.create_future()
        self._errands.append(functools.partial(self._answer, _Question(*question), answered))
        if self._waiting is not None:
            self._driver.look(self._waiting)
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


def _blocking(
    method: Callable[Concatenate[KernelClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["BlockingKernelClient", P], T]:
    @functools.wraps(method)
    def call(self: "BlockingKernelClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._driver.run(method, self._client, *args, **kwargs)

    call.__module__ = __name__
    call.__qualname__ = f"BlockingKernelClient.{method.__name__}"
    return call


class BlockingKernelClient:
    """A :class:`~kernelwire.client.KernelClient` whose methods wait. Made by :func:`connect`, and open from then on;
    use as a context manager, or call `close`. One that is open when the interpreter ends is closed then.

    Several threads may use one client at once. Ctrl-C in a call of the main thread raises KeyboardInterrupt there and
    ends that call's wait only: the client, and other threads' calls, go on. (So does what the kernel executes: that is
    :meth:`interrupt`'s to end.) A handler of SIGINT that does not raise does not end the wait.

    The methods raise what those of `KernelClient` raise, and

    - WrongLoop: an event loop runs in this thread: use the asyncio client there. Or the client was opened before a
      fork: a child process opens its own.
    - ChannelClosed: the client was closed, before or during the call.

    The heartbeat is watched during calls only. A kernel that cannot beat while nobody asks is not held to be dead.

    Arguments:
        connection, input_hook, time_to_dead: as for :func:`connect`.
    """

    def __init__(
        self,
        connection: ConnectionInfo | str | os.PathLike[str],
        *,
        input_hook: BlockingInputHook | None = None,
        time_to_dead: float = TIME_TO_DEAD,
    ) -> None:
        self._input_hook = input_hook
        self._driver = LoopDriver()
        self._context = async_client.connect(connection, time_to_dead=time_to_dead)
        try:
            self._client = self._driver.run(self._context.__aenter__)
        except BaseException:
            self._driver.close(_nothing)
            raise
        self._driver.on_resume = self._resume
        _open.add(self)

    @property
    def pending(self) -> int:
        """How many requests are under way."""
        return self._client.pending

    def close(self) -> None:
        """Close the connection; calls of other threads end with ChannelClosed. May be called twice. In a forked child
        it does nothing: the connection is the parent's.

        Raises:
            WrongLoop: an event loop runs in this thread.
        """
        if not self._driver.forked:
            self._driver.close(functools.partial(self._context.__aexit__, None, None, None))
            _open.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    request = _blocking(KernelClient.request)
    ready = _blocking(KernelClient.ready)
    flush = _blocking(KernelClient.flush)
    kernel_info = _blocking(KernelClient.kernel_info)
    complete = _blocking(KernelClient.complete)
    inspect = _blocking(KernelClient.inspect)
    is_complete = _blocking(KernelClient.is_complete)
    comm_info = _blocking(KernelClient.comm_info)
    interrupt = _blocking(KernelClient.interrupt)
    shutdown = _blocking(KernelClient.shutdown)
    debug = _blocking(KernelClient.debug)
    create_subshell = _blocking(KernelClient.create_subshell)
    delete_subshell = _blocking(KernelClient.delete_subshell)
    list_subshells = _blocking(KernelClient.list_subshells)

    def history(  # written out, since its keywords are open
        self,
        *,
        hist_access_type: str = "tail",
        n: int | None = 10,
        raw: bool = True,
        output: bool = False,
        timeout: float | None = None,
        **selection: Any,
    ) -> Message:
        """As :meth:`KernelClient.history`."""
        fields = {"hist_access_type": hist_access_type, "n": n, "raw": raw, "output": output, **selection}
        return self._driver.run(functools.partial(self._client.history, timeout=timeout, **fields))

    def execute(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        stop_on_error: bool = True,
        subshell_id: str | None = None,
        input_hook: BlockingInputHook | None = None,
        keep: bool = True,
    ) -> BlockingExecution:
        """Run code: ``for message in client.execute(...)`` or ``result = client.execute(...).result()``.

        Arguments:
            code: what to run.
            silent: publish nothing, count nothing.
            store_history: keep it in the kernel's history.
            user_expressions: names to expressions, evaluated afterwards.
            stop_on_error: an error aborts what is queued behind it.
            subshell_id: the subshell to run it in; None for the main one.
            input_hook: answers input requests of this execution; the client's own if not given.
            keep: keep the messages that were iterated over for the result. False for output without end: the result
                then has only what was not iterated over.
        """
        make = functools.partial(
            self._client.execute,
            code,
            silent=silent,
            store_history=store_history,
            user_expressions=user_expressions,
            stop_on_error=stop_on_error,
            subshell_id=subshell_id,
            keep=keep,
        )
        return BlockingExecution(self._driver, make, input_hook or self._input_hook, keep=keep)

    def _resume(self) -> None:
        monitor = self._client.heartbeat
        if not monitor.paused:
            monitor.pause()
            monitor.unpause()


_open: set[BlockingKernelClient] = set()


def _close_all() -> None:
    for client in list(_open):
        # Nobody is left to tell. Since Python 3.12 no thread can be started here, which closing may want.
        with suppress(Exception):
            client.close()


atexit.register(_close_all)


def _settle(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():
        future.set_result(result)


async def _nothing() -> None:
    pass
