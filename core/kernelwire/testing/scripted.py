"""A kernel whose behaviour is a few Python functions: for tests, on the kernel end of any transport."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Self

from kernelwire.channels import Channel
from kernelwire.ends import KernelEnd
from kernelwire.errors import EndOfChannel, PeerGone
from kernelwire.message_channel import MessageChannel, MessageSender
from kernelwire.messages import Message
from kernelwire.session import Session


class Run:
    """One execute_request while it runs: what the script may do.

    Attributes:
        request: the execute_request.
        peer: the client that asked.
        code: its code.
    """

    def __init__(self, kernel: "ScriptedKernel", request: Message, peer: bytes) -> None:
        self.request = request
        self.peer = peer
        self.code = str(request.content.get("code", ""))
        self._kernel = kernel

    async def publish(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Publish a message of any type as a child of the request."""
        await self._kernel.publish(msg_type, content, self.request)

    async def stream(self, text: str, name: str = "stdout") -> None:
        """Print."""
        await self.publish("stream", {"name": name, "text": text})

    async def input(self, prompt: str = "", password: bool = False) -> str:
        """Ask the client that sent the request, and wait for its answer."""
        return await self._kernel.ask(self, prompt, password)


Script = Callable[[Run], Awaitable[Mapping[str, Any] | None]]
"""Runs one request; returns further fields for the reply, or None. An exception becomes an error reply."""


class ScriptedKernel:
    """Answers kernel_info, complete, interrupt, shutdown and execute requests. Use as an async context manager.

    Shell requests run one after another; control requests at once. Unknown requests get a reply with status error.

    Arguments:
        end: a served kernel end; the caller closes it.
        session: verifies and signs.
        script: runs execute requests; without one they print their code.

    Attributes:
        received: messages of each channel, as they were accepted.
        interrupted: set by an interrupt_request; the script may look at it.
    """

    def __init__(self, end: KernelEnd, session: Session, script: Script | None = None) -> None:
        self.end = end
        self.session = session
        self.received: dict[Channel, list[Message]] = {name: [] for name in Channel}
        self.interrupted = asyncio.Event()
        self._script = script or _print_code
        self._iopub = MessageSender(end.iopub, session)
        self._stdin = MessageChannel(end.stdin, session)
        self._questions: dict[bytes, tuple[set[str], asyncio.Future[str]]] = {}  # by peer: who may be the parent
        self._count = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        shell = MessageChannel(self.end.shell, self.session)
        control = MessageChannel(self.end.control, self.session)
        self._tasks = [
            asyncio.create_task(self._serve(shell, Channel.SHELL)),
            asyncio.create_task(self._serve(control, Channel.CONTROL)),
            asyncio.create_task(self._collect_answers()),
        ]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def publish(self, msg_type: str, content: Mapping[str, Any], parent: Message | None = None) -> None:
        """Publish a message on iopub."""
        await self._iopub.send(self.session.message(msg_type, content, parent=parent), msg_type.encode("utf-8"))

    async def ask(self, run: Run, prompt: str, password: bool) -> str:
        """Send an input_request to a run's client, and wait for the reply to it."""
        question = self.session.message("input_request", {"prompt": prompt, "password": password}, parent=run.request)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # Some clients answer with the question as parent, others with the execute_request, jupyter_client with none.
        self._questions[run.peer] = {question.msg_id, run.request.msg_id, ""}, answer
        try:
            await self._stdin.send(question, run.peer)
            return await answer
        finally:
            del self._questions[run.peer]

    async def _serve(self, channel: MessageChannel, name: Channel) -> None:
        while True:
            try:
                request, wire = await channel.receive_from()
            except EndOfChannel:
                return
            self.received[name].append(request)
            await self.publish("status", {"execution_state": "busy"}, request)
            content = await self._reply_content(request, wire.peer)
            reply_type = request.msg_type.removesuffix("_request") + "_reply"
            with suppress(PeerGone):
                await channel.send(self.session.message(reply_type, content, parent=request), wire.peer)
            await self.publish("status", {"execution_state": "idle"}, request)

    async def _reply_content(self, request: Message, peer: bytes) -> Mapping[str, Any]:
        match request.msg_type:
            case "kernel_info_request":
                return KERNEL_INFO
            case "complete_request":
                code = str(request.content.get("code", ""))
                position = int(request.content.get("cursor_pos", len(code)))
                word = code[:position]
                return {"status": "ok", "matches": [word + "_completed"], "cursor_start": 0, "cursor_end": position}
            case "interrupt_request":
                self.interrupted.set()
                return {"status": "ok"}
            case "shutdown_request":
                return {"status": "ok", "restart": bool(request.content.get("restart"))}
            case "execute_request":
                return await self._execute(Run(self, request, peer))
        return {"status": "error", "ename": "NotImplementedError", "evalue": request.msg_type, "traceback": []}

    async def _execute(self, run: Run) -> Mapping[str, Any]:
        self._count += 1
        try:
            extra = await self._script(run)
        except Exception as error:  # noqa: BLE001 - whatever the script raises is the kernel's error to report
            failure = {"ename": type(error).__name__, "evalue": str(error), "traceback": [repr(error)]}
            await run.publish("error", failure)
            return {"status": "error", "execution_count": self._count, **failure}
        return {"status": "ok", "execution_count": self._count, "user_expressions": {}, **(extra or {})}

    async def _collect_answers(self) -> None:
        while True:
            try:
                reply, wire = await self._stdin.receive_from()
            except EndOfChannel:
                return
            self.received[Channel.STDIN].append(reply)
            parents, answer = self._questions.get(wire.peer, (set(), None))
            if answer is not None and reply.parent_id in parents and not answer.done():
                answer.set_result(str(reply.content.get("value", "")))


KERNEL_INFO: Mapping[str, Any] = {
    "status": "ok",
    "protocol_version": "5.4",
    "implementation": "scripted",
    "implementation_version": "1",
    "language_info": {"name": "text", "version": "1", "mimetype": "text/plain", "file_extension": ".txt"},
    "banner": "a scripted kernel",
    "help_links": [],
}


async def _print_code(run: Run) -> None:
    await run.stream(run.code)
