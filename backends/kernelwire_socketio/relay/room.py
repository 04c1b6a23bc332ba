"""A room's host and clients, and what goes between them. Nothing here waits, and nothing looks into what passes."""

import asyncio
import itertools
from typing import Protocol

from kernelwire.link.waking import Turnstile
from kernelwire_socketio import events
from kernelwire_socketio.host_tokens import Grant
from kernelwire_socketio.relay.door import Door
from kernelwire_socketio.relay.limits import HOST_PAUSE
from kernelwire_socketio.relay.outbox import Flow, Parcel, Surplus
from kernelwire_socketio.relay.websocket import WebSocket
from kernelwire_socketio.role_tokens import RoleClaims
from kernelwire_socketio.rooms import text_of


class Board(Protocol):
    """What they need of the :class:`~kernelwire_socketio.relay.switchboard.Switchboard`."""

    door: Door

    def count(self, size: int) -> None:
        """A message of so many bytes was passed on."""

    def remove_client(self, client: "Client") -> None:
        """It has left the room."""

    def remove_host(self, host: "Host") -> None:
        """Likewise."""


class Room:
    """A host and its clients, or clients that wait for one.

    Attributes:
        id: see :mod:`kernelwire_socketio.rooms`.
        host: None while there is none.
        clients: all of them.
        surplus: what waits for them beyond what may wait for each in any case.
        parting: likewise, for those whose host does not want them any more, so that they do not take it from others.
    """

    def __init__(self, id: bytes) -> None:  # noqa: A002 - what it is
        self.id = id
        self.host: Host | None = None
        self.clients: set[Client] = set()
        self.surplus = Surplus()
        self.parting = Surplus()

    @property
    def name(self) -> str:
        """The beginning of its id, for the log."""
        return text_of(self.id)[:8]


class Client:
    """A client's connection.

    Arguments:
        board: see there.
        room: its room.
        socket: what it is reached by.

    Attributes:
        room, socket: as given.
        number: its pipe's, at the host that it is with; 0 before there is one.
    """

    def __init__(self, board: Board, room: Room, socket: WebSocket) -> None:
        self._board = board
        self.room = room
        self.socket = socket
        self.number = 0
        self._host: Host | None = None
        self._here = Flow(socket.outbox, room.surplus)
        self._there: Flow | None = None

    def pair(self, host: "Host", number: int) -> None:
        """The host is there: both are told."""
        self._host, self.number = host, number
        self._there = Flow(host.socket.outbox)
        host.say(events.OPEN, number)
        self.socket.outbox.put_nowait(Parcel(events.encode(events.OPEN)))
        self._board.door.settle(self.socket.visitor)

    def on_event(self, name: str, data: memoryview) -> bool:
        """Data for the host."""
        if name != events.DATA or self._host is None or self._there is None or not data:
            return False
        if not self._pass(self._there, events.NUMBER.pack(self.number), data):
            self.socket.drop("flood")
        return True

    def until_room(self) -> Turnstile | None:
        """Not to be read while too much waits for its host."""
        if self._host is None or self._host.socket.outbox.held < HOST_PAUSE:
            return None
        return self._host.socket.outbox.room

    def take(self, data: memoryview) -> None:
        """Data from the host."""
        if not self._pass(self._here, data):
            self.socket.drop("reads too slowly")

    def _pass(self, flow: Flow, *data: events.Data) -> bool:
        size = sum(map(len, data))
        head = events.head(events.DATA, size)
        size += len(head) + len(events.TAIL)
        self._board.count(size)
        return flow.put((head, *data, events.TAIL), size)

    def left(self) -> None:
        """Its connection is over."""
        self._here.clear()
        self._board.remove_client(self)
        if self._host is not None:
            self._host.forget(self.number)

    @property
    def described(self) -> dict[str, str | None]:
        """For the log."""
        return {"role": "client", "room": self.room.name, "source": self.socket.visitor.source}

    def send_away(self) -> None:
        """Its host has gone, or does not want it: what waits for it is sent, then it is closed."""
        self._host = None
        self._board.remove_client(self)
        if self._here.count_in(self.room.parting):
            self.socket.finish()
        else:
            self.socket.drop("reads too slowly")


class Host:
    """A host's connection.

    Arguments:
        board: see there.
        room: its room.
        socket: what it is reached by.
        claims: what its role token said.
        grant: what its host token allows; None where none is needed.

    Attributes:
        socket, claims, grant: as given.
    """

    def __init__(self, board: Board, room: Room, socket: WebSocket, claims: RoleClaims, grant: Grant | None) -> None:
        self._board = board
        self.room = room
        self.socket = socket
        self.claims = claims
        self.grant = grant
        self._numbers = itertools.count(1)
        self._clients: dict[int, Client] = {}
        self._probe: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None

    def pair(self, client: Client) -> None:
        """A client is there; it may be known already."""
        if client.number:
            return
        number = next(self._numbers)
        self._clients[number] = client
        client.pair(self, number)

    def stay(self, seconds: float) -> None:
        """For so long: then its host token will have expired."""
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(max(0.0, seconds), self.socket.drop, "its host token has expired")

    @property
    def described(self) -> dict[str, str | None]:
        """For the log."""
        token = None if self.grant is None else self.grant.jti
        return {"role": "host", "room": self.room.name, "source": self.socket.visitor.source, "token": token}

    def say(self, name: str, number: int | None = None) -> None:
        """Tell it something."""
        self.socket.outbox.put_nowait(Parcel(events.encode(name, number=number)))

    def on_event(self, name: str, data: memoryview) -> bool:
        """Data for a client, or a goodbye to one."""
        if name == events.PROBE:
            self.end_probe()
            return True
        number = events.number_of(data)
        if number is None or name not in (events.DATA, events.CLOSE):
            return False
        client = self._clients.get(number)
        if client is None:
            return True  # it has left, and the host could not know yet
        if name == events.DATA:
            client.take(data[events.NUMBER.size :])
        else:
            del self._clients[number]
            client.send_away()
        return True

    def until_room(self) -> Turnstile | None:
        """Always to be read: what it sends is for many, and one who is slow must not hold up the others."""
        return None

    def forget(self, number: int) -> None:
        """A client has gone by itself."""
        if self._clients.pop(number, None) is not None:
            self.say(events.CLOSE, number)

    def probe(self, seconds: float) -> None:
        """See whether it is there; if it does not answer in time, it is not."""
        if self._probe is None:
            self.say(events.PROBE)
            loop = asyncio.get_running_loop()
            self._probe = loop.call_later(seconds, self.socket.drop, "not there any more")

    def end_probe(self) -> None:
        """It has answered, or is gone."""
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    def left(self) -> None:
        """Its connection is over, and so its clients'."""
        self.end_probe()
        if self._expiry is not None:
            self._expiry.cancel()
        self.socket.outbox.room.turn()
        self._board.remove_host(self)
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.send_away()
