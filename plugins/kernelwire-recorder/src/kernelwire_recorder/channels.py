"""Channels that write down what passes, and change nothing."""

from collections.abc import Awaitable, Callable
from typing import Final

from kernelwire.channels import Channel, ControlChannel, IOPubChannel, Receiver, Sender, ShellChannel, StdinChannel
from kernelwire.ends import ClientEnd
from kernelwire.errors import InvalidMessage, MessageTooLarge, RemoteError
from kernelwire.messages import WireMessage
from kernelwire.session import Session
from kernelwire_recorder.recording import Recording, Said, To

MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024


class Tap:
    """Writes down what is genuine on one channel.

    Arguments:
        recording: where.
        channel: which.
        new_session: makes what verifies one direction.
    """

    def __init__(self, recording: Recording, channel: Channel, new_session: Callable[[], Session]) -> None:
        self._recording = recording
        self._channel = channel
        self._sessions: dict[To, Session] = {"kernel": new_session(), "client": new_session()}

    def note(self, to: To, wire: WireMessage) -> None:
        """Write it down, unless nobody will take it for a message."""
        try:
            message = self._sessions[to].unpack(wire.frames)
            self._recording.note(Said(self._channel, to, message))
        except (RemoteError, InvalidMessage):
            pass


class _Recording(Sender, Receiver):
    def __init__(self, channel: ShellChannel | ControlChannel | StdinChannel, tap: Tap) -> None:
        self._channel = channel
        self._tap = tap

    async def send(self, message: WireMessage) -> None:
        if message.size > MAX_MESSAGE_BYTES:
            raise MessageTooLarge(message.size, MAX_MESSAGE_BYTES)
        await self._channel.send(message)
        self._tap.note("kernel", message)

    async def receive(self) -> WireMessage:
        message = await self._channel.receive()
        self._tap.note("client", message)
        return message

    async def aclose(self) -> None:
        await self._channel.aclose()


class RecordingShell(_Recording, ShellChannel):
    """Shell."""


class RecordingControl(_Recording, ControlChannel):
    """Control."""


class RecordingStdin(_Recording, StdinChannel):
    """Stdin."""

    _channel: StdinChannel

    async def ready(self) -> None:
        """As the other."""
        await self._channel.ready()


class RecordingIOPub(IOPubChannel):
    """What the kernel publishes."""

    def __init__(self, channel: IOPubChannel, tap: Tap) -> None:
        self._channel = channel
        self._tap = tap

    @property
    def is_ready(self) -> bool:
        """As the other."""
        return self._channel.is_ready

    async def ready(self) -> None:
        """As the other."""
        await self._channel.ready()

    async def receive(self) -> WireMessage:
        """As the other."""
        message = await self._channel.receive()
        self._tap.note("client", message)
        return message

    async def aclose(self) -> None:
        """As the other."""
        await self._channel.aclose()


def tapped(
    end: ClientEnd, recording: Recording, new_session: Callable[[], Session], on_close: Callable[[], Awaitable[None]]
) -> ClientEnd:
    """A client's end, of which everything is written down."""

    def tap(channel: Channel) -> Tap:
        return Tap(recording, channel, new_session)

    opened = end.channels
    return ClientEnd(
        shell=RecordingShell(end.shell, tap(Channel.SHELL)) if Channel.SHELL in opened else None,
        control=RecordingControl(end.control, tap(Channel.CONTROL)) if Channel.CONTROL in opened else None,
        stdin=RecordingStdin(end.stdin, tap(Channel.STDIN)) if Channel.STDIN in opened else None,
        iopub=RecordingIOPub(end.iopub, tap(Channel.IOPUB)) if Channel.IOPUB in opened else None,
        heartbeat=end.heartbeat if Channel.HEARTBEAT in opened else None,
        on_close=on_close,
    )
