"""Traffic over a link of real sockets: numbered messages, and bounds that are looked at with every frame."""

import asyncio
import importlib.util
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from kernelwire.channels import Receiver, Sender
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import GapNotice
from kernelwire.link import seal
from kernelwire.link.backend import PipeBackend
from kernelwire.link.dialer import QUEUE_LIMIT, Dialer
from kernelwire.link.host import REPLIES_LIMIT
from kernelwire.link.log import LOG_LIMIT, PINNED_LIMIT, Log
from kernelwire.link.peer import Peer, Timing
from kernelwire.link.pump import Clock, boot_time
from kernelwire.link.resume import KEPT_LIMIT, WINDOW
from kernelwire.link.sealed import Secrets
from kernelwire.link.server import Server
from kernelwire.messages import WireMessage
from kernelwire.ticket import key_of

from ._fault_proxy import Ending, FaultProxy, Trouble, proxied

EXAMPLE: Final = Path(__file__).parents[2] / "docs" / "examples" / "tcp_pipe_backend.py"

REQUESTS: Final = ("shell", "control", "stdin")

LIMIT: Final = 256 * 1024 * 1024
"""Bytes of a message."""

SCALED: Final = Timing(ping_after=0.1, dead_after=0.4)
"""Some 40 times faster than usual."""


