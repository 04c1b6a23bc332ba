"""A host's end of a link: its clients, over any number of connections of each. Sans-I/O.

A connection begins with the client's hello; what follows is in :data:`~kernelwire.link.resume.HELLO_RULES`. From then
on the connection is the member's, and :mod:`kernelwire.link.peer` says what follows. A member whose connection broke
stays, and what is for it is kept, until it comes back, says goodbye, or the time is over.
"""

import hmac
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kernelwire.channels import Channel
from kernelwire.errors import LinkViolation
from kernelwire.link.allowance import PATIENCE, Allowance
from kernelwire.link.envelope import LANE_OF, Payload, pack
from kernelwire.link.log import LOG_LIMIT, Feed, Log
from kernelwire.link.peer import USUAL, Peer, Timing
from kernelwire.link.queue import Queue
from kernelwire.link.records import Bye, Hello, Lane, Reason, Welcome, decode
from kernelwire.link.resume import HELLO_RULES, NOTHING, Outcome, decide
from kernelwire.link.throttle import Pool
from kernelwire.messages import WireMessage

RESUME_WINDOW: Final = 24 * 3600.0
"""Seconds that a client without a connection is kept."""

MEMBERS_LIMIT: Final = 64
"""Clients at a time, connected or not."""

REPLIES_LIMIT: Final = LOG_LIMIT
"""Bytes of what waits for one client alone; one message may be larger."""


class Member:
    """A client of a host.

    Attributes:
        identity: its own.
        epoch: its session's; see :class:`~kernelwire.link.records.Welcome`.
        attempt: that of its newest hello.
        peer: it, as far as lanes are concerned.
        feed: what waits for it on lane D.
        controls: what waits for it on lane C.
        allowance: for how long it may hold up who publishes.
        since: since when it has no connection; None while it has one.
    """

    def __init__(
        self,
        hello: Hello,
        log: Log,
        max_message_bytes: int,
        timing: Timing = USUAL,
        *,
        epoch: int = 1,
        patience: float = PATIENCE,
        pool: Pool | None = None,
    ) -> None:
        self.identity = hello.identity
        self.epoch = epoch
        self.attempt = hello.attempt
        self.feed = Feed(log, hello.cursor)
        self.controls = Queue()
        self.allowance = Allowance(patience, log)
        self.peer = Peer((self.controls, self.feed), max_message_bytes=max_message_bytes, timing=timing, pool=pool)
        self.since: float | None = None
        self._stuck_at: int | None = None
        self._resume_secret = hello.resume_secret

    @property
    def held(self) -> int:
        """Bytes that wait for this client alone."""
        return self.controls.held + self.feed.replies_held

    def held_on(self, lane: int) -> int:
        """Those of them that wait on one lane."""
        return self.controls.held if lane == Lane.C else self.feed.replies_held

    def is_newly(self, hello: Hello) -> bool:
        """Whether this is its hello, and not one from before another that has come."""
        return hmac.compare_digest(self._resume_secret, hello.resume_secret) and hello.attempt > self.attempt

    @property
    def is_stuck(self) -> bool:
        """Whether it was given up, and has made no progress since."""
        return self._stuck_at == self.peer.progress

    def give_up(self) -> None:
        """Let nobody wait for it until it makes progress."""
        self._stuck_at = self.peer.progress

    def send(self, channel: Channel, message: WireMessage) -> None:
        """Put a message on its lane."""
        self.put(LANE_OF[channel], pack(channel, message))

    def put(self, lane: Lane, payload: Payload) -> None:
        """Put a payload on a lane."""
        if lane is Lane.C:
            self.controls.put(payload)
        else:
            self.feed.reply(payload)

    def close(self, now: float) -> None:
        """Its connection is gone."""
        self.since = now
        self.peer.close()


@dataclass(frozen=True)
class Admission:
    """What a hello has led to.

    Attributes:
        member: who it is; None if it was refused.
        answer: the plaintext of the first frame to send.
        is_new: whether nobody knew it before.
        ended: a member that is no more: this one begins anew in its place, or needed its room.
    """

    member: Member | None
    answer: bytes
    is_new: bool = False
    ended: Member | None = None


