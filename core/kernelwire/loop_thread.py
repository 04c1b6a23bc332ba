"""An event loop in a thread of its own, for what must go on between the calls of a program that has none."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar, cast

from kernelwire.errors import ChannelClosed, WrongLoop
from kernelwire.loop_driver import check_no_loop

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class _Outcome(Generic[T]):
    """What a coroutine returned or raised."""

    value: T | None = None
    error: BaseException | None = None

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return cast("T", self.value)


class LoopThread:
    """Runs from its making to `close`. Its methods may be called from any thread without an event loop.

    Arguments:
        name: the thread's.

    Raises:
        WrongLoop: an event loop runs in this thread.
    """

    def __init__(self, name: str) -> None:
        check_no_loop()
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        # A daemon, so that a program that forgets it can end.
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that it was made in."""
        return os.getpid() != self._pid

    def run(self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine in the loop and wait for what it returns. It is cancelled if the wait is given up (Ctrl-C),
        and has ended when that is raised.

        Raises:
            ChannelClosed: the loop was closed.
            WrongLoop: an event loop runs in this thread, or this is a child of the process that made the loop.
            whatever the coroutine raises.
        """
        if self.forked:
            raise WrongLoop("opened before a fork: a child process must open its own")
        check_no_loop()
        if self._loop.is_closed():
            raise ChannelClosed("the manager was closed")
        # A queue, since it has no lock that Ctrl-C could leave locked, as it could a Future's or an Event's.
        outcome = SimpleQueue[_Outcome[T]]()
        task: asyncio.Task[None] | None = None

        async def fulfil() -> None:
            try:
                outcome.put(_Outcome(value=await work(*args, **kwargs)))
            except BaseException as error:  # noqa: BLE001 - it is the caller's, in the caller's thread
                outcome.put(_Outcome(error=error))

        def begin() -> None:
            nonlocal task
            task = self._loop.create_task(fulfil())

        try:
            # Ctrl-C may come at any step from here on, also before the loop has heard of the work.
            self._loop.call_soon_threadsafe(begin)
            ended = outcome.get()
        except BaseException:
            self._end(lambda: task)
            raise
        return ended.result()

    def _end(self, task: Callable[[], asyncio.Task[None] | None]) -> None:
        """Cancel what the loop was given, if it was, and wait for its end."""
        over = SimpleQueue[None]()

        def cancel() -> None:  # comes after whatever was given to the loop before
            if (begun := task()) is None:
                over.put(None)
                return
            begun.add_done_callback(lambda _: over.put(None))
            begun.cancel()

        self._loop.call_soon_threadsafe(cancel)
        over.get()

    def close(self) -> None:
        """End the loop and the thread. Nothing happens the second time."""
        if self._loop.is_closed() or self.forked:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
