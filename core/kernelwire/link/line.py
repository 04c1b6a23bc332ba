"""A client's connection at its host: its machine, for as long as no newer connection has come."""

import asyncio
from collections.abc import Sequence
from typing import Any

from kernelwire.errors import ConnectionLost
from kernelwire.link.host import Member
from kernelwire.link.peer import Peer
from kernelwire.link.waking import Bell


class Line:
    """A :class:`kernelwire.link.pump.Machine`. Raises ConnectionLost once a newer connection has come.

    Arguments:
        member: whose connection it is.
        task: serves it.
        answer: to its hello, before anything else.

    Attributes:
        member, task: as given.
        bell: rung when there may be something to send.
        is_current: whether no newer connection has taken its place.
    """

    def __init__(self, member: Member, task: "asyncio.Task[None]", answer: bytes) -> None:
        self.member = member
        self.task = task
        self.bell = Bell()
        self.is_current = True
        self._answer = answer

    def replace(self) -> None:
        """A newer connection has come: what the old one still brings must not reach the machine."""
        self.is_current = False
        self.task.cancel()

    def receive(self, plaintext: bytes, now: float) -> Sequence[Any]:
        """As the member's peer; likewise the others."""
        return self._machine().receive(plaintext, now)

    def has_frame(self, now: float) -> bool:
        """Whether there is anything to send."""
        return bool(self._answer) or self._machine().has_frame(now)

    def next_frame(self, now: float) -> bytes:
        """The answer first."""
        if self._answer:
            answer, self._answer = self._answer, b""
            self.bell.ring()  # there may be more, which it has no room for
            return answer
        return self._machine().next_frame(now)

    def is_swift(self) -> bool:
        """Whether large pieces hold nothing up."""
        return self._machine().is_swift()

    def dead_at(self) -> float:
        """When nothing may have come for too long."""
        return self._machine().dead_at()

    def wake_at(self) -> float | None:
        """When to ask again."""
        return self._machine().wake_at()

    def _machine(self) -> Peer:
        if not self.is_current:
            raise ConnectionLost("the client has another connection now")
        return self.member.peer
