"""The waist: the channels between a client and a kernel, as promises that every backend keeps.

A backend writes `send`, `receive` and `aclose` (and `beat`); everything above needs nothing else. The docstrings are
the specification, and the conformance kit (:mod:`kernelwire.testing`) holds a backend to it.

Rules for all channels:

- A channel belongs to the event loop that opened it. Use from another loop, thread or process raises
  :class:`~kernelwire.errors.WrongLoop` and changes nothing.
- Messages from one sender arrive in the order in which their ``send`` was called, each exactly once, or the receiver
  gets a :class:`~kernelwire.errors.GapNotice` where they are missing. Frames arrive as they left, bit by bit.
- ``aclose`` may be called twice, by two tasks at once, and in a cancelled task: the channel is closed afterwards.
- Channels check no signatures and read no JSON: that is :mod:`kernelwire.session`'s.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

from kernelwire.errors import EndOfChannel, KernelwireError
from kernelwire.messages import WireMessage

T = TypeVar("T")

Sink = Callable[["WireMessage | KernelwireError"], None]
"""Takes what a channel pours out: messages, gap notices, and the error that is its end."""


class Channel(StrEnum):
    """The names of the five channels."""

    SHELL = "shell"
    CONTROL = "control"
    STDIN = "stdin"
    IOPUB = "iopub"
    HEARTBEAT = "hb"


ALL_CHANNELS: Final = frozenset(Channel)


class Sender(ABC):
    """The half of a channel that messages go into."""

    @abstractmethod
    async def send(self, message: WireMessage) -> None:
        """Hand one message to the wire.

        Returns once the wire has taken it, not when it arrived. May wait while the wire is full. A cancelled send is
        all or nothing: the other end sees the whole message or none of it. Several tasks may send at once; the
        frames of two messages never mix. After a normal `aclose` at this end, messages that were taken still arrive
        if the other end is there to take them.

        Arguments:
            message: its ``peer`` says who it is for at a kernel end, and is ignored at a client end.

        Raises:
            MessageTooLarge: over ``capabilities.max_message_bytes``; nothing was sent, the channel goes on.
            PeerGone: a kernel end whose wire knows that this peer is not connected; the channel goes on.
            ChannelClosed: after this end's `aclose`.
            EndOfChannel: the other end closed, on a wire that can tell.
            ConnectionLost: the wire broke for good.
            WrongLoop: see the module's rules.
        """

    def send_now(self, message: WireMessage) -> bool:
        """As `send`, if that needs no wait; return whether the message was taken. By default it never is.

        Raises:
            as `send`.
        """
        return False

    @abstractmethod
    async def aclose(self) -> None:
        """Close this half. Pending `send` and `receive` calls of this end raise ChannelClosed."""


class Receiver(ABC):
    """The half of a channel that messages come out of."""

    @abstractmethod
    async def receive(self) -> WireMessage:
        """The next message.

        One task reads a channel at a time. A cancelled receive loses nothing: the next one gets the message. What
        has arrived and is not read is held up to a bound; beyond it the channel makes senders wait, or (iopub)
        drops the oldest and says so with a gap notice.

        Raises:
            EndOfChannel: the other end closed, and everything it sent before was received.
            GapNotice: messages are missing just before the next one; receive again to go on.
            ChannelBusy: another task is in `receive`.
            ChannelClosed: this end's `aclose` was called, before or during the wait.
            ConnectionLost: the wire broke for good.
            WrongLoop: see the module's rules.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close this half. A pending `receive` raises ChannelClosed; what was not read is dropped."""

    def pour(self, sink: Sink) -> bool:
        """From now on hand everything to `sink` as it comes, with no task in between; nobody may `receive` any more.

        By default nothing happens.

        Arguments:
            sink: called in the loop with each message, each gap notice, and at last with what ended the channel. It
                must neither raise nor take long.

        Returns:
            Whether that is so from now on.

        Raises:
            ChannelBusy: a task is in `receive`.
            WrongLoop: see the module's rules.
        """
        return False

    def intercept(self, offer: Callable[[WireMessage], bool]) -> bool:
        """From now on, while a task waits in `receive`, offer what comes to `offer` first, without a turn of the task.

        What `offer` declines is received. The order stays: what comes while anything is held is not offered. By default
        nothing happens.

        Arguments:
            offer: called in the loop with each message; returns whether it has dealt with it. It must neither raise nor
                take long.

        Returns:
            Whether that is so from now on.

        Raises:
            WrongLoop: see the module's rules.
        """
        return False

    def hand_on(self) -> None:
        """Where the loop would come to it only later: give what has arrived to whoever it is for (`pour`, `intercept`,
        `receive`) now. By default nothing happens.
        """
        return

    def __aiter__(self) -> AsyncIterator[WireMessage]:
        """Messages until the other end closes.

        Raises:
            GapNotice, ChannelBusy, ChannelClosed, ConnectionLost, WrongLoop: as `receive`.
        """
        return until_end(self.receive)


