"""The channels of a kernel without a client: messages as they come, for whoever asks for them.

::

    async with open_channels("kernel.json") as kernel:
        await kernel.ready()
        request = kernel.session.message("execute_request", {"code": "print('hello')"})
        async with kernel.iopub.subscribe(msg_type="stream", parent=request) as streams:
            await kernel.shell.send(request)
            print((await streams.receive()).content["text"])
"""

import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import cached_property

from kernelwire import connection_file, registry
from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd
from kernelwire.message_channel import MessageChannel, MessageReceiver
from kernelwire.session import Session


class RawChannels:
    """A kernel's channels, which verify and sign. Touching one that is not open raises NotSupported.

    Nothing is done unasked: no request is matched with its reply, no heartbeat is watched, nothing is read that nobody
    reads. Each channel has one reader; for several see :meth:`~kernelwire.message_channel.MessageReceiver.subscribe`.

    Arguments:
        end: the channels; its caller closes it.
        session: its id must be the identity that `end` was opened with.

    Attributes:
        end: as given; ``end.heartbeat`` beats.
        session: as given; makes the messages to send.
    """

    def __init__(self, end: ClientEnd, session: Session) -> None:
        self.end = end
        self.session = session

    @cached_property
    def shell(self) -> MessageChannel:
        """Requests and replies."""
        return MessageChannel(self.end.shell, self.session)

    @cached_property
    def control(self) -> MessageChannel:
        """Requests that do not wait behind shell's."""
        return MessageChannel(self.end.control, self.session)

    @cached_property
    def stdin(self) -> MessageChannel:
        """The kernel's questions and our answers."""
        return MessageChannel(self.end.stdin, self.session)

    @cached_property
    def iopub(self) -> MessageReceiver:
        """What the kernel publishes, for all of its clients."""
        return MessageReceiver(self.end.iopub, self.session)

    async def ready(self) -> None:
        """Wait until nothing can be missed that the kernel publishes from now on, and no question that it asks.

        Waits for as long as there is no kernel.

        Raises:
            ChannelClosed, EndOfChannel, ConnectionLost, WrongLoop: as the channels.
        """
        if Channel.IOPUB in self.end.channels:
            await self.end.iopub.ready()
        if Channel.STDIN in self.end.channels:
            await self.end.stdin.ready()


@asynccontextmanager
async def open_channels(
    connection: ConnectionInfo | str | os.PathLike[str], *, channels: Collection[Channel] = ALL_CHANNELS
) -> AsyncIterator[RawChannels]:
    """The channels of the kernel that a connection file describes, for as long as the context lasts.

    Arguments:
        connection: as for :func:`kernelwire.connect`.
        channels: those to open.

    Raises:
        ConfigurationError: the file, a field of it, or its transport cannot be used.
        ConnectionLost: the wire cannot be opened.
    """
    end, session = await open_end(connection, channels)
    async with end:
        yield RawChannels(end, session)


async def open_end(
    connection: ConnectionInfo | str | os.PathLike[str], channels: Collection[Channel]
) -> tuple[ClientEnd, Session]:
    """What a client is made of: a kernel's channels, and a session under whose id they were opened.

    Arguments and errors are those of `open_channels`.
    """
    if not isinstance(connection, ConnectionInfo):
        connection = connection_file.read(connection_file.find(os.fspath(connection)))
    session = Session.of(connection)
    backend = registry.load(connection.transport)
    end = await backend.connect(connection, identity=session.session_id.encode("ascii"), channels=channels)
    await end.narrow(channels)
    return end, session
