"""What waits to be sent on one connection: takes the place of engine.io's queue, and knows how many bytes it holds."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from kernelwire.link.waking import Turnstile
from kernelwire_socketio.events import Data
from kernelwire_socketio.relay.limits import AROUND, FLOW_LIMIT, FLOW_SHARE, ROOM_LIMIT


class Surplus:
    """What flows together hold beyond what each may hold in any case.

    Attributes:
        held: bytes.
    """

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0


class Flow:
    """One pipe in one direction.

    Arguments:
        outbox: where it goes.
        surplus: shared with other flows; None where they are held up by other means.

    Attributes:
        held: bytes of it that wait there, with what is around them.
    """

    __slots__ = ("_surplus", "held", "outbox")

    def __init__(self, outbox: "Outbox", surplus: Surplus | None = None) -> None:
        self.outbox = outbox
        self.held = 0
        self._surplus = surplus

    def put(self, pieces: Sequence[Data], size: int) -> bool:
        """Have a message of so many bytes sent; False if it is too much."""
        if self.held + size + AROUND > FLOW_LIMIT:
            return False
        if self.outbox.send_now(pieces, size):
            return True
        if not self._hold(size + AROUND):
            return False
        self.outbox.put_parcel(Parcel(b"".join(pieces), self))
        return True

    def took(self, size: int) -> None:
        """So many bytes do not wait any more."""
        self._hold(-size)
        self.outbox.took(size)

    def clear(self) -> None:
        """It is over, and what waits goes with it."""
        self.count_in(Surplus())

    def count_in(self, surplus: Surplus) -> bool:
        """From now on its surplus is part of another; False, and nothing is changed, if that is too much there."""
        if self._surplus is not None:
            mine = max(0, self.held - FLOW_SHARE)
            if surplus.held + mine > ROOM_LIMIT:
                return False
            self._surplus.held -= mine
            surplus.held += mine
            self._surplus = surplus
        return True

    def _hold(self, size: int) -> bool:
        held = self.held + size
        if self._surplus is not None:
            more = max(0, held - FLOW_SHARE) - max(0, self.held - FLOW_SHARE)
            if more > 0 and self._surplus.held + more > ROOM_LIMIT:
                return False
            self._surplus.held += more
        self.held = held
        return True


class Parcel:
    """A message, in the shape of an engine.io packet.

    Arguments:
        message: the bytes.
        flow: what it belongs to; None for what the relay itself has to say.
    """

    __slots__ = ("flow", "message")

    def __init__(self, message: bytes, flow: Flow | None = None) -> None:
        self.message = message
        self.flow = flow

    def encode(self) -> bytes:
        """For engine.io, which calls this when it is this one's turn to be sent."""
        if self.flow is not None:
            self.flow.took(len(self.message) + AROUND)
            self.flow = None
        return self.message


class Outbox:
    """The part of an ``asyncio.Queue`` that engine.io uses, and the counting.

    Attributes:
        held: bytes of flows that wait here, likewise.
        room: turns whenever that has become less.
        write: hands a message to the wire, if that takes it at once; None before there is one.
    """

    def __init__(self) -> None:
        self.held = 0
        self.write: Callable[[Sequence[Data], int], bool] | None = None
        self.room = Turnstile()
        self._items: deque[Any] = deque()
        self._waiter: asyncio.Future[Any] | None = None

    def send_now(self, pieces: Sequence[Data], size: int) -> bool:
        """Have a message sent past engine.io's writer, who waits for something: that saves waking it up each time."""
        waiter = self._waiter
        is_idle = waiter is not None and not waiter.done()
        return is_idle and self.write is not None and self.write(pieces, size)

    def put_parcel(self, parcel: Parcel) -> None:
        """Have it sent after what waits already."""
        self.held += len(parcel.message) + AROUND
        self.put_nowait(parcel)

    def took(self, size: int) -> None:
        """So many bytes do not wait any more."""
        self.held -= size
        self.room.turn()

    def put_nowait(self, item: Any) -> None:
        """As a queue does. None is the end, after which the connection is closed."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(item)
        else:
            self._items.append(item)

    async def put(self, item: Any) -> None:
        """Likewise; never waits."""
        self.put_nowait(item)

    def get(self) -> "asyncio.Future[Any]":
        """As a queue does. A future and not a coroutine, for which a task would be made each time."""
        self._waiter = future = asyncio.get_running_loop().create_future()
        if self._items:
            future.set_result(self._items.popleft())
        return future

    def get_nowait(self) -> Any:
        """As a queue does."""
        if not self._items:
            raise asyncio.QueueEmpty
        return self._items.popleft()

    def task_done(self) -> None:
        """Nobody counts them."""

    async def join(self) -> None:
        """Nobody waits for them."""
