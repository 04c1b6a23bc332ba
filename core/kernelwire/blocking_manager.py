"""The manager without async: its kernel is looked after in a thread, for a kernel does not wait for the next call.

::

    with BlockingKernelManager() as manager:
        manager.start("python3", timeout=60)
        with manager.client() as client:
            print(client.execute("1 + 1").result().text)
"""

import atexit
import functools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from kernelwire import blocking
from kernelwire.blocking import BlockingKernelClient
from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import KernelwireError, LocalError
from kernelwire.kernelspecs import KernelSpec
from kernelwire.launch import NEVER, AutoRestart, Event, Patience
from kernelwire.loop_thread import LoopThread
from kernelwire.manager import KernelManager

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[KernelManager, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["BlockingKernelManager", P], T]:
    @functools.wraps(method)
    def call(self: "BlockingKernelManager", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.run(method, self._manager, *args, **kwargs)

    call.__module__ = __name__
    call.__qualname__ = f"BlockingKernelManager.{method.__name__}"
    return call


class BlockingKernelManager:
    """A :class:`~kernelwire.manager.KernelManager` whose methods wait. Use as a context manager, or call `close`: both
    shut down what was started. When the interpreter ends, a kernel that is still there is killed.

    Several threads may use one manager at once. The methods raise what those of `KernelManager` raise, and

    - WrongLoop: an event loop runs in this thread: use the asyncio manager there. Or the manager was made before a
      fork.
    - ChannelClosed: the manager was closed.

    Arguments:
        auto_restart, patience: as for `KernelManager`.
    """

    def __init__(self, *, auto_restart: AutoRestart = NEVER, patience: Patience | None = None) -> None:
        self._stack = ExitStack()
        self._channels: BlockingKernelClient | None = None
        self._options: dict[str, Any] = {}  # those of that
        self._thread = LoopThread("kernelwire manager")
        self._manager = self._thread.run(_made, auto_restart, patience)
        _open.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    start = _blocking(KernelManager.start)
    attach = _blocking(KernelManager.attach)
    detach = _blocking(KernelManager.detach)
    interrupt = _blocking(KernelManager.interrupt)
    kill = _blocking(KernelManager.kill)
    shutdown = _blocking(KernelManager.shutdown)

    def restart(self, *, now: bool = False, newports: bool = False, **overrides: Any) -> None:
        """As :meth:`KernelManager.restart`."""
        # Written out, since its keywords are open.
        self._thread.run(functools.partial(self._manager.restart, now=now, newports=newports, **overrides))

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers. Raises as :meth:`KernelManager.wait_ready`."""
        self._thread.run(self._manager.wait_ready, timeout)

    @property
    def has_kernel(self) -> bool:
        """Whether a kernel was started or attached, and not shut down since. It may have died: see `is_alive`."""
        return self._manager.has_kernel

    @property
    def info(self) -> ConnectionInfo:
        """Where clients reach the kernel. Raises LocalError if there is none."""
        return self._manager.info

    @property
    def connection_file(self) -> Path:
        """The connection file of a kernel that was started. Raises as `info`."""
        return self._manager.connection_file

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernelspec of a kernel that was started. Raises as `info`."""
        return self._manager.kernel_spec

    @property
    def pid(self) -> int | None:
        """The kernel's process id, where it has one here."""
        return self._manager.pid

    def is_alive(self) -> bool | None:
        """As :meth:`KernelManager.is_alive`."""
        return self._manager.is_alive()

    def signal(self, signum: int) -> None:
        """As :meth:`KernelManager.signal`."""

        async def signal() -> None:
            self._manager.signal(signum)

        self._thread.run(signal)

    def add_callback(self, callback: Callable[[], object], event: Event = "restart") -> None:
        """As :meth:`KernelManager.add_callback`; it is called in the manager's thread."""
        self._manager.add_callback(callback, event)

    def remove_callback(self, callback: Callable[[], object], event: Event = "restart") -> None:
        """Undo `add_callback`; nothing happens if there is nothing to undo."""
        self._manager.remove_callback(callback, event)

    @contextmanager
    def client(self, **options: Any) -> Iterator[BlockingKernelClient]:
        """A client of the kernel, for as long as the context lasts; it outlasts restarts. When the kernel's process
        ends, its requests end at once. Options and errors are those of :func:`kernelwire.blocking.connect`.
        """
        with blocking.connect(self.info, **options) as client:
            tell = functools.partial(_tell, client)
            self._manager.listeners.append(tell)
            try:
                yield client
            finally:
                self._manager.listeners.remove(tell)

    @property
    def channels(self) -> BlockingKernelClient | None:
        """The client that `start_channels` has opened, while it is open and its kernel can be reached with it."""
        return self._channels if self._channels is not None and self._channels.broken is None else None

    @property
    def channels_running(self) -> bool:
        """Whether there are `channels`."""
        return self.channels is not None

    def start_channels(
        self,
        *,
        shell: bool = True,
        iopub: bool = True,
        stdin: bool = True,
        hb: bool = True,
        control: bool = True,
        **options: Any,
    ) -> BlockingKernelClient:
        """A client of the kernel on these channels, until `stop_channels` or `close`. May be called again: with equal
        arguments it gives the same client.

        Raises:
            LocalError: there is no kernel, or channels are running that were asked for in another way.
        """
        wanted = zip(Channel, (shell, control, stdin, iopub, hb), strict=True)
        options["channels"] = frozenset(name for name, asked_for in wanted if asked_for)
        if (client := self.channels) is not None:
            if options != self._options:
                raise LocalError("the channels are running with other options: call stop_channels() first")
            return client
        self.stop_channels()  # of one that is of no use any more
        self._channels = self._stack.enter_context(self.client(**options))
        self._options = options
        return self._channels

    def stop_channels(self) -> None:
        """Close what `start_channels` has opened, if anything."""
        self._channels = None
        self._stack.close()

    def close(self) -> None:
        """Shut the kernel down, as far as it is ours, and end the thread. Nothing happens the second time, nor in a
        forked child: the kernel is the parent's.
        """
        if self not in _open or self._thread.forked:
            return
        _open.discard(self)
        try:
            self.stop_channels()
        finally:
            self._close()

    def _close(self) -> None:
        try:
            self._thread.run(self._manager.__aexit__, None, None, None)
        finally:
            self._thread.close()


async def _made(auto_restart: AutoRestart, patience: Patience | None) -> KernelManager:
    return KernelManager(auto_restart=auto_restart, patience=patience)


def _tell(client: BlockingKernelClient, error: KernelwireError, *, for_good: bool) -> None:
    # What is asked later is asked of the next kernel, and nobody may drive the client's loop before that.
    if client.pending or for_good:
        client.call_soon(lambda asynchronous: asynchronous.on_kernel_end(error, for_good=for_good))


_open: set[BlockingKernelManager] = set()


def _kill_all() -> None:
    for manager in list(_open):
        with suppress(Exception):  # nobody is left to tell
            manager.shutdown(now=True)


atexit.register(_kill_all)
