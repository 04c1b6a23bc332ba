"""A kernel in a process of ours: started, watched, started again, ended. The manager's inner half."""

import asyncio
import dataclasses
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from kernelwire import control, kernelspecs
from kernelwire.client import KernelClient
from kernelwire.errors import KernelExited, KernelwireError, LocalError
from kernelwire.kernel_address import KernelAddress
from kernelwire.kernelspecs import KernelSpec
from kernelwire.launcher import Launcher, LocalLauncher, Process, end_process
from kernelwire.messages import Message

_log = logging.getLogger(__name__)

Event = Literal["restart", "dead"]
"""What can follow when a kernel has ended by itself: it was started again, or it will not be."""

PORT_TRIES: Final = 5
"""How often a kernel is started on other ports, because another process took one of its ports first."""

START_TIME: Final = 30.0
"""Seconds within which a kernel that cannot be reached at its address ends over that."""

_TAKEN: Final = re.compile("address already in use|EADDRINUSE", re.IGNORECASE)

_CHANGEABLE: Final = ("kernel_name", "argv", "cwd", "env", "launcher", "timeout")


@dataclass(frozen=True, kw_only=True)
class AutoRestart:
    """How often a kernel that ends by itself is started again.

    Attributes:
        limit: how often in a row; 0 for never.
        stable: seconds of life after which the next time is the first again.
    """

    limit: int = 5
    stable: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds that things may take.

    Attributes:
        ready: a kernel until it answers.
        shutdown: a kernel to end once it was asked to, before it is killed.
        reply: a reply to an interrupt_request, or to a shutdown_request to a kernel that is not ours.
    """

    ready: float = 60.0
    shutdown: float = 5.0
    reply: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How a kernel is started: the arguments of ``KernelManager.start``, which are remembered for a restart."""

    kernel_name: str = kernelspecs.NATIVE
    transport: str = "tcp"
    launcher: Launcher = dataclasses.field(default_factory=LocalLauncher)
    argv: Sequence[str] | None = None
    cwd: str | os.PathLike[str] | None = None
    env: Mapping[str, str] | None = None
    ip: str | None = None
    connection_file: str | os.PathLike[str] | None = None
    timeout: float | None = None

    def overridden(self, overrides: Mapping[str, Any]) -> Self:
        """With other values.

        Raises:
            LocalError: a name that no restart can change.
        """
        if unknown := sorted(set(overrides) - set(_CHANGEABLE)):
            raise LocalError(f"a restart cannot change {', '.join(unknown)}, only {', '.join(_CHANGEABLE)}")
        if "kernel_name" in overrides:  # a command of its own was for the kernel of before
            overrides = {"argv": None, **overrides}
        return dataclasses.replace(self, **overrides)

    def spec(self) -> KernelSpec:
        """The kernelspec, or what stands for one where there is a command.

        Raises:
            KernelspecError: there is none of this name, or it cannot be used.
        """
        if self.argv is None:
            return kernelspecs.get(self.kernel_name)
        return KernelSpec(self.kernel_name, tuple(self.argv), self.kernel_name)


class _Run:
    """One process of the kernel.

    Attributes:
        started: when.
        is_maimed: one of its ports is somebody else's, and it did not end over that, and so it was killed.
        over: done when it is decided what follows its end: None for another run, an error for nothing.
    """

    def __init__(self, process: Process, started: float) -> None:
        self.process = process
        self.started = started
        self.is_maimed = False
        self.over: asyncio.Future[KernelwireError | None] = asyncio.get_running_loop().create_future()

    def finish(self, error: KernelwireError | None) -> None:
        if not self.over.done():
            self.over.set_result(error)


