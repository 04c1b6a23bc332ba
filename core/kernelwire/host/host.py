"""The kernels of a host: started, shared, taken over, watched, ended, and written down at each step."""

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from kernelwire import connection_file, registry
from kernelwire.bridging import open_bridge
from kernelwire.client import connect
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import KernelDied, KernelExited, KernelwireError, LocalError
from kernelwire.host.hosted_kernel import HostedKernel
from kernelwire.host.journal import Journal
from kernelwire.host.state import Hosted, State, StateFile

_log = logging.getLogger(__name__)

LEASE: Final = 24 * 3600.0
"""Seconds that a kernel which was started on request may be without a client."""

_LOOKS: Final = 10
"""How often within a lease the clients are counted."""

OnEvent = Callable[[str, Mapping[str, Any]], object]
"""Takes what has happened: its name, and details without a secret."""


class Host:
    """Use as an async context manager; at its end the kernels that it has started are ended, unless `keep` is set.

    Arguments:
        state: where to write down what there is.
        transport: what clients speak.
        fields: its connection fields, such as ``relay``.
        on_event: told what happens by itself.

    Attributes:
        kernels: those that it has started or taken over, by id; also those that have ended by themselves.
        ended: how, of those.
        keep: whether kernels outlive this host, to be taken over by the next.
    """

    def __init__(
        self,
        state: StateFile,
        transport: str,
        fields: Mapping[str, Any],
        *,
        on_event: OnEvent | None = None,
    ) -> None:
        self.kernels: dict[str, HostedKernel] = {}
        self.ended: dict[str, KernelDied] = {}
        self.keep = False
        self.transport = transport
        self._state = state
        self._fields = dict(fields)
        self._on_event = on_event or (lambda name, details: None)
        self._shared: dict[str, Hosted] = {}
        self._journals: dict[str, Journal] = {}  # of those
        self._found: dict[str, Hosted] = {}  # left by another host, and not taken over yet
        self._service: Mapping[str, Any] | None = None
        self._bridges = AsyncExitStack()
        self._watching: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._watching.values():
            task.cancel()
        await asyncio.gather(*self._watching.values(), return_exceptions=True)
        try:
            await asyncio.gather(*map(self._leave if self.keep else self.end, tuple(self.kernels)))
        finally:
            await self._bridges.aclose()
            for journal in self._journals.values():
                if self.keep:
                    journal.close()
                else:
                    journal.remove()
            if not self.keep:
                self._shared.clear()
                self._service = None
                self._write()

    def new_address(self, kernel_name: str | None = None) -> ConnectionInfo:
        """An address on this host's transport, complete, with a key of its own where one is needed.

        Raises:
            ConfigurationError: the transport or a field cannot be used.
        """
        backend = registry.load(self.transport)
        info = ConnectionInfo(transport=self.transport, key=backend.new_key(), kernel_name=kernel_name)
        return backend.prepare(info.replace(**self._fields))

    def keep_service(self, near: ConnectionInfo) -> None:
        """Write down at which address this host takes requests."""
        self._service = near.to_dict()
        self._write()

    async def start(
        self,
        kernel_name: str,
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        lease: float | None = None,
        timeout: float = 60.0,
    ) -> HostedKernel:
        """Start a kernel. Returns when a client has reached it on the transport; if none does, nothing is left.

        Arguments:
            kernel_name: the kernelspec.
            cwd: its working directory.
            env: environment variables to add.
            lease: seconds without a client after which it is ended; None for no end.
            timeout: seconds until it must answer.

        Raises:
            as :meth:`kernelwire.KernelManager.start`.
        """
        kernel = HostedKernel(secrets.token_hex(8), self._write, lease=lease)
        self.kernels[kernel.kernel_id] = kernel
        try:
            await kernel.host(kernel_name, self.transport, self._fields, cwd=cwd, env=env)
            await kernel.wait_ready(timeout)
        except BaseException:
            await self.end(kernel.kernel_id, now=True)
            raise
        self._watch(kernel)
        return kernel

    async def resume(self) -> list[HostedKernel]:
        """Take over what another host has left: kernels that run, and those that it shared. What has ended is removed.

        Raises:
            KernelwireError: a kernel cannot be served again at its address; all of them go on as before.
        """
        state = self._state.read()
        self._service = state.service
        self._found = {each.kernel_id: each for each in state.kernels if each.is_running}
        for record in state.kernels:
            if record.kernel_id not in self._found:
                _clean(record)
        try:
            for record in tuple(self._found.values()):
                if record.process is None:
                    far = connection_file.read(record.kernel_file)
                    await self._bridge(record.kernel_id, far, ConnectionInfo.from_dict(record.near))
                    self._shared[record.kernel_id] = self._found.pop(record.kernel_id)
                    continue
                kernel = HostedKernel(record.kernel_id, self._write, lease=record.lease)
                try:
                    await kernel.adopt(record)
                except KernelDied:  # just now
                    _clean(self._found.pop(record.kernel_id))
                    continue
                self.kernels[kernel.kernel_id] = kernel
                del self._found[record.kernel_id]
                self._watch(kernel)
        except BaseException:
            self.keep = True
            raise
        self._write()
        return list(self.kernels.values())

    async def share(self, file: Path) -> ConnectionInfo:
        """Serve a kernel that runs, and that somebody else answers for; return where, with the host's own keys.

        Arguments:
            file: its connection file; an absolute path.

        Raises:
            ConfigurationError: the connection file, the transport or a field cannot be used.
            RequestTimeout, ConnectionLost: it cannot be reached.
        """
        far = connection_file.read(file)
        kernel_id = secrets.token_hex(8)
        near = await self._bridge(kernel_id, far, self.new_address(far.kernel_name))
        self._shared[kernel_id] = Hosted(kernel_id=kernel_id, near=near.to_dict(), kernel_file=str(file))
        self._write()
        return near

    @property
    def shared(self) -> list[ConnectionInfo]:
        """Where the kernels are served that are shared, with the host's own keys."""
        return [ConnectionInfo.from_dict(record.near) for record in self._shared.values()]

    @property
    def unanswered(self) -> dict[str, list[str]]:
        """By kernel, the ids of the requests that former hosts had passed on, and whose replies they have not seen."""
        journals = {each.kernel_id: each.journal for each in self.kernels.values()} | self._journals
        return {kernel_id: ids for kernel_id, journal in journals.items() if (ids := journal.unanswered)}

    @property
    def service(self) -> ConnectionInfo | None:
        """Where this host takes requests, with its own keys; None if it never did."""
        return None if self._service is None else ConnectionInfo.from_dict(self._service)

    def kernel(self, kernel_id: str) -> HostedKernel:
        """One of `kernels`.

        Raises:
            LocalError: there is none of this id.
        """
        kernel = self.kernels.get(kernel_id)
        if kernel is None:
            raise LocalError(f"this host has no kernel {kernel_id!r} (any more)")
        return kernel

    async def end(self, kernel_id: str, *, now: bool = False) -> None:
        """End a kernel that was started, and forget it. Nothing happens if there is none of this id."""
        kernel = self.kernels.get(kernel_id)
        if kernel is None:
            return
        watching = self._watching.pop(kernel_id, None)
        if watching is not None and watching is not asyncio.current_task():
            watching.cancel()
        try:
            await kernel.shutdown(now=now)
        finally:
            kernel.forget()
            self.kernels.pop(kernel_id, None)
            self.ended.pop(kernel_id, None)
            self._write()

    async def restart(self, kernel_id: str, *, now: bool = False, timeout: float = 60.0) -> None:
        """End a kernel and start it again; its clients stay. One that has ended by itself is started again too.

        Arguments:
            kernel_id: which one.
            now: kill it at once.
            timeout: seconds until it must answer.

        Raises:
            LocalError: there is none of this id.
            as :meth:`kernelwire.KernelManager.restart`; the kernel has ended then.
        """
        kernel = self.kernel(kernel_id)
        try:
            await kernel.restart(now=now)
            await kernel.wait_ready(timeout)
        except KernelwireError as error:
            if not kernel.is_alive():
                self.ended[kernel_id] = error if isinstance(error, KernelDied) else KernelDied(str(error))
            raise
        if self.ended.pop(kernel_id, None) is not None:
            self._watch(kernel)

    async def wait_end(self, kernel_id: str) -> KernelDied | None:
        """Wait until a kernel has ended by itself: how. None if somebody ended it."""
        task = self._watching.get(kernel_id)
        if task is not None:
            await asyncio.wait([task])
        return self.ended.get(kernel_id)

    async def _leave(self, kernel_id: str) -> None:
        await self.kernels[kernel_id].let_go()

    async def _bridge(self, kernel_id: str, far: ConnectionInfo, near: ConnectionInfo) -> ConnectionInfo:
        journal = self._journals[kernel_id] = Journal.of(kernel_id)
        return await self._bridges.enter_async_context(open_bridge(far, near, witness=journal))

    def _watch(self, kernel: HostedKernel) -> None:
        if (before := self._watching.get(kernel.kernel_id)) is not None:
            before.cancel()
        task = asyncio.create_task(self._answer_for(kernel), name="kernelwire host")
        self._watching[kernel.kernel_id] = task

    async def _answer_for(self, kernel: HostedKernel) -> None:
        """Until it has ended by itself, or its lease has run out."""
        ending = asyncio.create_task(kernel.ended())
        lease = asyncio.create_task(self._run_out(kernel))
        try:
            await asyncio.wait([ending, lease], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ending, lease):
                task.cancel()
            await asyncio.gather(ending, lease, return_exceptions=True)
        details: dict[str, Any] = {"kernel_id": kernel.kernel_id, "kernel_name": kernel.kernel_name}
        if not ending.cancelled():
            reason = ending.result()
            self.ended[kernel.kernel_id] = reason
            kernel.forget()
            self._write()
            self._on_event("ended", details | {"reason": str(reason)})
            if self._service is None:
                return
            # Somebody has asked it to end, or it may be started again, for as long as its lease allows.
            if not (isinstance(reason, KernelExited) and reason.exit_code == 0):
                await self._run_out(kernel)
        else:
            self._on_event("lease", details | {"seconds": kernel.lease})
        await self.end(kernel.kernel_id)

    async def _run_out(self, kernel: HostedKernel) -> None:
        """Return when nobody was there for as long as its lease allows."""
        loop = asyncio.get_running_loop()
        if (lease := kernel.lease) is None:
            await loop.create_future()
            return
        until = loop.time() + lease
        while (left := until - loop.time()) > 0:
            await asyncio.sleep(min(lease / _LOOKS, left))
            if kernel.clients is None or kernel.clients > 0:  # where nobody can know, nobody is sent away
                until = loop.time() + lease

    def _write(self) -> None:
        records = [kernel.record for kernel in self.kernels.values()]
        kernels = (*(each for each in records if each is not None), *self._shared.values(), *self._found.values())
        self._state.write(State(service=self._service, kernels=kernels))


async def reach(info: ConnectionInfo, timeout: float) -> None:
    """Have a client reach a kernel, once, over whatever is in between.

    Raises:
        RequestTimeout: it does not in time.
        ConfigurationError: it cannot.
    """
    async with connect(registry.load(info.transport).for_clients(info)) as client:
        await client.ready(timeout)


def _clean(record: Hosted) -> None:
    """Remove the files of a kernel that has ended."""
    Journal.of(record.kernel_id).remove()
    if record.process is None:
        return
    for name in (record.kernel_file, record.file):
        if name is None:
            continue
        try:
            info = connection_file.read(name)
            registry.load(info.transport).release(info)
        except KernelwireError as error:  # gone, or not what it was
            _log.debug("%s", error)
            continue
        Path(name).unlink(missing_ok=True)
