"""What should have happened, kept beside what does: whoever gets a message says so here, and the first lie is the end.

It knows the promises and nothing of how the link keeps them. Nothing is compared in the end that could have been
compared at once, so a failure comes at the step that is to blame, or soon after it.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kernelwire.channels import Channel
from kernelwire.errors import GapNotice
from kernelwire.link.envelope import CHANNELS, LANE_OF
from kernelwire.link.log import ENTRY_OVERHEAD
from kernelwire.link.records import Lost
from kernelwire.messages import WireMessage
from simulation._scale import Scale

if TYPE_CHECKING:
    from simulation._desk import Spell
    from simulation._process import Process

Expected = deque[tuple[Channel, WireMessage, int]]
"""Messages of a lane that were sent and have not arrived, and their bytes."""

PIN: Final = b'"idle"'
"""What makes a message one that stays in the log."""


ENVELOPE: Final = 64
"""Bytes that a message takes on a lane beside its frames, at the most."""


class Broken(AssertionError):
    """A promise was broken.

    Attributes:
        kind: which, in a word or two.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


def message(stream: bytes, number: int, body: bytes, peer: bytes = b"") -> WireMessage:
    """One that is like no other."""
    return WireMessage([b"", b"%b %d" % (stream, number), body], peer)


def name(message: WireMessage) -> str:
    """A message's, for people."""
    return str(message.frames[1], "ascii", "replace") if len(message.frames) == 3 else repr(message)


