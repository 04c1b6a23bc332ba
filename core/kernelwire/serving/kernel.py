"""A kernel made of an object, on a kernel end that is open: requests in, the object's methods, replies out."""

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Self

from kernelwire.channels import Channel
from kernelwire.comms import COMM_TYPES
from kernelwire.ends import KernelEnd
from kernelwire.errors import ChannelClosed, EndOfChannel, InvalidMessage, KernelwireError, MessageTooLarge
from kernelwire.message_channel import MessageChannel, MessageReceiver
from kernelwire.serving import replies
from kernelwire.serving.comms import KernelComms
from kernelwire.serving.definition import Definition
from kernelwire.serving.publisher import Publisher, Request
from kernelwire.serving.questions import Questions
from kernelwire.serving.run import Run
from kernelwire.session import Session

_log = logging.getLogger(__name__)

_ON_THE_WAY: Final = 5
"""Turns of the loop in which a request that the wire holds already arrives."""


GRACE: Final = 5.0
"""Seconds that a method of the object has to end when it is cancelled in the end."""


class ServedKernel:
    """Answers until it is shut down, or the end closes. Use as an async context manager.

    Requests on shell follow each other; those on control do not wait for them.

    Arguments:
        served: the object; see :func:`kernelwire.serve`.
        end: a served kernel end; the caller closes it.
        session: verifies and signs. A restart gives it another id.

    Raises:
        InvalidKernel: the object cannot be served.
    """

    def __init__(self, served: object, end: KernelEnd, session: Session) -> None:
        self._definition = served if isinstance(served, Definition) else Definition(served)
        self._end = end
        self._session = session
        self._publisher = Publisher(end, session)
        self._questions = Questions(self._publisher)
        self._comms = KernelComms(self._publisher, self._definition)
        self._shell = MessageChannel(end.shell, session)
        self._control = MessageChannel(end.control, session)
        self._count = 0
        self._backlog: deque[tuple[Request, bool]] = deque()  # received already; and whether it is to be aborted
        self._working: asyncio.Task[Any] | None = None  # the method that an interrupt cancels
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._object = AsyncExitStack()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._definition.entered())
            await self._publisher.status("starting")
            self._object = stack.pop_all()
        self._start("shell", self._serve(self._shell, Channel.SHELL))
        self._start("control", self._serve(self._control, Channel.CONTROL))
        self._start("stdin", self._questions.collect(MessageReceiver(self._end.stdin, self._session)))
        if self._end.peers is not None:
            self._start("peers", self._questions.watch(self._end.peers))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await _end(self._tasks.values())
        self._comms.forget_all()
        if not self._ended.done():
            self._ended.set_result(None)
        await self._object.aclose()

    async def wait(self) -> None:
        """Until the kernel was shut down, or the end closed.

        Raises:
            ConnectionLost: the wire broke for good.
        """
        await asyncio.shield(self._ended)

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"kernelwire serving {name}")
        self._tasks[name] = task
        task.add_done_callback(self._on_task_end)

    def _on_task_end(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        if self._ended.done():
            return
        if error is None or isinstance(error, EndOfChannel | ChannelClosed):
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)
            self._ended.exception()  # perhaps nobody waits

    async def _serve(self, channel: MessageChannel, name: Channel) -> None:
        while not self._ended.done():
            if name is Channel.SHELL and self._backlog:
                request, aborted = self._backlog.popleft()
            else:
                request, aborted = await self._receive(channel, name), False
            await self._answer(request, aborted)
            del request  # perhaps large, and the next may be long in coming

    async def _receive(self, channel: MessageChannel, name: Channel) -> Request:
        message, wire = await channel.receive_from()
        return Request(message, wire.peer, name, self._session.speaks_v4)

    async def _answer(self, request: Request, aborted: bool) -> None:
        msg_type = request.message.msg_type
        await self._publisher.status("busy", request)
        if aborted and msg_type == "execute_request":
            await self._publisher.reply(request, replies.ABORTED)
        elif msg_type in COMM_TYPES:
            await self._on_comm(request)
        else:
            await self._reply(request, await self._content(request))
        await self._publisher.status("idle", request)
        if msg_type == "shutdown_request":
            await self._after_shutdown(request)

    async def _reply(self, request: Request, content: Mapping[str, Any]) -> None:
        if self._stops_the_queue(request, content):
            # What waits now, and not what the client sends when it knows of the error. Others' requests are theirs.
            self._backlog.extend([(each, each.peer == request.peer) for each in await self._held()])
        try:
            await self._publisher.reply(request, content)
        except (InvalidMessage, MessageTooLarge) as error:
            await self._publisher.reply(request, replies.failed(error))

    async def _content(self, request: Request) -> Mapping[str, Any]:
        """The reply's content; whatever the object raises becomes one."""
        msg_type = request.message.msg_type
        content = request.message.content
        try:
            match msg_type:
                case "kernel_info_request":
                    return await self._definition.kernel_info()
                case "comm_info_request":
                    return self._comms.info(content.get("target_name"))
                case "shutdown_request":
                    return await self._shut_down(request)
                case "interrupt_request":
                    return await self._interrupt()
            if msg_type != "execute_request" and msg_type not in replies.ANSWERS:
                return replies.unknown(msg_type)
            if request.channel is not Channel.SHELL:
                return replies.unknown(msg_type, "send it on shell")
            if msg_type == "execute_request":
                return await self._execute(request)
            answer: Mapping[str, Any] = await self._call(replies.ANSWERS[msg_type], self._definition, content)
            return answer
        except (EndOfChannel, ChannelClosed):
            raise
        except Exception as error:  # noqa: BLE001 - the object's code; the kernel lives
            return replies.failed(error)

    async def _execute(self, request: Request) -> Mapping[str, Any]:
        own_count = self._definition.execution_count
        run = Run(request, self._count + 1 if own_count is None else own_count, *self._outlets)
        if run.store_history:
            self._count += 1
        if not run.silent:
            await run.publish("execute_input", {"code": run.code, "execution_count": run.execution_count})
        execute = self._definition.method("execute")
        assert execute is not None
        try:
            value = await self._call(execute, run.code, run)
            if value is not None:
                await run.result(value)
        except KernelwireError as error:
            if isinstance(error, EndOfChannel | ChannelClosed):
                raise
            await self._fail(run, error)
        except Exception as error:  # noqa: BLE001 - the object's code
            await self._fail(run, error)
        if run.failure is not None:
            status = {"status": "error", **run.failure}
        else:
            status = {"status": "ok", "user_expressions": {}, "payload": []}
        return {**status, "execution_count": run.execution_count, **run.reply}

    async def _fail(self, run: Run, error: Exception) -> None:
        if run.failure is None:
            fields = replies.failure(error)
            await run.error(fields["ename"], fields["evalue"], fields["traceback"])

    async def _call(self, method: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
        """Run a method of the object, so that an interrupt cancels it and nothing of ours."""
        working = asyncio.create_task(_contained(method, arguments))
        self._working = working
        this = asyncio.current_task()
        assert this is not None
        try:
            value = await working
        except asyncio.CancelledError:
            if this.cancelling():
                raise
            raise replies.Interrupted from None
        finally:
            self._working = None
        if this.cancelling():  # which the method has taken for an interrupt, and survived
            raise asyncio.CancelledError
        return value

    async def _interrupt(self) -> Mapping[str, Any]:
        if (interrupt := self._definition.method("interrupt")) is not None:
            await interrupt()
        elif self._working is not None:
            self._working.cancel()
        return {"status": "ok"}

    async def _shut_down(self, request: Request) -> Mapping[str, Any]:
        restart = bool(request.message.content.get("restart", False))
        if request.channel is not Channel.SHELL:
            shell = self._tasks["shell"]
            await _end([shell])
        # The next kernel must not run what was meant for this one, and nobody shall wait for it for ever.
        for waits in await self._held():
            if waits.message.msg_type not in COMM_TYPES:
                await self._publisher.reply(waits, replies.ABORTED)
        method = self._definition.method("restart" if self._restarts(request) else "shutdown")
        try:
            if method is not None:
                await method()
        except Exception as error:  # noqa: BLE001 - the object's code; it ends, or is as new, all the same
            _log.warning("%s of a served kernel failed: %s", "restart" if restart else "shutdown", type(error).__name__)
        return {"status": "ok", "restart": restart}

    async def _after_shutdown(self, request: Request) -> None:
        if not self._restarts(request):
            content = {"status": "ok", "restart": bool(request.message.content.get("restart", False))}
            await self._publisher.publish("shutdown_reply", content, request)
            if not self._ended.done():
                self._ended.set_result(None)
            return
        self._comms.forget_all()
        self._count = 0
        # By its session clients know that another kernel answers.
        self._session.session_id = uuid.uuid4().hex
        await self._publisher.status("starting")
        if request.channel is not Channel.SHELL:
            self._start("shell", self._serve(self._shell, Channel.SHELL))

    def _restarts(self, request: Request) -> bool:
        return bool(request.message.content.get("restart", False)) and self._definition.method("restart") is not None

    async def _on_comm(self, request: Request) -> None:
        try:
            found = await self._comms.on_message(request)
            if found is None:
                return
            name, comm = found
            if (method := self._definition.method(name)) is not None:
                await self._call(method, comm, request.message)
        except (EndOfChannel, ChannelClosed):
            raise
        except Exception as error:  # noqa: BLE001 - the object's code, and a comm message has no reply to say so
            _log.warning("%s of a served kernel failed: %s", request.message.msg_type, type(error).__name__)
            if request.message.msg_type == "comm_open":
                await comm.close()

    def _stops_the_queue(self, request: Request, content: Mapping[str, Any]) -> bool:
        return (
            request.message.msg_type == "execute_request"
            and content.get("status") == "error"
            and request.channel is Channel.SHELL
            and bool(request.message.content.get("stop_on_error", True))
        )

    async def _held(self) -> list[Request]:
        """The requests that wait on shell, here or on the wire."""
        held = [each for each, _ in self._backlog]
        self._backlog.clear()
        while True:
            receiving = asyncio.create_task(self._receive(self._shell, Channel.SHELL))
            try:
                for _ in range(_ON_THE_WAY):
                    await asyncio.sleep(0)
                    if receiving.done():
                        break
            finally:
                receiving.cancel()  # loses nothing
            await asyncio.wait([receiving])
            if receiving.cancelled() or receiving.exception() is not None:
                return held
            held.append(receiving.result())

    @property
    def _outlets(self) -> tuple[Publisher, Questions, KernelComms]:
        return self._publisher, self._questions, self._comms


async def _contained(method: Callable[..., Awaitable[Any]], arguments: tuple[object, ...]) -> Any:
    """Keep what would end the event loop inside the task."""
    try:
        return await method(*arguments)
    except KeyboardInterrupt:
        raise replies.Interrupted from None
    except SystemExit as error:
        raise replies.Exited(str(error)) from error


async def _end(tasks: Iterable["asyncio.Task[None]"]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    if tasks:
        _, stubborn = await asyncio.wait(tasks, timeout=GRACE)
        if stubborn:
            _log.warning("a method of a served kernel does not end when it is cancelled; it is left alone")