async def until_end(receive: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
    """What `receive` returns, again and again, until it raises EndOfChannel."""
    while True:
        try:
            received = await receive()
        except EndOfChannel:
            return
        yield received


class ShellChannel(Sender, Receiver):
    """Requests and their replies. At a kernel end a reply goes to the ``peer`` of its request, and to nobody else."""


class ControlChannel(Sender, Receiver):
    """As shell, for what may not wait behind it: a message here is never held up by messages on shell."""


class StdinChannel(Sender, Receiver):
    """The kernel asks, the client answers. A client has the same ``peer`` here as on shell and control, so that the
    kernel's question reaches the client whose request raised it, and no other.
    """

    async def ready(self) -> None:
        """At a client's end: wait until a question of the kernel would arrive here.

        On wires whose channels connect each for itself, a request on shell may reach the kernel, and raise a question,
        before this channel is connected. Returns at once where there is one wire for all. Waits as long as there is no
        kernel; give it a time limit with :func:`asyncio.timeout`.

        Raises:
            ChannelClosed, EndOfChannel, ConnectionLost, WrongLoop: as `receive`.
        """


class IOPubChannel(Receiver):
    """The client's side of what the kernel publishes to everybody. ``peer`` of a message is its topic.

    Attributes:
        urgent: whether somebody waits for what comes. Whoever reads may set it to False while nobody does: what comes
            may then be handed on up to 50 ms late, and much at once. A channel may as well take no notice.
    """

    urgent: bool = True

    @property
    def is_ready(self) -> bool:
        """Whether it is known that `ready` would return at once. By default it never is."""
        return False

    async def ready(self) -> None:
        """Wait until everything that the kernel publishes from now on will arrive here.

        Without this, what a kernel publishes just after `connect` may be lost on wires that subscribe in the
        background. Returns at once where connecting is subscribing, and whenever a message has arrived already. May
        be called by several tasks, and before, while or after `receive` runs; takes no message from it. Waits as
        long as there is no kernel; give it a time limit with :func:`asyncio.timeout`.

        Raises:
            ChannelClosed, EndOfChannel, ConnectionLost, WrongLoop: as `receive`.
        """


class IOPubPublisher(Sender):
    """The kernel's side of iopub: what is sent reaches every client that is ready. ``peer`` is the topic.

    A client that does not read never makes the others wait for long: it loses messages instead. Where the backend
    claims ``gap_notice`` it is told so; elsewhere only :attr:`kernelwire.KernelEnd.dropped` counts them.
    """


class HeartbeatChannel(ABC):
    """The client's side of the heartbeat."""

    @abstractmethod
    async def beat(self, timeout: float) -> float:
        """Ask the other end for a sign of life, and return the seconds it took.

        Arguments:
            timeout: seconds to wait at the most.

        Raises:
            NoBeat: no answer in time; the next beat is independent of this one.
            WireDown: likewise, on a wire that mends itself and is down just now.
            NotSupported: the wire has no heartbeat (``capabilities.beat`` is ``"none"``).
            ChannelClosed, ConnectionLost, WrongLoop: as for the other channels.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close the channel. A pending `beat` raises ChannelClosed."""


class PeerEvent(NamedTuple):
    """A client came or went.

    Attributes:
        peer: its routing identity, as in :attr:`WireMessage.peer`.
        joined: False if it left.
    """

    peer: bytes
    joined: bool

    @property
    def size(self) -> int:
        """What it counts for in an inbox, beside its overhead."""
        return 0


class PeerEvents(ABC):
    """Tells a kernel end of clients that come and go, on wires that know."""

    @abstractmethod
    async def receive(self) -> PeerEvent:
        """The next event; events of one peer come in order.

        Raises:
            GapNotice: nobody read for so long that the oldest events are gone.
            ChannelBusy, ChannelClosed, WrongLoop: as :meth:`Receiver.receive`.
        """
