"""Messages from one channel to another, as a bridge carries them: at once where nobody has to wait."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, Protocol

from kernelwire.channels import Channel, Receiver
from kernelwire.errors import (
    ChannelClosed,
    EndOfChannel,
    GapNotice,
    InvalidMessage,
    KernelwireError,
    MessageTooLarge,
    PeerGone,
)
from kernelwire.messages import Frame, WireMessage

_log = logging.getLogger("kernelwire.bridge")


class Witness(Protocol):
    """Sees what requests pass, on all channels but iopub. What it raises ends the bridge."""

    def passes(self, channel: Channel, request: WireMessage) -> None:
        """A genuine request is about to be passed on to the kernel."""

    def returns(self, channel: Channel, reply: WireMessage) -> None:
        """A genuine reply has come from the kernel, and is about to be passed on."""


class Witnessed:
    """Shows a witness what passes on one channel, each message once, and before it is sent.

    Arguments:
        see: the witness; None if there is none.
    """

    def __init__(self, see: Callable[[WireMessage], None] | None) -> None:
        self._see = see
        self._last: Frame | None = None  # its header: the whole may be large

    def once(self, message: WireMessage) -> None:
        """Show it, unless that was done. Raises what the witness does."""
        if self._see is not None and message.frames[1] is not self._last:
            self._see(message)
            self._last = message.frames[1]

    def now(self, message: WireMessage) -> bool:
        """Likewise, where nobody could hear what is raised; whether all is well."""
        try:
            self.once(message)
        except Exception:  # noqa: BLE001 - raised once more where it is shown again, by one of the bridge's tasks
            return False
        return True


class Carrier:
    """Carries what one channel brings, in order. One that does not take more makes it wait.

    What comes while nothing is being carried is translated and sent where it arrives, without a turn of this task.

    Arguments:
        source: where messages come from; read by `run` alone.
        translate: makes of a message the one to send; None if it is to be dropped. Called once for each.
        send: sends one.
        send_now: does so if that needs no wait, and returns whether it did; raises as `send`.
        on_gap: passes on that messages are missing.
        on_refused: told of each message that was too much for the next wire, beside the log.
    """

    def __init__(
        self,
        source: Receiver,
        *,
        translate: Callable[[WireMessage], WireMessage | None],
        send: Callable[[WireMessage], Awaitable[None]],
        send_now: Callable[[WireMessage], bool],
        on_gap: Callable[[GapNotice], Awaitable[None]] | None = None,
        on_refused: Callable[[], None] | None = None,
    ) -> None:
        self._source = source
        self._translate = translate
        self._send = send
        self._send_now = send_now
        self._on_gap = on_gap
        self._on_refused = on_refused
        self._declined: WireMessage | None = None

    async def run(self) -> None:
        """Until the source ends, or sending fails for good: raises what did, as `receive` and `send` do."""
        self._source.intercept(self._carry_now)
        while True:
            try:
                message = await self._source.receive()
            except GapNotice as notice:  # on a wire whose other end was started anew; others come all the same
                _log.warning("bridge: %s", notice)
                if self._on_gap is not None:
                    await self._on_gap(notice)
                continue
            carried, self._declined = self._declined, None
            if carried is None:
                carried = self._translate(message)
            if carried is None:
                continue
            try:
                await self._send(carried)
            except (InvalidMessage, MessageTooLarge) as error:
                self._report_refused(error)
            del message, carried  # perhaps large, and the next may be long in coming

    def _carry_now(self, message: WireMessage) -> bool:
        carried = self._translate(message)
        if carried is None:
            return True
        try:
            if self._send_now(carried):
                return True
        except (InvalidMessage, MessageTooLarge) as error:
            self._report_refused(error)
            return True
        except KernelwireError:  # `send` will raise it too, where somebody can hear it
            pass
        self._declined = carried  # the next that is received
        return False

    def _report_refused(self, error: InvalidMessage | MessageTooLarge) -> None:
        """Say that a message was too much for the next wire: nobody else will."""
        _log.warning("bridge: a message cannot be carried: %s", error)
        if self._on_refused is not None:
            self._on_refused()


async def until_first_ends(work: Collection[Coroutine[Any, Any, None]]) -> None:
    """Run all until one returns or fails, then end the others. A closed channel is an end, not a failure."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(tasks)
    for task in done:
        error = task.exception()
        if error is not None and not isinstance(error, EndOfChannel | ChannelClosed | PeerGone):
            raise error


async def cancel(tasks: "Collection[asyncio.Task[Any]]") -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
