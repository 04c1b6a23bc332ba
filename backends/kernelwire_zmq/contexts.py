"""One zmq context for the open ends of a backend object: made with the first, terminated with the last."""

import asyncio
import os
import threading
from contextlib import suppress

import zmq


class SharedContext:
    """A context with a count of its users, who may be in different threads and loops."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._users = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def acquire(self) -> "zmq.Context[zmq.Socket[bytes]]":
        """The context, made if this is its first user."""
        if os.getpid() != self._pid:
            # A forked child has none of the threads that make its parent's context work.
            self._context, self._users, self._lock, self._pid = None, 0, threading.Lock(), os.getpid()
        with self._lock:
            if self._context is None:
                self._context = zmq.Context()
                # zmq's tables for 65,535 take most of a megabyte, in each context.
                self._context.set(zmq.MAX_SOCKETS, 8192)
            self._users += 1
            return self._context

    async def release(self) -> None:
        """Give up one use, after closing its sockets; the last one waits until what they still hold is sent, for as
        long as their LINGER says. Cancelling does not stop that, only the wait for it.
        """
        with self._lock:
            self._users -= 1
            if self._users or self._context is None:
                return
            context, self._context = self._context, None
        await _terminate(context)


async def _terminate(context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    # Termination blocks. A thread of its own ends with it, which the loop's pool would not.
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()

    def terminate() -> None:
        context.term()
        with suppress(RuntimeError):  # the wait was cancelled, and the loop is closed by now
            loop.call_soon_threadsafe(terminated.set)

    thread = threading.Thread(target=terminate, name="kernelwire zmq termination", daemon=True)
    thread.start()
    await terminated.wait()
    thread.join()
