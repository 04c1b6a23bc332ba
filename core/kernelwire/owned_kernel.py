"""A kernel in a process of ours: started, watched, started again, ended. The manager's inner half."""

import asyncio
import functools
import logging
import re
import time
from collections.abc import Callable
from typing import Any, Final, Self

from kernelwire import control
from kernelwire.client import KernelClient
from kernelwire.errors import (
    ConnectionLost,
    KernelDied,
    KernelExited,
    KernelRestarted,
    KernelwireError,
    LocalError,
)
from kernelwire.kernel_address import KernelAddress
from kernelwire.kernel_clients import KernelClients
from kernelwire.launch import AutoRestart, Event, Launch, Patience
from kernelwire.launcher import Process, end_process
from kernelwire.messages import Message

_log = logging.getLogger(__name__)

PORT_TRIES: Final = 5
"""How often a kernel is started on other ports, because another process took one of its ports first."""

START_TIME: Final = 30.0
"""Seconds within which a kernel that cannot be reached at its address ends over that."""

SHUT_DOWN: Final = "shut down"
"""How a kernel was ended that its manager does not need any more."""

_TAKEN: Final = re.compile("address already in use|EADDRINUSE", re.IGNORECASE)


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
        clients: told when the kernel ends, and when it gets another address.
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
        clients: KernelClients,
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
        self._clients = clients
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
        clients: KernelClients,
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
        spec = launch.spec()
        if spec.provisioner is not None:
            text = "kernelspec %r wants the provisioner %r, which is not used: its command is run on this machine"
            _log.warning(text, spec.name, spec.provisioner)
        address = await KernelAddress.open(
            launch.transport,
            kernel_name=spec.name,
            ip=launch.ip,
            path=launch.connection_file,
            fields=launch.fields,
            encryption=launch.encryption_of(spec),
        )
        policy: dict[str, Any] = {"auto_restart": auto_restart, "patience": patience, "on_event": on_event}
        try:
            kernel = cls(launch, address, clients, clock=clock, **policy)
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

    @property
    def said(self) -> str:
        """The last that its process wrote, as the end of a sentence; empty if it wrote nothing."""
        stderr = "" if self._run is None else self._run.process.stderr.strip()
        return f"; it wrote:\n{stderr}" if stderr else ""

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

    async def interrupt(self, timeout: float) -> None:
        """Interrupt what it executes; seconds to wait for a reply, if there is to be one.

        Raises:
            as `living`.
            RequestTimeout: it does not reply.
        """
        process = self.living()
        await control.interrupt(self.address.kernel_info, process, self.spec.interrupt_mode, timeout=timeout)

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

    async def end(self, *, now: bool = False, restart: bool = False, how: str | None = None) -> None:
        """End the process: interrupt and ask it, then SIGTERM, then SIGKILL.

        Arguments:
            now: kill it at once.
            restart: what to tell it.
            how: it was ended, for those who wait; None if `start` follows, for which they wait on.
        """
        error = None if how is None else LocalError(f"the kernel was {how}: call restart() first")

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
                timeout = self._patience.shutdown
                ask = functools.partial(
                    control.shut_down,
                    self.address.kernel_info,
                    run.process,
                    self.spec.interrupt_mode,
                    restart=restart,
                    timeout=timeout,
                    meanwhile=self._clients.settled,
                )
                try:
                    await end_process(run.process, None if now else ask, timeout)
                finally:
                    if error is not None:
                        run.finish(error)
                    restarted = KernelRestarted("the kernel was restarted before it replied")
                    self._clients.on_kernel_end(restarted if how is None else KernelDied(f"the kernel was {how}"))

    async def renew(self, *, fall_back: bool = False) -> None:
        """Move to another address, between `end` and `start`; as :meth:`KernelAddress.renew`."""
        info = self.address.info
        await self.address.renew(fall_back=fall_back)
        if self.address.info != info:
            gone = ConnectionLost("the kernel was given another address: make a new client")
            self._clients.on_kernel_end(gone, for_good=True)

    async def close(self, *, now: bool = False) -> None:
        """End the process, and remove everything that belongs to its address."""
        try:
            await self.end(now=now, how=SHUT_DOWN)
        finally:
            if self._run is not None:  # cancelled before it came to that
                await self.end(now=True, how=SHUT_DOWN)
            self._clients.on_kernel_end(KernelDied(f"the kernel was {SHUT_DOWN}"), for_good=True)
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
        command = self.spec.command(self.address.kernel_file.path, self.launch.arguments)
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
            error = KernelExited(await run.process.wait(), run.process.stderr)
            self._clients.on_kernel_end(error)
            async with self._turn:
                event = await self._after(run, error)
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
            await self.renew()
            return True
        if self.address.may_fall_back:
            await self.renew(fall_back=True)
            return True
        return False

    def _has_lost_a_port(self, stderr: str) -> bool:
        return self._port_tries < PORT_TRIES and _TAKEN.search(stderr) is not None
