"""A host's own end, where the holders of its ticket ask for kernels.

Requests and replies are Jupyter messages on the control channel of an address of its own. Each reply has ``status``
``ok``, or ``error`` with ``ename`` and ``evalue``. The requests, with their content and what the replies say:

``host_info_request``: ``kernelspecs``, those that are allowed, each with name, display_name and language.
``spawn_request`` (kernel_name, env, cwd, keep): ``kernel_id``, ``ticket``, ``pid``.
``kernels_request``: ``kernels``, each as the reply to a ``kernel_status_request``.
``kernel_status_request`` (kernel_id): ``kernel_id``, ``kernel_name``, ``state`` (running or ended), ``reason``,
``exit_code``, ``pid``, ``clients``.
``fate_request`` (kernel_id, msg_ids): ``fates``, by msg_id what became of a request to the kernel, as in
:class:`~kernelwire.host.journal.Fate`.
``interrupt_request``, ``restart_request`` (now), ``shutdown_request`` (now), each with kernel_id: nothing more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, Self

from kernelwire import control, kernelspecs, registry, ticket
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import KernelEnd
from kernelwire.errors import (
    EndOfChannel,
    KernelExited,
    KernelspecError,
    KernelwireError,
    LocalError,
    NotSupported,
    PeerGone,
)
from kernelwire.host.host import Host
from kernelwire.host.hosted_kernel import HostedKernel
from kernelwire.message_channel import MessageChannel
from kernelwire.messages import Message
from kernelwire.session import Session

_log = logging.getLogger(__name__)

AT_ONCE: Final = 64
"""Requests that are worked on at a time; one more waits, and with it all that come after."""

Content = Mapping[str, Any]


class Service:
    """Use as an async context manager.

    Arguments:
        host: starts the kernels.
        near: the address to serve at, complete, with the host's own keys.
        allowed: names of the kernelspecs that may be asked for.
        lease: of the kernels that are started; None for no end.
        timeout: seconds until a new kernel must answer.
    """

    def __init__(
        self,
        host: Host,
        near: ConnectionInfo,
        allowed: Collection[str],
        *,
        lease: float | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._host = host
        self._near = near
        self._allowed = tuple(allowed)
        self._lease = lease
        self._timeout = timeout
        self._end: KernelEnd
        self._channel: MessageChannel
        self._session = Session.of(near)
        self._loop_task: asyncio.Task[None]
        self._working: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._handlers: dict[str, Callable[[Content], Awaitable[Content]]] = {
            "host_info_request": self._on_host_info,
            "spawn_request": self._on_spawn,
            "kernels_request": self._on_kernels,
            "kernel_status_request": self._on_status,
            "fate_request": self._on_fate,
            "interrupt_request": self._on_interrupt,
            "restart_request": self._on_restart,
            "shutdown_request": self._on_shutdown,
        }

    async def __aenter__(self) -> Self:
        self._end = await registry.load(self._near.transport).serve(self._near)
        self._channel = MessageChannel(self._end.control, self._session)
        self._loop_task = asyncio.create_task(self._serve(), name="kernelwire host service")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        tasks = (self._loop_task, *self._working)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._end.aclose()

    async def reach(self, timeout: float) -> None:
        """Have a client reach this, once, over whatever is in between.

        Raises:
            RequestTimeout: it does not in time.
        """
        info = registry.load(self._near.transport).for_clients(self._near)
        await control.ask(info, "host_info_request", {}, timeout=timeout)

    async def closed(self) -> None:
        """Until nobody can ask any more.

        Raises:
            ConnectionLost: the wire broke for good.
        """
        await asyncio.shield(self._loop_task)

    async def _serve(self) -> None:
        while True:
            await self._places.acquire()
            try:
                message, wire = await self._channel.receive_from()
            except EndOfChannel:
                return
            task = asyncio.create_task(self._work(message, wire.peer), name="kernelwire host request")
            self._working.add(task)
            task.add_done_callback(self._working.discard)
            task.add_done_callback(lambda _: self._places.release())

    async def _work(self, request: Message, peer: bytes) -> None:
        try:
            handler = self._handlers.get(request.msg_type)
            if handler is None:
                raise NotSupported(f"a host knows no {request.msg_type!r}")
            content: Content = {"status": "ok", **await handler(request.content)}
        except KernelwireError as error:
            content = _error(error)
        except Exception as error:  # noqa: BLE001 - whoever asked must hear of it
            _log.exception("a request to the host failed")
            content = {"status": "error", "ename": type(error).__name__, "evalue": "the host failed at it; see its log"}
        reply = self._session.message(request.msg_type.replace("_request", "_reply"), content, parent=request)
        try:
            await self._channel.send(reply, peer)
        except PeerGone:
            _log.debug("who asked the host has left")

    async def _on_host_info(self, _content: Content) -> Content:
        return {"kernelspecs": [_described(name) for name in self._allowed]}

    async def _on_spawn(self, content: Content) -> Content:
        name, env, cwd = content.get("kernel_name"), content.get("env") or {}, content.get("cwd")
        if name not in self._allowed:
            raise KernelspecError(
                f"kernelspec {name!r} is not one that this host allows; it allows {', '.join(self._allowed)}"
            )
        if cwd is not None and not isinstance(cwd, str):
            raise LocalError("cwd: text is needed")
        lease = None if content.get("keep") is True else self._lease
        kernel = await self._host.start(str(name), cwd=cwd, env=env, lease=lease, timeout=self._timeout)
        return {"kernel_id": kernel.kernel_id, "ticket": ticket.encode(kernel.info), "pid": kernel.pid}

    async def _on_kernels(self, _content: Content) -> Content:
        return {"kernels": [self._status(kernel) for kernel in tuple(self._host.kernels.values())]}

    async def _on_status(self, content: Content) -> Content:
        return self._status(self._kernel(content))

    async def _on_fate(self, content: Content) -> Content:
        journal, msg_ids = self._kernel(content).journal, content.get("msg_ids")
        if not isinstance(msg_ids, list) or not all(isinstance(each, str) for each in msg_ids):
            raise LocalError("msg_ids: a list of ids of requests is needed")
        return {"fates": {msg_id: journal.fate(msg_id) for msg_id in msg_ids}}

    async def _on_interrupt(self, content: Content) -> Content:
        await self._kernel(content).interrupt()
        return {}

    async def _on_restart(self, content: Content) -> Content:
        await self._host.restart(self._kernel(content).kernel_id, now=content.get("now") is True, timeout=self._timeout)
        return {}

    async def _on_shutdown(self, content: Content) -> Content:
        await self._host.end(self._kernel(content).kernel_id, now=content.get("now") is True)
        return {}

    def _kernel(self, content: Content) -> HostedKernel:
        kernel_id = content.get("kernel_id")
        if not isinstance(kernel_id, str):
            raise LocalError("kernel_id: the id of one of this host's kernels is needed")
        return self._host.kernel(kernel_id)

    def _status(self, kernel: HostedKernel) -> Content:
        reason = self._host.ended.get(kernel.kernel_id)
        return {
            "kernel_id": kernel.kernel_id,
            "kernel_name": kernel.kernel_name,
            "state": "running" if reason is None else "ended",
            "reason": None if reason is None else str(reason),
            "exit_code": reason.exit_code if isinstance(reason, KernelExited) else None,
            "pid": kernel.pid,
            "clients": kernel.clients,
        }


def _described(name: str) -> Content:
    try:
        spec = kernelspecs.get(name)
    except KernelspecError as error:
        return {"name": name, "display_name": "", "language": "", "error": str(error)}
    return {"name": name, "display_name": spec.display_name, "language": spec.language, "error": None}


def _error(error: KernelwireError) -> Content:
    content: dict[str, Any] = {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
    if isinstance(error, KernelExited):
        content |= {"exit_code": error.exit_code, "stderr": error.stderr}
    return content
