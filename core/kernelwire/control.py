"""A kernel reached without a client: one request on its control channel, and whether it beats."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from kernelwire import registry
from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import RequestTimeout
from kernelwire.heartbeat import HeartbeatMonitor
from kernelwire.launcher import Process
from kernelwire.message_channel import MessageChannel
from kernelwire.messages import Message
from kernelwire.session import Session

BY_MESSAGE: Final = "message"
"""The `interrupt_mode` of kernels that are not interrupted by SIGINT."""


async def ask(
    info: ConnectionInfo,
    msg_type: str,
    content: Mapping[str, Any],
    *,
    timeout: float,
    ahead: Sequence[str] = (),
) -> Message:
    """Send a request on the control channel, and wait for its reply.

    Arguments:
        info: where the kernel is.
        msg_type: ``..._request``.
        content: the request's content.
        timeout: seconds to wait for the reply.
        ahead: the types of requests that are sent before it, without content; their replies are not waited for.

    Raises:
        RequestTimeout: no reply in time.
        ConfigurationError: the connection cannot be used.
        EndOfChannel, ConnectionLost: as the channel.
    """
    session = Session.of(info)
    identity = session.session_id.encode("ascii")
    try:
        async with asyncio.timeout(timeout):
            backend = registry.load(info.transport)
            async with await backend.connect(info, identity=identity, channels={Channel.CONTROL}) as end:
                channel = MessageChannel(end.control, session)
                for each in ahead:
                    await channel.send(session.message(each, {}))
                request = session.message(msg_type, content)
                await channel.send(request)
                while (reply := await channel.receive()).parent_id != request.msg_id:
                    pass
                return reply
    except TimeoutError:
        raise RequestTimeout(f"no reply to {msg_type} within {timeout:g} s") from None


async def interrupt(info: ConnectionInfo, process: Process, mode: str, *, timeout: float) -> None:
    """Interrupt what a kernel executes, in the way that its kernelspec wants.

    Arguments:
        info: where the kernel is.
        process: its process.
        mode: the kernelspec's `interrupt_mode`.
        timeout: seconds to wait for a reply, if there is to be one.

    Raises:
        as `ask`.
    """
    if mode == BY_MESSAGE:
        await ask(info, "interrupt_request", {}, timeout=timeout)
    else:
        process.send_signal(signal.SIGINT)


async def shut_down(
    info: ConnectionInfo,
    process: Process,
    mode: str,
    *,
    restart: bool,
    timeout: float,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Interrupt a kernel, and ask it to end: most do so only when they are done with what they execute.

    Arguments:
        info: where the kernel is.
        process: its process.
        mode: the kernelspec's `interrupt_mode`.
        restart: what to tell it.
        timeout: seconds to wait for the reply.
        meanwhile: awaited after a SIGINT, before it is asked: when it ends it can reply to nothing any more.

    Raises:
        as `ask`.
    """
    if mode != BY_MESSAGE:
        process.send_signal(signal.SIGINT)
        if meanwhile is not None:
            await meanwhile()
    ahead = ("interrupt_request",) if mode == BY_MESSAGE else ()
    await ask(info, "shutdown_request", {"restart": restart}, timeout=timeout, ahead=ahead)


class Pulse:
    """Whether a kernel beats. Use as an async context manager.

    Arguments:
        info: where the kernel is.

    Attributes:
        info: as given.
    """

    def __init__(self, info: ConnectionInfo) -> None:
        self.info = info
        self._monitor: HeartbeatMonitor | None = None
        self._stack = AsyncExitStack()

    @property
    def is_beating(self) -> bool | None:
        """As far as it is known; None where the wire does not tell, or not yet."""
        return None if self._monitor is None else self._monitor.is_beating

    async def open(self) -> None:
        """Begin to watch.

        Raises:
            ConfigurationError: the connection cannot be used.
            ConnectionLost: the wire cannot be opened.
        """
        backend = registry.load(self.info.transport)
        identity = Session.of(self.info).session_id.encode("ascii")
        async with AsyncExitStack() as stack:
            end = await backend.connect(self.info, identity=identity, channels={Channel.HEARTBEAT})
            await end.narrow({Channel.HEARTBEAT})  # nobody would read the others
            await stack.enter_async_context(end)
            self._monitor = await stack.enter_async_context(HeartbeatMonitor(end.heartbeat))
            self._stack = stack.pop_all()

    async def aclose(self) -> None:
        """Watch no more."""
        await self._stack.aclose()
