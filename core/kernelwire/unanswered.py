"""Requests that were carried and not answered yet, and what to answer when it is known that their replies are lost.

A bridge needs that where the near wire has no gap notices: a client there would wait for ever. It gets a reply of
status ``error``, as it would from a kernel, so that every front end can show it; a mark in the metadata tells
kernelwire's own client that the outcome is unknown.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from kernelwire import jsoncodec
from kernelwire.channels import Channel, Sender
from kernelwire.ends import KernelEnd
from kernelwire.errors import GapNotice, MalformedMessage
from kernelwire.messages import Frame, Message, WireMessage
from kernelwire.session import Session

REMEMBERED: Final = 1000
"""Requests of one client at the most; beyond it the oldest are forgotten."""

_ENAME: Final = "OutcomeUnknown"
_MARK: Final = "kernelwire_outcome"
_UNKNOWN: Final = "unknown"


class _Id(msgspec.Struct):
    msg_id: str


_ids: Final = msgspec.json.Decoder(_Id)


def is_unknown(reply: Message) -> bool:
    """Whether somebody on the way has answered in the place of a reply that is lost."""
    return reply.metadata.get(_MARK) == _UNKNOWN


class Unanswered:
    """The requests of one client. Only the ids in their headers are read before they are lost."""

    def __init__(self) -> None:
        self._headers: OrderedDict[str, tuple[Channel, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._headers)

    def on_request(self, channel: Channel, frames: Sequence[Frame]) -> None:
        """It is about to be carried."""
        if (msg_id := _id_in(frames[1])) is not None:
            self._headers[msg_id] = channel, bytes(frames[1])
            if len(self._headers) > REMEMBERED:
                self._headers.popitem(last=False)

    def on_reply(self, frames: Sequence[Frame]) -> None:
        """It was carried."""
        if (msg_id := _id_in(frames[2])) is not None:
            self._headers.pop(msg_id, None)

    def lose(self, channel: Channel) -> Iterator[Message]:
        """The requests on a channel whose replies will not come, without their content. They are forgotten."""
        for msg_id, (on, header) in list(self._headers.items()):
            if on is channel:
                del self._headers[msg_id]
                try:
                    decoded = jsoncodec.decode(header, "header")
                except MalformedMessage:
                    continue
                if str(decoded.get("msg_type", "")).endswith("_request"):
                    yield Message(decoded, {}, {}, {})


def answer(session: Session, request: Message, peer: bytes, reason: str) -> tuple[WireMessage, list[WireMessage]]:
    """In the place of a reply that is lost: a reply to `peer`, and what to publish before it."""
    error: dict[str, Any] = {"ename": _ENAME, "evalue": f"it may have run, or not: {reason}", "traceback": []}

    def wire(msg_type: str, content: dict[str, Any], to: bytes) -> WireMessage:
        message = session.message(
            msg_type,
            content,
            parent=request,
            metadata={_MARK: _UNKNOWN},
            session=str(request.header.get("session", "")),  # as kernels do that do not name their own
        )
        return WireMessage(session.pack(message), to)

    published = [wire("status", {"execution_state": "idle"}, b"status")]
    if request.msg_type == "execute_request":
        published.insert(0, wire("error", error, b"error"))
    reply_type = request.msg_type.removesuffix("_request") + "_reply"
    return wire(reply_type, {"status": "error", **error}, peer), published


async def tell(
    near: KernelEnd, session: Session, channel: Channel, notice: GapNotice, peer: bytes, unanswered: Unanswered
) -> None:
    """Messages to a client are missing: a notice says so where the wire has them, else what answers its requests.

    Arguments:
        near: where the client is connected.
        session: signs what is sent there.
        channel: where they are missing.
        notice: as it came.
        peer: the client.
        unanswered: its requests.
    """
    if near.tells_gaps:
        await near.tell_gap(channel, notice, peer)
        return
    replies: Sender = getattr(near, channel)
    for request in unanswered.lose(channel):
        reply, published = answer(session, request, peer, notice.reason)
        for message in published:
            await near.iopub.send(message)
        await replies.send(reply)


def _id_in(header: Frame) -> str | None:
    try:
        return _ids.decode(header).msg_id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
