"""A client of one kernel, over whatever transport its connection names."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self

from kernelwire import interactive
from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.comms import Comm, OnOpen
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, not_opened
from kernelwire.errors import KernelDied, KernelRestarted, KernelwireError, NotSupported, RequestTimeout
from kernelwire.execution import ExecuteResult, Execution, InputHook, check_execution, checked_code
from kernelwire.first_answer import first_answer, why_silent
from kernelwire.heartbeat import HeartbeatMonitor
from kernelwire.interactive import OutputHook
from kernelwire.messages import Message
from kernelwire.raw_channels import open_end
from kernelwire.requests import FlushRequest, PlainRequest
from kernelwire.router import Router
from kernelwire.session import Session

if TYPE_CHECKING:
    from typing_extensions import Buffer

TIME_TO_DEAD: Final = 5.0
"""Seconds without a heartbeat, after there was one, that end the requests under way."""


class KernelClient:
    """Requests and their outcomes. Use as an async context manager, which closes `end` too.

    Several clients may share a kernel: each has its own identity and gets its own replies. A client belongs to the
    event loop that entered it; its tasks may make requests at once.

    Every request ends: with its reply, or with an error that says why there is none. Beside what each method names,
    all of them raise:

    - RequestTimeout: no reply within `timeout` seconds. None, the default, waits for as long as the kernel lives.
    - KernelDied: the kernel's heartbeat stopped, or whoever started it says that it has ended. KernelRestarted: another
      kernel has taken its place.
    - NoReply: the kernel is done with the request, and no reply has come.
    - OutcomeUnknown: the other end of the wire was started anew meanwhile; the request may have run, or not.
    - InvalidMessage, MessageTooLarge: the request cannot be sent.
    - ChannelClosed, EndOfChannel, ConnectionLost, WrongLoop: as the channels.

    Arguments:
        end: the kernel's channels. Where some are not open the client can do less: what needs one raises NotSupported.
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
        self._router = Router(end, session, time_to_dead=time_to_dead)

    @property
    def heartbeat(self) -> HeartbeatMonitor:
        """Whether the kernel beats, and pausing to ask so. Raises NotSupported if that channel is not open."""
        if self._router.monitor is None:
            raise not_opened(Channel.HEARTBEAT)
        return self._router.monitor

    @property
    def allow_stdin(self) -> bool:
        """Whether the kernel may ask: there is an input hook, and the stdin channel is open."""
        return self._input_hook is not None and Channel.STDIN in self.end.channels

    @property
    def pending(self) -> int:
        """How many requests are under way, without those by which the client itself asks after some of them."""
        return self._router.pending

    async def __aenter__(self) -> Self:
        await self._router.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self._router.__aexit__(*exc)
        finally:
            await self.end.__aexit__(*exc)

    @property
    def broken(self) -> KernelwireError | None:
        """Why this client can ask nothing any more; None while it can."""
        return self._router.broken

    def end_requests(self, error: KernelwireError) -> None:
        """End all requests that are under way with an error, for somebody who knows that no reply will come.

        The client stays usable: the next request is sent to whoever serves the kernel's address then.
        """
        self._router.end_requests(error)

    def on_kernel_end(self, error: KernelwireError, *, for_good: bool = False) -> None:
        """For somebody who knows that the kernel has ended: end the requests under way with `error`, each when nothing
        has come for it for a fifth of a second, so that what the kernel sent last is not lost.

        Arguments:
            error: what ends them.
            for_good: no kernel will serve this address again, so further requests end with `error` too.
        """
        self._router.on_kernel_end(error, for_good=for_good)

    async def request(
        self,
        msg_type: str,
        content: Mapping[str, Any] | None = None,
        *,
        channel: Channel = Channel.SHELL,
        subshell_id: str | None = None,
        timeout: float | None = None,
    ) -> Message:
        """Send any request and wait for its reply.

        Arguments:
            msg_type: ``..._request``.
            content: the request's content.
            channel: shell or control.
            subshell_id: the subshell to run it in (protocol 5.5); None for the main one.
            timeout: seconds to wait.
        """
        if channel not in (Channel.SHELL, Channel.CONTROL):
            raise NotSupported(f"requests go on shell or control, not on {channel}")
        header: dict[str, Any] = {} if subshell_id is None else {"subshell_id": subshell_id}
        request = PlainRequest(self.session.message(msg_type, content, **header), channel)
        return await self._ask(request, timeout)

    async def ready(self, timeout: float | None = None) -> Message:
        """Wait until the kernel answers and what it publishes arrives here; return its kernel_info_reply.

        A kernel that is away may be starting (again), so without a time limit this waits for as long as that takes. One
        that is busy on shell is asked on control too.

        Raises:
            InvalidField: it has another key than this connection.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    await self._router.output_ready()
                    with suppress(KernelDied, KernelRestarted):  # the one before the one that is waited for
                        return await first_answer(self._ask_who_it_is, self.end.channels, self.session)
        except TimeoutError:
            doubt = why_silent(self.session, self._router.monitor)
            raise RequestTimeout(f"the kernel did not answer within {timeout:g} s{doubt}") from None

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until everything that the kernel has published for earlier requests of this client is here."""
        if Channel.IOPUB not in self.end.channels:
            raise not_opened(Channel.IOPUB)
        await self._ask(FlushRequest(self.session.message("kernel_info_request")), timeout)

    async def kernel_info(self, timeout: float | None = None) -> Message:
        """What the kernel is: language, implementation, protocol version."""
        return await self.request("kernel_info_request", timeout=timeout)

    async def complete(self, code: str, cursor_pos: int | None = None, timeout: float | None = None) -> Message:
        """Completions of `code` at `cursor_pos`, in characters; at the end if not given."""
        content = {"code": checked_code(code), "cursor_pos": len(code) if cursor_pos is None else cursor_pos}
        return await self.request("complete_request", content, timeout=timeout)

    async def inspect(
        self, code: str, cursor_pos: int | None = None, *, detail_level: int = 0, timeout: float | None = None
    ) -> Message:
        """What the kernel knows of the name at `cursor_pos`; with `detail_level` 1 its source too, if there is one."""
        content = {"code": checked_code(code), "cursor_pos": len(code) if cursor_pos is None else cursor_pos}
        return await self.request("inspect_request", content | {"detail_level": detail_level}, timeout=timeout)

    async def is_complete(self, code: str, timeout: float | None = None) -> Message:
        """Whether `code` can be run as it is: status ``complete``, ``incomplete``, ``invalid`` or ``unknown``."""
        return await self.request("is_complete_request", {"code": checked_code(code)}, timeout=timeout)

    async def history(
        self,
        *,
        hist_access_type: str = "tail",
        n: int | None = 10,
        raw: bool = True,
        output: bool = False,
        timeout: float | None = None,
        **selection: Any,
    ) -> Message:
        """Earlier input.

        Arguments:
            hist_access_type: ``tail``, ``range`` or ``search``.
            n: how many, for tail and search.
            raw: as it was typed, not as it was transformed.
            output: the output too.
            timeout: seconds to wait.
            selection: for range ``session``, ``start``, ``stop``; for search ``pattern``, ``unique``.
        """
        content = {"hist_access_type": hist_access_type, "raw": raw, "output": output, **selection}
        return await self.request("history_request", content | ({} if n is None else {"n": n}), timeout=timeout)

    async def comm_info(self, target_name: str | None = None, timeout: float | None = None) -> Message:
        """The comms that are open in the kernel, or those of one target."""
        content = {} if target_name is None else {"target_name": target_name}
        return await self.request("comm_info_request", content, timeout=timeout)

    async def interrupt(self, timeout: float | None = None) -> Message:
        """Ask the kernel, on control, to interrupt what it executes."""
        return await self.request("interrupt_request", channel=Channel.CONTROL, timeout=timeout)

    async def shutdown(self, *, restart: bool = False, timeout: float | None = None) -> Message:
        """Ask the kernel, on control, to end; with `restart`, that it will be started again."""
        return await self.request("shutdown_request", {"restart": restart}, channel=Channel.CONTROL, timeout=timeout)

    async def debug(
        self, command: str, arguments: Any = None, *, seq: int = 0, timeout: float | None = None
    ) -> Message:
        """A request of the Debug Adapter Protocol, on control; the reply's content is that protocol's response."""
        content = {"type": "request", "seq": seq, "command": command, "arguments": arguments or {}}
        return await self.request("debug_request", content, channel=Channel.CONTROL, timeout=timeout)

    async def create_subshell(self, timeout: float | None = None) -> str:
        """Open a subshell (protocol 5.5), which runs beside the main one; return its id."""
        reply = await self.request("create_subshell_request", channel=Channel.CONTROL, timeout=timeout)
        return str(reply.content.get("subshell_id", ""))

    async def delete_subshell(self, subshell_id: str, timeout: float | None = None) -> Message:
        """Close a subshell."""
        content = {"subshell_id": subshell_id}
        return await self.request("delete_subshell_request", content, channel=Channel.CONTROL, timeout=timeout)

    async def list_subshells(self, timeout: float | None = None) -> list[str]:
        """The ids of the open subshells."""
        reply = await self.request("list_subshell_request", channel=Channel.CONTROL, timeout=timeout)
        return [str(each) for each in reply.content.get("subshell_id") or ()]

    def execute(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        stop_on_error: bool = True,
        subshell_id: str | None = None,
        allow_stdin: bool = True,
        input_hook: InputHook | None = None,
        keep: bool = True,
    ) -> Execution:
        """Run code: ``async for message in client.execute(...)`` or ``result = await client.execute(...)``.

        Arguments:
            code: what to run.
            silent: publish nothing, count nothing.
            store_history: keep it in the kernel's history.
            user_expressions: names to expressions, evaluated afterwards.
            stop_on_error: an error aborts what is queued behind it.
            subshell_id: the subshell to run it in; None for the main one.
            allow_stdin: False tells the kernel not to ask, whatever hook there is.
            input_hook: answers input requests of this execution; the client's own if not given.
            keep: keep the messages that were iterated over for the result. False for output without end: the result
                then has only what was not iterated over.
        """
        check_execution(code, user_expressions)
        hook = (input_hook or (self._input_hook if self.allow_stdin else None)) if allow_stdin else None
        content = {
            "code": code,
            "silent": silent,
            "store_history": store_history and not silent,
            "user_expressions": dict(user_expressions or {}),
            "allow_stdin": hook is not None,
            "stop_on_error": stop_on_error,
        }
        header: dict[str, Any] = {} if subshell_id is None else {"subshell_id": subshell_id}
        return Execution(self.session.message("execute_request", content, **header), self._router, hook, keep=keep)

    async def execute_interactive(
        self,
        code: str,
        *,
        output_hook: OutputHook | None = None,
        input_hook: InputHook | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> ExecuteResult:
        """Run code as if it were run here: show its output as it comes, and have the user answer its questions.

        An error of the code is shown, not raised; the result has it. When the time is over the code runs on, behind
        other clients' code perhaps: `interrupt` ends what runs.

        Arguments:
            code: what to run.
            output_hook: takes each output message; if it is a coroutine function, it is awaited. By default
                :func:`kernelwire.interactive.show`: text to standard output and standard error, and in IPython what
                IPython can display.
            input_hook: answers input requests; if not given the client's own, and without one the user at the terminal.
            timeout: seconds to wait.
            options: as for `execute`.

        Raises:
            RequestTimeout: it is not over within `timeout` seconds.
            Incomplete: it is over, and some of its output got lost; ``Incomplete.result`` is what there is.
            as iteration over an :class:`Execution`, except for GapNotice; and what the output hook raises.
        """
        if Channel.STDIN in self.end.channels:
            input_hook = input_hook or self._input_hook or interactive.asker()
        execution = self.execute(code, input_hook=input_hook, **options)
        return await interactive.follow(execution, output_hook or interactive.show, timeout)

    async def open_comm(
        self, target_name: str, data: Mapping[str, Any] | None = None, *, buffers: "Sequence[Buffer]" = ()
    ) -> Comm:
        """Open a comm to a target in the kernel. A kernel that has no such target closes it at once."""
        await self.end.iopub.ready()
        return await self._router.comms.open(target_name, data, buffers)

    def on_comm(self, target_name: str, on_open: OnOpen | None) -> None:
        """Take the comms that the kernel opens for a target: `on_open` is called with each; None ends that. If it is a
        coroutine function, it runs as a task, at the most until the client is closed.
        """
        self._router.comms.expect(target_name, on_open)

    async def _ask_who_it_is(self, channel: Channel) -> Message:
        return await self.request("kernel_info_request", channel=channel)

    async def _ask(self, request: PlainRequest, timeout: float | None) -> Message:
        try:
            return await self._router.ask(request, timeout)
        except TimeoutError:
            raise RequestTimeout(f"no reply to {request.message.msg_type} within {timeout:g} s") from None


@asynccontextmanager
async def connect(
    connection: ConnectionInfo | str | os.PathLike[str],
    *,
    input_hook: InputHook | None = None,
    time_to_dead: float = TIME_TO_DEAD,
    channels: Collection[Channel] = ALL_CHANNELS,
) -> AsyncIterator[KernelClient]:
    """A client of the kernel that a connection file describes, over the backend that its ``transport`` names.

    Arguments:
        connection: the information itself, or a connection file: a path, a name in Jupyter's runtime directory, or a
            pattern of one (see :func:`kernelwire.connection_file.find`).
        input_hook: as for :class:`KernelClient`.
        time_to_dead: see :data:`TIME_TO_DEAD`; longer for a kernel that does not beat while it is busy.
        channels: those to open. Without some the client can do less: what needs one raises NotSupported.

    Raises:
        ConfigurationError: the file, a field of it, or its transport cannot be used.
    """
    end, session = await open_end(connection, channels)
    async with KernelClient(end, session, input_hook=input_hook, time_to_dead=time_to_dead) as client:
        yield client
