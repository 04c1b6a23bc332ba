"""A thread with an event loop, which runs one piece of work after another, and can be interrupted between bytecodes.

An interrupt reaches what the work does, and nothing else: it is raised only while the thread is in a step of the work,
and is taken back if the step ends first.
"""

import asyncio
import concurrent.futures
import contextvars
import ctypes
import inspect
import logging
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

from kernelwire_inprocess.outbox import call_soon

_log = logging.getLogger(__name__)

R = TypeVar("R")

GRACE: Final = 5.0
"""Seconds that the work has to end, at the end."""

_AGAIN: Final = 0.1
"""Seconds between two interrupts of work that does not want to end."""

_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = (ctypes.c_ulong, ctypes.c_void_p)
_set_async_exc.restype = ctypes.c_int


class Worker:
    """Made, used and closed in one event loop, which is not the thread's.

    Arguments:
        name: the thread's.
    """

    def __init__(self, name: str) -> None:
        self._owner = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._context = contextvars.Context()
        self._lock = threading.Lock()
        self._inside = False  # in a step of the work
        self._late = False  # an interrupt came when the step had ended
        self._interrupted = False  # the work's task was cancelled, by an interrupt
        self._task: asyncio.Task[Any] | None = None
        self._answer: concurrent.futures.Future[Any] | None = None  # what the work waits for
        self._closing = False
        self._ended: asyncio.Future[None] = self._owner.create_future()
        # A daemon, for work that cannot be interrupted: it must not keep the process from ending.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    async def call(self, work: Callable[[], Coroutine[Any, Any, R]], prepare: Callable[[], object]) -> R:
        """Run a piece of work in the thread; cancelling this does not end it.

        Arguments:
            work: a coroutine function.
            prepare: called before it, in its context.

        Raises:
            what the work raises, Interrupted and Exited in place of KeyboardInterrupt and SystemExit.
            concurrent.futures.CancelledError: the thread has ended.
        """
        outcome: asyncio.Future[R] = self._owner.create_future()

        def begin() -> None:
            self._context.run(prepare)
            self._late = self._interrupted = False
            task = self._loop.create_task(self._perform(work), context=self._context)
            self._task = task
            task.add_done_callback(done)

        def done(task: "asyncio.Task[R]") -> None:
            self._task = None
            call_soon(self._owner, _pass_on, task, outcome)

        if not call_soon(self._loop, begin):
            raise concurrent.futures.CancelledError("the kernel has ended")
        ends: set[asyncio.Future[Any]] = {outcome, self._ended}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not outcome.done():
                raise concurrent.futures.CancelledError("the kernel has ended")
            return outcome.result()
        finally:
            outcome.cancel()  # perhaps nobody waits for it any more

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the work. Nothing happens if there is none, or if it has just ended."""
        with self._lock:
            if self._answer is not None:
                self._answer.cancel()
            elif self._inside:
                _set_async_exc(self._thread.ident or 0, id(KeyboardInterrupt))
            else:
                call_soon(self._loop, self._cancel)

    def wait_for(self, answer: "concurrent.futures.Future[R]") -> R:
        """For the work: wait for something that others will do.

        Raises:
            KeyboardInterrupt: it was cancelled, or the work was interrupted.
        """
        if threading.current_thread() is self._thread:
            with self._lock:
                self._answer = answer
        try:
            return answer.result()
        except concurrent.futures.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            with self._lock:
                if self._answer is answer:
                    self._answer = None

    async def close(self, grace: float = GRACE) -> bool:
        """End what runs, and the thread; whether it has ended within `grace` seconds.

        If not, it ends as soon as it can.
        """
        self._closing = True
        call_soon(self._loop, self._loop.stop)
        deadline = self._owner.time() + grace
        while not self._ended.done() and self._owner.time() < deadline:
            self.interrupt()
            await asyncio.wait([self._ended], timeout=_AGAIN)
        if not self._ended.done():
            _log.warning("%s cannot be interrupted, and goes on until what it does returns", self._thread.name)
            return False
        self._thread.join(grace)
        return True

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            while not self._closing:
                try:
                    self._loop.run_forever()
                except (KeyboardInterrupt, SystemExit):  # of a task that the work has left behind
                    continue
            self._clear()
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()
            call_soon(self._owner, _set, self._ended)

    def _clear(self) -> None:
        """End what the work has left behind, as asyncio.run does."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        for last in (_waited(tasks), self._loop.shutdown_asyncgens(), self._loop.shutdown_default_executor()):
            try:
                self._loop.run_until_complete(last)
            except BaseException as error:  # noqa: BLE001 - the user's code, at its end
                _log.debug("at the end of a kernel: %s", type(error).__name__)
                last.close()

    def _cancel(self) -> None:
        if self._task is not None:
            self._interrupted = True
            self._task.cancel()

    async def _perform(self, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        return await self._steps(work())

    @types.coroutine
    def _steps(self, work: Coroutine[Any, Any, R]) -> Generator[Any, Any, R]:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                yielded = self._step(work, value, error)
            except StopIteration as stop:
                result: R = stop.value
                return result
            except KeyboardInterrupt as interrupt:
                if inspect.getcoroutinestate(work) != inspect.CORO_SUSPENDED:
                    raise Interrupted from interrupt
                value, error = None, interrupt
                continue
            except SystemExit as exit_:
                raise Exited from exit_
            value = error = None
            if self._late:
                self._late = False
                error = KeyboardInterrupt()
                continue
            try:
                value = yield yielded
            except asyncio.CancelledError as cancelled:
                error = cancelled
                if self._interrupted:
                    self._interrupted = False
                    task = asyncio.current_task()
                    if task is not None:
                        task.uncancel()
                    error = KeyboardInterrupt()
            except BaseException as raised:  # noqa: BLE001 - the work's own
                error = raised

    def _step(self, work: Coroutine[Any, Any, Any], value: object, error: BaseException | None) -> Any:
        try:
            self._inside = True
            return work.send(value) if error is None else work.throw(error)
        finally:
            self._leave()

    def _leave(self) -> None:
        while True:
            try:
                self._inside = False
                with self._lock:  # nobody is in the middle of an interrupt
                    _set_async_exc(threading.get_ident(), None)  # one that has not arrived yet came too late
            except KeyboardInterrupt:
                self._late = True  # between the end of the step and here: the work shall have it all the same
                continue
            return


class Interrupted(Exception):
    """The work was interrupted, and did not catch that: KeyboardInterrupt as asyncio can carry it."""


class Exited(Exception):
    """The work raised SystemExit, likewise."""


def _pass_on(task: "asyncio.Task[R]", outcome: "asyncio.Future[R]") -> None:
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if outcome.done():
        return
    if isinstance(error, asyncio.CancelledError):
        outcome.set_exception(Interrupted())
    elif error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


async def _waited(tasks: "set[asyncio.Task[Any]]") -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=1)


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