def pipe_backend() -> PipeBackend:
    """The TCP pipes of the examples."""
    spec = importlib.util.spec_from_file_location("tcp_pipe_backend", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    backend: PipeBackend = module.TcpPipeBackend()
    return backend


class Link:
    """A host, and clients behind a proxy each. Made by :meth:`open`.

    Attributes:
        server: the host.
        largest: bytes of the largest message that is sent, to be set before.
        most: the largest that was ever seen of what has a bound.
        clocks: added to the time that the host, and each client, is told: by name.
    """

    server: Server

    def __init__(self, timing: Timing, log_limit: int) -> None:
        self.largest = 10_000
        self.most: Counter[str] = Counter()
        self.clocks: Counter[str] = Counter()
        self._timing = timing
        self._log_limit = log_limit
        self._backend = pipe_backend()
        self._info = self._backend.prepare(ConnectionInfo(transport="tcp-pipe"))
        self._dialers: list[Dialer] = []
        self._stack = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def open(cls, *, timing: Timing = SCALED, log_limit: int = LOG_LIMIT) -> AsyncIterator["Link"]:
        link = cls(timing, log_limit)
        async with link._stack:
            private_key = key_of(link._info, "host_private_key")
            secrets = Secrets(key_of(link._info, "link_secret"), seal.public_key(private_key), private_key)
            link.server = Server(
                await link._backend.listen(link._info),
                secrets,
                max_message_bytes=LIMIT,
                log=Log(log_limit),
                timing=timing,
                clock=link._clock("host"),
            )
            await link._stack.enter_async_context(link.server.end)
            yield link

    async def client(self, name: str, draw: Callable[[], Trouble] = Trouble) -> tuple[Dialer, FaultProxy]:
        """Another client, with a proxy of its own."""
        proxy = await self._stack.enter_async_context(proxied(self._info.port("shell_port"), draw))
        dialer = Dialer(
            partial(self._backend.open_pipe, self._info.replace(shell_port=proxy.port)),
            Secrets(key_of(self._info, "link_secret"), key_of(self._info, "host_key")),
            name.encode(),
            max_message_bytes=LIMIT,
            iopub_held=LIMIT,
            timing=self._timing,
            clock=self._clock(name),
        )
        self._dialers.append(dialer)
        await self._stack.enter_async_context(dialer.end)
        await dialer.end.iopub.ready()
        return dialer, proxy

    def _clock(self, name: str) -> Clock:
        def clock() -> float:
            self.check()
            return boot_time() + self.clocks[name]

        return clock

    def check(self) -> None:
        """All bounds, of all ends; also done whenever one of them looks at its clock, for each frame that is."""
        host = self.server._link
        self._bound("log", host.log.held, self._log_limit + self.largest)
        self._bound("pinned", host.log._pinned, PINNED_LIMIT)
        for member in host.members.values():
            self._bound("replies", member.held, REPLIES_LIMIT + self.largest)
            self._check_peer(member.peer)
        for dialer in self._dialers:
            for queue in dialer._link.queues:
                self._bound("queue", queue.held, QUEUE_LIMIT + self.largest)
            self._check_peer(dialer._link.peer)

    def _check_peer(self, peer: Peer) -> None:
        for out in peer.out:
            self._bound("kept", out.kept, KEPT_LIMIT + self.largest)
            assert out._sent <= max(out._granted, 0), "more was sent than was granted"
        for into in peer.into:
            self._bound(f"window {into._lane.name}", into._granted - into._accepted, WINDOW[into._lane])
            assert into._accepted <= into._granted, "more came than was granted"
            assert into._assembly.size <= self.largest, "more of a message is here than it has"

    def _bound(self, name: str, value: int, limit: int) -> None:
        self.most[name] = max(self.most[name], value)
        assert value <= limit, f"{name}: {value} bytes where {limit} are the bound"


def numbered(number: int, size: int, peer: bytes = b"") -> WireMessage:
    """A message that says which it is."""
    return WireMessage([number.to_bytes(8, "big"), bytes([number % 256]) * size], peer)


def number_of(message: WireMessage) -> int:
    """Which one it is; it must be whole."""
    head, body = message.frames
    number = int.from_bytes(head, "big")
    assert bytes(body) == bytes([number % 256]) * len(body), "a message was changed"
    return number


async def expect(receiver: Receiver, first: int, count: int) -> None:
    """Messages of these numbers, each once and in order."""
    for due in range(first, first + count):
        number = number_of(await receiver.receive())
        assert number == due, f"message {number} where {due} is due"


class Load:
    """Requests that the kernel sends back, and publications.

    Arguments:
        link: its clients are all read here.
        clients: those that ask and listen.
        chance: of sizes.

    Attributes:
        delivered: messages that have arrived, each once and in order.
        peers: who has asked.
    """

    def __init__(self, link: Link, clients: Collection[Dialer], chance: Random) -> None:
        self.delivered = 0
        self.peers: set[bytes] = set()
        self._kernel = link.server.end
        self._clients = clients
        self._chance = chance
        self._due: Counter[tuple[bytes, str]] = Counter()
        self._next = 0

    async def run(self, count: int) -> None:
        """Each client sends `count` requests on each of three channels, and as many messages are published."""
        first, self._next = self._next, self._next + count
        async with asyncio.TaskGroup() as tasks:
            echoing = [tasks.create_task(self._echo(name)) for name in REQUESTS]
            work = [tasks.create_task(self._send(self._kernel.iopub, first, count))]
            for client in self._clients:
                work.append(tasks.create_task(expect(client.end.iopub, first, count)))
                for name in REQUESTS:
                    channel: Any = getattr(client.end, name)
                    work.append(tasks.create_task(self._send(channel, first, count)))
                    work.append(tasks.create_task(expect(channel, first, count)))
            await asyncio.gather(*work)
            for task in echoing:
                task.cancel()
        self.delivered += count * len(self._clients) * (2 * len(REQUESTS) + 1)

    async def _send(self, sender: Sender, first: int, count: int) -> None:
        for number in range(first, first + count):
            await sender.send(numbered(number, self._chance.choice([0, 20, 200, 2000])))

    async def _echo(self, name: str) -> None:
        channel: Any = getattr(self._kernel, name)
        while True:
            message = await channel.receive()
            self.peers.add(message.peer)
            due = self._due[message.peer, name]
            number = number_of(message)
            assert number == due, f"{name} to the kernel: message {number} where {due} is due"
            self._due[message.peer, name] += 1
            await channel.send(message)


async def collect(receiver: Receiver, last: int) -> tuple[list[int], list[GapNotice]]:
    """Numbers up to `last`, with the notices of those that are missing; each must be exact."""
    numbers: list[int] = []
    gaps: list[GapNotice] = []
    due = 0
    while due <= last:
        try:
            number = number_of(await receiver.receive())
        except GapNotice as notice:
            gaps.append(notice)
            due += notice.count or 0
        else:
            assert number == due, f"message {number} where {due} is due"
            numbers.append(number)
            due += 1
    return numbers, gaps


def trouble(chance: Random) -> Trouble:
    """Something different for each connection."""
    ending = chance.choices([Ending.RST, Ending.FIN, Ending.BLACK_HOLE], [49, 49, 1])[0]
    kind = chance.choices(["plain", "early", "byte by byte", "delayed", "throttled"], [70, 10, 4, 8, 8])[0]
    match kind:
        case "early":
            return Trouble(ending, chance.randrange(1, 400))
        case "byte by byte":
            return Trouble(ending, chance.randrange(1, 1500), piece=1)
        case "delayed":
            return Trouble(ending, chance.randrange(1, 150_000), delay=chance.uniform(0, 0.005))
        case "throttled":
            return Trouble(ending, chance.randrange(1, 150_000), piece=2000, delay=0.001)
    return Trouble(ending, chance.randrange(1, 250_000))


async def disconnect(messages: int, disconnects: int, seed: int) -> dict[str, int]:
    """Deliver so many messages at the least, over so many disconnects.

    Raises:
        AssertionError: one was lost, came twice or out of order; a bound did not hold. With the seed.
    """
    chance = Random(seed)
    try:
        async with Link.open() as link:
            clients, proxies = zip(
                *[await link.client(name, partial(trouble, chance)) for name in ("one", "two")], strict=True
            )
            load = Load(link, clients, chance)
            while load.delivered < messages or sum(proxy.disconnects for proxy in proxies) < disconnects:
                await load.run(150)
            assert {client._failure for client in clients} == {None}
            return {
                "messages": load.delivered,
                "disconnects": sum(proxy.disconnects for proxy in proxies),
                "connects": sum(client.connects for client in clients),
                **link.most,
            }
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
