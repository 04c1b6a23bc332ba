"""Pipes in memory, with the faults that a test wants, and a backend of them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from kernelwire.channels import Receiver
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import ConnectionLost, EndOfChannel
from kernelwire.link.backend import PipeBackend
from kernelwire.link.peer import Timing
from kernelwire.link.pipe import Listener, Pipe, Sink
from kernelwire.link.records import Control, Hello, decode
from kernelwire.link.sealed import SealedPipe, Secrets
from kernelwire.link.waking import Turnstile
from kernelwire.messages import WireMessage
from kernelwire.ticket import key_of

CAPACITY: Final = 256 * 1024
"""Bytes that are on the way in one direction at the most; one piece may be larger."""


class Flow:
    """One direction.

    Attributes:
        frozen: whether what goes in stays in, and nobody is told.
        lost: whether what goes in vanishes, and nobody is told of anything any more.
        passed: bytes that were put in.
        puts: in so many pieces.
    """

    def __init__(self) -> None:
        self.frozen = self.lost = False
        self.passed = self.puts = 0
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._end: Exception | None = None
        self._changed = Turnstile()
        self._sink: Sink | None = None

    async def put(self, data: bytes) -> None:
        while self._size > CAPACITY and self._end is None and not self.lost:
            await self._changed.wait()
        self._put(data)

    def put_now(self, data: bytes) -> bool:
        """As `put`, if that need not wait; whether it was so."""
        if self._size > CAPACITY and self._end is None and not self.lost:
            return False
        self._put(data)
        return True

    def _put(self, data: bytes) -> None:
        if self.lost:
            return
        if self._end is not None:
            raise ConnectionResetError("the pipe broke")
        self.passed += len(data)
        self.puts += 1
        self._size += len(data)
        self._pieces.append(data)
        self._changed.turn()
        self._hand_over()

    def pour(self, sink: Sink) -> None:
        """Hand over what is here, and from now on what goes in."""
        self._sink = sink
        self._hand_over()

    def _hand_over(self) -> None:
        while self._sink is not None and self._pieces and not self.frozen and self._end is None:
            data = self._pieces.popleft()
            self._size -= len(data)
            self._changed.turn()
            try:
                self._sink(data)
            except Exception as error:  # noqa: BLE001 - whatever it is, who receives is told
                self.end(error)

    async def get(self) -> bytes:
        while (self.frozen or not self._pieces) and self._end is None:
            await self._changed.wait()
        if self._pieces and not self.frozen:
            data = self._pieces.popleft()
            self._size -= len(data)
            self._changed.turn()
            return data
        assert self._end is not None
        raise self._end

    def end(self, error: Exception, *, drop: bool = False) -> None:
        if self.lost:
            return
        if drop:
            self._pieces.clear()
        if self._end is None:
            self._end = error
        self._changed.turn()

    def thaw(self) -> None:
        self.frozen = False
        self._changed.turn()
        self._hand_over()


class MemoryPipe(Pipe):
    """One end.

    Attributes:
        closings: how often it was closed.
        on_close: called when it is; to hang, or to raise.
    """

    def __init__(self, outgoing: Flow, incoming: Flow) -> None:
        self.outgoing, self.incoming = outgoing, incoming
        self.closings = 0
        self.on_close: Callable[[], object] | None = None

    async def send(self, data: bytes) -> None:
        assert data
        await self.outgoing.put(data)

    async def receive(self) -> bytes:
        return await self.incoming.get()

    async def aclose(self) -> None:
        self.closings += 1
        self.outgoing.end(EndOfChannel("the other end closed the pipe"))
        self.incoming.end(ConnectionLost("this end closed the pipe"))
        if self.on_close is not None:
            outcome = self.on_close()
            if isinstance(outcome, asyncio.Future):
                await outcome


class SwiftPipe(MemoryPipe):
    """One end, with both short cuts."""

    def pour(self, sink: Sink) -> bool:
        self.incoming.pour(sink)
        return True

    def send_now(self, pieces: Sequence[bytes]) -> bool:
        return self.outgoing.put_now(b"".join(pieces))


def swift_pair() -> tuple[SwiftPipe, SwiftPipe]:
    """As `pair`."""
    up, down = Flow(), Flow()
    return SwiftPipe(up, down), SwiftPipe(down, up)


def pair() -> tuple[MemoryPipe, MemoryPipe]:
    """Both ends of a pipe."""
    up, down = Flow(), Flow()
    return MemoryPipe(up, down), MemoryPipe(down, up)


class Network(Listener):
    """Between clients and a host: where pipes come from.

    Arguments:
        make: makes both ends of a pipe.

    Attributes:
        pairs: all that were opened, the client's end first.
        down: what dialling raises; None if it works.
        dials: how often somebody tried.
        dialling: a future that dialling waits for; None if it does not.
    """

    def __init__(self, make: Callable[[], tuple[MemoryPipe, MemoryPipe]] = pair) -> None:
        self.pairs: list[tuple[MemoryPipe, MemoryPipe]] = []
        self._make = make
        self.down: BaseException | None = None
        self.dials = 0
        self.dialling: asyncio.Future[None] | None = None
        self.closed = 0
        self._waiting: asyncio.Queue[Pipe | Exception] = asyncio.Queue()
        self._happened = Turnstile()

    async def open_pipe(self) -> Pipe:
        self.dials += 1
        self._happened.turn()
        if self.dialling is not None:
            await self.dialling
        if self.down is not None:
            raise self.down
        return self.reach()

    def reach(self) -> MemoryPipe:
        """A client's end, whose other end the host gets."""
        near, far = self._make()
        self.pairs.append((near, far))
        self._waiting.put_nowait(far)
        return near

    async def accept(self) -> Pipe:
        pipe = await self._waiting.get()
        if isinstance(pipe, Exception):
            raise pipe
        return pipe

    def fail_to_accept(self, error: Exception) -> None:
        self._waiting.put_nowait(error)

    async def aclose(self) -> None:
        self.closed += 1

    def cut(self) -> None:
        """Break all pipes; what is on the way is lost."""
        for near, _ in self.pairs:
            for flow in (near.outgoing, near.incoming):
                flow.end(ConnectionResetError("cut"), drop=True)

    def half_open(self) -> None:
        """Break the newest pipe, and tell the client's end only."""
        near, _ = self.pairs[-1]
        near.incoming.end(ConnectionResetError("broken"))
        near.incoming.lost = near.outgoing.lost = True

    def freeze(self) -> None:
        """Let nothing through the pipes that there are, and tell nobody."""
        for near, _ in self.pairs:
            near.outgoing.frozen = near.incoming.frozen = True

    def thaw(self) -> None:
        for near, _ in self.pairs:
            near.outgoing.thaw()
            near.incoming.thaw()

    @property
    def open_pipes(self) -> int:
        """Ends that nobody has closed."""
        return sum(not pipe.closings for both in self.pairs for pipe in both)

    async def dialled(self, times: int) -> None:
        """Until somebody has tried so often."""
        while self.dials < times:
            await self._happened.wait()