class Published:
    """What one host process has published.

    Attributes:
        messages: by number.
        held: bytes that the log should hold.
        limit: bytes that it may hold.
        patience: seconds for which publishers wait for one client, for each log's worth.
    """

    def __init__(self, scale: Scale) -> None:
        self.messages: list[WireMessage] = []
        self._before = [0]
        self.limit, self.patience = scale.log, scale.patience
        self._pinned_limit = min(scale.pinned, scale.log // 2)
        self.held = self._pinned = 0
        self._bulk: deque[tuple[int, int]] = deque()
        self._pins: deque[tuple[int, int]] = deque()
        self._large = (0, 0)  # the number and the cost of the newest that is over the limit by itself

    def add(self, message: WireMessage, size: int) -> None:
        """A message has been published, which takes `size` bytes in the log. What the log may drop for it, goes."""
        number, cost = len(self.messages), size + ENTRY_OVERHEAD
        self._bulk.append((number, cost))
        if cost > self.limit:
            self._large = (number, cost)
        self.held += cost
        self.messages.append(message)
        self._before.append(self._before[-1] + message.size)
        while self.held > self._allowed() and len(self._bulk) > 1:
            number, cost = self._bulk.popleft()
            if PIN not in self.messages[number].frames[2]:
                self.held -= cost
                continue
            self._pins.append((number, cost))
            self._pinned += cost
            while self._pinned > self._pinned_limit:
                _, cost = self._pins.popleft()
                self._pinned -= cost
                self.held -= cost

    def _allowed(self) -> int:
        """Bytes to keep: the newest message that is over the limit by itself does not count."""
        number, cost = self._large
        return self.limit + cost if self._bulk[0][0] <= number else self.limit

    @property
    def oldest(self) -> int:
        """From which on all are in the log."""
        return self._bulk[0][0] if self._bulk else 0

    @property
    def volume(self) -> int:
        """What all that was published has cost."""
        return self._before[-1] + len(self.messages) * ENTRY_OVERHEAD

    def size(self, first: int, end: int) -> int:
        """Bytes of some of them."""
        return self._before[end] - self._before[first]

    def first_held(self, first: int, end: int) -> int | None:
        """The first of them that is in the log."""
        if end > self._bulk[0][0]:
            return max(first, self._bulk[0][0])
        return next((number for number, _ in self._pins if first <= number < end), None)


class Session:
    """What a host and one client have in common, from when they begin to when they must begin anew.

    Arguments:
        owner: the client.
        record: what the host publishes.
        cursor: where it begins.
        spell: what came from it since the host had no room.
        asked: whether the client asked for that.

    Attributes:
        next: the number of the next message of iopub.
        incoming: what the client has sent; None before it knows of this session.
        ended: why it is over; empty while it is not. Without a reason nobody may give it up.
        away_since: since when the host knows of no connection.
        numbers: of the last messages to this client alone, on C and D.
        streams: what they are called.
        parted_at: how much was published when the host said goodbye.
        waited: seconds for which publishers have waited for it.
    """

    def __init__(self, owner: "Process", record: Published, cursor: int, spell: "Spell", *, asked: bool) -> None:
        self.owner = owner
        self.record = record
        self.next = cursor
        self.incoming: tuple[Expected, Expected] | None = None
        self.ended = ""
        self.away_since: float | None = None
        self.spell = spell
        self.numbers = [0, 0]
        self.streams = (f"to-{owner.name}.C".encode(), f"to-{owner.name}.D".encode())
        self.parted_at = 0
        self.waited = 0.0
        self._since = record.volume
        self._patience = record.patience
        self._kept_from = record.oldest
        self._began = cursor if asked else -1
        self._replies: deque[tuple[int, WireMessage, int]] = deque()
        self._controls: Expected = deque()

    def wait(self, seconds: float) -> None:
        """Publishers have waited for it: never longer in all than for so much, however slowly it goes on."""
        self.waited += seconds
        allowed = self._patience * (1 + (self.record.volume - self._since) / self.record.limit)
        if self.waited > allowed + 0.01:
            raise Broken(
                "held up", f"publishers waited {self.waited:.2f} s for {self.owner.name}, {allowed:.2f} at most"
            )

    def expect(self, channel: Channel, message: WireMessage, size: int) -> None:
        """The host has sent a message of `size` bytes to this client alone."""
        if channel is Channel.SHELL:
            self._replies.append((len(self.record.messages), message, size))
        else:
            self._controls.append((channel, message, size))

    def hear(self, channel: Channel, content: WireMessage | GapNotice) -> int:
        """The client got a message, or a notice that some are missing; return how many bytes it should be."""
        if isinstance(content, GapNotice):
            return self._on_gap(channel, content)
        if channel is Channel.IOPUB:
            return self._on_published(content)
        if channel is Channel.SHELL:
            return self._on_reply(content)
        return _take(self._controls, channel, content)

    def arrive(self, channel: Channel, content: WireMessage) -> int:
        """The host got a message, and runs it; return how many bytes it should be."""
        if self.incoming is None:
            raise Broken("early", f"{name(content)} came before the client was welcome")
        tag = bytes(content.frames[1])
        if tag in self.owner.ran:
            raise Broken("executed twice", name(content))
        size = _take(self.incoming[LANE_OF[channel]], channel, content)
        self.owner.ran.add(tag)
        return size

    def part(self, lost: Sequence[Lost]) -> None:
        """The host has said goodbye, and what will never come."""
        missing: dict[Channel, tuple[int, int]] = {}
        for channel, size in (
            *((Channel.SHELL, size) for _, _, size in self._replies),
            *((channel, size) for channel, _, size in self._controls),
        ):
            count, all_of_them = missing.get(channel, (0, 0))
            missing[channel] = (count + 1, all_of_them + size)
        if self.next != (end := self.parted_at):
            missing[Channel.IOPUB] = (end - self.next, self.record.size(self.next, end))
        told = {CHANNELS[each.channel]: (each.messages, each.size) for each in lost}
        if self.next == self._began and told.get(Channel.IOPUB, (0, 0))[1] is None:
            missing.pop(Channel.IOPUB)
            del told[Channel.IOPUB]
        if told != missing:
            raise Broken("gap", f"a goodbye to {self.owner.name} says that it lost {told} instead of {missing}")

    @property
    def waiting(self) -> int:
        """Bytes at the most that can wait for this client alone."""
        return sum(size + ENVELOPE + ENTRY_OVERHEAD for _, _, size in (*self._replies, *self._controls))

    @property
    def missing(self) -> str:
        """What has not arrived, if there is anything."""
        if self._replies:
            return f"reply {name(self._replies[0][1])}"
        if self._controls:
            return f"{self._controls[0][0]} message {name(self._controls[0][1])}"
        if self.next != len(self.record.messages):
            return f"iopub message {self.next}"
        for waiting in self.incoming or ():
            if waiting:
                return f"request {name(waiting[0][1])}"
        return ""

    def _on_published(self, content: WireMessage) -> int:
        number, record = self.next, self.record
        expected = record.messages[number] if number < len(record.messages) else None
        if content != expected:
            raise _wrong(Channel.IOPUB, (Channel.IOPUB, expected) if expected else None, content)
        if self._replies and self._replies[0][0] <= number:
            raise Broken("reordered", f"{name(content)} came before the reply {name(self._replies[0][1])}")
        self.next = number + 1
        return record.size(number, number + 1)

    def _on_reply(self, content: WireMessage) -> int:
        if not self._replies or self._replies[0][1] != content:
            raise _wrong(Channel.SHELL, (Channel.SHELL, self._replies[0][1]) if self._replies else None, content)
        place, _, size = self._replies.popleft()
        if self.next != place:
            raise Broken(
                "reordered", f"reply {name(content)} came before iopub message {self.next}, its place is {place}"
            )
        return size

    def _on_gap(self, channel: Channel, gap: GapNotice) -> int:
        if channel is not Channel.IOPUB:
            raise Broken("gap", f"{channel} never has any")
        if gap.count is None:
            raise Broken("gap", "of unknown size, though the host was never away")
        if self.waited < self._patience - 0.01 and self.next >= self._kept_from:
            raise Broken(
                "lost", f"{self.owner.name} has a gap, and publishers waited {self.waited:.2f} s for it in all"
            )
        end = self.next + gap.count
        if not self.next < end <= len(self.record.messages):
            raise Broken("gap", f"{gap.count} messages from {self.next} on, of {len(self.record.messages)}")
        if self._replies and self._replies[0][0] < end:
            raise Broken("reordered", f"a gap goes beyond the place of reply {name(self._replies[0][1])}")
        if (held := self.record.first_held(self.next, end)) is not None:
            raise Broken("gap", f"message {held} is said to be missing, but it was still there")
        if gap.size != self.record.size(self.next, end) and not (gap.size is None and self.next == self._began):
            raise Broken("gap", f"of {gap.size} bytes instead of {self.record.size(self.next, end)}")
        self.next = end
        return 0


def _take(waiting: Expected, channel: Channel, content: WireMessage) -> int:
    """The next of them, which that is; return its bytes."""
    if not waiting or waiting[0][0] is not channel or waiting[0][1] != content:
        raise _wrong(channel, waiting[0][:2] if waiting else None, content)
    return waiting.popleft()[2]


def _wrong(channel: Channel, expected: tuple[Channel, WireMessage] | None, got: WireMessage) -> Broken:
    """Another message came than the next."""
    if expected is None:
        return Broken("duplicated", f"{name(got)} on {channel}, where nothing was to come")
    what = f"{name(got)} on {channel} instead of {name(expected[1])} on {expected[0]}"
    (stream, _, number), (wanted, _, next_number) = name(got).partition(" "), name(expected[1]).partition(" ")
    if stream != wanted or not number.isdecimal():
        return Broken("mixed up", what)
    if int(number) == int(next_number):
        return Broken("altered", what)
    return Broken("lost" if int(number) > int(next_number) else "duplicated", what)
