"""A kernel that a host has started, or has taken over from a host that was killed."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import runtime_dir
from kernelwire.errors import ConfigurationError, KernelDied, KernelExited
from kernelwire.host.journal import Journal
from kernelwire.host.state import Hosted
from kernelwire.kernel_address import SPOKEN, KernelAddress
from kernelwire.launch import Launch, Patience
from kernelwire.launcher import Launcher, LocalLauncher, Process
from kernelwire.manager import KernelManager
from kernelwire.owned_kernel import OwnedKernel
from kernelwire.processes import ProcessIdentity, RunningProcess

PATIENCE: Final = Patience()


class HostedKernel(KernelManager):
    """A manager whose kernel is in a session of its own, is written down as soon as it runs, and may outlive this
    process.

    Arguments:
        kernel_id: its name at this host.
        on_change: called when its process has come; what `record` says is to be kept then.
        lease: see :class:`Hosted`.

    Attributes:
        kernel_id: as given.
        lease: as given.
        journal: which requests it has got.
    """

    def __init__(
        self,
        kernel_id: str,
        on_change: Callable[[], object],
        *,
        lease: float | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        super().__init__(patience=patience)
        self.kernel_id = kernel_id
        self.lease = lease
        self.journal = Journal.of(kernel_id)
        self._on_change = on_change
        self._launcher = _Recorded(self._on_launch)
        self._address: KernelAddress | None = None
        self._record: Hosted | None = None
        self._adopted: Hosted | None = None

    @property
    def record(self) -> Hosted | None:
        """What a successor must know of it; None while there is no process."""
        return self._record

    @property
    def kernel_name(self) -> str:
        """The kernelspec that it was started from."""
        return "" if self._launch is None else self._launch.kernel_name

    @property
    def clients(self) -> int | None:
        """How many clients are connected just now; None where nobody knows."""
        return None if self._address is None else self._address.clients

    async def host(
        self,
        kernel_name: str,
        transport: str,
        fields: Mapping[str, object],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start a kernel for clients on a transport that kernels do not speak; arguments and errors are those of
        :meth:`kernelwire.KernelManager.start`.
        """
        if transport in SPOKEN:
            raise ConfigurationError(f"transport {transport!r} needs no host: kernelwire start --transport {transport}")
        file = runtime_dir() / f"hosted-{self.kernel_id}.json"
        options = {"cwd": cwd, "env": env, "connection_file": file, "fields": fields}
        await self.start(kernel_name, transport=transport, launcher=self._launcher, **options)  # type: ignore[arg-type]

    async def adopt(self, record: Hosted) -> None:
        """Take over a kernel that runs. If that fails, the kernel goes on as before.

        Raises:
            KernelDied: it has ended.
            ConfigurationError, ConnectionLost: as `host`.
        """
        if record.process is None or not record.process.is_running:
            raise KernelDied(f"the kernel {record.kernel_id} has ended")
        self._adopted = record
        try:
            self._launcher.adopt(RunningProcess(record.process, group=True))
            near = ConnectionInfo.from_dict(record.near)
            options = {"cwd": record.cwd, "env": record.env, "launcher": self._launcher}
            await self.start(record.kernel_name, transport=near.transport, **options)  # type: ignore[arg-type]
        finally:
            self._adopted = None

    async def ended(self) -> KernelDied:
        """Wait until its process ends, unless that is for a restart; how it did."""
        while True:
            process = self._launcher.process
            assert process is not None
            code = await process.wait()
            while self._turn.locked():  # somebody ends or restarts it  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            if process is self._launcher.process:
                return self.how_it_ended(code)

    def how_it_ended(self, code: int) -> KernelDied:
        """The exit reason, for people."""
        process = self._launcher.process
        if isinstance(process, RunningProcess):  # only its parent, which was another host, is told how
            return KernelDied("the kernel's process ended; how is not known, since another host had started it")
        return KernelExited(code, "" if process is None else process.stderr)

    async def let_go(self) -> None:
        """Leave it running, with all that a successor needs; clients wait for that one."""
        async with self._turn:
            owned, self._owned = self._owned, None
            if owned is not None:
                await owned.abandon()
                await owned.address.aclose()
            await self._clients.stop()
        self.journal.close()

    def forget(self) -> None:
        """Once it has ended for good: nothing of it is to be kept."""
        self._record = None
        self.journal.remove()

    async def _start(self, launch: Launch) -> None:
        adopted = self._adopted
        if adopted is not None:
            assert adopted.file is not None
            near = ConnectionInfo.from_dict(adopted.near)
            address = await KernelAddress.adopt(near, adopted.kernel_file, adopted.file, witness=self.journal)
        else:
            spec = launch.spec()
            address = await KernelAddress.open(
                launch.transport,
                kernel_name=spec.name,
                path=launch.connection_file,
                fields=launch.fields,
                witness=self.journal,
            )
        try:
            self._address, self._launch = address, launch
            owned = OwnedKernel(
                launch,
                address,
                self._clients,
                auto_restart=self._auto_restart,
                patience=self._patience,
                on_event=self._tell,
            )
            await owned.start()
        except BaseException:
            self._address = None
            if adopted is not None:
                address.leave()
            await address.aclose()
            raise
        self._owned = owned

    def _on_launch(self, process: Process) -> None:
        address, launch = self._address, self._launch
        assert address is not None
        assert launch is not None
        pid = process.pid or 0
        identity = ProcessIdentity.of(pid) or ProcessIdentity(pid, "", "")  # of one that has ended already
        self._record = Hosted(
            kernel_id=self.kernel_id,
            near=address.near.to_dict(),
            kernel_file=str(address.kernel_file.path),
            file=str(address.file.path) if hasattr(address, "file") else None,
            process=identity,
            kernel_name=launch.kernel_name,
            cwd=None if launch.cwd is None else str(Path(launch.cwd)),
            env=dict(launch.env or {}),
            lease=self.lease,
        )
        self._on_change()


class _Recorded(Launcher):
    """Starts processes that need not end with this one, and tells of each; the first may be there already.

    Attributes:
        process: the last one.
    """

    def __init__(self, on_launch: Callable[[Process], object]) -> None:
        self.process: Process | None = None
        self._on_launch = on_launch
        self._launcher = LocalLauncher(independent=True)
        self._there: Process | None = None

    def adopt(self, process: Process) -> None:
        """Have `process` in the place of the next one."""
        self._there = process

    async def launch(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None) -> Process:
        """Start a process, or give the one that was adopted."""
        process, self._there = self._there, None
        if process is None:
            process = await self._launcher.launch(argv, env, cwd)
        self.process = process
        self._on_launch(process)
        return process
