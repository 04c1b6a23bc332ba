"""An event loop without a thread of its own: threads that wait for something in it drive it.

One of those that wait leads: it drives for all of them, and hands the lead on when its own wait is over.
"""

# What the module signal wraps: its enums cost more than all else that is done here for a call.
import _signal as signal  # type: ignore[import-not-found]
import asyncio
import inspect
import os
import select
import selectors
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Generic, ParamSpec, TypeVar

from kernelwire.errors import ChannelClosed, LocalError, WrongLoop

P = ParamSpec("P")
T = TypeVar("T")

_PAUSE: Final = 1.0
"""Seconds without a driver that count as a pause."""

_UNASKED: Final = 3
"""Turns of the loop that may go by before the system is asked for news."""


class Wait:
    """What one thread waits for.

    Attributes:
        errands: what that thread is to do meanwhile.
        patient: whether Ctrl-C and errands can wait until it is over.
        done: whether it is over.
        interrupted: whether Ctrl-C was pressed.
        mail: gets an item whenever there is something to look at. A signal handler may put one there, which no lock
            would allow.
    """

    def __init__(self, errands: "deque[Callable[[], None]] | None" = None) -> None:
        self.errands = errands
        self.patient = False
        self.done = False
        self.interrupted = False
        self.mail = SimpleQueue[None]()

    @property
    def ready(self) -> bool:
        """Whether the thread has something else to do than to wait."""
        return self.done or (not self.patient and (self.interrupted or bool(self.errands)))


class Outcome(Wait, Generic[T]):
    """A wait for what a coroutine returns or raises."""

    value: T
    error: BaseException | None = None
    task: asyncio.Task[None] | None = None


class _Selector(selectors.DefaultSelector):
    """Does not ask the system each time that the loop only looks whether there is something new, but has work to do."""

    _unasked = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 and self._unasked < _UNASKED:
            self._unasked += 1
            return []
        self._unasked = 0
        return super().select(timeout)


