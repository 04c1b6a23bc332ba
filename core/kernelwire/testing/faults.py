"""Trouble on the way, for transports made of pipes: what may happen to bytes between machines, at a test's command."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, TypeVar

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ConnectionLost
from kernelwire.link.framing import MAGIC, PREAMBLE
from kernelwire.link.pipe import Pipe
from kernelwire.link.waking import Turnstile

T = TypeVar("T")

_HEADER: Final = 4


class Direction(Enum):
    """Which way bytes go."""

    TO_HOST = "to the host"
    TO_CLIENT = "to the client"


class Passing(NamedTuple):
    """A piece of what passes: the preamble, and then frame by frame; as it comes, where it is no link's stream.

    Attributes:
        pipe: which one, counted from 1.
        direction: see there.
        place: where it stands in this direction of this pipe: 0 for the preamble, 1 for the handshake's message; then
            comes what is sealed.
        data: the bytes, a frame's length among them.
    """

    pipe: int
    direction: Direction
    place: int
    data: bytes


Tamper = Callable[[Passing], Sequence[bytes]]
"""What becomes of a piece on its way: what comes out instead, in so many pieces."""


class Middle:
    """Whoever runs the pipes of a pair, and has power over them all.

    :class:`~kernelwire.testing.BackendHarness` gives one to each pair of a backend that is made of pipes. The harness
    of any other backend that claims `resume` or `encrypted` makes one itself, and leads what its clients and their host
    say to each other through `dial` and `wrap`: in a proxy, for instance.

    Attributes:
        dialled: how often somebody has tried to open a pipe.
        opened: how many pipes there have been.
        cuts: how many of them were broken here.
        tamper: what becomes of what passes; None for nothing.
        slice: pass bytes in pieces of this many at the most; None for as they come.
        record: keep what passes in `passed`, as it was before anybody tampered with it.
        passed: see `record`.
        destination: where new pipes end instead of where they should; None for where they should.
    """

    def __init__(self) -> None:
        self.dialled = self.opened = self.cuts = 0
        self.tamper: Tamper | None = None
        self.slice: int | None = None
        self.record = False
        self.passed: list[Passing] = []
        self.destination: ConnectionInfo | None = None
        self._pipes: set[FaultyPipe] = set()
        self._is_down = False
        self._allowances: deque[int] = deque()
        self._is_cutting = False
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._news = Turnstile()
        self._closing: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Break all pipes. New ones can be opened."""
        self._is_cutting = False
        for pipe in tuple(self._pipes):
            self.cuts += 1
            pipe.break_off()

    def cut_after(self, *sizes: int) -> None:
        """Break all pipes once so many bytes more have passed, in both directions together; and again, for each size.

        The last of these bytes arrive. Instead of what was ordered before.
        """
        self._allowances = deque(sizes)

    def down(self) -> None:
        """Break all pipes, and let nobody open new ones until `up`."""
        self._is_down = True
        self.cut()

    def up(self) -> None:
        """End what `down` began."""
        self._is_down = False

    def freeze(self) -> None:
        """Let nothing through from now on, no end of a pipe either, and tell nobody: the pipes look whole."""
        self._thawed.clear()

    def thaw(self) -> None:
        """New pipes are whole again; those that were frozen have lost bytes, and so are broken."""
        self.cut()
        self._thawed.set()

    async def until_dialled(self, count: int) -> None:
        """Wait until somebody has tried to open a pipe so often in all."""
        while self.dialled < count:
            await self._news.wait()

    async def until_opened(self, count: int) -> None:
        """Wait until there have been so many pipes in all."""
        while self.opened < count:
            await self._news.wait()

    async def dial(self) -> None:
        """To be called before a client's pipe is opened; waits while everything is frozen.

        Raises:
            ConnectionLost: between `down` and `up`.
        """
        self.dialled += 1
        self._news.turn()
        await self._thawed.wait()
        if self._is_down:
            raise ConnectionLost("the intermediary is down")

    def wrap(self, pipe: Pipe) -> Pipe:
        """A client's pipe, with the trouble that is ordered."""
        self.opened += 1
        faulty = FaultyPipe(self, pipe, self.opened)
        self._pipes.add(faulty)
        if self._is_down:
            faulty.break_off()
        self._news.turn()
        return faulty

    async def aclose(self) -> None:
        """Let what is still frozen go."""
        self._thawed.set()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def forget(self, pipe: "FaultyPipe") -> None:
        """A pipe is broken, or closed."""
        self._pipes.discard(pipe)

    def close_when_thawed(self, pipe: Pipe) -> None:
        """Nobody at the other end can learn before that a pipe was closed."""

        async def close() -> None:
            await self._thawed.wait()
            await pipe.aclose()

        task = asyncio.create_task(close(), name="kernelwire frozen pipe")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    @property
    def is_frozen(self) -> bool:
        """Whether this is between `freeze` and `thaw`."""
        return not self._thawed.is_set()

    async def until_thawed(self) -> None:
        """Wait for `thaw`, if there was a `freeze`."""
        await self._thawed.wait()

    def finish_cut(self) -> None:
        """What was allowed to pass has: cut, if that is what was to follow."""
        if self._is_cutting:
            self.cut()

    async def pass_on(self, passing: Passing) -> list[bytes]:
        """What comes out for what went in."""
        await self._thawed.wait()
        if self._is_cutting:
            return []
        data = passing.data
        if self._allowances:
            self._allowances[0] -= len(data)
            if self._allowances[0] <= 0:
                data = data[: len(data) + self._allowances.popleft()]
                self._is_cutting = True
        if self.record:
            self.passed.append(passing._replace(data=data))
        pieces: Sequence[bytes] = [data] if self.tamper is None else self.tamper(passing._replace(data=data))
        if self.slice is None:
            return [piece for piece in pieces if piece]
        size = self.slice
        return [piece[at : at + size] for piece in pieces for at in range(0, len(piece), size)]