class OwnedKernel:
    """Made by :meth:`open`, and there until :meth:`close`.

    Arguments:
        launch: how to start it.
        address: where; closed with the kernel.
        auto_restart: what to do when its process ends by itself.
        patience: see there.
        on_event: called when it has ended by itself, and it is decided what follows.
        clock: tells how long it has lived.

    Attributes:
        launch: how it was started last.
        spec: the kernelspec of that.
        address: as given.
        waiting: how many wait until it is ready.
    """

    def __init__(
        self,
        launch: Launch,
        address: KernelAddress,
        *,
        auto_restart: AutoRestart,
        patience: Patience,
        on_event: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.launch = launch
        self.spec = launch.spec()
        self.address = address
        self.waiting = 0
        self._auto_restart = auto_restart
        self._patience = patience
        self._on_event = on_event
        self._clock = clock
        self._turn = asyncio.Lock()
        self._run: _Run | None = None
        self._before: _Run | None = None  # the one that was ended for the next to come
        self._watching: asyncio.Task[None] | None = None
        self._answered = False  # since it was started, or restarted on purpose
        self._restarts = 0
        self._port_tries = 0

    @classmethod
    async def open(
        cls,
        launch: Launch,
        *,
        auto_restart: AutoRestart,
        patience: Patience,
        on_event: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Start a kernel at an address of its own. Arguments as for the class.

        Raises:
            ConfigurationError: as ``KernelManager.start``.
        """
        name = launch.spec().name
        address = await KernelAddress.open(
            launch.transport, kernel_name=name, ip=launch.ip, path=launch.connection_file
        )
        try:
            kernel = cls(launch, address, auto_restart=auto_restart, patience=patience, on_event=on_event, clock=clock)
            await kernel.start()
        except BaseException:
            await address.aclose()
            raise
        return kernel

    @property
    def pid(self) -> int | None:
        """Its process id, where there is one here."""
        return None if self._run is None else self._run.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._run is not None and self._run.process.poll() is None

    def living(self) -> Process:
        """Its process.

        Raises:
            KernelExited: it has ended.
            LocalError: it was ended, and not started again.
        """
        run = self._run
        if run is None:
            raise LocalError("the kernel was shut down: call restart() first")
        if (code := run.process.poll()) is not None:
            raise KernelExited(code, run.process.stderr)
        return run.process

    async def start(self, launch: Launch | None = None) -> None:
        """Start the process, as `launch` says, or as last time.

        Raises:
            KernelspecError, LaunchFailed, ConnectionFileError: it cannot be started.
        """
        if launch is not None:
            self.spec = launch.spec()
            self.launch = launch
        self._answered = False
        self._restarts = self._port_tries = 0
        before, self._before = self._before, None
        try:
            await self._start_run()
        except BaseException:
            if before is not None:
                before.finish(LocalError("the kernel was ended, and could not be started again"))
            raise
        if before is not None:
            before.finish(None)
        self._watching = asyncio.create_task(self._watch(), name="kernelwire manager")

    async def ready(self, client: KernelClient) -> Message | None:
        """Wait until the kernel answers `client`; None if it does not, but another process was started in its place.

        Raises:
            KernelExited: it has ended, and will not be started again.
            LocalError: it was shut down meanwhile.
        """
        run = self._run or self._before
        if run is None:
            raise LocalError("the kernel was shut down: call restart() first")
        asking = asyncio.create_task(client.ready())
        # Not every kernel ends when one of its ports is taken: some hang, some live on without a heartbeat.
        reading = asyncio.create_task(run.process.has_written(_TAKEN))
        try:
            waits: list[asyncio.Future[Any]] = [asking, run.over]
            if not self._answered and self._port_tries < PORT_TRIES:
                waits.append(reading)
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not run.over.done():
                if not self._answered and self._has_lost_a_port(run.process.stderr):
                    run.is_maimed = True
                    run.process.kill()
                elif asking.done() and (asking.exception() is None or run.process.poll() is None):
                    reply = asking.result()
                    self._answered = True
                    return reply
            # A bridge to a kernel that is gone may break before it is decided what follows.
            await asyncio.wait([run.over])
            if (error := run.over.result()) is not None:
                raise error.again()
            return None
        finally:
            for task in (asking, reading):
                task.cancel()
            await asyncio.gather(asking, reading, return_exceptions=True)

    async def end(self, *, now: bool = False, restart: bool = False, error: KernelwireError | None = None) -> None:
        """End the process: ask it, then SIGTERM, then SIGKILL.

        Arguments:
            now: kill it at once.
            restart: what to tell it.
            error: for those who wait until it is ready; None if `start` follows, for which they wait on.
        """

        async def ask() -> None:
            content = {"restart": restart}
            await control.ask(self.address.kernel_info, "shutdown_request", content, timeout=self._patience.shutdown)

        async with self._turn:  # not in the middle of a restart, whose process would be nobody's
            self._stop_watching()
            run, self._run = self._run, None
            if run is None:
                run, self._before = self._before, None
                if run is not None:
                    run.finish(error or LocalError("the kernel was shut down"))
            else:
                if error is None:
                    self._before = run
                try:
                    await end_process(run.process, None if now else ask, self._patience.shutdown)
                finally:
                    if error is not None:
                        run.finish(error)

    async def close(self, *, now: bool = False) -> None:
        """End the process, and remove everything that belongs to its address."""
        try:
            await self.end(now=now, error=LocalError("the kernel was shut down"))
        finally:
            if self._run is not None:  # cancelled before it came to that
                await self.end(now=True, error=LocalError("the kernel was shut down"))
            await self.address.aclose()

    async def abandon(self) -> None:
        """Let it go on; files stay."""
        async with self._turn:
            self._stop_watching()
            if self._run is not None:
                self._run.process.abandon()
                self._run.finish(LocalError("the kernel was let go"))
                self._run = None
            self.address.leave()

    async def _start_run(self) -> None:
        self.address.restore()
        command = self.spec.command(self.address.kernel_file.path)
        environment = self.spec.environment(self.launch.env)
        started = self._clock()
        self._run = _Run(await self.launch.launcher.launch(command, environment, self.launch.cwd), started)

    def _stop_watching(self) -> None:
        # Not waited for, which could be cancelled: it holds nothing, since it has not got its turn.
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        event: Event | None = None
        while event != "dead":
            assert self._run is not None
            run = self._run
            code = await run.process.wait()
            async with self._turn:
                event = await self._after(run, KernelExited(code, run.process.stderr))
            if event is not None:
                self._on_event(event)

    async def _after(self, run: _Run, error: KernelExited) -> Event | None:
        """What follows the end of a run that nobody wanted. None if the kernel has not begun to live yet."""
        try:
            if await self._moved(run, error):
                await self._start_run()
                run.finish(None)
                return None
            if self._clock() - run.started >= self._auto_restart.stable:
                self._restarts = 0
            told = self.waiting > 0 and not self._answered  # somebody is there to decide
            if not told and self._restarts < self._auto_restart.limit:
                self._restarts += 1
                await self._start_run()
                run.finish(None)
                return "restart"
        except (KernelwireError, OSError) as failure:
            _log.error("the kernel cannot be started again: %s", failure)
        run.finish(error)
        return "dead"

    async def _moved(self, run: _Run, error: KernelExited) -> bool:
        """Give the kernel another address if it could not be served at the one it had."""
        gave_up = error.exit_code > 0 and self._clock() - run.started <= START_TIME
        if self._answered or not (gave_up or run.is_maimed):
            return False
        if self._has_lost_a_port(error.stderr):
            self._port_tries += 1
            await self.address.renew()
            return True
        if self.address.may_fall_back:
            await self.address.renew(fall_back=True)
            return True
        return False

    def _has_lost_a_port(self, stderr: str) -> bool:
        return self._port_tries < PORT_TRIES and _TAKEN.search(stderr) is not None