class LoopDriver:
    """A loop, and the threads that wait for what happens in it.

    Raises:
        WrongLoop: an event loop runs in this thread.

    Attributes:
        loop: driven by the leader while there is one, and by nobody else.
        closing: whether `close` was called.
        on_resume: called by a leader before it drives a loop that nobody drove for a while.
    """

    def __init__(self) -> None:
        check_no_loop()
        self._selector = _Selector()
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self.on_resume: Callable[[], None] | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._leader: Wait | None = None
        self._followers: deque[Wait] = deque()
        self._driven = self.loop.time()
        self.closing = False
        self._closed = False
        _drivers.add(self)

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that it was made in."""
        return os.getpid() != self._pid

    def run(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` in the loop and wait for what it returns; it is cancelled if the wait is given up."""
        return self.run_as(Outcome[T](), work, *args, **kwargs)

    def run_as(self, outcome: Outcome[T], work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for a wait that the caller has made."""

        async def run() -> None:
            try:
                outcome.value = await work(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is the caller's, whoever drives
                outcome.error = error
            self.finish(outcome)

        def begin() -> None:
            outcome.task = self.loop.create_task(run(), name="kernelwire blocking call")
            outcome.task.add_done_callback(ended)

        def ended(_: object) -> None:
            if not outcome.done:  # it was cancelled before its first step
                outcome.error = asyncio.CancelledError()
                self.finish(outcome)

        def cancel() -> None:
            if outcome.task is None:  # Ctrl-C came before the loop had heard of it
                self.finish(outcome)
            else:
                outcome.task.cancel()

        try:
            self.wait(outcome, begin)
        except BaseException:
            outcome.patient = True
            with suppress(LocalError):  # which it was that it failed with, or it has ended meanwhile
                # Not at once: it may still be in the queue itself.
                self.wait(outcome, lambda: self.loop.call_soon(cancel))
            raise
        error, outcome.error = outcome.error, None
        if error is None:
            return outcome.value
        try:
            if isinstance(error, asyncio.CancelledError):
                raise was_closed() from None
            raise error
        finally:
            del error  # its traceback holds this frame

    def wait(self, wait: Wait, begin: Callable[[], object]) -> None:
        """Have `begin` called in the loop, then drive the loop or let others do so, until the wait is done.

        Raises:
            KeyboardInterrupt, or whatever a signal's handler, an errand or a callback of the loop raises: nobody waits
                any more.
            ChannelClosed, WrongLoop: nothing was begun.
        """
        if self.forked:
            raise WrongLoop("opened before a fork: a child process must open its own connection")
        check_no_loop()
        first: Callable[[], object] | None = begin
        while True:
            # An exception in the middle of the loop's work would break what other threads wait for.
            previous = _set_sigint(lambda *_: self._on_sigint(wait))
            try:
                if not wait.done:
                    self._wait_until_ready(wait, first)
            finally:
                if previous is not None:
                    signal.signal(signal.SIGINT, previous)
            first = None
            # From here on the loop is others' to drive: what follows may take its time, and raise.
            if wait.interrupted:
                wait.interrupted = False
                if previous is not None:
                    previous(signal.SIGINT, inspect.currentframe())
            if wait.done:
                return
            if wait.errands:
                wait.errands.popleft()()

    def finish(self, wait: Wait) -> None:
        """A wait is over. From the loop only, as `look`."""
        wait.done = True
        self.look(wait)

    def look(self, wait: Wait) -> None:
        """Have the waiting thread look at its wait."""
        if self._leader is wait:
            self.loop.stop()
        else:
            wait.mail.put(None)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the loop soon, whoever drives it. Does nothing when the loop is closed."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *args)

    def close(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work`, then end all other waits. The last thread that leaves closes the loop. Ctrl-C has to wait.
        Nothing happens the second time.

        Raises:
            WrongLoop: an event loop runs in this thread.
        """
        outcome = Outcome[None]()
        outcome.patient = True
        with suppress(ChannelClosed):
            self.run_as(outcome, self._end, work)

    def abandon(self) -> None:
        """In a forked child: leave the parent's things alone, and say nothing about them at the end."""
        if hasattr(select, "epoll") and not self.loop.is_closed():
            # An epoll is shared with the parent. In its place comes one of the child's own, or cleaning up here would
            # change what the parent listens to.
            with select.epoll() as own:
                os.dup2(own.fileno(), self._selector.fileno())
        self.loop.set_exception_handler(lambda *_: None)
        for task in asyncio.all_tasks(self.loop):
            work = task.get_coro()
            if inspect.iscoroutine(work) and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()  # or Python would warn of one that was never begun
        if not self.loop.is_running():  # by a thread that the child does not have
            self.loop.close()

    async def _end(self, work: Callable[[], Awaitable[object]]) -> None:
        if self.closing:
            return
        self.closing = True
        try:
            await work()
        finally:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self.loop.shutdown_asyncgens()
            self._closed = True

    def _wait_until_ready(self, wait: Wait, begin: Callable[[], object] | None) -> None:
        with self._lock:
            if self._closed:
                raise was_closed()
            if self._leader is None:
                self._leader = wait
            else:
                self._followers.append(wait)
        try:
            if begin is not None:
                if self._leader is wait:
                    begin()
                else:
                    self.loop.call_soon_threadsafe(begin)
            while not wait.ready:
                if self._leader is wait:
                    self._drive(wait)
                else:
                    wait.mail.get()
        finally:
            self._leave(wait)

    def _drive(self, wait: Wait) -> None:
        if self.on_resume is not None and self.loop.time() - self._driven > _PAUSE:
            self.on_resume()
        try:
            while not wait.ready:
                self.loop.run_forever()  # until somebody wants something of this thread
        finally:
            self._driven = self.loop.time()

    def _leave(self, wait: Wait) -> None:
        with self._lock:
            if self._leader is not wait:
                self._followers.remove(wait)
                return
            self._leader = self._followers.popleft() if self._followers else None
            if self._leader is not None:
                self._leader.mail.put(None)
            elif self._closed:
                self.loop.close()

    def _on_sigint(self, wait: Wait) -> None:
        wait.interrupted = True
        wait.mail.put(None)
        self.call(self.loop.stop)


def check_no_loop() -> None:
    """Raises:
    WrongLoop: an event loop runs in this thread.
    """
    # The private name never raises.
    if asyncio._get_running_loop() is not None:  # noqa: SLF001
        raise WrongLoop(
            "an event loop runs in this thread, and waiting here would stop it: use the asyncio client, "
            "kernelwire.connect(), or call from another thread"
        )


def _set_sigint(handler: Callable[[int, Any], None]) -> Callable[[int, Any], Any] | None:
    """Set a handler for Ctrl-C and return the one before; None, and nothing is set, where Ctrl-C raises nothing."""
    if threading.current_thread() is not threading.main_thread():
        return None
    previous: Callable[[int, Any], Any] | None = signal.getsignal(signal.SIGINT)
    if not callable(previous):
        return None
    signal.signal(signal.SIGINT, handler)
    return previous


def was_closed() -> ChannelClosed:
    """What a call raises that came too late."""
    return ChannelClosed("the client was closed")


def _abandon_all() -> None:
    for driver in _drivers:
        driver.abandon()


_drivers: weakref.WeakSet[LoopDriver] = weakref.WeakSet()
os.register_at_fork(after_in_child=_abandon_all)
