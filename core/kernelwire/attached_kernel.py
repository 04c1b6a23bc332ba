"""A kernel that a manager has not started as a process of its own: what can be done for it, and by whom."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from kernelwire import control
from kernelwire.errors import NotSupported


class AttachedKernel(control.Pulse):
    """Somebody else's kernel, of which only its address is known: it can be asked by messages.

    Attributes:
        info: where the kernel is.
        is_ours: whether its manager ends it at its own end.
    """

    is_ours = False

    async def interrupt(self, timeout: float) -> None:
        """Have it interrupt what it executes, within so many seconds.

        Raises:
            RequestTimeout: it does not answer.
        """
        await control.ask(self.info, "interrupt_request", {}, timeout=timeout)

    async def shutdown(self, *, now: bool, restart: bool, timeout: float) -> None:
        """Have it end.

        Arguments:
            now: without asking it, where that is possible.
            restart: what to tell it.
            timeout: seconds to wait for a reply.

        Raises:
            RequestTimeout: it does not answer.
        """
        ahead = ("interrupt_request",)  # most kernels end only when they are done with what they execute
        await control.ask(self.info, "shutdown_request", {"restart": restart}, timeout=timeout, ahead=ahead)

    async def restart(self, *, now: bool) -> None:
        """Have it ended and started again at its address.

        Raises:
            NotSupported: nobody is known who could.
        """
        raise NotSupported("the kernel was attached: whoever started it can restart it")


class KernelHost(ABC):
    """Somebody who starts kernels elsewhere; for ``KernelManager.start(host=...)``."""

    @abstractmethod
    async def start_kernel(
        self, kernel_name: str, *, cwd: str | None, env: Mapping[str, str] | None, timeout: float | None
    ) -> AttachedKernel:
        """Start a kernel, whose manager answers for its end.

        Arguments:
            kernel_name: a kernelspec's name, there.
            cwd: its working directory, there.
            env: environment variables to add.
            timeout: seconds to wait; the host's own if None.

        Raises:
            KernelwireError: it cannot be started; the text says why.
        """


def check_host(host: object, local: Mapping[str, Any]) -> KernelHost:
    """For the start of a kernel on a host: that nothing was given which makes sense only here.

    Raises:
        NotSupported: something was; the text names it.
    """
    if not isinstance(host, KernelHost):
        raise NotSupported("host: a KernelHost is needed, such as kernelwire.host.remote.RemoteHost")
    if given := sorted(name for name, value in local.items() if value):
        raise NotSupported(f"{', '.join(given)}: not for a kernel that a host starts; the host has its own")
    return host
