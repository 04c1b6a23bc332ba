"""Rooms: one host, its clients, and what goes between them. Nothing here waits, and nothing looks into what passes."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable

from kernelwire_socketio import events, refusals
from kernelwire_socketio.host_tokens import Grant
from kernelwire_socketio.refusals import Refused
from kernelwire_socketio.relay.limits import HOST_PAUSE, Limits
from kernelwire_socketio.relay.log import Log
from kernelwire_socketio.relay.metrics import Counts
from kernelwire_socketio.relay.outbox import Flow, Parcel
from kernelwire_socketio.relay.websocket import WebSocket
from kernelwire_socketio.role_tokens import RoleClaims
from kernelwire_socketio.rooms import text_of


class Room:
    """A host and its clients, or clients that wait for one.

    Attributes:
        id: see :mod:`kernelwire_socketio.rooms`.
        host: None while there is none.
        clients: all of them.
    """

    def __init__(self, id: bytes) -> None:  # noqa: A002 - what it is
        self.id = id
        self.host: Host | None = None
        self.clients: set[Client] = set()

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
        number: its pipe's, at the host that it is with.
    """

    def __init__(self, board: "Switchboard", room: Room, socket: WebSocket) -> None:
        self._board = board
        self.room = room
        self.socket = socket
        self.number = 0
        self._host: Host | None = None
        self._here = Flow(socket.outbox)
        self._there: Flow | None = None

    def pair(self, host: "Host", number: int) -> None:
        """The host is there: both are told."""
        self._host, self.number = host, number
        self._there = Flow(host.socket.outbox)
        host.say(events.OPEN, number)
        self.socket.outbox.put_nowait(Parcel(events.encode(events.OPEN)))
        self._board.door_settle(self.socket)

    def on_event(self, name: str, data: memoryview) -> bool:
        """Data for the host."""
        if name != events.DATA or self._host is None or self._there is None or not data:
            return False
        message = events.encode(events.DATA, data, self.number)
        if not self._there.put(message):
            self.socket.drop("flood")
        self._board.count(message)
        return True

    def until_room(self) -> Awaitable[object] | None:
        """Not to be read while too much waits for its host."""
        if self._host is None or self._host.socket.outbox.held < HOST_PAUSE:
            return None
        return self._host.until_room()

    def take(self, data: memoryview) -> None:
        """Data from the host."""
        message = events.encode(events.DATA, data)
        if not self._here.put(message):
            self.socket.drop("reads too slowly")
        self._board.count(message)

    def left(self) -> None:
        """Its connection is over."""
        self._board.remove_client(self)
        if self._host is not None:
            self._host.forget(self.number)

    def send_away(self) -> None:
        """Its host has gone, or does not want it: what waits for it is sent, then it is closed."""
        self._host = None
        self.socket.finish()


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

    def __init__(
        self, board: "Switchboard", room: Room, socket: WebSocket, claims: RoleClaims, grant: Grant | None
    ) -> None:
        self._board = board
        self.room = room
        self.socket = socket
        self.claims = claims
        self.grant = grant
        self._numbers = itertools.count(1)
        self._clients: dict[int, Client] = {}
        self._probe: asyncio.TimerHandle | None = None

    def pair(self, client: Client) -> None:
        """A client is there."""
        number = next(self._numbers)
        self._clients[number] = client
        client.pair(self, number)

    def say(self, name: str, number: int | None = None) -> None:
        """Tell it something."""
        self.socket.outbox.put_nowait(Parcel(events.encode(name, b"", number)))

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

    def until_room(self) -> Awaitable[object]:
        """Until less waits for it, or it has left."""
        return self.socket.outbox.room.wait()

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
        self.socket.outbox.room.turn()
        self._board.remove_host(self)
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.send_away()


class Switchboard:
    """All rooms.

    Arguments:
        limits: what is allowed.
        log: where to tell.
        counts: for the metrics.

    Attributes:
        rooms: by their id.
    """

    def __init__(self, limits: Limits, log: Log, counts: Counts) -> None:
        self._limits = limits
        self._log = log
        self._counts = counts
        self.rooms: dict[bytes, Room] = {}
        self._rooms_of: Counter[str] = Counter()

    def join(self, socket: WebSocket, claims: RoleClaims, grant: Grant | None) -> None:
        """Bring a connection into its room.

        Raises:
            Refused: there is no place for it.
        """
        room = self.rooms.get(claims.room) or Room(claims.room)
        if claims.role == "host":
            self._check_host(room, claims, grant)
            host = Host(self, room, socket, claims, grant)
            self._replace(room, host)
            socket.partner = host
        else:
            self._check_client(room)
            client = Client(self, room, socket)
            room.clients.add(client)
            socket.partner = client
        self.rooms[room.id] = room
        self._counts.joined[claims.role] += 1
        self._log("joined", role=claims.role, room=room.name, source=socket.visitor.source)

    def begin(self, socket: WebSocket) -> None:
        """Once the connection itself knows that it has joined."""
        match socket.partner:
            case Host() as host:
                if host.room.host is host:
                    self.door_settle(socket)
                    for client in tuple(host.room.clients):
                        host.pair(client)
            case Client() as client:
                if client in client.room.clients:
                    if client.room.host is not None:
                        client.room.host.pair(client)
                    else:
                        socket.visitor.give(self._limits.patience, "no host came")

    def remove_client(self, client: Client) -> None:
        """Its connection is over."""
        client.room.clients.discard(client)
        self._tidy(client.room)

    def remove_host(self, host: Host) -> None:
        """Likewise."""
        if host.room.host is host:
            host.room.host = None
            host.room.clients.clear()
            if host.grant is not None:
                self._rooms_of[host.grant.jti] -= 1
                self._rooms_of += Counter()
            self._log("host left", room=host.room.name)
            self._tidy(host.room)

    def count(self, message: bytes) -> None:
        """Something was passed on."""
        self._counts.frames_out += 1
        self._counts.bytes_out += len(message)

    def door_settle(self, socket: WebSocket) -> None:
        """A connection has its partner."""

    def _check_host(self, room: Room, claims: RoleClaims, grant: Grant | None) -> None:
        old = room.host
        if old is not None and (old.claims.host, old.claims.instance) != (claims.host, claims.instance):
            if old.claims.host == claims.host:
                old.probe(self._limits.probe)  # it may be a dead one of the same machine; then the next attempt succeeds
            raise Refused(refusals.CONFLICT, "the room has another host")
        if grant is not None and old is None:
            most = self._limits.rooms if grant.rooms is None else min(grant.rooms, self._limits.rooms)
            if self._rooms_of[grant.jti] >= most:
                raise Refused(refusals.FULL, f"the host token is for {most} rooms at a time, and they are open")

    def _check_client(self, room: Room) -> None:
        most = self._limits.clients
        if room.host is not None and room.host.grant is not None and room.host.grant.clients is not None:
            most = min(most, room.host.grant.clients)
        if len(room.clients) >= most:
            raise Refused(refusals.FULL, f"the room has {most} clients, and no place for more")

    def _replace(self, room: Room, host: Host) -> None:
        old, room.host = room.host, None
        if old is not None:
            room.host = old
            old.say(events.REPLACED)
            old.socket.finish()
            old.left()
        room.host = host
        if host.grant is not None:
            self._rooms_of[host.grant.jti] += 1

    def _tidy(self, room: Room) -> None:
        if room.host is None and not room.clients:
            self.rooms.pop(room.id, None)