class HostLink:
    """See the module.

    Arguments:
        max_message_bytes: bytes of a message at the most.
        log: what is published.
        epoch: the first session's, far from all that earlier hosts on this address had; a random one if None.
        members_limit: see :data:`MEMBERS_LIMIT`.
        resume_window: see :data:`RESUME_WINDOW`.
        timing: when to ask a client, and when to give up its connection.
        patience: see :data:`~kernelwire.link.allowance.PATIENCE`.

    Attributes:
        members: the clients, by identity.
        log: as given.
    """

    def __init__(
        self,
        *,
        max_message_bytes: int,
        log: Log | None = None,
        epoch: int | None = None,
        members_limit: int = MEMBERS_LIMIT,
        resume_window: float = RESUME_WINDOW,
        timing: Timing = USUAL,
        patience: float = PATIENCE,
    ) -> None:
        self.members: dict[bytes, Member] = {}
        self.log = log or Log()
        # Each session has its own: whoever missed that one has ended must not take its successor for it.
        self._epochs = itertools.count(epoch or int.from_bytes(os.urandom(7), "big") + 1)
        self._max_message_bytes = max_message_bytes
        self._members_limit = members_limit
        self._resume_window = resume_window
        self._timing = timing
        self._patience = patience
        self._pool = Pool()

    def greet(self, plaintext: bytes, now: float) -> Admission:
        """Answer the first frame of a connection.

        A member that has another connection gets this one instead: the caller then drops the old one, without
        `Member.close`, and feeds nothing more from it. Not before: a hello that is refused ends nobody's connection.
        A member that has ended for it is closed already.

        Raises:
            LinkViolation: it is no hello.
        """
        records = list(decode(plaintext))
        if len(records) != 1 or not isinstance(hello := records[0], Hello):
            raise LinkViolation("a hello alone was expected")
        known = self.members.get(hello.identity)
        facts = (False, False, False, False)
        if known is not None:
            same = hello.epoch == known.epoch
            facts = (True, known.is_newly(hello), same, known.peer.can_resume(hello.lanes))
        outcome = decide(HELLO_RULES, *facts)
        if outcome is Outcome.CONFLICT:
            return Admission(None, Bye(Reason.CONFLICT, ()).encode())
        if known is not None and outcome is Outcome.RESUME:
            known.since = None
            known.attempt = hello.attempt
            known.peer.open(hello.lanes, now)
            return Admission(known, self._welcome(known, resumed=True))
        ended = known or self._longest_away()
        if ended is not None:
            self.forget(ended)
            ended.close(now)  # others may send what was on the way to it
        elif len(self.members) >= self._members_limit:
            return Admission(None, Bye(Reason.FULL, ()).encode())
        epoch = next(self._epochs)
        member = Member(
            hello,
            self.log,
            self._max_message_bytes,
            self._timing,
            epoch=epoch,
            patience=self._patience,
            pool=self._pool,
        )
        self.members[hello.identity] = member
        member.peer.begin()
        member.peer.open(NOTHING, now)
        return Admission(member, self._welcome(member, resumed=False), is_new=True, ended=ended)

    def in_the_way(self, size: int) -> list[Member]:
        """Who would lose something if a payload of so many bytes came into the log now, and is still to be waited for.

        The caller waits until one of them has made progress, for `patience_with` them at the most; tells them with
        `waited`, and asks again.
        """
        if not self.log.is_full_for(size):
            return []
        oldest = self.log.oldest_after(size)
        behind = (member for member in self.members.values() if member.feed.cursor < oldest)
        return [member for member in behind if not member.is_stuck and member.allowance.left]

    def patience_with(self, members: Iterable[Member]) -> float:
        """Seconds to wait for these before they are looked at again. Never all that is left at once: a caller that was
        held up itself must first see what has come meanwhile.
        """
        return min(self._patience / 2, *(member.allowance.left for member in members))

    def waited(self, members: Iterable[Member], seconds: float) -> None:
        """It was waited for these so long."""
        for member in members:
            if not member.allowance.spend(seconds):
                member.give_up()

    def publish(self, message: WireMessage) -> None:
        """Put a message into the log. Who does not ask `in_the_way` before waits for nobody."""
        self.log.append(pack(Channel.IOPUB, message))

    def forget(self, member: Member) -> None:
        """It said goodbye, or cannot be kept."""
        if self.members.get(member.identity) is member:
            del self.members[member.identity]

    def expired(self, now: float) -> Iterable[Member]:
        """Forget those who have been away too long; return them."""
        gone = [each for each in self.members.values() if self._is_expired(each, now)]
        for member in gone:
            self.forget(member)
        return gone

    def _welcome(self, member: Member, *, resumed: bool) -> bytes:
        return Welcome(member.epoch, resumed, member.peer.positions, member.feed.cursor).encode()

    def _longest_away(self) -> Member | None:
        """Who has to go, if there is no room for another."""
        if len(self.members) < self._members_limit:
            return None
        away = (member for member in self.members.values() if member.since is not None)
        return min(away, key=lambda member: member.since or 0.0, default=None)

    def _is_expired(self, member: Member, now: float) -> bool:
        return member.since is not None and now >= member.since + self._resume_window
