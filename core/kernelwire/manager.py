"""Start a kernel and answer for it: restart, interrupt, watch and end it.

::

    async with KernelManager() as manager:
        await manager.start("python3", timeout=60)
        async with manager.client() as client:
            print(await client.execute("1 + 1"))
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from kernelwire import connection_file as connection_files
from kernelwire import kernelspecs
from kernelwire.attached_kernel import AttachedKernel, KernelHost, check_host
from kernelwire.client import KernelClient
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import LocalError, NotSupported, RequestTimeout
from kernelwire.kernel_access import KernelAccess
from kernelwire.kernelspecs import KernelSpec
from kernelwire.launch import NEVER, AutoRestart, Encryption, Event, Launch, Patience
from kernelwire.launcher import Launcher, LocalLauncher
from kernelwire.messages import Message
from kernelwire.owned_kernel import SHUT_DOWN, OwnedKernel

_log = logging.getLogger(__name__)

R = TypeVar("R")


class KernelManager(KernelAccess):
    """One kernel and its process. Use as an async context manager, which shuts down what it started.

    A kernel that was started belongs to the manager; one that was attached does not, and is never killed. Calls of
    tasks that change the kernel follow each other. A manager belongs to the event loop in which it was used first.

    Arguments:
        auto_restart: what to do when the process ends and nobody had asked for that; by default nothing.
        patience: see there.
    """

    def __init__(self, *, auto_restart: AutoRestart = NEVER, patience: Patience | None = None) -> None:
        super().__init__()
        self._auto_restart = auto_restart
        self._patience = patience or Patience()
        self._launch: Launch | None = None  # as it was started last; stays after a shutdown
        self._owned: OwnedKernel | None = None
        self._attached: AttachedKernel | None = None
        self._callbacks: dict[Event, list[Callable[[], object]]] = {"restart": [], "dead": []}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        try:
            if self._attached is not None and not self._attached.is_ours:
                await self.detach()
            await self.shutdown()
        finally:
            await self._clients.stop()

    @property
    def has_kernel(self) -> bool:
        """Whether a kernel was started or attached, and not shut down since. It may have died: see `is_alive`."""
        return self._owned is not None or self._attached is not None

    @property
    def info(self) -> ConnectionInfo:  # noqa: D102 - as KernelAccess.info
        return self._attached.info if self._attached is not None else self._kernel().address.info

    @property
    def connection_file(self) -> Path:
        """The connection file of a kernel that was started. Raises as `info`."""
        return self._kernel().address.file.path

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernelspec of a kernel that was started. Raises as `info`."""
        return self._kernel().spec

    @property
    def pid(self) -> int | None:
        """The kernel's process id, where it has one here."""
        return None if self._owned is None else self._owned.pid

    async def start(
        self,
        kernel_name: str = kernelspecs.NATIVE,
        *,
        transport: str = "tcp",
        launcher: Launcher | None = None,
        argv: Sequence[str] | None = None,
        arguments: Sequence[str] = (),
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        ip: str | None = None,
        connection_file: str | os.PathLike[str] | None = None,
        fields: Mapping[str, Any] | None = None,
        encryption: Encryption = "disabled",
        timeout: float | None = None,
        host: KernelHost | None = None,
    ) -> None:
        """Start a kernel. Returns when its process runs; with `timeout`, when it answers.

        A port that another process takes before the kernel does is noticed when the kernel ends over it, and it is
        started on others; so make clients after `wait_ready`, or with `timeout`.

        Arguments:
            kernel_name: a kernelspec's name.
            transport: what its clients speak. Kernels speak tcp, and many ipc; on any other transport the kernel is
                served by a bridge in this process.
            launcher: where it runs; on this machine by default.
            argv: a command instead of the kernelspec's, with ``{connection_file}`` in it.
            arguments: more words for the command, at its end.
            cwd: its working directory.
            env: environment variables to add; they win over the kernelspec's.
            ip: the address to serve on, ``*`` for all of this machine's; for ipc, the path that ``-N`` is added to.
            connection_file: where to write that; a new one in the runtime directory by default.
            fields: what `transport` needs beside that, such as ``relay``; its backend says what.
            encryption: ``auto`` gives the kernel keys to encrypt its wire with (CURVE) if its kernelspec claims to read
                them; ``required`` starts no kernel without; ``disabled``, the default, gives none.
            timeout: seconds until it must be ready. If it is not, it is killed.
            host: starts it elsewhere, as a :class:`kernelwire.host.remote.RemoteHost` does; with `cwd` and `env` only.

        Raises:
            LocalError: this manager has a kernel, or an argument is of the wrong kind.
            NoSuchKernelspec, KernelspecError: as :func:`kernelwire.kernelspecs.get`; or encryption is required, and the
                kernelspec does not claim to know it.
            InvalidField: `ip` is no address of this machine, or one of `fields` is missing or cannot be used.
            ConnectionFileError: `connection_file` exists, or cannot be written.
            TransportError, NotSupported: `transport` cannot be used, or not be encrypted as required.
            LaunchFailed: the command cannot be run.
            KernelExited, RequestTimeout: with `timeout`, as `wait_ready`.
        """
        async with self._turn:
            self._check_vacant()
            if host is not None:
                local = {"launcher": launcher, "argv": argv, "arguments": arguments, "ip": ip, "fields": fields}
                check_host(host, local | {"connection_file": connection_file})
                place = None if cwd is None else os.fspath(cwd)
                await self._open(await host.start_kernel(kernel_name, cwd=place, env=env, timeout=timeout))
                return
            launch = Launch(
                kernel_name=kernel_name,
                transport=transport,
                launcher=launcher or LocalLauncher(),
                argv=argv,
                arguments=arguments,
                cwd=cwd,
                env=env,
                ip=ip,
                connection_file=connection_file,
                fields=fields or {},
                encryption=encryption,
                timeout=timeout,
            )
            await self._start(launch)
        await self._ready_in_time(timeout)

    async def attach(self, connection: ConnectionInfo | str | os.PathLike[str]) -> None:
        """Manage a kernel that somebody else started, as far as messages can.

        Arguments:
            connection: as for :func:`kernelwire.connect`.

        Raises:
            LocalError: this manager has a kernel.
            ConfigurationError: the file, a field of it, or its transport cannot be used.
            ConnectionLost: the wire cannot be opened.
        """
        async with self._turn:
            self._check_vacant()
            if not isinstance(connection, ConnectionInfo):
                connection = connection_files.read(connection_files.find(os.fspath(connection)))
            await self._open(AttachedKernel(connection))

    async def detach(self) -> None:
        """Let the kernel go on without this manager, which has none then. Its connection file stays.

        One that was started must be able to outlive this process: see ``LocalLauncher(independent=True)``.

        Raises:
            NotSupported: it is behind a bridge, which would end with this process.
        """
        async with self._turn:
            if self._attached is not None:
                pulse, self._attached = self._attached, None
                await pulse.aclose()
            elif self._owned is not None:
                if self._owned.address.is_bridged:
                    raise NotSupported("a kernel behind a bridge cannot be let go: the bridge ends with this process")
                owned, self._owned = self._owned, None
                await owned.abandon()
            await self._clients.stop()

    async def wait_ready(self, timeout: float | None = None, *, client: KernelClient | None = None) -> Message:
        """Wait until the kernel answers; return its kernel_info_reply.

        A kernel that ends before it has ever answered is not started again while somebody waits here, except for a
        port that was taken: the caller is told.

        Arguments:
            timeout: seconds; those of `patience` if None.
            client: asks with this client of `client`, so that it is ready too; with one of its own if None.

        Raises:
            KernelExited: its process ended, and will not be started again.
            RequestTimeout: it does not answer in time.
            InvalidField: one that was attached has another key than the connection.
            LocalError: there is no kernel, or it was shut down meanwhile.
        """
        timeout = self._patience.ready if timeout is None else timeout
        try:
            async with asyncio.timeout(timeout):
                if self._attached is not None:
                    return await self._ask_if_ready(KernelClient.ready, client)
                owned = self._kernel()
                owned.waiting += 1
                try:
                    while (reply := await self._ask_if_ready(owned.ready, client)) is None:
                        pass
                finally:
                    owned.waiting -= 1
                return reply
        except TimeoutError:
            said = "" if self._owned is None else self._owned.said
            raise RequestTimeout(f"the kernel did not answer within {timeout:g} s{said}") from None

    def is_alive(self) -> bool | None:
        """Whether the kernel lives: as its process says; for one that was attached, as its heartbeat says; None where
        that is not known. False without a kernel.
        """
        if self._attached is not None:
            return self._attached.is_beating
        return self._owned is not None and self._owned.is_alive

    async def interrupt(self) -> None:
        """Interrupt what the kernel executes: with SIGINT, or with an interrupt_request if its kernelspec says so or it
        was attached.

        Raises:
            LocalError: there is no kernel.
            KernelDied: it is dead.
            RequestTimeout: it does not answer the request.
        """
        kernel = self._attached or self._kernel()
        await kernel.interrupt(self._patience.reply)

    def signal(self, signum: int) -> None:
        """Send a signal to the kernel and what it has started.

        Raises:
            LocalError: there is no kernel.
            KernelDied: it is dead.
            NotSupported: it was attached.
        """
        self._kernel("its process is not ours to signal").living().send_signal(signum)

    async def kill(self) -> None:
        """End the kernel's process at once, and do not start it again; `restart` does, on the same address.

        Raises:
            LocalError: there is no kernel.
            NotSupported: it was attached.
        """
        async with self._turn:
            kernel = self._kernel("its process is not ours to end")
            with self._clients.heartbeats_paused():
                await kernel.end(now=True, how="killed")

    async def shutdown(self, *, now: bool = False, restart: bool = False) -> None:
        """End the kernel: interrupt what it executes and ask it, then SIGTERM, then SIGKILL. Nothing of it is left
        when this returns.

        One that was attached is only asked. Without a kernel, nothing happens.

        Arguments:
            now: kill it at once.
            restart: `restart` will follow: tell the kernel so, and keep its address and its connection file.

        Raises:
            RequestTimeout: an attached kernel does not answer; it is still attached then.
        """
        async with self._turn:
            if self._attached is not None:
                await self._attached.shutdown(now=now, restart=restart, timeout=self._patience.reply)
                if not restart:
                    pulse, self._attached = self._attached, None
                    await pulse.aclose()
                    await self._clients.stop()
            elif self._owned is not None:
                with self._clients.heartbeats_paused():
                    if restart:
                        await self._owned.end(now=now, restart=True, how=SHUT_DOWN)
                    else:
                        owned, self._owned = self._owned, None
                        await owned.close(now=now)
                        await self._clients.last_words()
                        await self._clients.stop()

    async def restart(self, *, now: bool = False, newports: bool = False, **overrides: Any) -> None:
        """End the kernel and start it again, on the same address and with the same key, so that clients stay.

        Arguments:
            now: kill it at once, without interrupting it and asking it first.
            newports: on another address, with the same key; clients must be made, and channels started, anew. A kernel
                behind a bridge stays where it is: the address that clients know is not its own.
            overrides: what to start with instead of what was used last time, and from now on: `kernel_name`, `argv`,
                `arguments`, `cwd`, `env`, `launcher`, `timeout`, as for `start`.

        Raises:
            LocalError: no kernel was started yet, or an override of another name or the wrong kind.
            NotSupported: the kernel was attached.
            ConfigurationError: as `start`.
            KernelExited, RequestTimeout: as `start`.
        """
        async with self._turn:
            if self._attached is not None:
                if overrides or newports:
                    raise NotSupported("the kernel was not started here: it can only be restarted as it is")
                with self._clients.heartbeats_paused():
                    await self._attached.restart(now=now)
                return
            if self._launch is None:
                raise LocalError("no kernel was started yet: call start() before restart()")
            launch = self._launch.overridden(overrides)
            launch.spec()  # before the kernel is ended: does it exist?
            if self._owned is None:
                await self._start(launch)
            else:
                with self._clients.heartbeats_paused():
                    await self._owned.end(now=now, restart=True)
                    if newports and not self._owned.address.is_bridged:
                        await self._owned.renew()
                    await self._owned.start(launch)
                    self._launch = launch
        await self._ready_in_time(launch.timeout)

    def add_callback(self, callback: Callable[[], object], event: Event = "restart") -> None:
        """Have `callback` called when the kernel ended by itself and was started again, or is ``dead`` for good."""
        self._callbacks[event].append(callback)

    def remove_callback(self, callback: Callable[[], object], event: Event = "restart") -> None:
        """Undo `add_callback`; nothing happens if there is nothing to undo."""
        if callback in self._callbacks[event]:
            self._callbacks[event].remove(callback)

    def _kernel(self, not_ours: str = "it was not started here") -> OwnedKernel:
        if self._attached is not None:
            raise NotSupported(f"the kernel was attached: {not_ours}")
        if self._owned is None:
            raise LocalError("this manager has no kernel: call start() or attach() first")
        return self._owned

    def _check_vacant(self) -> None:
        if self.has_kernel:
            raise LocalError("this manager has a kernel already: call shutdown() or restart(), or make another")

    async def _open(self, kernel: AttachedKernel) -> None:
        await kernel.open()
        self._attached = kernel

    async def _start(self, launch: Launch) -> None:
        policy: dict[str, Any] = {"auto_restart": self._auto_restart, "patience": self._patience}
        self._owned = await OwnedKernel.open(launch, self._clients, on_event=self._tell, **policy)
        self._launch = launch

    async def _ready_in_time(self, timeout: float | None) -> None:
        if timeout is None:
            return
        try:
            await self.wait_ready(timeout)
        except BaseException:
            await self.shutdown(now=True)
            raise

    async def _ask_if_ready(self, ask: "Callable[[KernelClient], Awaitable[R]]", client: KernelClient | None) -> "R":
        if client is not None:
            return await ask(client)
        async with self.client() as own:
            return await ask(own)

    def _tell(self, event: Event) -> None:
        for callback in tuple(self._callbacks[event]):
            try:
                callback()
            except Exception:  # noqa: BLE001 - the caller's code; watching goes on
                _log.exception("the %s callback failed", event)
