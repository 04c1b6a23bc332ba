"""What a served kernel asks its clients on stdin, and their answers."""

import asyncio
from typing import Final

from kernelwire.channels import PeerEvents
from kernelwire.errors import GapNotice, NotSupported, PeerGone
from kernelwire.execution import END_OF_INPUT
from kernelwire.message_channel import MessageReceiver
from kernelwire.serving.publisher import Publisher, Request

_ANY_PARENT: Final = ""


class Questions:
    """The questions that are open.

    Arguments:
        publisher: sends them.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._open: list[_Question] = []

    async def ask(self, request: Request, prompt: str, password: bool) -> str:
        """As :meth:`kernelwire.serving.Run.input`."""
        if not request.message.content.get("allow_stdin", True):
            raise NotSupported("whoever sent this request answers no questions (its allow_stdin is false)")
        question = _Question(request)
        # Before it is sent, since the answer may be quick.
        self._open.append(question)
        try:
            try:
                sent = await self._publisher.ask(request, prompt, password)
            except PeerGone:
                raise EOFError("the client that was asked is gone") from None
            question.parents.add(sent.msg_id)
            value = await question.answer
        finally:
            self._open.remove(question)
        if value is None or value == END_OF_INPUT:
            raise EOFError("the client that was asked gave no answer")
        return value

    async def collect(self, stdin: MessageReceiver) -> None:
        """Take the answers, for as long as the channel lasts."""
        while True:
            reply, wire = await stdin.receive_from()
            for question in self._open:
                if question.request.peer == wire.peer and reply.parent_id in question.parents and question.is_open:
                    question.answer.set_result(str(reply.content.get("value", "")))
                    break

    async def watch(self, peers: PeerEvents) -> None:
        """No answer will come from a client that has left."""
        while True:
            try:
                event = await peers.receive()
            except GapNotice:
                continue
            for question in self._open:
                if question.request.peer == event.peer and not event.joined and question.is_open:
                    question.answer.set_result(None)


class _Question:
    def __init__(self, request: Request) -> None:
        self.request = request
        # Some clients answer with the question as parent, others with the execute_request, jupyter_client with none.
        self.parents = {request.message.msg_id, _ANY_PARENT}
        self.answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        return not self.answer.done()
