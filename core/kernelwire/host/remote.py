"""A host from afar: with its ticket, start kernels there and answer for them as for one's own.

::

    host = RemoteHost.of("host.ticket")
    async with KernelManager() as manager:
        await manager.start("python3", host=host)
        async with manager.client() as client:
            print(await client.execute("1 + 1"))
"""

import os
from collections.abc import Mapping
from typing import Any, Final, Self

from kernelwire import control, errors, ticket
from kernelwire.attached_kernel import AttachedKernel, KernelHost
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import (
    ConfigurationError,
    GapNotice,
    KernelExited,
    KernelwireError,
    LocalError,
    OutcomeUnknown,
    RequestFailed,
    TicketError,
)
from kernelwire.host.journal import Fate

ANSWER: Final = 15.0
"""Seconds that a host has to answer a request that takes it no time."""

STARTING: Final = 90.0
"""Seconds that it has to start, restart or end a kernel."""

_SPEAKING: Final = ("KernelDied", "KernelspecError", "LaunchFailed", "LocalError", "NotSupported", "RequestTimeout")
"""Errors that are raised here as they were there. Of others only the branch is known."""


class RemoteHost(KernelHost):
    """What a host does for who has its ticket. Each request has a connection of its own, so nothing is to be closed.

    All methods raise, beside what they name: RequestTimeout if the host cannot be reached or does not answer;
    OutcomeUnknown if it was started anew meanwhile, so that it may have done what was asked, or not; and what the host
    itself raised.

    Arguments:
        info: where the host is, from its ticket.
    """

    def __init__(self, info: ConnectionInfo) -> None:
        self.info = info

    @classmethod
    def of(cls, text: str | os.PathLike[str]) -> Self:
        """From a ticket's file, or ``-`` for standard input.

        Raises:
            ConnectionFileError: the file cannot be read.
            TicketError: no ticket, or a kernel's.
        """
        found = ticket.read(text)
        if found.kind != "host":
            raise TicketError("this is the ticket of a kernel, and that of a host is needed: kernelwire host --allow")
        return cls(found.info)

    async def kernelspecs(self) -> list[dict[str, Any]]:
        """The kernelspecs that it allows, each with ``name``, ``display_name`` and ``language``."""
        return list((await self._ask("host_info_request")).get("kernelspecs", ()))

    async def kernels(self) -> list[dict[str, Any]]:
        """Its kernels, each as by `status`."""
        return list((await self._ask("kernels_request")).get("kernels", ()))

    async def status(self, kernel_id: str) -> dict[str, Any]:
        """How a kernel is: ``state`` is ``running`` or ``ended``, then ``reason`` and ``exit_code`` say how.

        Raises:
            LocalError: it has none of this id.
        """
        return dict(await self._ask("kernel_status_request", kernel_id=kernel_id))

    async def fate(self, kernel_id: str, msg_id: str) -> Fate:
        """What became of a request to a kernel: for one that has ended with OutcomeUnknown, by its ``msg_id``.

        Raises LocalError if there is no kernel of this id.
        """
        reply = await self._ask("fate_request", kernel_id=kernel_id, msg_ids=[msg_id])
        return Fate(reply["fates"][msg_id])

    async def spawn(
        self,
        kernel_name: str,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        keep: bool = False,
        timeout: float = STARTING,
    ) -> "RemoteKernel":
        """Start a kernel, and return when it answers there.

        Arguments:
            kernel_name: a kernelspec's name.
            cwd: its working directory, there.
            env: environment variables to add.
            keep: without a lease: it stays for however long it has no client.
            timeout: seconds to wait.

        Raises:
            KernelspecError: it is not allowed there.
            LaunchFailed, KernelExited: it does not start.
        """
        asked = {"kernel_name": kernel_name, "cwd": cwd, "env": dict(env or {}), "keep": keep}
        reply = await self._ask("spawn_request", timeout=timeout, **asked)
        return RemoteKernel(self, str(reply.get("kernel_id")), ticket.decode(str(reply.get("ticket"))).info)

    async def start_kernel(  # noqa: D102 - as the abstract one
        self, kernel_name: str, *, cwd: str | None, env: Mapping[str, str] | None, timeout: float | None
    ) -> AttachedKernel:
        return await self.spawn(kernel_name, cwd=cwd, env=env, timeout=STARTING if timeout is None else timeout)

    async def interrupt(self, kernel_id: str, *, timeout: float = ANSWER) -> None:
        """Interrupt what a kernel executes. Raises LocalError if there is none of this id; KernelDied if it is dead."""
        await self._ask("interrupt_request", timeout=timeout, kernel_id=kernel_id)

    async def restart(self, kernel_id: str, *, now: bool = False, timeout: float = STARTING) -> None:
        """End a kernel, with `now` without asking it, and start it again; its clients stay. Raises as `interrupt`."""
        await self._ask("restart_request", timeout=timeout, kernel_id=kernel_id, now=now)

    async def shutdown(self, kernel_id: str, *, now: bool = False, timeout: float = STARTING) -> None:
        """End a kernel, and have the host forget it. Raises LocalError if there is none of this id."""
        await self._ask("shutdown_request", timeout=timeout, kernel_id=kernel_id, now=now)

    async def _ask(self, msg_type: str, *, timeout: float = ANSWER, **content: Any) -> Mapping[str, Any]:
        try:
            reply = await control.ask(self.info, msg_type, content, timeout=timeout)
        except GapNotice:
            raise OutcomeUnknown(f"the host was started anew before it replied to {msg_type}") from None
        if reply.content.get("status") != "ok":
            raise _raised(reply.content)
        return reply.content


class RemoteKernel(AttachedKernel):
    """A kernel that a host has started for somebody here.

    Arguments:
        host: has started it.
        kernel_id: its name there.
        info: where the kernel is.

    Attributes:
        host, kernel_id: as given.
    """

    is_ours = True

    def __init__(self, host: RemoteHost, kernel_id: str, info: ConnectionInfo) -> None:
        super().__init__(info)
        self.host = host
        self.kernel_id = kernel_id

    async def open(self) -> None:  # noqa: D102 - as the abstract one
        try:
            await super().open()
        except BaseException:  # nobody here would answer for it
            await self.shutdown(now=True, restart=False, timeout=ANSWER)
            raise

    async def interrupt(self, timeout: float) -> None:  # noqa: D102 - as the abstract one
        await self.host.interrupt(self.kernel_id, timeout=max(timeout, ANSWER))

    async def shutdown(self, *, now: bool, restart: bool, timeout: float) -> None:  # noqa: D102 - as the abstract one
        if restart:  # `restart` ends it itself
            return
        try:
            await self.host.shutdown(self.kernel_id, now=now, timeout=max(timeout, ANSWER))
        except LocalError:  # its lease has run out, or somebody else has ended it
            return

    async def restart(self, *, now: bool) -> None:  # noqa: D102 - as the abstract one
        await self.host.restart(self.kernel_id, now=now)


def _raised(content: Mapping[str, Any]) -> KernelwireError:
    """The error that a reply tells of."""
    name, text = str(content.get("ename")), str(content.get("evalue"))
    if name == "KernelExited" and isinstance(code := content.get("exit_code"), int):
        return KernelExited(code, str(content.get("stderr", "")))
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, KernelwireError)):
        return RequestFailed(f"the host failed: {text}")
    if name in _SPEAKING:
        return kind(text)
    if issubclass(kind, errors.KernelspecError):
        return errors.KernelspecError(text)
    if issubclass(kind, ConfigurationError):
        return ConfigurationError(text)
    return RequestFailed(text)
