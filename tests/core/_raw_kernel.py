"""A kernel that does what a test says, and what tests of clients share."""

import asyncio

from kernelwire.client import KernelClient
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import KernelEnd
from kernelwire.message_channel import MessageChannel, MessageSender
from kernelwire.messages import Message
from kernelwire.session import Session


class RawKernel:
    """A kernel that does what the test says, when the test says it."""

    def __init__(self, end: KernelEnd, info: ConnectionInfo) -> None:
        self.end = end
        self.session = Session.of(info)
        self.shell = MessageChannel(end.shell, self.session)
        self.control = MessageChannel(end.control, self.session)
        self.stdin = MessageChannel(end.stdin, self.session)
        self._iopub = MessageSender(end.iopub, self.session)
        self._peers: dict[str, bytes] = {}

    async def asked(self, msg_type: str = "") -> Message:
        """The next request on shell."""
        request, wire = await self.shell.receive_from()
        assert msg_type in (request.msg_type, "")
        self._peers[request.msg_id] = wire.peer
        return request

    async def reply(self, request: Message, **content: object) -> None:
        reply_type = request.msg_type.replace("_request", "_reply")
        reply = self.session.message(reply_type, {"status": "ok", **content}, parent=request)
        await self.shell.send(reply, self._peers[request.msg_id])

    async def publish(self, request: Message, msg_type: str, **content: object) -> None:
        await self._iopub.send(self.session.message(msg_type, content, parent=request))

    async def idle(self, request: Message) -> None:
        await self.publish(request, "status", execution_state="idle")

    async def ask(self, request: Message, **content: object) -> Message:
        """An input_request, and the reply to it."""
        question = self.session.message("input_request", content, parent=request)
        await self.stdin.send(question, self._peers[request.msg_id])
        reply = await self.stdin.receive()
        assert reply.is_child_of(question)
        return reply


async def settle(turns: int = 30) -> None:
    """Let every task run until it waits for something that only the test can bring."""
    for _ in range(turns):
        await asyncio.sleep(0)


def nothing_is_left_of_requests(client: KernelClient) -> bool:
    return not (client.pending or client._router._sending or client._router._starting or client._router._deadlines)