class MemoryBackend(PipeBackend):
    """Channels over a network."""

    def __init__(self, network: Network | None = None, *, timing: Timing | None = None) -> None:
        self.network = network or Network()
        if timing is not None:
            self.timing = timing

    async def open_pipe(self, info: ConnectionInfo) -> Pipe:
        return await self.network.open_pipe()

    async def listen(self, info: ConnectionInfo) -> Listener:
        return self.network


QUICK: Final = Timing(ping_after=0.02, dead_after=0.1)
NEVER: Final = Timing(ping_after=3600, dead_after=7200)

INFO: Final = MemoryBackend().prepare(ConnectionInfo(transport="memory", key=b"a key for these tests"))


@asynccontextmanager
async def joined(
    backend: MemoryBackend | None = None, identity: bytes = b"me"
) -> AsyncIterator[tuple[MemoryBackend, KernelEnd, ClientEnd]]:
    """A kernel's end, and a client that is ready."""
    backend = backend or MemoryBackend()
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=identity) as client:
        await client.iopub.ready()
        yield backend, kernel, client


def message(text: object, peer: bytes = b"", size: int = 0) -> WireMessage:
    return WireMessage([str(text).encode(), bytes(size)], peer)


def text(message: WireMessage) -> str:
    return bytes(message.frames[0]).decode()


async def texts(channel: Receiver, count: int) -> list[str]:
    """The next messages."""
    return [text(await channel.receive()) for _ in range(count)]


async def settle(turns: int = 50) -> None:
    """Let every task run until it waits for something that only the test, or time, can bring."""
    for _ in range(turns):
        await asyncio.sleep(0)


HOST: Final = Secrets(key_of(INFO, "link_secret"), key_of(INFO, "host_key"), key_of(INFO, "host_private_key"))
CLIENT: Final = Secrets(HOST.link_secret, HOST.host_key)


async def answer(network: Network) -> tuple[SealedPipe, Hello]:
    """As a host made by hand: the next pipe, with its client's hello."""
    sealed = await SealedPipe.answer(await network.accept(), HOST)
    (hello,) = decode(await sealed.receive())
    assert isinstance(hello, Hello)
    return sealed, hello


async def say(sealed: SealedPipe, *records: Control) -> None:
    await sealed.send(b"".join(record.encode() for record in records))


async def ask(network: Network, hello: Hello, secrets: Secrets = CLIENT) -> tuple[SealedPipe, Control]:
    """As a client made by hand: a pipe with this hello, and the host's answer."""
    sealed = await SealedPipe.dial(network.reach(), secrets)
    await say(sealed, hello)
    (record,) = decode(await sealed.receive())
    assert isinstance(record, Control)
    return sealed, record
