"""Messages on a channel: a raw channel and a session together."""

import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager

from kernelwire.broadcast import Broadcast, Subscription, selecting
from kernelwire.channels import ControlChannel, Receiver, Sender, ShellChannel, StdinChannel, until_end
from kernelwire.errors import GapNotice, KernelwireError, RemoteError
from kernelwire.inbox import GAP_LIMIT
from kernelwire.messages import Message, WireMessage
from kernelwire.session import Session

_log = logging.getLogger(__name__)


OnMessage = Callable[[Message, WireMessage], None]
"""Takes a message, and how it came."""

OnError = Callable[[KernelwireError], None]
"""Takes a gap notice, or the error that is the end."""


class MessageSender:
    """Packs, signs and sends.

    Arguments:
        channel: where to.
        session: signs.
    """

    def __init__(self, channel: Sender, session: Session) -> None:
        self._channel = channel
        self._session = session

    async def send(self, message: Message, peer: bytes = b"") -> None:
        """Send one message, at a kernel's end to `peer` (on iopub: under that topic).

        Raises:
            InvalidMessage: as :meth:`Session.pack`.
            MessageTooLarge, PeerGone, ChannelClosed, EndOfChannel, ConnectionLost, WrongLoop: as
                :meth:`kernelwire.channels.Sender.send`.
        """
        await self._channel.send(WireMessage(self._session.pack(message), peer))

    def send_now(self, message: Message) -> bool:
        """As `send`, if that needs no wait; return whether the message was taken. Raises as `send`."""
        return self._channel.send_now(WireMessage(self._session.pack(message)))


class MessageReceiver:
    """Receives, verifies and decodes. What does not verify is dropped and counted in ``session.rejected``.

    Arguments:
        channel: where from.
        session: verifies.
    """

    def __init__(self, channel: Receiver, session: Session) -> None:
        self._source = channel
        self._session = session
        self._broadcast: Broadcast | None = None

    async def receive(self) -> Message:
        """The next genuine message.

        Raises:
            EndOfChannel, GapNotice, ChannelBusy, ChannelClosed, ConnectionLost, WrongLoop: as
                :meth:`kernelwire.channels.Receiver.receive`.
        """
        return (await self.receive_from())[0]

    async def receive_from(self) -> tuple[Message, WireMessage]:
        """As `receive`, with the message as it came: its peer, and its size."""
        while True:
            wire = await self._source.receive()
            try:
                return self._session.unpack(wire.frames), wire
            except RemoteError as error:
                _log.debug("dropped a message: %s: %s", type(error).__name__, error)

    async def read_to(self, on_message: OnMessage, on_error: OnError) -> None:
        """Hand over genuine messages, and gap notices, for as long as the channel lasts. Raises as `receive`."""
        while True:
            try:
                message, wire = await self.receive_from()
            except GapNotice as notice:
                on_error(notice)
                continue
            on_message(message, wire)
            del message, wire  # perhaps large, and the next may be long in coming

    def pour(self, on_message: OnMessage, on_error: OnError) -> bool:
        """As :meth:`kernelwire.channels.Receiver.pour`: genuine messages to one, gap notices and end to the other."""
        session = self._session

        def sink(wire: WireMessage | KernelwireError) -> None:
            if isinstance(wire, KernelwireError):
                on_error(wire)
                return
            try:
                message = session.unpack(wire.frames)
            except RemoteError as error:
                _log.debug("dropped a message: %s: %s", type(error).__name__, error)
                return
            on_message(message, wire)

        return self._source.pour(sink)

    def __aiter__(self) -> AsyncIterator[Message]:
        """Messages until the other end closes. Raises as `receive`."""
        return until_end(self.receive)

    async def messages(
        self, *, msg_type: str | Collection[str] | None = None, parent: Message | None = None
    ) -> AsyncIterator[Message]:
        """Iterate over some of the messages, and drop the others. For one reader; for several see `subscribe`.

        Arguments:
            msg_type: the type that is wanted, or several of them.
            parent: the message that those which are wanted answer.

        Raises:
            as `receive`.
        """
        selects = selecting(msg_type, parent)
        async for message in self:
            if selects(message):
                yield message

    def subscribe(
        self,
        *,
        msg_type: str | Collection[str] | None = None,
        parent: Message | None = None,
        limit: int = GAP_LIMIT,
    ) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe for as long as the context lasts; several tasks may, each to what it wants.

        While somebody subscribes, nobody else can read the channel, and what no subscriber wants is dropped. What comes
        while nobody reads is held, as far as the channel holds what is not read; the next one to read begins with it.

        Arguments:
            msg_type: as for `messages`.
            parent: likewise.
            limit: bytes held for a subscriber that does not keep up. Beyond them the oldest go, and it gets a GapNotice
                in their place.
        """
        self._broadcast = self._broadcast or Broadcast(self.receive_from)
        return self._broadcast.subscribe(selecting(msg_type, parent), limit)


class MessageChannel(MessageSender, MessageReceiver):
    """Both halves.

    Arguments:
        channel: a shell, control or stdin channel of either end.
        session: signs and verifies.
    """

    def __init__(self, channel: ShellChannel | ControlChannel | StdinChannel, session: Session) -> None:
        MessageSender.__init__(self, channel, session)
        MessageReceiver.__init__(self, channel, session)
