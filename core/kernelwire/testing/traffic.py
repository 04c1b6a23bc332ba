"""Numbered messages on every channel, both ways: each must arrive, once, whole and in order."""

import asyncio
import itertools
from collections.abc import Iterable
from typing import Final, Self

from kernelwire.message_channel import MessageReceiver, MessageSender
from kernelwire.session import Session
from kernelwire.testing.harness import Client, Pair

MSG_TYPE: Final = "numbered"

PACE: Final = 0.01
"""Seconds between the messages of a stream that flows."""


class Stream:
    """Messages one way on one channel.

    Arguments:
        name: for reports.
        sender: where they go in.
        receiver: where they must come out; whatever else comes there is passed over.
        sessions: makes them, and accepts them.
        peer: whom they are for, at a kernel's end; None if they are for the kernel.

    Attributes:
        name: as given.
        to_kernel: whether they are for the kernel.
    """

    def __init__(
        self,
        name: str,
        sender: MessageSender,
        receiver: MessageReceiver,
        sessions: tuple[Session, Session],
        peer: bytes | None,
    ) -> None:
        self.name = name
        self.to_kernel = peer is None
        self._sender = sender
        self._receiver = receiver
        self._session, self._accepting = sessions
        self._peer = peer or b""
        self._sent = 0
        self._received = 0

    async def send(self, sizes: Iterable[int], *, last: bool = False) -> None:
        """A message with a buffer for each size.

        Arguments:
            sizes: in bytes.
            last: ends `receive_to_the_last`.
        """
        for size in sizes:
            content = {"number": self._sent, "size": size, "last": last}
            message = self._session.message(MSG_TYPE, content, buffers=[bytes([self._sent % 256]) * size])
            self._sent += 1
            await self._sender.send(message, self._peer)

    async def receive(self, count: int) -> None:
        """So many of them; raises whatever the channel does, and AssertionError where another is due."""
        for _ in range(count):
            await self._receive()

    async def receive_to_the_last(self) -> None:
        """As `receive`, until the one that is the last."""
        while not await self._receive():
            pass

    async def _receive(self) -> bool:
        while (message := await self._receiver.receive()).msg_type != MSG_TYPE:
            pass
        number, size = message.content["number"], message.content["size"]
        assert number == self._received, f"{self.name}: message {number} where {self._received} is due"
        (buffer,) = message.buffers
        assert buffer == bytes([number % 256]) * size, f"{self.name}: message {number} is not as it was sent"
        # What comes twice, or was changed, never comes out of a session, but it counts it.
        assert not self._accepting.rejected, self._accepting.rejected
        self._received += 1
        return bool(message.content["last"])


class Traffic:
    """Seven streams between a kernel and one of its clients. Made by :meth:`open`.

    Attributes:
        peer: the client, as the kernel sees it.
        streams: shell, control and stdin, both ways, and iopub.
    """

    def __init__(self, pair: Pair, client: Client, peer: bytes) -> None:
        self.peer = peer
        up, down = (client.session, pair.kernel.session), (pair.kernel.session, client.session)
        self.streams: list[Stream] = []
        for name in ("shell", "control", "stdin"):
            ours, theirs = getattr(client, name), getattr(pair.kernel, name)
            self.streams.append(Stream(f"{name} to the kernel", ours, theirs, up, None))
            self.streams.append(Stream(f"{name} to the client", theirs, ours, down, peer))
        self.streams.append(Stream("iopub", pair.kernel.iopub, client.iopub, down, b"numbered"))

    @classmethod
    async def open(cls, pair: Pair, client: Client) -> Self:
        """For a client that the kernel may not have heard of yet."""
        await client.shell.send(client.session.message("who_am_i"))
        _, wire = await pair.kernel.shell.receive_from()
        return cls(pair, client, wire.peer)

    async def exchange(self, sizes: Iterable[int]) -> None:
        """Send messages with a buffer of each size, on the streams in turn, and wait until all have arrived.

        Each stream has tasks of its own.

        Raises:
            AssertionError: one of them was lost, came twice, out of order or not whole. In a group, as all of these.
            whatever a channel raises.
        """
        shares: list[list[int]] = [[] for _ in self.streams]
        for size, share in zip(sizes, itertools.cycle(shares), strict=False):
            share.append(size)
        async with asyncio.TaskGroup() as tasks:
            for stream, share in zip(self.streams, shares, strict=True):
                tasks.create_task(stream.send(share))
                tasks.create_task(stream.receive(len(share)))

    async def flow(self, until: asyncio.Event) -> None:
        """Send small messages on all streams at an easy pace until it is set, and wait until all have arrived.

        Raises:
            as `exchange`.
        """
        async with asyncio.TaskGroup() as tasks:
            for stream in self.streams:
                tasks.create_task(_send(stream, until))
                tasks.create_task(stream.receive_to_the_last())


async def _send(stream: Stream, until: asyncio.Event) -> None:
    while not until.is_set():
        await stream.send([10])
        await asyncio.sleep(PACE)
    await stream.send([10], last=True)
