"""The door: connections from first to last; how many there are, and for how long nobody knows whose."""

import asyncio
from typing import Any, Final

from aiohttp import web

from kernelwire_socketio import refusals
from kernelwire_socketio.relay.limits import Buckets, Limits
from kernelwire_socketio.relay.log import Log
from kernelwire_socketio.relay.metrics import Counts

UNKNOWN_LIMIT: Final = 32 * 1024
"""Bytes that somebody may send before there is a partner: the request, and who it says it is."""


class Visitor(web.RequestHandler):
    """A connection.

    Arguments:
        door: see there.
        server: aiohttp's.

    Attributes:
        source: the address it comes from.
        pending: whether it has no partner yet.
        is_out: whether it was expelled.
        is_full: whether so much waits for the system to take it that no more should be written.
    """

    def __init__(self, door: "Door", server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self.source = ""
        self.pending = self.is_out = self.is_full = False
        self._door = door
        self._may_say: int | None = UNKNOWN_LIMIT
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.source = str(peer[0]) if isinstance(peer, tuple) else "unix"
        self._door.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._door.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._may_say is not None:
            self._may_say -= len(data)
            if self._may_say < 0:
                self._door.expel(self, "too much to join")
                return
        super().data_received(data)

    def trust(self) -> None:
        """It may send what it likes from now on."""
        self._may_say = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self.is_full = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.is_full = False

    def give(self, seconds: float, why: str) -> None:
        """So much time, and not more, to find a partner; instead of what there was."""
        self.take_time_off()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._door.expel, self, why)

    def take_time_off(self) -> None:
        """No time limit."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def abort(self) -> None:
        """At once, whatever waits."""
        if self.transport is not None:
            self.transport.abort()


class Door:
    """Counts connections.

    Arguments:
        limits: what is allowed.
        behind_proxy: whether all come from a proxy, which says where from.
        log: where to tell.
        counts: for the metrics.
    """

    def __init__(self, limits: Limits, *, behind_proxy: bool, log: Log, counts: Counts) -> None:
        self._limits = limits
        self._behind_proxy = behind_proxy
        self._log = log
        self._counts = counts
        self._tries = Buckets(limits.joins / 60, limits.joins) if limits.joins else None
        self._pending: dict[str, dict[Visitor, None]] = {}  # by source, the oldest first
        self._inside: set[Visitor] = set()

    @property
    def pending(self) -> int:
        """How many have no partner yet."""
        return sum(map(len, self._pending.values()))

    @property
    def sockets(self) -> int:
        """How many there are."""
        return len(self._inside)

    def enter(self, visitor: Visitor) -> None:
        """Somebody has connected."""
        self._inside.add(visitor)
        if len(self._inside) > self._limits.sockets:
            crowd = max(self._pending.values(), key=len, default=None)
            self.expel(next(iter(crowd)) if crowd else visitor, "too many connections")
            if visitor.is_out:
                return
        visitor.give(self._limits.deadline, "too slow to join")
        if not self._behind_proxy:
            self._wait(visitor)

    def name(self, visitor: Visitor, forwarded_for: str | None) -> None:
        """What a proxy says about where a visitor comes from."""
        if self._behind_proxy and not visitor.pending:
            if forwarded_for:
                visitor.source = forwarded_for.rsplit(",", 1)[-1].strip()[:64]
            self._wait(visitor)

    def may_try(self, visitor: Visitor) -> bool:
        """Whether it does not come too often."""
        if self._tries is None or self._tries.try_spend(visitor.source, asyncio.get_running_loop().time()):
            return True
        self._counts.refused[refusals.RATE] += 1
        self._log("refused", source=visitor.source, code=refusals.RATE)
        return False

    def settle(self, visitor: Visitor) -> None:
        """It has found its partner."""
        visitor.take_time_off()
        visitor.trust()
        if visitor.pending:
            visitor.pending = False
            others = self._pending[visitor.source]
            del others[visitor]
            if not others:
                del self._pending[visitor.source]

    def leave(self, visitor: Visitor) -> None:
        """Its connection is gone."""
        self.settle(visitor)
        self._inside.discard(visitor)

    def expel(self, visitor: Visitor, why: str) -> None:
        """Break its connection off."""
        self._counts.dropped[why] += 1
        self._log("dropped", source=visitor.source, reason=why)
        self.settle(visitor)
        visitor.is_out = True
        visitor.abort()

    def _wait(self, visitor: Visitor) -> None:
        visitor.pending = True
        others = self._pending.setdefault(visitor.source, {})
        others[visitor] = None
        if len(others) > self._limits.pending:
            # The oldest, and not the newest: who means well does not need long.
            self.expel(next(iter(others)), "too many at once from one address")
