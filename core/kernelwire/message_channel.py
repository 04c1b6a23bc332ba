"""Messages on a channel: a raw channel and a session together."""

import logging
from collections.abc import AsyncIterator

from kernelwire.channels import ControlChannel, Receiver, Sender, ShellChannel, StdinChannel, until_end
from kernelwire.errors import RemoteError
from kernelwire.messages import Message, WireMessage
from kernelwire.session import Session

_log = logging.getLogger(__name__)


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


class MessageReceiver:
    """Receives, verifies and decodes. What does not verify is dropped and counted in ``session.rejected``.

    Arguments:
        channel: where from.
        session: verifies.
    """

    def __init__(self, channel: Receiver, session: Session) -> None:
        self._source = channel
        self._session = session

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

    def __aiter__(self) -> AsyncIterator[Message]:
        """Messages until the other end closes. Raises as `receive`."""
        return until_end(self.receive)


class MessageChannel(MessageSender, MessageReceiver):
    """Both halves.

    Arguments:
        channel: a shell, control or stdin channel of either end.
        session: signs and verifies.
    """

    def __init__(self, channel: ShellChannel | ControlChannel | StdinChannel, session: Session) -> None:
        MessageSender.__init__(self, channel, session)
        MessageReceiver.__init__(self, channel, session)
