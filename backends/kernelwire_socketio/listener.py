"""A host's end at a relay: one connection, made again whenever it breaks, with all clients' pipes in it."""

import asyncio
import logging
import random
from typing import Final

from kernelwire.errors import AddressInUse, ConfigurationError, ConnectionLost, EndOfChannel, WireError
from kernelwire.link.pipe import Listener, Pipe
from kernelwire_socketio import events
from kernelwire_socketio.connection import Connection
from kernelwire_socketio.dialling import Dialling
from kernelwire_socketio.pipes import RelayPipe

_log = logging.getLogger(__name__)

FIRST_TIME: Final = 10.0
"""Seconds that a host tries to reach its relay at first, before it says that it cannot."""

CONFLICT_TIME: Final = 6.0
"""Seconds that it tries to come into a room that has a host: so long may a relay need to see that this one is dead."""

_DELAYS: Final = (0.0, 0.05, 0.1, 0.2, 0.3)
_BACKLOG: Final = 128


class RelayListener(Listener):
    """To be started; then clients come, whenever there is a connection.

    Arguments:
        dialling: how to reach the relay.
    """

    def __init__(self, dialling: Dialling) -> None:
        self._dialling = dialling
        self._accepted: asyncio.Queue[RelayPipe | None] = asyncio.Queue()
        self._pipes: dict[int, RelayPipe] = {}
        self._connection: Connection | None = None
        self._over = asyncio.Event()
        self._failure: WireError | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._goodbyes: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect for the first time.

        Raises:
            ConfigurationError: that cannot succeed; AddressInUse if the room has another host.
            ConnectionLost: the relay could not be reached for :data:`FIRST_TIME`.
        """
        await self._dial(FIRST_TIME)
        self._task = asyncio.create_task(self._keep(), name="kernelwire relay listener")

    async def accept(self) -> Pipe:
        pipe = await self._accepted.get()
        if pipe is None:
            self._accepted.put_nowait(None)
            raise self._failure or ConnectionLost("this listener was closed")
        return pipe

    async def aclose(self) -> None:
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while not self._accepted.empty():
            if (pipe := self._accepted.get_nowait()) is not None:
                await pipe.aclose()
        self._accepted.put_nowait(None)
        await self._close_if_done()

    async def _keep(self) -> None:
        """Connect again whenever the connection is over, until that makes no sense any more."""
        while True:
            await self._over.wait()
            await self._drop()
            try:
                await self._dial(None)
            except (ConfigurationError, ConnectionLost) as error:
                self._failure = ConnectionLost(str(error))
                self._accepted.put_nowait(None)
                return

    async def _dial(self, patience: float | None) -> None:
        """Connect, in several attempts; for so many seconds, or for ever."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        conflict_since: float | None = None
        attempt = 0
        while True:
            self._over.clear()
            try:
                # Kept before it is open: clients may come in the same moment as the relay's yes.
                self._connection = self._dialling.new_connection(self._on_event, self._on_end)
                await self._dialling.connect(self._connection)
                self._dialling.experience.succeeded()
                return
            except AddressInUse:
                conflict_since = conflict_since or loop.time()
                if loop.time() - conflict_since > CONFLICT_TIME:
                    raise
            except ConnectionLost as error:
                conflict_since = None
                _log.debug("%s", error)
                if patience is not None and loop.time() - started > patience:
                    raise
            delay = _DELAYS[min(attempt, len(_DELAYS) - 1)]
            attempt += 1
            await asyncio.sleep(delay * random.uniform(1, 1.5))  # noqa: S311 - so that not all come at once

    def _on_end(self) -> None:
        self._over.set()
        why = "the connection to the relay is lost" if self._connection is None else self._connection.why
        pipes, self._pipes = self._pipes, {}
        for pipe in pipes.values():
            pipe.end(ConnectionLost(why))

    def _on_event(self, name: str, data: memoryview) -> None:
        number = events.number_of(data)
        if name == events.PROBE:
            self._say(events.PROBE)
        elif number is None:
            return
        elif name == events.DATA:
            if (pipe := self._pipes.get(number)) is not None:
                pipe.put(data[events.NUMBER.size :])
        elif name == events.CLOSE:
            if (pipe := self._pipes.pop(number, None)) is not None:
                pipe.end(EndOfChannel("the client has closed the connection"))
        elif name == events.OPEN:
            self._open(number)

    def _open(self, number: int) -> None:
        connection = self._connection
        if connection is None or self._closing or self._accepted.qsize() >= _BACKLOG:
            self._say(events.CLOSE, number)
            return

        async def close() -> None:
            if self._pipes.get(number) is pipe:
                del self._pipes[number]
                if not connection.is_over:
                    await connection.send(events.encode(events.CLOSE, number=number))
            await self._close_if_done()

        self._pipes[number] = pipe = RelayPipe(connection.send, connection.send_now, close, number)
        self._accepted.put_nowait(pipe)

    def _say(self, name: str, number: int | None = None) -> None:
        """Where nobody can wait."""
        if (connection := self._connection) is None:
            return

        async def say() -> None:
            try:
                await connection.send(events.encode(name, number=number))
            except ConnectionLost:
                return

        task = asyncio.create_task(say(), name="kernelwire relay listener")
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)

    async def _close_if_done(self) -> None:
        """The pipes share the connection, so it stays for as long as one of them does."""
        if self._closing and not self._pipes:
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()
