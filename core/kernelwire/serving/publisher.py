"""What a served kernel sends: messages on iopub, and replies, in the protocol version of the request they answer."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kernelwire.channels import Channel
from kernelwire.comms import COMM_TYPES
from kernelwire.ends import KernelEnd
from kernelwire.errors import PeerGone
from kernelwire.message_channel import MessageSender
from kernelwire.messages import Message, WireMessage
from kernelwire.session import Session

if TYPE_CHECKING:
    from typing_extensions import Buffer


_FAIRNESS: Final = 64
"""One message in so many gives the others in the loop their turn, which they might not get otherwise."""


class Request(NamedTuple):
    """A request as it came.

    Attributes:
        message: the request.
        peer: who sent it.
        channel: where it came in.
        is_v4: whether its sender speaks protocol v4.
    """

    message: Message
    peer: bytes
    channel: Channel
    is_v4: bool


class Publisher:
    """Sends for one kernel end.

    Arguments:
        end: a served kernel end.
        session: signs.

    Attributes:
        on_publish: called with the type and content of each message of a comm that is published.
    """

    def __init__(self, end: KernelEnd, session: Session) -> None:
        self._session = session
        self._iopub = end.iopub
        self._until_yield = _FAIRNESS
        self._replies = {
            Channel.SHELL: MessageSender(end.shell, session),
            Channel.CONTROL: MessageSender(end.control, session),
            Channel.STDIN: MessageSender(end.stdin, session),
        }
        self.on_publish: Callable[[str, Mapping[str, Any]], None] = _nothing

    async def publish(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        request: Request | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: "Sequence[Buffer]" = (),
    ) -> None:
        """Publish a message as a child of a request, or of none. Raises as :meth:`MessageSender.send`."""
        parent = None if request is None else request.message
        message = self._session.message(msg_type, content, parent=parent, metadata=metadata, buffers=buffers)
        self._session.speaks_v4 = request is not None and request.is_v4
        wire = WireMessage(self._session.pack(message), msg_type.encode())
        if not self._iopub.send_now(wire):
            await self._iopub.send(wire)
        if msg_type in COMM_TYPES:
            self.on_publish(msg_type, content)
        self._until_yield -= 1
        if not self._until_yield:
            self._until_yield = _FAIRNESS
            await asyncio.sleep(0)

    async def status(self, state: str, request: Request | None = None) -> None:
        """Publish ``busy``, ``idle`` or ``starting``."""
        await self.publish("status", {"execution_state": state}, request)

    async def reply(self, request: Request, content: Mapping[str, Any]) -> None:
        """Answer a request; its sender may be gone.

        Raises:
            as :meth:`MessageSender.send`, except for PeerGone.
        """
        msg_type = request.message.msg_type.removesuffix("_request") + "_reply"
        message = self._session.message(msg_type, content, parent=request.message)
        self._session.speaks_v4 = request.is_v4
        with suppress(PeerGone):
            await self._replies[request.channel].send(message, request.peer)

    async def ask(self, request: Request, prompt: str, password: bool) -> Message:
        """Send an input_request to the sender of a request; return it. Raises as :meth:`MessageSender.send`."""
        content = {"prompt": prompt, "password": password}
        question = self._session.message("input_request", content, parent=request.message)
        self._session.speaks_v4 = request.is_v4
        await self._replies[Channel.STDIN].send(question, request.peer)
        return question


def _nothing(_msg_type: str, _content: Mapping[str, Any]) -> None:
    pass
