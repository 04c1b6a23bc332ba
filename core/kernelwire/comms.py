"""Comms: two-way conversations between a front end and an object in the kernel.

Source: "Messaging in Jupyter", section "Custom Messages". A comm has an id that both sides know; either side opens it
for a *target*, sends data and buffers, and closes it.
"""

import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self

from kernelwire.channels import until_end
from kernelwire.errors import ChannelClosed, KernelwireError, RequestFailed, WireError
from kernelwire.inbox import GAP_LIMIT, Inbox
from kernelwire.messages import Message

if TYPE_CHECKING:
    from typing_extensions import Buffer

_log = logging.getLogger(__name__)

Send = Callable[[str, Mapping[str, Any], Sequence["Buffer"]], Awaitable[None]]
"""Sends a message of a type, with content and buffers, on shell."""

COMM_TYPES: Final = frozenset({"comm_open", "comm_msg", "comm_close"})


class _Received(NamedTuple):
    message: Message
    size: int


class Comm:
    """One comm, at the front end's side. Iterate over it for the ``comm_msg`` messages that the kernel sends.

    Use as an async context manager, or call `close`. Made by :meth:`kernelwire.KernelClient.open_comm`, or by the
    kernel for a target that :meth:`kernelwire.KernelClient.on_comm` has named.

    Attributes:
        comm_id: known to both sides.
        target_name: what it is for.
        data: what the kernel sent along with its comm_open; empty if this side opened it.
    """

    def __init__(self, comms: "Comms", comm_id: str, target_name: str, data: Mapping[str, Any]) -> None:
        self.comm_id = comm_id
        self.target_name = target_name
        self.data = data
        self._comms = comms
        self._inbox = Inbox[_Received](limit=GAP_LIMIT, drops=True)
        self._closed = False

    async def send(self, data: Mapping[str, Any], buffers: Sequence["Buffer"] = ()) -> None:
        """Send a comm_msg.

        Raises:
            ChannelClosed: either side has closed the comm.
            InvalidMessage, MessageTooLarge, EndOfChannel, ConnectionLost, WrongLoop: as a channel's `send`.
        """
        if self._closed:
            raise ChannelClosed("the comm is closed")
        await self._comms.send("comm_msg", {"comm_id": self.comm_id, "data": data}, buffers)

    async def receive(self) -> Message:
        """The next comm_msg.

        Raises:
            EndOfChannel: the kernel has closed the comm.
            ChannelClosed: this side has.
            GapNotice, ChannelBusy, WrongLoop: as a channel's `receive`.
        """
        return (await self._inbox.receive()).message

    def __aiter__(self) -> AsyncIterator[Message]:
        """Messages until the kernel closes the comm. Raises as `receive`."""
        return until_end(self.receive)

    async def close(self, data: Mapping[str, Any] | None = None) -> None:
        """Close the comm, and tell the kernel; does nothing if it is closed already."""
        if not self._closed:
            self._closed = True
            self._inbox.discard()
            self._comms.forget(self)
            await self._comms.send("comm_close", {"comm_id": self.comm_id, "data": data or {}}, ())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def on_message(self, message: Message, size: int) -> None:
        """The kernel sent a comm_msg."""
        self._inbox.put(_Received(message, size))

    def on_close(self, error: KernelwireError | None = None) -> None:
        """The kernel closed the comm, or the connection ended."""
        self._closed = True
        self._inbox.close(error)


OnOpen = Callable[[Comm], object]
"""Takes a comm that the kernel has opened; must not block. What it returns is awaited, in a task, if it can be."""


class Spawn(Protocol):
    """Begins a task, which ends with the client."""

    def __call__(self, work: Callable[[Awaitable[object]], Awaitable[None]], handling: Awaitable[object], /) -> object:
        """Of a function and its argument."""


class Comms:
    """The comms of one client.

    Arguments:
        send: sends on shell.
        on_use: called when this client opens a comm, or is ready to take those of a target.
        spawn: begins a task.
    """

    def __init__(self, send: Send, on_use: Callable[[], None], spawn: Spawn) -> None:
        self.send = send
        self._on_use = on_use
        self._spawn = spawn
        self._open: dict[str, Comm] = {}
        self._targets: dict[str, OnOpen] = {}

    async def open(self, target_name: str, data: Mapping[str, Any] | None, buffers: Sequence["Buffer"]) -> Comm:
        """Open a comm to a target in the kernel. A kernel that has none answers with a comm_close."""
        self._on_use()
        comm = Comm(self, uuid.uuid4().hex, target_name, {})
        self._open[comm.comm_id] = comm
        content = {"comm_id": comm.comm_id, "target_name": target_name, "data": data or {}}
        try:
            await self.send("comm_open", content, buffers)
        except BaseException:
            self.forget(comm)
            raise
        return comm

    def expect(self, target_name: str, on_open: OnOpen | None) -> None:
        """From now on give `on_open` the comms that the kernel opens for a target; None ends that."""
        if on_open is None:
            self._targets.pop(target_name, None)
        else:
            self._on_use()
            self._targets[target_name] = on_open

    def forget(self, comm: Comm) -> None:
        """The comm is closed."""
        self._open.pop(comm.comm_id, None)

    def on_message(self, message: Message, size: int) -> None:
        """A message of :data:`COMM_TYPES` came on iopub; other clients' comms are none of ours."""
        comm_id = str(message.content.get("comm_id", ""))
        if message.msg_type == "comm_open":
            self._on_open(comm_id, message)
            return
        comm = self._open.get(comm_id)
        if comm is None:
            return
        if message.msg_type == "comm_msg":
            comm.on_message(message, size)
        else:
            self.forget(comm)
            comm.on_close()

    @property
    def opened(self) -> "tuple[Comm, ...]":
        """Those that are open."""
        return tuple(self._open.values())

    def end(self, error: KernelwireError, comms: "Iterable[Comm] | None" = None) -> None:
        """The connection ended, or the kernel that had these comms."""
        for comm in self.opened if comms is None else comms:
            self.forget(comm)
            comm.on_close(error.again())

    def _on_open(self, comm_id: str, message: Message) -> None:
        target_name = str(message.content.get("target_name", ""))
        on_open = self._targets.get(target_name)
        if on_open is None or comm_id in self._open:
            return
        data = message.content.get("data")
        comm = Comm(self, comm_id, target_name, data if isinstance(data, Mapping) else {})
        self._open[comm_id] = comm
        try:
            handling = on_open(comm)
        except Exception:  # noqa: BLE001 - the caller's code; what comes next on iopub must still be read
            _log.exception("the handler of a comm failed")
            return
        if inspect.isawaitable(handling):
            self._spawn(_handled, handling)


async def _handled(handling: Awaitable[object]) -> None:
    try:
        await handling
    except (RequestFailed, WireError) as error:  # the kernel, or the wire, has ended, and the comm with it
        _log.debug("the handler of a comm ended: %s", error)
    except Exception:  # noqa: BLE001 - the caller's code, and none of the client's business
        _log.exception("the handler of a comm failed")
