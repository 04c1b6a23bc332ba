"""Whether the kernel knows of an iopub subscription: known, not slept for.

zmq subscribes in the background, and a publisher drops what nobody subscribes to. Whatever arrives on the SUB proves
that the subscription is there. A kernel that welcomes its subscribers (Jupyter enhancement proposal 65) sends such a
message by itself; any other is nudged: a kernel_info_request on sockets of our own makes it publish its status.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import zmq

from kernelwire.errors import ChannelClosed
from kernelwire.session import Session
from kernelwire_zmq.connected import CONNECTED, GONE, take_event
from kernelwire_zmq.framing import DELIMITER
from kernelwire_zmq.wire import Wire

_WELCOME_TIME: Final = 0.001
"""Seconds that a welcome may take, once connected, before a nudge costs less than waiting on."""

_OVERTAKEN_TIME: Final = 0.005
"""Seconds that what was published for an answered nudge may take, before it was published too early."""

_CONTROL_TIME: Final = 1.0
"""Seconds after which a kernel that does not answer on control is asked on shell too; then twice that, and so on."""

_FRUITLESS: Final = 10
"""Answers without anything published, after which another channel is asked too."""

_LONGEST_TIME: Final = 60.0
"""Seconds after which a question is repeated, at the most: the kernel that took it may have been replaced."""


class Readiness:
    """Watches one SUB socket.

    Arguments:
        socket: the SUB.
        monitor: the SUB's monitor for :data:`CONNECTED` and :data:`GONE`.
        session: signs the nudges.
        open_nudges: makes the sockets to nudge on, most promising first. They are closed here.

    Attributes:
        drain: takes all that the SUB holds; set by whoever reads it.
    """

    drain: Callable[[], None]

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        monitor: "zmq.Socket[bytes]",
        session: Session,
        open_nudges: Callable[[], "Sequence[zmq.Socket[bytes]]"],
    ) -> None:
        self._socket = socket
        self._session = session
        self._open_nudges = open_nudges
        self._connected = asyncio.Event()
        self._ready = asyncio.Event()
        self._closed = False
        self._waiters = 0
        self._nudging: asyncio.Task[None] | None = None
        self._monitor = Wire(monitor, self._take_event)

    @property
    def is_known(self) -> bool:
        """Whether `wait` would return at once."""
        if not self._closed:
            self._monitor.drain()  # nobody may have driven the loop since the kernel went
        return self._ready.is_set() and not self._closed

    @property
    def is_set(self) -> bool:
        """As `is_known`, as far as the loop has seen."""
        return self._ready.is_set()

    def seen(self) -> None:
        """Something arrived."""
        self._ready.set()

    async def wait(self) -> None:
        """Until the subscription is known to be there; nudges while somebody waits.

        Raises:
            ChannelClosed: closed meanwhile.
            ConnectionLost: there is no room for the sockets to nudge on.
        """
        self._waiters += 1
        try:
            while not self._ready.is_set():
                if self._closed:
                    raise ChannelClosed("the channel was closed by this end")
                if self._nudging is None or self._nudging.done():
                    self._nudging = asyncio.create_task(self._nudge(), name="kernelwire iopub nudge")
                # Not awaited: one waiter's cancellation must not end the nudging for the others.
                nudging = self._nudging
                await asyncio.wait([nudging])
                if not nudging.cancelled() and (error := nudging.exception()) is not None:
                    raise error
        finally:
            self._waiters -= 1
            if not self._waiters and self._nudging is not None:
                self._nudging.cancel()

    def close(self) -> None:
        """Stop watching; those who wait raise ChannelClosed."""
        if self._closed:
            return
        self._closed = True
        if self._nudging is not None:
            self._nudging.cancel()
        self._socket.disable_monitor()
        self._monitor.close(0)

    def _take_event(self) -> None:
        event = take_event(self._monitor.socket)
        if event & CONNECTED:
            self._connected.set()
        elif event & GONE:
            self._connected.clear()
            # First what the kernel that is gone had published: it proves nothing about the next one.
            self.drain()
            self._ready.clear()

    async def _nudge(self) -> None:
        await self._connected.wait()
        if await self._ready_within(_WELCOME_TIME):
            return
        nudges = [_Nudge(socket, self._session) for socket in self._open_nudges()]
        try:
            asked = nudges[:1]
            patience = _CONTROL_TIME
            fruitless = 0
            while not self._ready.is_set():
                for nudge in asked:
                    nudge.ask()
                if await self._ready_or_answered(asked, patience):
                    # Answered, and still nothing published came: the request overtook the subscription. Ask again, and
                    # then elsewhere too: this kernel may publish nothing for what it is asked here.
                    await self._ready_within(_OVERTAKEN_TIME)
                    fruitless += 1
                    if fruitless >= _FRUITLESS:
                        asked = nudges[: len(asked) + 1]
                else:
                    patience = min(2 * patience, _LONGEST_TIME)
                    for nudge in asked:
                        nudge.forget()
                    asked = nudges[: len(asked) + 1]
        finally:
            for nudge in nudges:
                nudge.wire.close(0)

    async def _ready_or_answered(self, asked: "Sequence[_Nudge]", patience: float) -> bool:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._ready, *(n.answered for n in asked))]
        try:
            done, _ = await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            return bool(done)
        finally:
            for wait in waits:
                wait.cancel()

    async def _ready_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            return False
        return True


class _Nudge:
    """A socket to ask on. One question is under way until it is answered or forgotten: a kernel that is busy is not
    flooded.
    """

    def __init__(self, socket: "zmq.Socket[bytes]", session: Session) -> None:
        self.answered = asyncio.Event()
        self.wire = Wire(socket, self._take)
        self._session = session
        self._asking = False

    def ask(self) -> None:
        if self._asking:
            return
        self.answered.clear()
        request = self._session.pack(self._session.message("kernel_info_request"))
        self._asking = self.wire.try_send([DELIMITER, *request])
        self.wire.look()

    def forget(self) -> None:
        self._asking = False

    def _take(self) -> None:
        self.wire.socket.recv_multipart(zmq.NOBLOCK)
        self._asking = False
        self.answered.set()
