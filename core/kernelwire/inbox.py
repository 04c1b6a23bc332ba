"""The receiving half that every backend needs: hold what arrived, in order, accounted and bounded, for one reader."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from kernelwire.errors import ChannelBusy, ChannelClosed, EndOfChannel, GapNotice, KernelwireError
from kernelwire.loop_bound import LoopBound

MESSAGE_OVERHEAD: Final = 1024
"""What a held message costs beside its bytes: some ten Python objects."""

HIGH_WATER: Final = 64 * 1024 * 1024
"""Default bound of an inbox that makes senders wait."""

GAP_LIMIT: Final = 1024 * 1024 * 1024
"""Default bound of an inbox that drops: high, because dropping is the last resort."""

_FAIRNESS: Final = 64
"""A reader that never has to wait yields to the loop once in so many messages."""


class Sized(Protocol):
    """What an inbox can hold: something that knows its size in bytes."""

    @property
    def size(self) -> int:
        """Bytes, as far as they are to be accounted for."""


M = TypeVar("M", bound=Sized)


class Inbox(LoopBound, Generic[M]):
    """A queue of messages with one reader, for the loop in which it was made.

    Arguments:
        limit: bytes held at the most, with :data:`MESSAGE_OVERHEAD` for each message; one message is always held.
        drops: what happens beyond the limit. True: the oldest go, and the reader gets a gap notice in their place.
            False: nothing goes; `full` is True, and whoever feeds the inbox must stop until `on_room` is called.
        on_room: called when an inbox that was full is half empty again, or discarded.

    Attributes:
        held: bytes accounted for now.
        full: whether `held` reached the limit and has not been half emptied since.
    """

    def __init__(
        self, *, limit: int = HIGH_WATER, drops: bool = False, on_room: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self.held = 0
        self.full = False
        self._limit = limit
        self._drops = drops
        self._on_room = on_room
        self._messages: deque[tuple[int, M | GapNotice]] = deque()  # with what each one counts for
        self._missing_count: int | None = 0
        self._missing_size: int | None = 0
        self._reader: asyncio.Future[None] | None = None
        self._senders: deque[asyncio.Future[None]] = deque()
        self._end: KernelwireError | None = None
        self._sink: Callable[[M | KernelwireError], None] | None = None
        self._offer: Callable[[M], bool] | None = None
        self._until_yield = _FAIRNESS

    @property
    def exhausted(self) -> bool:
        """Whether the reader has taken everything, and waits for more."""
        return self._reader is not None and not self._messages

    def put(self, message: M) -> None:
        """Take a message that arrived. After `close` it is dropped without a word. From the inbox's own loop only."""
        if self._end is not None:
            return
        if self._sink is not None:
            self._sink(message)
            return
        if self._offer is not None and self._waits_for_the_next() and self._offer(message):
            return
        cost = MESSAGE_OVERHEAD + message.size
        self._messages.append((cost, message))
        self.held += cost
        if self.held > self._limit:
            self._overflow()
        self._wake()

    def put_gap(self, notice: GapNotice) -> None:
        """Messages are missing here, as the wire says; it is raised in its place."""
        if self._end is not None:
            return
        if self._sink is not None:
            self._sink(notice)
            return
        self._messages.append((MESSAGE_OVERHEAD, notice))
        self.held += MESSAGE_OVERHEAD
        if self.held > self._limit:
            self._overflow()
        self._wake()

    async def put_when_room(self, message: M) -> None:
        """Wait while the inbox is full, then take the message; waiting senders go in the order of their calls.

        Raises:
            EndOfChannel: the reader's side closed, before or during the wait.
        """
        if self._end is None and (self.full or self._senders):
            turn = self.loop.create_future()
            self._senders.append(turn)
            try:
                if self.full or self._senders[0] is not turn:
                    await turn
                self._put_open(message)
            finally:
                self._senders.remove(turn)
                self._admit()
        else:
            self._put_open(message)

    def close(self, end: KernelwireError | None = None) -> None:
        """Nothing more will come: `receive` gives what is held, then raises `end` (EndOfChannel if not given)."""
        if self._end is None:
            self._end = end or EndOfChannel("the other end closed the channel")
            self._wake()
            self._admit()
            self._pour_end()

    def discard(self) -> None:
        """The reader's own side closed: drop what is held; `receive` raises ChannelClosed from now on."""
        self._messages.clear()
        self._missing_count = self._missing_size = self.held = 0
        self._end = ChannelClosed("the channel was closed by this end")
        was_full, self.full = self.full, False
        self._wake()
        self._admit()
        if was_full and self._on_room is not None:  # others may share the wire
            self._on_room()
        self._pour_end()

    def pour(self, sink: Callable[[M | KernelwireError], None]) -> None:
        """As :meth:`kernelwire.channels.Receiver.pour`; what is held goes first."""
        self.check_loop()
        if self._reader is not None or self._sink is not None:
            raise ChannelBusy("another task is receiving on this channel")
        if self._missing_count != 0:
            sink(self._take_missing())
        while self._messages:
            sink(self._messages.popleft()[1])
        self.held = 0
        if self.full:
            self.full = False
            self._admit()
            if self._on_room is not None:
                self._on_room()
        self._sink = sink
        self._pour_end()

    def intercept(self, offer: Callable[[M], bool]) -> None:
        """As :meth:`kernelwire.channels.Receiver.intercept`."""
        self.check_loop()
        self._offer = offer

    def check_open(self) -> None:
        """Raises:
        WrongLoop: as for every use.
        ChannelClosed, EndOfChannel, ConnectionLost: what `receive` would raise when nothing is held.
        """
        self.check_loop()
        if self._end is not None:
            raise self._end.again()

    async def receive(self) -> M:
        """As :meth:`kernelwire.channels.Receiver.receive`."""
        self.check_loop()
        if self._reader is not None or self._sink is not None:
            raise ChannelBusy("another task is receiving on this channel")
        if not self._messages or self._missing_count != 0:
            await self._wait()
        elif (until_yield := self._until_yield) > 0:
            self._until_yield = until_yield - 1
        else:
            # Before a message is taken, so that a cancellation here loses none.
            await self._yield()
        cost, message = self._messages.popleft()
        self.held -= cost
        if self.full and self.held <= self._limit // 2:
            self.full = False
            self._admit()
            if self._on_room is not None:
                self._on_room()
        if isinstance(message, GapNotice):
            raise message.again()
        return message

    async def _wait(self) -> None:
        """Until there is a message to take; raises what stands in its place."""
        self._until_yield = _FAIRNESS
        while True:
            if self._missing_count != 0:
                raise self._take_missing()
            if self._messages:
                return
            if self._end is not None:
                raise self._end.again()
            self._reader = self.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    def _waits_for_the_next(self) -> bool:
        """Whether a task is in `receive`, and nothing stands before what comes next."""
        reader = self._reader
        return reader is not None and not reader.done() and not self._messages and self._missing_count == 0

    def _take_missing(self) -> GapNotice:
        notice = GapNotice(
            self._missing_count, self._missing_size, "the reader fell behind and the oldest were dropped"
        )
        self._missing_count = self._missing_size = 0
        return notice

    def _pour_end(self) -> None:
        if self._sink is not None and self._end is not None:
            sink, self._sink = self._sink, _nowhere
            sink(self._end.again())

    async def _yield(self) -> None:
        self._until_yield = _FAIRNESS
        self._reader = self.loop.create_future()
        try:
            await asyncio.sleep(0)
        finally:
            self._reader = None
        if not self._messages or self._missing_count != 0:
            await self._wait()

    def _overflow(self) -> None:
        if not self._drops:
            self.full = True
            return
        while self.held > self._limit and len(self._messages) > 1:
            cost, message = self._messages.popleft()
            self.held -= cost
            if isinstance(message, GapNotice):  # one more gap before this one: they become one
                self._miss(message.count, message.size)
            else:
                self._miss(1, cost - MESSAGE_OVERHEAD)

    def _miss(self, count: int | None, size: int | None) -> None:
        self._missing_count = _sum(self._missing_count, count)
        self._missing_size = _sum(self._missing_size, size)

    def _put_open(self, message: M) -> None:
        if self._end is not None:
            raise EndOfChannel("the other end closed the channel")
        self.put(message)

    def _admit(self) -> None:
        """Let the first waiting sender go, if there is room or no point in waiting."""
        if self._senders and not self._senders[0].done() and (not self.full or self._end is not None):
            self._senders[0].set_result(None)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _nowhere(_: object) -> None:
    pass
