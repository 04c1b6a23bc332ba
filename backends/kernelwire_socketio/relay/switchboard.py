"""All rooms of a relay: who may come into which, and who comes together there."""

import time
from collections import Counter
from collections.abc import Callable

from kernelwire_socketio import refusals
from kernelwire_socketio.host_tokens import Grant
from kernelwire_socketio.refusals import Refused
from kernelwire_socketio.relay.door import Door
from kernelwire_socketio.relay.limits import Limits
from kernelwire_socketio.relay.log import Log
from kernelwire_socketio.relay.metrics import Counts
from kernelwire_socketio.relay.room import Client, Host, Room
from kernelwire_socketio.relay.websocket import WebSocket
from kernelwire_socketio.role_tokens import RoleClaims
from kernelwire_socketio.tokens import LEEWAY


class Switchboard:
    """All rooms.

    Arguments:
        limits: what is allowed.
        door: who came in by it.
        log: where to tell.
        counts: for the metrics.
        clock: seconds since the epoch.

    Attributes:
        door: as given.
        rooms: by their id.
    """

    def __init__(
        self, limits: Limits, door: Door, log: Log, counts: Counts, clock: Callable[[], float] = time.time
    ) -> None:
        self.door = door
        self._limits = limits
        self._log = log
        self._counts = counts
        self._clock = clock
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
            if room.host is not None:
                room.host.socket.drop("came again")
                room.host.left()
            room.host = host = Host(self, room, socket, claims, grant)
            socket.partner = host
            if grant is not None:
                self._rooms_of[grant.jti] += 1
        else:
            self._check_client(room)
            client = Client(self, room, socket)
            room.clients.add(client)
            socket.partner = client
        self.rooms[room.id] = room
        self._counts.joined[claims.role] += 1
        self._log("joined", **socket.partner.described)

    def begin(self, socket: WebSocket) -> None:
        """Once the connection itself knows that it has joined."""
        match socket.partner:
            case Host() as host:
                if host.room.host is host:
                    self.door.settle(socket.visitor)
                    if host.grant is not None:
                        host.stay(host.grant.expires + LEEWAY - self._clock())
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
            if host.grant is not None:
                self._rooms_of[host.grant.jti] -= 1
                self._rooms_of += Counter()
            self._tidy(host.room)

    def count(self, size: int) -> None:
        """Something was passed on."""
        self._counts.frames_out += 1
        self._counts.bytes_out += size

    def _check_host(self, room: Room, claims: RoleClaims, grant: Grant | None) -> None:
        old = room.host
        if old is not None and (old.claims.host, old.claims.instance) != (claims.host, claims.instance):
            if old.claims.host == claims.host:
                # The same machine's: maybe a dead process, of which nobody has told us. Then the next attempt succeeds.
                old.probe(self._limits.probe)
            raise Refused(refusals.CONFLICT, "the room has another host")
        if grant is not None and old is None:
            most = self._limits.rooms if grant.rooms is None else min(grant.rooms, self._limits.rooms)
            if self._rooms_of[grant.jti] >= most:
                text = (
                    f"the host token is for {most} rooms at a time, and they are open: one for each kernel, and one for"
                )
                raise Refused(refusals.FULL, f"{text} a host that starts them; end one, or ask the operator for more")

    def _check_client(self, room: Room) -> None:
        most = self._limits.clients
        if room.host is not None and room.host.grant is not None and room.host.grant.clients is not None:
            most = min(most, room.host.grant.clients)
        if len(room.clients) >= most:
            raise Refused(refusals.FULL, f"the room has {most} clients, and no place for more")

    def _tidy(self, room: Room) -> None:
        if room.host is None and not room.clients and self.rooms.get(room.id) is room:
            del self.rooms[room.id]
