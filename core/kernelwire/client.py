"""A client of one kernel, over whatever transport its connection names."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, ParamSpec, Self

from kernelwire import connection_file, registry
from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd
from kernelwire.errors import (
    ChannelClosed,
    GapNotice,
    InvalidMessage,
    KernelDied,
    KernelwireError,
    LocalError,
    MessageTooLarge,
    NotSupported,
    RequestTimeout,
)
from kernelwire.execution import Execution, InputHook, InputRequest
from kernelwire.heartbeat import HeartbeatMonitor
from kernelwire.message_channel import MessageChannel, MessageReceiver
from kernelwire.messages import Message
from kernelwire.session import Session

_log = logging.getLogger(__name__)

P = ParamSpec("P")

TIME_TO_DEAD: Final = 5.0
"""Seconds without a heartbeat, after there was one, that end the requests under way."""

_WIND_UP: Final = 1.0
"""Seconds that the other channels have when one has ended, for what they hold."""

END_OF_INPUT: Final = "\x04"
"""What stands for the end of input in an input_reply; ipykernel makes an EOFError of it."""


class KernelClient:
    """Requests and their outcomes. Use as an async context manager, which closes `end` too.

    Several clients may share a kernel: each has its own identity and gets its own replies. A client belongs to the
    event loop that entered it; its tasks may make requests at once.

    Arguments:
        end: the kernel's channels.
        session: its id must be the identity that `end` was opened with.
        input_hook: answers ``input()`` of the kernel; without one the kernel is told that there is no stdin.
        time_to_dead: see :data:`TIME_TO_DEAD`.

    Attributes:
        session: as given.
        end: as given.
    """

    def __init__(
        self,
        end: ClientEnd,
        session: Session,
        *,
        input_hook: InputHook | None = None,
        time_to_dead: float = TIME_TO_DEAD,
    ) -> None:
        self.end = end
        self.session = session
        self._input_hook = input_hook
        self._shell = MessageChannel(end.shell, session)
        self._control = MessageChannel(end.control, session)
        self._stdin = MessageChannel(end.stdin, session)
        self._iopub = MessageReceiver(end.iopub, session)
        self._replies: dict[str, asyncio.Future[Message]] = {}
        self._limits: dict[str, asyncio.Timeout] = {}
        self._executions: dict[str, Execution] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._routes: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._monitor = HeartbeatMonitor(end.heartbeat, time_to_dead=time_to_dead, on_change=self._on_heartbeat)
        self._time_to_dead = time_to_dead
        self._last_heard: float | None = None
        self._broken: KernelwireError | None = None

    async def __aenter__(self) -> Self:
        self._routes = [
            self._spawn(self._route_replies, self._shell),
            self._spawn(self._route_replies, self._control),
            self._spawn(self._route_input),
            self._spawn(self._route_iopub),
        ]
        await self._monitor.__aenter__()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        # All of this first, so that nothing stays if the waiting is cancelled.
        for task in self._tasks:
            task.cancel()
        self._broken = ChannelClosed("the client was closed")
        self._fail(self._broken)  # other tasks may still wait for replies
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            try:
                await self._monitor.__aexit__()
            finally:
                await self.end.aclose()

    async def request(
        self,
        msg_type: str,
        content: Mapping[str, Any] | None = None,
        *,
        channel: Channel = Channel.SHELL,
        timeout: float | None = None,
    ) -> Message:
        """Send any request and wait for its reply.

        Arguments:
            msg_type: ``..._request``.
            content: the request's content.
            channel: shell or control.
            timeout: seconds to wait; None for as long as the kernel lives.

        Raises:
            RequestTimeout: no reply in time.
            KernelDied: the kernel's heartbeat stopped.
            InvalidMessage, MessageTooLarge: the request cannot be sent.
            ChannelClosed, EndOfChannel, ConnectionLost, WrongLoop: as the channels.
        """
        if channel not in (Channel.SHELL, Channel.CONTROL):
            raise NotSupported(f"requests go on shell or control, not on {channel}")
        self._check_connected()
        request = self.session.message(msg_type, content)
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._replies[request.msg_id] = reply
        try:
            async with asyncio.timeout(timeout) as limit:
                self._limits[request.msg_id] = limit
                await (self._shell if channel is Channel.SHELL else self._control).send(request)
                return await reply
        except TimeoutError:
            if reply.done() and not reply.cancelled():  # it failed, or it came in the nick of time
                return reply.result()
            raise RequestTimeout(f"no reply to {msg_type} within {timeout:g} s") from None
        finally:
            del self._replies[request.msg_id]
            self._limits.pop(request.msg_id, None)

    async def ready(self, timeout: float | None = None) -> Message:
        """Wait until the kernel answers and what it publishes arrives here; return its kernel_info_reply.

        A kernel that is away may be starting (again), so without a time limit this waits for as long as that takes.

        Raises:
            RequestTimeout, ChannelClosed, EndOfChannel, ConnectionLost: as `request`.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    await self.end.iopub.ready()
                    with suppress(KernelDied):  # the one before the one that is waited for
                        return await self.kernel_info()
        except TimeoutError:
            raise RequestTimeout(f"the kernel did not answer within {timeout:g} s") from None

    async def kernel_info(self, timeout: float | None = None) -> Message:
        """What the kernel is. Raises as `request`."""
        return await self.request("kernel_info_request", timeout=timeout)

    async def complete(self, code: str, cursor_pos: int | None = None, timeout: float | None = None) -> Message:
        """Completions of `code` at `cursor_pos` (in characters; the end if not given). Raises as `request`."""
        position = len(code) if cursor_pos is None else cursor_pos
        return await self.request("complete_request", {"code": code, "cursor_pos": position}, timeout=timeout)

    async def interrupt(self, timeout: float | None = None) -> Message:
        """Ask the kernel, on control, to interrupt what it executes. Raises as `request`."""
        return await self.request("interrupt_request", channel=Channel.CONTROL, timeout=timeout)

    def execute(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        stop_on_error: bool = True,
        input_hook: InputHook | None = None,
    ) -> Execution:
        """Run code: ``async for message in client.execute(...)`` or ``result = await client.execute(...)``.

        Arguments:
            code: what to run.
            silent: publish nothing, count nothing.
            store_history: keep it in the kernel's history.
            user_expressions: names to expressions, evaluated afterwards.
            stop_on_error: an error aborts what is queued behind it.
            input_hook: answers input requests of this execution; the client's own if not given.
        """
        hook = input_hook or self._input_hook
        request = self.session.message(
            "execute_request",
            {
                "code": code,
                "silent": silent,
                "store_history": store_history and not silent,
                "user_expressions": dict(user_expressions or {}),
                "allow_stdin": hook is not None,
                "stop_on_error": stop_on_error,
            },
        )
        return Execution(request, self._start_execution, hook)

    def _start_execution(self, execution: Execution) -> None:
        self._check_connected()
        msg_id = execution.request.msg_id
        self._executions[msg_id] = execution
        # A task, so that a kernel that dies meanwhile ends the wait, and a cancelled reader may read on later.
        task = self._spawn(self._send_execution, execution)
        self._starting[msg_id] = task
        task.add_done_callback(lambda _: self._starting.pop(msg_id, None))

    async def _send_execution(self, execution: Execution) -> None:
        try:
            # Known before asked, so that no output of it can be missed.
            await self.end.iopub.ready()
            await self._shell.send(execution.request)
        except LocalError as error:  # the request's own fault, or the client closes; no other request is concerned
            self._executions.pop(execution.request.msg_id, None)
            execution.fail(error)

    async def _route_replies(self, channel: MessageChannel) -> None:
        while True:
            reply = await channel.receive()
            self._last_heard = asyncio.get_running_loop().time()
            waiting = self._replies.get(reply.parent_id)
            if waiting is not None and not waiting.done():
                waiting.set_result(reply)
                del reply, waiting  # as on iopub
                continue
            execution = self._executions.get(reply.parent_id)
            if execution is not None:
                execution.on_reply(reply)
                self._forget_if_done(execution)
            del reply, waiting, execution  # as on iopub

    async def _route_iopub(self) -> None:
        while True:
            try:
                message, wire = await self._iopub.receive_from()
            except GapNotice as notice:
                for each in self._executions.values():
                    each.on_gap(notice.again())
                continue
            self._last_heard = asyncio.get_running_loop().time()
            execution = self._executions.get(message.parent_id)
            if execution is not None:
                execution.on_output(message, wire.size)
                self._forget_if_done(execution)
            del message, wire, execution  # perhaps large, and the next may be long in coming

    async def _route_input(self) -> None:
        while True:
            request = await self._stdin.receive()
            execution = self._executions.get(request.parent_id)
            if request.msg_type == "input_request" and execution is not None and execution.input_hook is not None:
                self._spawn(self._answer, execution.input_hook, request)

    async def _answer(self, hook: InputHook, request: Message) -> None:
        content = request.content
        try:
            value = await hook(InputRequest(str(content.get("prompt", "")), bool(content.get("password"))))
        except EOFError:
            value = END_OF_INPUT
        except Exception:  # noqa: BLE001 - the caller's code; the kernel must not wait for it for ever
            _log.exception("the input hook failed")
            value = END_OF_INPUT
        try:
            await self._stdin.send(self.session.message("input_reply", {"value": value}, parent=request))
        except (InvalidMessage, MessageTooLarge):
            _log.exception("the input hook's answer cannot be sent")
            await self._stdin.send(self.session.message("input_reply", {"value": END_OF_INPUT}, parent=request))

    def _forget_if_done(self, execution: Execution) -> None:
        if execution.done:
            self._executions.pop(execution.request.msg_id, None)

    def _on_heartbeat(self, beating: bool, since: float) -> None:
        now = asyncio.get_running_loop().time()
        if beating:
            self._last_heard = now
        # One that was never heard may still be starting. One that was heard since the beat that it missed is alive: it
        # may have come back meanwhile, and a bridge swallows beats until it knows that.
        elif self._last_heard is not None and now - self._last_heard >= self._time_to_dead:
            self._fail(KernelDied(f"the kernel has not answered its heartbeat for {since:.1f} s"))

    async def _wind_up(self, error: KernelwireError) -> None:
        # What the other channels hold came before the end: replies, and output of what ran.
        await asyncio.wait(self._routes, timeout=_WIND_UP)
        self._fail(error)

    def _fail(self, error: KernelwireError) -> None:
        """End every request under way."""
        for starting in self._starting.values():
            starting.cancel()  # or the next kernel would run what this one is said to have died over
        for msg_id, reply in self._replies.items():
            if not reply.done():
                reply.set_exception(error.again())
                reply.exception()  # perhaps nobody will ask: the request may be on its way out for another reason
                # A wire that is full makes senders wait; nobody would take what they have.
                if not (limit := self._limits[msg_id]).expired():
                    limit.reschedule(asyncio.get_running_loop().time())
        for execution in self._executions.values():
            execution.fail(error.again())
        self._executions.clear()

    def _check_connected(self) -> None:
        if self._broken is not None:
            raise self._broken.again()

    def _spawn(self, work: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs) -> asyncio.Task[None]:
        async def run() -> None:
            try:
                # Made here: a task that is cancelled before its first step never comes to this.
                await work(*args, **kwargs)
            except KernelwireError as error:
                # A channel ended for good: no reply will come to anything that is asked from now on.
                if self._broken is None:
                    self._broken = error
                    self._spawn(self._wind_up, error)

        task = asyncio.create_task(run(), name="kernelwire client")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


@asynccontextmanager
async def connect(
    connection: ConnectionInfo | str | os.PathLike[str], *, input_hook: InputHook | None = None
) -> AsyncIterator[KernelClient]:
    """A client of the kernel that a connection file describes, over the backend that its ``transport`` names.

    Arguments:
        connection: the information itself, or a connection file: a path, a name in Jupyter's runtime directory, or a
            pattern of one (see :func:`kernelwire.connection_file.find`).
        input_hook: as for :class:`KernelClient`.

    Raises:
        ConfigurationError: the file, a field of it, or its transport cannot be used.
    """
    if not isinstance(connection, ConnectionInfo):
        connection = connection_file.read(connection_file.find(os.fspath(connection)))
    session = Session.of(connection)
    backend = registry.load(connection.transport)
    end = await backend.connect(connection, identity=session.session_id.encode("ascii"))
    async with KernelClient(end, session, input_hook=input_hook) as client:
        yield client
