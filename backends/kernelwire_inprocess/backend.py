"""Serve a kernel under a name of this process, and connect to it by that name.

The connection fields are ``name`` and ``pid``, both filled in by `prepare`. Frames are handed over as they are: the
waist promises that they never change, so a read-only buffer of any size crosses without a copy.
"""

import asyncio
import os
import uuid
from collections.abc import Collection
from typing import Final

from kernelwire.backend import Backend, Capabilities, check_identity
from kernelwire.channels import ALL_CHANNELS, Channel, HeartbeatChannel
from kernelwire.connection import ConnectionInfo
from kernelwire.demultiplexer import ClientDemultiplexer, KernelDemultiplexer
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import (
    AddressInUse,
    ChannelClosed,
    EndOfChannel,
    InvalidField,
    NoBeat,
    NotServed,
    PeerGone,
)
from kernelwire.inbox import GAP_LIMIT, HIGH_WATER
from kernelwire.loop_bound import LoopBound
from kernelwire.messages import WireMessage

MAX_MESSAGE_BYTES: Final = 1024 * 1024 * 1024


class InProcessBackend(Backend):
    """The backend of transport ``inprocess``.

    Arguments:
        names: where served names are kept; the process's own table if not given. Two backends see each other's
            kernels if they share it.
        held: bound in bytes for what one end holds unread on a channel.
        iopub_held: the same for a client's iopub, beyond which the oldest go, with a gap notice.
    """

    capabilities = Capabilities(
        lossless_iopub=True,
        gap_notice=True,
        peer_events=True,
        beat="kernel",
        max_message_bytes=MAX_MESSAGE_BYTES,
    )

    def __init__(
        self,
        names: "dict[str, Kernel] | None" = None,
        *,
        held: int = HIGH_WATER,
        iopub_held: int = GAP_LIMIT,
    ) -> None:
        self._names = _process_names if names is None else names
        self._held = held
        self._iopub_held = iopub_held

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        return info.replace(name=info.extra.get("name") or uuid.uuid4().hex, pid=info.extra.get("pid") or os.getpid())

    async def serve(self, info: ConnectionInfo) -> KernelEnd:
        name = _name(info)
        if (pid := info.extra.get("pid", os.getpid())) != os.getpid():
            raise InvalidField("pid", f"{pid} is another process; this is {os.getpid()}")
        served = self._names.get(name)
        if served is not None and served.lives_here:
            raise AddressInUse(f"an in-process kernel is already served as {name!r}")
        kernel = self._names[name] = Kernel(name, self._names, held=self._held)
        return kernel.demultiplexer.end

    async def connect(
        self, info: ConnectionInfo, *, identity: bytes, channels: Collection[Channel] = ALL_CHANNELS
    ) -> ClientEnd:
        check_identity(identity)
        name = _name(info)
        pid = info.extra.get("pid", os.getpid())
        if pid != os.getpid():
            raise NotServed(
                f"the in-process kernel {name!r} lives in process {pid}, and this is {os.getpid()}: "
                "serve it over a bridge to reach it from here"
            )
        kernel = self._names.get(name)
        if kernel is None or not kernel.lives_here:
            raise NotServed(f"no in-process kernel is served as {name!r} in this process")
        kernel.check_loop()
        return _Client(kernel, identity, held=self._held, iopub_held=self._iopub_held).demultiplexer.end


class Kernel(LoopBound):
    """A served name: the kernel's end and the clients on it."""

    def __init__(self, name: str, names: "dict[str, Kernel]", *, held: int) -> None:
        super().__init__()
        self.clients: dict[bytes, _Client] = {}
        self.closed = False
        self._name = name
        self._names = names
        self._process = os.getpid()
        self.demultiplexer = KernelDemultiplexer(
            max_message_bytes=MAX_MESSAGE_BYTES, held=held, has_takers=True, on_close=self._close
        )

    @property
    def lives_here(self) -> bool:
        """False in a forked child, which inherits the table but not the loop, and once the loop is gone."""
        return self._process == os.getpid() and not self.loop.is_closed()

    async def _close(self) -> None:
        self.closed = True
        self.demultiplexer.end.beating = False
        if self._names.get(self._name) is self:
            del self._names[self._name]
        self.demultiplexer.close()
        for client in tuple(self.clients.values()):
            client.demultiplexer.close()
        self.clients.clear()


class _Client:
    """One client's wire: two demultiplexers that feed each other."""

    def __init__(self, kernel: Kernel, identity: bytes, *, held: int, iopub_held: int) -> None:
        self._kernel = kernel
        self._identity = identity
        self.demultiplexer = ClientDemultiplexer(
            self._to_kernel,
            _Heartbeat(kernel),
            max_message_bytes=MAX_MESSAGE_BYTES,
            held=held,
            iopub_held=iopub_held,
            audible=kernel.demultiplexer.end.wait_audible,
            on_close=self._close,
        )
        if (replaced := kernel.clients.get(identity)) is not None:
            replaced.demultiplexer.close(EndOfChannel("another client connected with the same identity"))
        kernel.clients[identity] = self
        kernel.demultiplexer.attach(identity, self._to_client, self.demultiplexer)

    async def _to_kernel(self, channel: Channel, message: WireMessage) -> None:
        if self._kernel.clients.get(self._identity) is not self:
            raise EndOfChannel("the kernel closed, or another client took this one's identity")
        await self._kernel.demultiplexer.feed(self._identity, channel, message)

    async def _to_client(self, channel: Channel, message: WireMessage) -> None:
        try:
            await self.demultiplexer.feed(channel, message)
        except EndOfChannel:
            raise PeerGone("this client closed the channel") from None

    async def _close(self) -> None:
        if self._kernel.clients.get(self._identity) is self:
            del self._kernel.clients[self._identity]
            self._kernel.demultiplexer.detach(self._identity, self._to_client)


class _Heartbeat(LoopBound, HeartbeatChannel):
    """Beats for the kernel's end, as long as that lets it."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel
        self._closed = self.loop.create_future()

    async def beat(self, timeout: float) -> float:
        self.check_loop()
        started = self.loop.time()
        if not self._closed.done():
            beating = asyncio.create_task(self._kernel.demultiplexer.end.wait_beating())
            try:
                await asyncio.wait([self._closed, beating], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            finally:
                beating.cancel()
            if beating.done() and not self._closed.done():
                return self.loop.time() - started
        if self._closed.done():
            raise ChannelClosed("the channel was closed by this end")
        raise NoBeat(f"the in-process kernel did not answer within {timeout:g} s")

    async def aclose(self) -> None:
        self.check_loop()
        if not self._closed.done():
            self._closed.set_result(None)


_process_names: dict[str, Kernel] = {}
"""Names are the process's, as ports are the machine's."""


def _name(info: ConnectionInfo) -> str:
    name = info.extra.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidField("name", "the in-process transport needs the name that the kernel is served under")
    return name
