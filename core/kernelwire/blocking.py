"""The client without async: the only synchronous door.

No thread serves the wire. The client has an event loop of its own, and a thread that waits for something drives it
meanwhile. When several threads wait, one of them leads: it drives for all, and hands the lead on when its own wait is
over. Between calls nobody drives: what arrives then is held by the transport and dealt with in the next call.
"""

import atexit
import functools
import os
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from kernelwire import client as async_client
from kernelwire import interactive
from kernelwire.blocking_comm import BlockingComm, BlockingOnOpen, in_thread
from kernelwire.blocking_execution import BlockingExecution, BlockingInputHook
from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.client import TIME_TO_DEAD, KernelClient
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import KernelwireError
from kernelwire.execution import ExecuteResult, check_execution
from kernelwire.loop_driver import LoopDriver
from kernelwire.messages import Message
from kernelwire.session import Session

if TYPE_CHECKING:
    from typing_extensions import Buffer

P = ParamSpec("P")
T = TypeVar("T")


def connect(
    connection: ConnectionInfo | str | os.PathLike[str],
    *,
    input_hook: BlockingInputHook | None = None,
    time_to_dead: float = TIME_TO_DEAD,
    channels: Collection[Channel] = ALL_CHANNELS,
) -> "BlockingKernelClient":
    """A client of the kernel that a connection file describes: ``with kernelwire.blocking.connect(file) as client:``.

    Not for transport ``inprocess``, whose kernel would have to run in the client's own loop.

    Arguments:
        connection: as for :func:`kernelwire.connect`.
        input_hook: answers ``input()`` of the kernel; without one the kernel is told that there is no stdin.
        time_to_dead: as for :func:`kernelwire.connect`.
        channels: likewise.

    Raises:
        ConfigurationError: the file, a field of it, or its transport cannot be used.
        WrongLoop: an event loop runs in this thread.
    """
    return BlockingKernelClient(connection, input_hook=input_hook, time_to_dead=time_to_dead, channels=channels)


def _blocking(
    method: Callable[Concatenate[KernelClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["BlockingKernelClient", P], T]:
    @functools.wraps(method)
    def call(self: "BlockingKernelClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._driver.run(method, self._client, *args, **kwargs)

    call.__module__ = __name__
    call.__qualname__ = f"BlockingKernelClient.{method.__name__}"
    return call


def _coroutine(
    method: Callable[Concatenate[KernelClient, P], T],
) -> Callable[Concatenate[KernelClient, P], Coroutine[Any, Any, T]]:
    """For what does not wait, and yet is to be called in the loop."""

    @functools.wraps(method)
    async def call(client: KernelClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return method(client, *args, **kwargs)

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
        connection, input_hook, time_to_dead, channels: as for :func:`connect`.
    """

    def __init__(
        self,
        connection: ConnectionInfo | str | os.PathLike[str],
        *,
        input_hook: BlockingInputHook | None = None,
        time_to_dead: float = TIME_TO_DEAD,
        channels: Collection[Channel] = ALL_CHANNELS,
    ) -> None:
        self._input_hook = input_hook
        self._driver = LoopDriver()
        self._context = async_client.connect(connection, time_to_dead=time_to_dead, channels=channels)
        try:
            self._client = self._driver.run(self._context.__aenter__)
        except BaseException:
            self._driver.close(_nothing)
            raise
        self._driver.on_resume = self._resume
        _open.add(self)

    def call_soon(self, function: Callable[[KernelClient], object]) -> None:
        """Have `function` called with the asyncio client, in its loop, when somebody drives that next. No waiting."""
        self._driver.call(function, self._client)

    @property
    def session(self) -> Session:
        """Makes and signs the client's messages."""
        return self._client.session

    @property
    def allow_stdin(self) -> bool:
        """Whether the kernel may ask: there is an input hook, and the stdin channel is open."""
        return self._input_hook is not None and Channel.STDIN in self._client.end.channels

    @property
    def is_beating(self) -> bool | None:
        """Whether the kernel beats, as the last call saw it; None if none has.

        Raises:
            NotSupported: the heartbeat channel is not open.
        """
        return self._client.heartbeat.is_beating

    @property
    def broken(self) -> KernelwireError | None:
        """Why nothing can be asked any more, as far as the last call saw; None while it can."""
        return self._client.broken

    @property
    def pending(self) -> int:
        """How many requests are under way, without those by which the client itself asks after some of them."""
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
    end_requests = _blocking(_coroutine(KernelClient.end_requests))
    on_kernel_end = _blocking(_coroutine(KernelClient.on_kernel_end))

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
        allow_stdin: bool = True,
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
            allow_stdin: False tells the kernel not to ask, whatever hook there is.
            input_hook: answers input requests of this execution; the client's own if not given.
            keep: keep the messages that were iterated over for the result. False for output without end: the result
                then has only what was not iterated over.
        """
        check_execution(code, user_expressions)  # where the mistake is, not where the result is wanted
        make = functools.partial(
            self._client.execute,
            code,
            silent=silent,
            store_history=store_history,
            user_expressions=user_expressions,
            stop_on_error=stop_on_error,
            subshell_id=subshell_id,
            allow_stdin=allow_stdin,
            keep=keep,
        )
        input_hook = input_hook or (self._input_hook if self.allow_stdin else None)
        return BlockingExecution(self._driver, make, input_hook, keep=keep)

    def execute_interactive(
        self,
        code: str,
        *,
        output_hook: Callable[[Message], object] | None = None,
        input_hook: BlockingInputHook | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> ExecuteResult:
        """As :meth:`KernelClient.execute_interactive`. Both hooks are called in this thread; the time limit ends the
        waiting, not what a hook does.
        """
        if Channel.STDIN in self._client.end.channels:
            input_hook = input_hook or self._input_hook or interactive.ask_here
        execution = self.execute(code, input_hook=input_hook, **options)
        return execution.follow(output_hook or interactive.show, timeout)

    def open_comm(
        self, target_name: str, data: Mapping[str, Any] | None = None, *, buffers: "Sequence[Buffer]" = ()
    ) -> BlockingComm:
        """Open a comm to a target in the kernel. A kernel that has no such target closes it at once."""
        return BlockingComm(self._driver, self._driver.run(self._client.open_comm, target_name, data, buffers=buffers))

    def on_comm(self, target_name: str, on_open: BlockingOnOpen | None) -> None:
        """Take the comms that the kernel opens for a target: `on_open` is called with each, in a thread of its own;
        None ends that. They are noticed during calls, of whatever thread.
        """
        handler = None if on_open is None else in_thread(self._driver, on_open)
        self._driver.run(_coroutine(KernelClient.on_comm), self._client, target_name, handler)

    def _resume(self) -> None:
        if Channel.HEARTBEAT in self._client.end.channels and not self._client.heartbeat.paused:
            self._client.heartbeat.pause()
            self._client.heartbeat.unpause()


_open: set[BlockingKernelClient] = set()


def _close_all() -> None:
    for client in list(_open):
        # Nobody is left to tell. Since Python 3.12 no thread can be started here, which closing may want.
        with suppress(Exception):
            client.close()


atexit.register(_close_all)


async def _nothing() -> None:
    pass