class FaultyPipe(Pipe):
    """A client's pipe through the middle.

    Arguments:
        middle: see there.
        pipe: the real one.
        number: its own.
    """

    def __init__(self, middle: Middle, pipe: Pipe, number: int) -> None:
        self._middle = middle
        self._pipe = pipe
        self._number = number
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._streams = {direction: _Stream() for direction in Direction}
        self._ready: deque[bytes] = deque()

    def break_off(self) -> None:
        """Break it: both ends learn of it."""
        self._middle.forget(self)
        if not self._broken.done():
            self._broken.set_result(None)

    async def send(self, data: bytes) -> None:  # noqa: D102 - as the abstract one
        await self._unless_broken(self._send(data))

    async def receive(self) -> bytes:  # noqa: D102 - as the abstract one
        while not self._ready:
            await self._unless_broken(self._receive())
        return self._ready.popleft()

    async def aclose(self) -> None:  # noqa: D102 - as the abstract one
        self.break_off()
        if self._middle.is_frozen:
            self._middle.close_when_thawed(self._pipe)
        else:
            await self._pipe.aclose()

    async def _send(self, data: bytes) -> None:
        try:
            for passing in self._passing(Direction.TO_HOST, data):
                for piece in await self._pass_on(passing):
                    await self._pipe.send(piece)
        finally:
            self._middle.finish_cut()

    async def _receive(self) -> None:
        try:
            data = await self._pipe.receive()
        except Exception:
            await self._middle.until_thawed()
            raise
        for passing in self._passing(Direction.TO_CLIENT, data):
            self._ready.extend(await self._pass_on(passing))
        asyncio.get_running_loop().call_soon(self._middle.finish_cut)  # the client gets what is ready all the same

    async def _pass_on(self, passing: Passing) -> list[bytes]:
        if self._broken.done():  # what it still brings does not count
            return []
        pieces = await self._middle.pass_on(passing)
        return [] if self._broken.done() else pieces

    def _passing(self, direction: Direction, data: bytes) -> list[Passing]:
        return [Passing(self._number, direction, *each) for each in self._streams[direction].feed(data)]

    async def _unless_broken(self, work: Coroutine[Any, Any, T]) -> T:
        if self._broken.done():
            work.close()
            raise ConnectionLost("cut")
        working = asyncio.ensure_future(work)
        try:
            ends: list[asyncio.Future[Any]] = [working, self._broken]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise ConnectionLost("cut")
        finally:
            working.add_done_callback(_seen)  # whoever waited may have been cancelled, or have the pipe's break instead
            if not working.done():
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)


def _seen(work: "asyncio.Future[Any]") -> None:
    if not work.cancelled():
        work.exception()


class _Stream:
    """One direction of a pipe, in the pieces that it is made of."""

    def __init__(self) -> None:
        self._count = 0
        self._data = b""
        self._is_link = True

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The pieces that are whole now, with their places."""
        self._data += data
        pieces = []
        at = 0
        while size := self._size_at(at):
            pieces.append((self._count, self._data[at : at + size]))
            self._count += 1
            at += size
        self._data = self._data[at:]
        return pieces

    def _size_at(self, at: int) -> int:
        """Bytes of the piece that begins there; 0 if it is not whole."""
        here = len(self._data) - at
        if not self._count and not MAGIC.startswith(self._data[: len(MAGIC)]):
            self._is_link = False
        if not self._is_link:
            return here
        size = len(PREAMBLE)
        if self._count:
            size = _HEADER + int.from_bytes(self._data[at : at + _HEADER], "big")
        return size if here >= size else 0
