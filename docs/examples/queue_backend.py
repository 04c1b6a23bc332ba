"""A transport of one's own: kernel and clients in one process, with queues as the wire.

It has what every wire has: what is sent takes a while to arrive, and there is only so much room on the way. Serves
under a ``name``, which is the only connection field that it needs.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from kernelwire.backend import Backend, Capabilities
from kernelwire.channels import ALL_CHANNELS, Channel, HeartbeatChannel
from kernelwire.connection import ConnectionInfo
from kernelwire.demultiplexer import ClientDemultiplexer, KernelDemultiplexer, Transmit
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import (
    AddressInUse,
    ChannelClosed,
    EndOfChannel,
    InvalidField,
    NoBeat,
    NotServed,
    PeerGone,
    WireError,
)
from kernelwire.loop_bound import LoopBound
from kernelwire.messages import WireMessage

ROOM = 16
"""Messages that a channel has room for on the way."""


class QueueBackend(Backend):
    """The backend: how to connect, how to serve, and what is claimed."""

    capabilities = Capabilities(
        lossless_iopub=True,
        gap_notice=True,
        peer_events=True,
        beat="kernel",
        max_message_bytes=256 * 1024 * 1024,
    )

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        return info if "name" in info.extra else info.replace(name=uuid.uuid4().hex)

    async def serve(self, info: ConnectionInfo) -> KernelEnd:
        name = _name(info)
        if name in _served:
            raise AddressInUse(f"a kernel is already served as {name!r}")
        _served[name] = kernel = Kernel(name)
        return kernel.demultiplexer.end

    async def connect(
        self, info: ConnectionInfo, *, identity: bytes, channels: Collection[Channel] = ALL_CHANNELS
    ) -> ClientEnd:
        name = _name(info)
        if name not in _served:
            raise NotServed(f"no kernel is served as {name!r}")
        _served[name].check_loop()
        return Wire(_served[name], identity).client.end


class Kernel(LoopBound):
    """A served name: the kernel's end, and the wires of its clients."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.wires: dict[bytes, Wire] = {}
        self.demultiplexer = KernelDemultiplexer(
            max_message_bytes=QueueBackend.capabilities.max_message_bytes, on_close=self._close
        )

    async def _close(self) -> None:
        del _served[self.name]
        self.demultiplexer.close()
        for wire in tuple(self.wires.values()):
            wire.hang_up()


class Wire:
    """One client's connection: a line each way. Either side may hang up; what was sent before still arrives."""

    def __init__(self, kernel: Kernel, identity: bytes) -> None:
        self._kernel = kernel
        self._identity = identity
        self._up = Line(self._at_kernel, on_end=self._left)
        self._heartbeat = Heartbeat(self._up.put)
        self.client = ClientDemultiplexer(
            self._up.put,
            self._heartbeat,
            max_message_bytes=QueueBackend.capabilities.max_message_bytes,
            audible=kernel.demultiplexer.end.wait_audible,
            on_close=self._close,
        )
        self._down = Line(self._at_client, on_end=self.client.close)
        if (replaced := kernel.wires.get(identity)) is not None:
            replaced.hang_up()
        kernel.wires[identity] = self
        kernel.demultiplexer.attach(identity, self._to_client)

    def hang_up(self) -> None:
        self._up.finish()
        self._down.finish()

    async def _close(self) -> None:
        self.hang_up()

    async def _to_client(self, channel: Channel, message: WireMessage) -> None:
        try:
            await self._down.put(channel, message)
        except EndOfChannel:
            raise PeerGone("this client is gone") from None

    async def _at_kernel(self, channel: Channel, message: WireMessage) -> None:
        if channel is not Channel.HEARTBEAT:
            await self._kernel.demultiplexer.feed(self._identity, channel, message)
        elif self._kernel.demultiplexer.end.beating:
            await self._to_client(channel, message)

    async def _at_client(self, channel: Channel, message: WireMessage) -> None:
        if channel is Channel.HEARTBEAT:
            self._heartbeat.feed(message)
        else:
            await self.client.feed(channel, message)

    def _left(self) -> None:
        self._kernel.demultiplexer.detach(self._identity, self._to_client)
        if self._kernel.wires.get(self._identity) is self:
            del self._kernel.wires[self._identity]


class Line:
    """One way of a wire. Each channel has a lane of its own: control must not wait behind a shell that nobody reads."""

    def __init__(self, deliver: Callable[[Channel, WireMessage], Awaitable[None]], on_end: Callable[[], None]) -> None:
        self._deliver = deliver
        self._lanes = {name: Lane() for name in Channel}
        self._carrying = asyncio.create_task(self._carry_all(on_end))

    async def put(self, channel: Channel, message: WireMessage) -> None:
        await self._lanes[channel].put(message)

    def finish(self) -> None:
        """Nothing new; what is on the way still arrives."""
        for lane in self._lanes.values():
            lane.finish()

    async def _carry_all(self, on_end: Callable[[], None]) -> None:
        await asyncio.gather(*(self._carry(name, lane) for name, lane in self._lanes.items()))
        on_end()

    async def _carry(self, name: Channel, lane: "Lane") -> None:
        with suppress(WireError):  # the receiving side closed this channel
            while (message := await lane.get()) is not None:
                await self._deliver(name, message)
        lane.finish()


class Lane:
    """A queue with so much room, in which nobody overtakes."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[WireMessage | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(ROOM)
        self._finished = False

    async def put(self, message: WireMessage) -> None:
        await self._room.acquire()  # the only place to be cancelled in: so a send is all or nothing
        if self._finished:
            self._room.release()  # for the next one who waits, to find out too
            raise EndOfChannel("the other end closed the channel")
        self._queue.put_nowait(message)

    async def get(self) -> WireMessage | None:
        message = await self._queue.get()
        self._room.release()
        return message

    def finish(self) -> None:
        if not self._finished:
            self._finished = True
            self._queue.put_nowait(None)
            self._room.release()


class Heartbeat(LoopBound, HeartbeatChannel):
    """Sends a ping over the wire, and waits for it to come back."""

    def __init__(self, transmit: Transmit) -> None:
        super().__init__()
        self._transmit = transmit
        self._pongs: dict[bytes, asyncio.Future[bool]] = {}
        self._closed = False

    async def beat(self, timeout: float) -> float:
        self.check_loop()
        if self._closed:
            raise _closed()
        started = self.loop.time()
        ping = uuid.uuid4().bytes
        pong = self._pongs[ping] = self.loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                with suppress(EndOfChannel):
                    await self._transmit(Channel.HEARTBEAT, WireMessage([ping]))
                if not await pong:
                    raise _closed()
        except TimeoutError:
            raise NoBeat(f"the kernel did not answer within {timeout:g} s") from None
        finally:
            del self._pongs[ping]
        return self.loop.time() - started

    def feed(self, message: WireMessage) -> None:
        pong = self._pongs.get(bytes(message.frames[0]))
        if pong is not None and not pong.done():
            pong.set_result(True)

    async def aclose(self) -> None:
        self.check_loop()
        self._closed = True
        for pong in self._pongs.values():
            if not pong.done():
                pong.set_result(False)


_served: dict[str, Kernel] = {}


def _name(info: ConnectionInfo) -> str:
    name = info.extra.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidField("name", "this transport needs the name that the kernel is served under")
    return name


def _closed() -> ChannelClosed:
    return ChannelClosed("the channel was closed by this end")
