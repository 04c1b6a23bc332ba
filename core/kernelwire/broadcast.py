"""One channel, several readers: each gets the messages that it asks for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import NamedTuple

from kernelwire.channels import until_end
from kernelwire.errors import GapNotice, KernelwireError
from kernelwire.inbox import Inbox
from kernelwire.messages import Message, WireMessage

Selects = Callable[[Message], bool]
"""Whether a message is wanted."""


def selecting(msg_type: str | Collection[str] | None, parent: Message | None) -> Selects:
    """Wants the messages of a type, or of one of several, that answer `parent`; None stands for any."""
    if isinstance(msg_type, str):
        msg_type = (msg_type,)
    types = None if msg_type is None else frozenset(msg_type)

    def selects(message: Message) -> bool:
        return (types is None or message.msg_type in types) and (parent is None or message.is_child_of(parent))

    return selects


class _Held(NamedTuple):
    """A message for a subscriber, with what it counts for; a gap notice counts for nothing."""

    message: Message | GapNotice
    size: int


class Subscription:
    """Iterate over it for the messages that were asked for. Made by a channel's `subscribe`."""

    def __init__(self, inbox: Inbox[_Held]) -> None:
        self._inbox = inbox

    async def receive(self) -> Message:
        """The next message.

        Raises:
            GapNotice: messages are missing here, of the channel or because this subscriber fell behind; receive again
                to go on.
            ChannelBusy: another task reads this subscription; or, as subscriptions begin, the channel itself.
            EndOfChannel, ChannelClosed, ConnectionLost, WrongLoop: as the channel.
        """
        held = (await self._inbox.receive()).message
        if isinstance(held, GapNotice):
            raise held
        return held

    def __aiter__(self) -> AsyncIterator[Message]:
        """Messages until the other end closes the channel. Raises as `receive`."""
        return until_end(self.receive)


class Broadcast:
    """Reads a channel while somebody subscribes to it; what nobody wants is dropped.

    Arguments:
        receive: gives the channel's next message; cancelled, it loses none.
    """

    def __init__(self, receive: Callable[[], Awaitable[tuple[Message, WireMessage]]]) -> None:
        self._receive = receive
        self._subscribers: dict[Inbox[_Held], Selects] = {}
        self._reading: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def subscribe(self, selects: Selects, limit: int) -> AsyncIterator[Subscription]:
        """Subscribe for as long as the context lasts. When the last one has left, nobody reads the channel.

        Arguments:
            selects: tells what is wanted.
            limit: bytes held for a subscriber that does not keep up; beyond them the oldest go.
        """
        inbox = Inbox[_Held](limit=limit, drops=True)
        self._subscribers[inbox] = selects
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(self._stopping), name="kernelwire subscriptions")
        try:
            yield Subscription(inbox)
        finally:
            del self._subscribers[inbox]
            inbox.discard()
            if not self._subscribers:
                await self._stop()

    async def _stop(self) -> None:
        reading, self._reading = self._reading, None
        assert reading is not None
        reading.cancel()
        self._stopping = reading
        await asyncio.wait([reading])

    async def _read(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:  # a channel has one reader
            await asyncio.wait([before])
        while True:
            try:
                message, wire = await self._receive()
            except GapNotice as notice:
                for inbox in self._subscribers:
                    inbox.put(_Held(notice.again(), 0))
                continue
            except KernelwireError as error:
                for inbox in self._subscribers:
                    inbox.close(error.again())
                return
            for inbox, selects in self._subscribers.items():
                if selects(message):
                    inbox.put(_Held(message, wire.size))
            del message, wire  # perhaps large, and the next may be long in coming
