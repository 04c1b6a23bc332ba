"""A client's end of a link, over any number of connections. Sans-I/O.

========  ===================  ==========================================================================
state     what comes           what follows
========  ===================  ==========================================================================
down      `open`               greeting: the hello is the first frame
greeting  welcome              up, as :data:`~kernelwire.link.resume.WELCOME_RULES` say; :class:`Joined`
greeting  bye                  the event: the host refuses
greeting  anything else        a LinkViolation
up        anything             as :mod:`kernelwire.link.peer`
any       `close`              down
========  ===================  ==========================================================================

Nothing but the hello is sent before the welcome: what is new must not overtake what is sent again.
"""

import os
from dataclasses import dataclass
from typing import Final

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice, LinkViolation
from kernelwire.link.envelope import CHANNELS, LANE_OF, Item, pack
from kernelwire.link.peer import USUAL, Event, Peer, Timing
from kernelwire.link.queue import Queue
from kernelwire.link.records import Bye, Hello, Welcome, decode
from kernelwire.link.resume import NOTHING, WELCOME_RULES, Outcome, decide
from kernelwire.messages import WireMessage

_RESTARTED: Final = "the other end was started anew, or has forgotten this client"


@dataclass(frozen=True)
class Joined:
    """The host has answered.

    Attributes:
        outcome: begin, resume, or restart.
        cursor: where in the host's log this client began, if it did.
    """

    outcome: Outcome
    cursor: int


class ClientLink:
    """See the module.

    Arguments:
        identity: this client's.
        max_message_bytes: bytes of a message at the most.
        cursor: where to begin to hear iopub; from now on if None.
        resume_secret: 32 bytes; new ones if None.
        timing: when to ask, and when to give up.

    Attributes:
        peer: the host, as far as lanes are concerned.
        queues: what is to be sent on lanes C and D.
    """

    def __init__(
        self,
        identity: bytes,
        *,
        max_message_bytes: int,
        cursor: int | None = None,
        resume_secret: bytes | None = None,
        timing: Timing = USUAL,
    ) -> None:
        self.queues = (Queue(), Queue())
        self.peer = Peer(self.queues, max_message_bytes=max_message_bytes, timing=timing)
        self._timing = timing
        self._identity = identity
        self._resume_secret = resume_secret or os.urandom(32)
        self._cursor = cursor
        self._met = False
        self._epoch = 0
        self._attempt = 0
        self._hello: Hello | None = None
        self._greeting_since: float | None = None

    def send(self, channel: Channel, message: WireMessage) -> None:
        """Put a message on its lane."""
        self.queues[LANE_OF[channel]].put(pack(channel, message))

    def open(self, now: float) -> None:
        """There is a connection."""
        self._attempt += 1
        positions = self.peer.positions
        self._hello = Hello(self._identity, self._resume_secret, self._epoch, positions, self._cursor, self._attempt)
        self._greeting_since = now

    def close(self) -> None:
        """There is none any more."""
        self._hello = self._greeting_since = None
        self.peer.close()

    def receive(self, plaintext: bytes, now: float) -> list[Event | Joined]:
        """Take a frame; return what happened, in order. A broken rule is the last of it."""
        if self._greeting_since is None:
            return [*self.peer.receive(plaintext, now)]
        try:
            return self._on_greeting(plaintext, now)
        except LinkViolation as violation:
            return [violation]

    def has_frame(self, now: float) -> bool:
        """Whether `next_frame` has something."""
        return self._hello is not None or (self._greeting_since is None and self.peer.has_frame(now))

    def next_frame(self, now: float) -> bytes:
        """The plaintext of the next frame; empty if there is nothing to send now."""
        if self._hello is not None:
            hello, self._hello = self._hello, None
            return hello.encode()
        return self.peer.next_frame(now) if self._greeting_since is None else b""

    def is_swift(self) -> bool:
        """As the peer."""
        return self.peer.is_swift()

    def dead_at(self) -> float:
        """When the connection must be broken, if nothing comes until then."""
        if self._greeting_since is not None:
            return self._greeting_since + self._timing.dead_after
        return self.peer.dead_at()

    def is_dead(self, now: float) -> bool:
        """Whether nothing has come for so long that the connection must be broken."""
        return self.peer.is_dead(now) if self._greeting_since is None else now >= self.dead_at()

    def wake_at(self) -> float | None:
        """When to ask again, if nothing happens before."""
        return self.peer.wake_at() if self._greeting_since is None else None

    def _on_greeting(self, plaintext: bytes, now: float) -> list[Event | Joined]:
        if self._hello is not None:
            raise LinkViolation("an answer came before the hello")
        records = decode(plaintext)
        greeting = next(records, None)
        if isinstance(greeting, Bye):
            return [greeting]
        if not isinstance(greeting, Welcome) or next(records, None) is not None:
            raise LinkViolation("a welcome alone was expected")
        same = greeting.epoch == self._epoch
        possible = self.peer.can_resume(greeting.lanes)
        outcome = decide(WELCOME_RULES, greeting.resumed, self._met, same, possible)
        if outcome is Outcome.VIOLATION:
            self._epoch = 0  # nothing that both remember; the next hello begins anew
            raise LinkViolation("the host resumes what never was")
        events: list[Event | Joined] = [Joined(outcome, greeting.cursor)]
        if outcome is not Outcome.RESUME:
            if outcome is Outcome.RESTART:
                # What waits here was meant for the host that is gone: to send it now could mean to run it twice.
                for queue in self.queues:
                    queue.clear()
                events += [Item(channel, GapNotice(None, None, _RESTARTED)) for channel in CHANNELS]
            self.peer.begin()
            self._met, self._epoch, self._cursor = True, greeting.epoch, None
        self._greeting_since = None
        self.peer.open(greeting.lanes if outcome is Outcome.RESUME else NOTHING, now)
        return events
