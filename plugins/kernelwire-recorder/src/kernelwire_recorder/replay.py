"""A kernel that knows a recording, and nothing else.

A request gets what the recorded one got, with its own header as the parent, freshly signed. Requests that change
something, such as execute_request, must come in the recorded order; those that only ask may come at any time, and
again. A request that was not recorded gets an error that says which one is due.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from kernelwire.channels import Channel
from kernelwire.ends import KernelEnd
from kernelwire.errors import EndOfChannel, PeerGone
from kernelwire.message_channel import MessageChannel, MessageSender
from kernelwire.messages import Message
from kernelwire.session import Session
from kernelwire_recorder.recording import Said

ASKING: Final = frozenset(
    f"{name}_request" for name in ("kernel_info", "complete", "inspect", "history", "is_complete", "comm_info")
)
"""Requests that change nothing."""

_CHANCE: Final = frozenset({"msg_id", "comm_id", "date", "session"})
"""Fields of a content that are other ones each time."""

_SHOWN: Final = 60


class Exchange:
    """A recorded request, and all that it led to.

    Attributes:
        request: the recorded one.
        responses: in the order in which they came.
    """

    def __init__(self, request: Message) -> None:
        self.request = request
        self.responses: list[Said] = []

    def matches(self, request: Message) -> bool:
        """Whether this is the same request, but for what is another one each time."""
        mine, yours = self.request, request
        return mine.msg_type == yours.msg_type and _lasting(mine.content) == _lasting(yours.content)

    def __str__(self) -> str:
        return _shown(self.request)


class Mismatch(Exception):
    """What came is not what was recorded; the text says what was."""


class Tape:
    """A recording, and how far it has been played.

    Arguments:
        said: what it holds.
    """

    def __init__(self, said: Sequence[Said]) -> None:
        self._asking: list[Exchange] = []
        self._ordered: dict[Channel, list[Exchange]] = defaultdict(list)
        self._answers: list[Message] = []
        by_id: dict[str, Exchange] = {}
        for each in said:
            if each.to == "client":
                continue
            if each.channel is Channel.STDIN:
                self._answers.append(each.message)
                continue
            exchange = by_id[each.message.msg_id] = Exchange(each.message)
            is_asking = each.message.msg_type in ASKING
            (self._asking if is_asking else self._ordered[each.channel]).append(exchange)
        seen: set[str] = set()  # what is published, every client has written down
        for each in said:
            parent = by_id.get(each.message.parent_id)
            if each.to == "client" and parent is not None and each.message.msg_id not in seen:
                seen.add(each.message.msg_id)
                parent.responses.append(each)

    def take(self, channel: Channel, request: Message) -> Exchange:
        """What was recorded for this request.

        Raises:
            Mismatch: nothing was, or something else is due.
        """
        if request.msg_type in ASKING:
            for exchange in self._asking:
                if exchange.matches(request):
                    return exchange
            raise Mismatch(f"{_shown(request)} was not recorded")
        due = self._ordered[channel]
        if not due:
            raise Mismatch(f"nothing more was recorded on {channel}, and here is {_shown(request)}")
        if not due[0].matches(request):
            raise Mismatch(f"{due[0]} was recorded here, and not {_shown(request)}")
        return due.pop(0)

    def answer(self, reply: Message) -> None:
        """An answer to a question.

        Raises:
            Mismatch: another one was recorded.
        """
        if not self._answers or self._answers.pop(0).content != reply.content:
            raise Mismatch("another input_reply was recorded here")


class Player:
    """Plays a tape on a kernel's end.

    Arguments:
        end: see there; the caller closes it.
        session: verifies and signs.
        tape: what to play.
    """

    def __init__(self, end: KernelEnd, session: Session, tape: Tape) -> None:
        self._session = session
        self._tape = tape
        self._iopub = MessageSender(end.iopub, session)
        self._channels = {
            Channel.SHELL: MessageChannel(end.shell, session),
            Channel.CONTROL: MessageChannel(end.control, session),
            Channel.STDIN: MessageChannel(end.stdin, session),
        }
        self._comms: dict[str, str] = {}

    async def run(self) -> None:
        """Until the end is closed."""
        await asyncio.gather(self._serve(Channel.SHELL), self._serve(Channel.CONTROL))

    async def _serve(self, name: Channel) -> None:
        while True:
            try:
                request, wire = await self._channels[name].receive_from()
            except EndOfChannel:
                return
            try:
                exchange = self._tape.take(name, request)
                self._learn_comm(exchange.request, request)
                await self._play(exchange, request, wire.peer)
            except Mismatch as mismatch:
                await self._complain(name, request, wire.peer, str(mismatch))

    async def _play(self, exchange: Exchange, request: Message, peer: bytes) -> None:
        for said in exchange.responses:
            recorded = said.message
            message = self._session.message(
                recorded.msg_type,
                self._with_comm(recorded.content),
                parent=request,
                metadata=recorded.metadata,
                buffers=recorded.buffers,
            )
            await self._send(said.channel, message, peer)
            if recorded.msg_type == "input_request":
                self._tape.answer(await self._channels[Channel.STDIN].receive())

    async def _complain(self, name: Channel, request: Message, peer: bytes, text: str) -> None:
        error = {"ename": "RecordingMismatch", "evalue": text, "traceback": [f"RecordingMismatch: {text}"]}
        busy, idle = ({"execution_state": state} for state in ("busy", "idle"))
        await self._publish("status", busy, request)
        kind, is_request, _ = request.msg_type.rpartition("_request")
        if not is_request or kind == "execute":
            await self._publish("error", error, request)
        if is_request:
            content = {"status": "error", **error, "execution_count": 0}
            await self._send(name, self._session.message(f"{kind}_reply", content, parent=request), peer)
        await self._publish("status", idle, request)

    async def _publish(self, msg_type: str, content: Mapping[str, Any], request: Message) -> None:
        await self._send(Channel.IOPUB, self._session.message(msg_type, content, parent=request), b"")

    async def _send(self, channel: Channel, message: Message, peer: bytes) -> None:
        with suppress(PeerGone):
            if channel is Channel.IOPUB:
                await self._iopub.send(message, message.msg_type.encode("utf-8"))
            else:
                await self._channels[channel].send(message, peer)

    def _learn_comm(self, recorded: Message, request: Message) -> None:
        before, now = recorded.content.get("comm_id"), request.content.get("comm_id")
        if isinstance(before, str) and isinstance(now, str):
            self._comms[before] = now

    def _with_comm(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        comm = content.get("comm_id")
        return {**content, "comm_id": self._comms[comm]} if isinstance(comm, str) and comm in self._comms else content


def _lasting(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _lasting(each) for name, each in value.items() if name not in _CHANCE}
    return [_lasting(each) for each in value] if isinstance(value, list | tuple) else value


def _shown(request: Message) -> str:
    code = request.content.get("code")
    if not isinstance(code, str):
        return request.msg_type
    return f"{request.msg_type} of {code[:_SHOWN]!r}{'…' if len(code) > _SHOWN else ''}"
