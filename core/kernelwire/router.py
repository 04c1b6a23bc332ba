"""Sends requests, and brings each of them what comes back for it; ends those for which nothing will.

What may happen to a request is told by its type (:mod:`kernelwire.requests`); when it happens is known here: the
channels, the heartbeat, another kernel in the place of the one that answered, and silence.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self

from kernelwire.channels import Channel, IOPubChannel, StdinChannel
from kernelwire.comms import COMM_TYPES, Comms
from kernelwire.deadlines import Deadlines
from kernelwire.ends import ClientEnd, not_opened
from kernelwire.errors import (
    ChannelClosed,
    GapNotice,
    Incomplete,
    KernelDied,
    KernelRestarted,
    KernelwireError,
    LocalError,
    OutcomeUnknown,
)
from kernelwire.execution import Execution
from kernelwire.heartbeat import HeartbeatMonitor
from kernelwire.kernel_sessions import KernelSessions
from kernelwire.message_channel import MessageChannel, MessageReceiver, OnError, OnMessage
from kernelwire.messages import Message, WireMessage
from kernelwire.pending import Pending
from kernelwire.questions import Questions
from kernelwire.requests import PlainRequest, Probe, Request
from kernelwire.session import Session
from kernelwire.unanswered import is_unknown

if TYPE_CHECKING:
    from typing_extensions import Buffer

P = ParamSpec("P")
_ASKED: Final[tuple[Channel, ...]] = (Channel.SHELL, Channel.CONTROL)

SILENCE: Final = 1.0
"""Seconds without anything for a request that is half done, after which the kernel is asked about it."""

PROBE_TIME: Final = 5.0
"""Seconds without anything for a question about such a request that is itself half done."""

WIND_UP: Final = 1.0
"""Seconds that the other channels get to bring what they hold, once one of them has ended."""

LAST_WORDS: Final = 0.2
"""Seconds without anything for a request after which nothing more will come of a kernel that has ended."""


class Router:
    """Reads all channels of a client's end. Use as an async context manager; the end is the caller's to close.

    Arguments:
        end: the kernel's channels. Without some of them a client can do less: no iopub, no output; no heartbeat, no
            knowing that the kernel died.
        session: verifies and signs.
        time_to_dead: seconds without a sign of life after which a kernel that gave one counts as dead.

    Attributes:
        monitor: watches the heartbeat; None if that channel is not open.
        comms: the comms of this client.
    """

    def __init__(self, end: ClientEnd, session: Session, *, time_to_dead: float) -> None:
        self.monitor: HeartbeatMonitor | None = None
        if Channel.HEARTBEAT in end.channels:
            self.monitor = HeartbeatMonitor(end.heartbeat, time_to_dead=time_to_dead, on_change=self._on_heartbeat)
        self._requests = Pending(end.iopub if Channel.IOPUB in end.channels else None)
        self.comms = Comms(self._send_comm, self._requests.listen, self._spawn)
        self._end = end
        self._session = session
        self._time_to_dead = time_to_dead
        self._channels = {each: MessageChannel(getattr(end, each), session) for each in _ASKED if each in end.channels}
        self._sending: dict[str, asyncio.Timeout] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._deadlines = Deadlines()
        self._questions: Questions | None = None
        self._routes: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._kernels = KernelSessions(self._on_new_kernel)
        self._last_heard: float | None = None
        self._broken: KernelwireError | None = None
        self._on_broken = asyncio.Event()

    @property
    def broken(self) -> KernelwireError | None:
        """Why nothing can be asked any more; None while it can."""
        return self._broken

    @property
    def pending(self) -> int:
        """How many requests are under way, without the questions by which this asks after some of them."""
        return sum(not each.suspects for each in self._requests)

    async def __aenter__(self) -> Self:
        for name, channel in self._channels.items():
            self._route(channel, self._on_reply, functools.partial(self._on_reply_error, name))
        if Channel.IOPUB in self._end.channels:
            self._route(MessageReceiver(self._end.iopub, self._session), self._on_output, self._on_output_error)
        if Channel.STDIN in self._end.channels:
            stdin = MessageChannel(self._end.stdin, self._session)
            self._questions = Questions(stdin, self._session, self._hear, self._spawn, self.ask)
            self._routes.append(self._spawn(self._questions.read))
        if self.monitor is not None:
            await self.monitor.__aenter__()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        # All of this first, so that nothing stays if the waiting is cancelled.
        for task in self._tasks:
            task.cancel()
        self._broken = closed = ChannelClosed("the client was closed")
        self._on_broken.set()
        self.end_requests(closed)  # other tasks may still wait for replies
        self._deadlines.close()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            if self.monitor is not None:
                await self.monitor.__aexit__()

    async def ask(self, request: PlainRequest, timeout: float | None) -> Message:
        """Send a request and wait for its reply.

        Raises:
            TimeoutError: no reply in time.
            RequestFailed: none will come; the type says why.
            InvalidMessage, MessageTooLarge: the request cannot be sent.
            NotSupported: its channel is not open.
            ChannelClosed, EndOfChannel, ConnectionLost, WrongLoop: as the channels.
        """
        self._check_connected()
        channel = self._channel(request.channel)
        msg_id = request.message.msg_id
        self._requests.add(request)
        try:
            request.sent = sent = self._may_send_now() and channel.send_now(request.message)
            if sent and timeout is None:  # as most are
                return await request.reply
            async with asyncio.timeout(timeout) as limit:
                if not sent:
                    self._sending[msg_id] = limit
                    if Channel.IOPUB in self._end.channels:
                        # Not before there is a kernel: what is given up while there is none must not reach the next.
                        await self._end.iopub.ready()
                    request.sent = True
                    await channel.send(request.message)
                return await request.reply
        except TimeoutError:
            if request.reply.done() and not request.reply.cancelled():  # it failed, or came in the nick of time
                return request.reply.result()
            raise
        finally:
            self._forget(request)
            self._sending.pop(msg_id, None)

    def start(self, execution: Execution) -> None:
        """Have an execution sent, as soon as its output can be heard.

        Raises:
            NotSupported: its channel, iopub, or stdin if it has an input hook, is not open.
            ChannelClosed, EndOfChannel, ConnectionLost: the connection has ended.
        """
        self._check_connected()
        channel = self._channel(execution.channel)
        output = self._end.iopub
        questions = self._end.stdin if execution.input_hook is not None else None
        msg_id = execution.message.msg_id
        self._requests.add(execution)
        try:
            execution.sent = questions is None and output.is_ready and channel.send_now(execution.message)
            if execution.sent:
                return
        except LocalError as error:
            self._end_request(execution, error)
            return
        # A task, so that a kernel that dies meanwhile ends the wait, and a cancelled reader may read on later.
        task = self._spawn(self._send_execution, execution, channel, output, questions)
        self._starting[msg_id] = task
        task.add_done_callback(lambda _: self._starting.pop(msg_id, None))

    def withdraw(self, execution: Execution) -> bool:
        """Take back an execution that has not been sent yet; return whether that was so."""
        starting = self._starting.get(execution.message.msg_id)
        if starting is None:
            return False
        starting.cancel()
        self._forget(execution)
        return True

    async def output_ready(self) -> None:
        """Wait until what the kernel publishes arrives here, if iopub is open.

        Raises:
            ChannelClosed, EndOfChannel, ConnectionLost, RequestFailed: nothing can be asked any more.
        """
        self._check_connected()
        if Channel.IOPUB not in self._end.channels:
            return
        ready = asyncio.ensure_future(self._end.iopub.ready())
        broken = asyncio.create_task(self._on_broken.wait())
        try:
            await asyncio.wait([ready, broken], return_when=asyncio.FIRST_COMPLETED)
            self._check_connected()
            await ready
        finally:
            ready.cancel()
            broken.cancel()
            await asyncio.gather(ready, broken, return_exceptions=True)

    def end_requests(self, error: KernelwireError) -> None:
        """End all that is under way with an error. What is asked from now on is asked as ever."""
        self._stop_starting(*self._requests)
        for request in self._requests:
            self._end_request(request, error)
        self.comms.end(error)

    def on_kernel_end(self, error: KernelwireError, *, for_good: bool) -> None:
        """The kernel has ended: so does what is under way, with an error, once its last words have been read.

        What is asked from now on is asked as ever, or with `for_good` ends with that error at once.
        """
        if for_good and self._broken is None:
            self._broken = error
            self._on_broken.set()
        self._stop_starting(*self._requests)
        for request in self._requests:
            if request.fate is None:
                request.fate = error
                self._settle(request)
        asyncio.get_running_loop().call_later(LAST_WORDS, self.comms.end, error, self.comms.opened)

    async def _send_execution(
        self, execution: Execution, channel: MessageChannel, output: IOPubChannel, questions: StdinChannel | None
    ) -> None:
        try:
            # Known before asked, so that no output of it can be missed.
            await output.ready()
            if questions is not None:
                await questions.ready()
            execution.sent = True
            await channel.send(execution.message)
        except LocalError as error:  # the request's own fault, or the client closes; no other request is concerned
            self._end_request(execution, error)

    async def _send_comm(self, msg_type: str, content: Mapping[str, Any], buffers: "Sequence[Buffer]") -> None:
        self._check_connected()
        message = self._session.message(msg_type, content, buffers=buffers)
        await self._channel(Channel.SHELL).send(message)

    def _route(self, channel: MessageReceiver, on_message: OnMessage, on_error: OnError) -> None:
        if not channel.pour(on_message, on_error):
            self._routes.append(self._spawn(channel.read_to, on_message, on_error))

    def _on_reply(self, reply: Message, _wire: WireMessage) -> None:
        request = self._hear(reply)
        if request is not None and is_unknown(reply):
            self._end_request(request, OutcomeUnknown(str(reply.content.get("evalue"))))
        elif request is not None:
            request.on_reply(reply)
            self._settle(request)

    def _on_output(self, message: Message, wire: WireMessage) -> None:
        request = self._hear(message)
        if request is not None:
            request.on_output(message, wire.size)
            self._settle(request)
        if message.msg_type in COMM_TYPES:
            self.comms.on_message(message, wire.size)

    def _on_reply_error(self, channel: Channel, error: KernelwireError) -> None:
        if not isinstance(error, GapNotice):
            self._on_end(error)
            return
        lost = [each for each in self._requests if each.channel is channel and each.sent and not each.replied]
        for request in lost:
            self._stop_starting(request)
            self._end_request(request, OutcomeUnknown(error.reason, request.message.msg_id))
        for suspect in (each for request in lost for each in request.suspects):
            if suspect in self._requests:
                self._settle(suspect)  # to be asked after once more

    def _on_output_error(self, error: KernelwireError) -> None:
        if not isinstance(error, GapNotice):
            self._on_end(error)
            return
        for request in self._requests:
            request.on_gap(error.again())

    def _on_end(self, error: KernelwireError) -> None:
        """A channel ended for good: no reply will come to anything that is asked from now on."""
        if self._broken is None:
            self._broken = error
            self._on_broken.set()
            self._spawn(self._wind_up, error)

    def _hear(self, message: Message) -> Request | None:
        """Note a sign of life; return the request that a message belongs to."""
        self._last_heard = asyncio.get_running_loop().time()
        request = self._requests.get(message.parent_id)
        kernel_session = self._kernels.hear(message)
        if request is not None and kernel_session is not None:
            request.kernel_session = kernel_session
        return request

    def _on_new_kernel(self, gone: str) -> None:
        for request in [each for each in self._requests if each.kernel_session == gone]:
            self._end_request(request, KernelRestarted("another kernel has taken the place of the one at work on it"))

    def _settle(self, request: Request) -> None:
        self._deadlines.drop(request.message.msg_id)
        if request.done:
            self._forget(request)
        elif request.fate is not None:
            # In two steps, so that a loop that was held up gets to what has arrived meanwhile.
            fate = functools.partial(self._end_request, request, request.fate)
            self._watch(request, LAST_WORDS / 2, functools.partial(self._watch, request, LAST_WORDS / 2, fate))
        elif request.half_done:
            if isinstance(request, Probe):
                self._watch(request, PROBE_TIME, request.give_up)
            else:
                self._watch(request, SILENCE, functools.partial(self._probe, request))

    def _watch(self, request: Request, silence: float, then: Callable[[], None]) -> None:
        self._deadlines.set(request.message.msg_id, silence, then)

    def _probe(self, suspect: Request) -> None:
        message = self._session.message("kernel_info_request")
        probe = Probe(message, suspect.channel, [suspect], self._end_request)
        self._requests.add(probe)
        probe.sent = True
        self._spawn(self._channel(probe.channel).send, message)

    def _end_request(self, request: Request, error: KernelwireError) -> None:
        self._forget(request)
        if request.fate is not None:
            error = Incomplete("the kernel ended before all output was here") if request.replied else request.fate
        request.fail(error.again())
        limit = self._sending.get(request.message.msg_id)
        if limit is not None and not limit.expired():
            # A wire that is full makes senders wait; nobody would take what they have.
            limit.reschedule(asyncio.get_running_loop().time())

    def _stop_starting(self, *requests: Request) -> None:
        for request in requests:
            if (starting := self._starting.get(request.message.msg_id)) is not None:
                starting.cancel()  # or the next kernel would run what this one is said to have died over

    def _forget(self, request: Request) -> None:
        self._requests.drop(request)
        self._deadlines.drop(request.message.msg_id)
        if self._questions is not None:
            self._questions.stop(request)  # nobody waits for it any more; the next question is another's

    def _on_heartbeat(self, beating: bool, since: float) -> None:
        now = asyncio.get_running_loop().time()
        if beating:
            self._last_heard = now
        # One that was never heard may still be starting. One that was heard since the beat that it missed is alive: it
        # may have come back meanwhile, and a bridge holds beats back until it knows that.
        elif self._last_heard is not None and now - self._last_heard >= self._time_to_dead:
            self.end_requests(KernelDied(f"the kernel has not answered its heartbeat for {since:.1f} s"))

    async def _wind_up(self, error: KernelwireError) -> None:
        # What the other channels hold came before the end: replies, and output of what ran.
        if self._routes:
            await asyncio.wait(self._routes, timeout=WIND_UP)
        self.end_requests(error)

    def _channel(self, name: Channel) -> MessageChannel:
        try:
            return self._channels[name]
        except KeyError:
            raise not_opened(name) from None

    def _may_send_now(self) -> bool:
        return Channel.IOPUB not in self._end.channels or self._end.iopub.is_ready

    def _check_connected(self) -> None:
        if self._broken is not None:
            raise self._broken.again()

    def _spawn(self, work: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs) -> asyncio.Task[None]:
        async def run() -> None:
            try:
                # Made here: a task that is cancelled before its first step never comes to this.
                await work(*args, **kwargs)
            except KernelwireError as error:
                self._on_end(error)

        task = asyncio.create_task(run(), name="kernelwire client")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
