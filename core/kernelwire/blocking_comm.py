"""A comm for threads that wait."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from kernelwire.comms import Comm, OnOpen
from kernelwire.errors import ChannelClosed, EndOfChannel, RequestTimeout
from kernelwire.loop_driver import LoopDriver
from kernelwire.messages import Message

if TYPE_CHECKING:
    from typing_extensions import Buffer

_log = logging.getLogger(__name__)


class BlockingComm:
    """A :class:`~kernelwire.comms.Comm` whose methods wait. Iterate over it for the messages that the kernel sends; use
    as a context manager, or call `close`. Any thread may use it; one at a time may read.

    Arguments:
        driver: the client's.
        comm: does the work, in the loop.

    Attributes:
        comm_id, target_name, data: as those of `Comm`.
    """

    def __init__(self, driver: LoopDriver, comm: Comm) -> None:
        self.comm_id = comm.comm_id
        self.target_name = comm.target_name
        self.data = comm.data
        self._driver = driver
        self._comm = comm

    def send(self, data: Mapping[str, Any], buffers: "Sequence[Buffer]" = ()) -> None:
        """Send a comm_msg. Raises as :meth:`kernelwire.comms.Comm.send`."""
        self._driver.run(self._comm.send, data, buffers)

    def receive(self, timeout: float | None = None) -> Message:
        """The next comm_msg.

        Arguments:
            timeout: seconds to wait.

        Raises:
            RequestTimeout: none has come in time.
            EndOfChannel, ChannelClosed, GapNotice, ChannelBusy, WrongLoop: as :meth:`kernelwire.comms.Comm.receive`.
        """
        return self._driver.run(self._receive, timeout)

    def __iter__(self) -> Iterator[Message]:
        """Messages until the kernel closes the comm. Raises as `receive`."""
        while True:
            try:
                message = self.receive()
            except EndOfChannel:
                return
            yield message

    def close(self, data: Mapping[str, Any] | None = None) -> None:
        """Close the comm, and tell the kernel; does nothing if it is closed already."""
        self._driver.run(self._comm.close, data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    async def _receive(self, timeout: float | None) -> Message:
        try:
            async with asyncio.timeout(timeout):
                return await self._comm.receive()
        except TimeoutError:
            raise RequestTimeout(f"no message of the comm within {timeout:g} s") from None


BlockingOnOpen = Callable[[BlockingComm], object]
"""Takes a comm that the kernel has opened; may wait."""


def in_thread(driver: LoopDriver, handler: BlockingOnOpen) -> OnOpen:
    """Call a handler in a thread of its own, since the loop must not wait for it."""

    def handle(comm: BlockingComm) -> None:
        try:
            handler(comm)
        except ChannelClosed:
            if not driver.closing:
                _log.exception("the handler of a comm failed")
        except Exception:  # noqa: BLE001 - the caller's code
            _log.exception("the handler of a comm failed")

    def on_open(comm: Comm) -> None:
        # A daemon: one that waits for messages must not keep the interpreter from closing the client.
        threading.Thread(target=handle, args=(BlockingComm(driver, comm),), name="kernelwire comm", daemon=True).start()

    return on_open
