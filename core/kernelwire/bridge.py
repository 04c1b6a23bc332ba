"""Carry a kernel from the transport that reaches it to a transport that serves it. No JSON is parsed but ids, where
replies may be lost on the far side and clients on the near side could not be told otherwise.

The *far* side is the kernel's; the *near* side is where clients come in. Each client gets a client end of its own on
the far side, so that replies find their way; what the kernel publishes is read once. Messages are verified with the
key of the side they come from, and signed anew where the keys differ. Gap notices of the far side are passed on.
"""

import asyncio
import functools
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from kernelwire.carrying import Carrier, Witness, Witnessed, cancel, until_first_ends
from kernelwire.channels import Channel, PeerEvents, Receiver, Sender
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import (
    ChannelClosed,
    GapNotice,
    NotSupported,
    RemoteError,
    Undelivered,
)
from kernelwire.heartbeat import HeartbeatMonitor
from kernelwire.messages import WireMessage
from kernelwire.session import Session
from kernelwire.unanswered import Unanswered, tell

_log = logging.getLogger(__name__)

OpenClient = Callable[[bytes, Collection[Channel]], Awaitable[ClientEnd]]
"""Opens a client's end on the far side: identity, and the channels that will be used."""

MAX_CLIENTS: Final = 100
"""Clients carried at once; beyond it the one that was silent longest is let go. Each costs up to six descriptors."""

TIME_TO_DEAD: Final = 3.0
"""Seconds without a heartbeat of the far side after which the near side does not beat either."""

_REQUESTS: Final = (Channel.SHELL, Channel.CONTROL, Channel.STDIN)


class Bridge:
    """Carries until it is cancelled, or until either side ends.

    Arguments:
        near: where clients come in; the caller closes it.
        open_client: opens client ends on the far side; they are closed here.
        near_session: verifies and signs on the near side.
        far_session: verifies and signs on the far side.
        max_clients: see :data:`MAX_CLIENTS`.
        time_to_dead: see :data:`TIME_TO_DEAD`.
        witness: see there.
        has_gaps: whether there may be gap notices on the far side.

    Attributes:
        opened: set when the far side's first end is open.
    """

    def __init__(
        self,
        near: KernelEnd,
        open_client: OpenClient,
        *,
        near_session: Session,
        far_session: Session,
        max_clients: int = MAX_CLIENTS,
        time_to_dead: float = TIME_TO_DEAD,
        witness: Witness | None = None,
        has_gaps: bool = True,
    ) -> None:
        self._near = near
        self._witness = witness
        self._open_client = open_client
        self._near_session = near_session
        self._far_session = far_session
        self._same_key = near_session.signer.agrees_with(far_session.signer)
        self._max_clients = max_clients
        self._time_to_dead = time_to_dead
        self._keeps_requests = has_gaps and not near.tells_gaps
        self._clients: OrderedDict[bytes, _Client] = OrderedDict()
        self._asked: Receiver | None = None  # where the reply to the last request will come, until it does
        self._carrying: set[asyncio.Task[None]] = set()  # for these, and for those that were let go and still close
        self.opened = asyncio.Event()
        # From the start: a client that finds the near side ready must not be wrong.
        near.beating = near.audible = False

    async def run(self) -> None:
        """Carry. Returns when the far side's kernel or the near side closed.

        Raises:
            ConfigurationError, ConnectionLost: the far side cannot be opened, or a wire broke for good.
        """
        near = self._near
        far = await self._open_client(_new_identity(), {Channel.IOPUB, Channel.HEARTBEAT})
        self.opened.set()
        try:
            monitor = HeartbeatMonitor(far.heartbeat, time_to_dead=self._time_to_dead, on_change=self._on_heartbeat)
            async with far, monitor:
                work = [self._carry_iopub(far), self._beat_for_a_silent_wire(monitor)]
                work += [self._carry_requests(far, name) for name in _REQUESTS]
                if near.peers is not None:
                    work.append(self._watch_peers(near.peers))
                await until_first_ends(work)
        finally:
            near.beating = False  # nobody answers here any more, and the clients shall know
            await cancel([client.task for client in self._clients.values()])
            await asyncio.gather(*self._carrying, return_exceptions=True)

    def _on_heartbeat(self, beating: bool, _since: float) -> None:
        self._near.beating = beating

    async def _beat_for_a_silent_wire(self, monitor: HeartbeatMonitor) -> None:
        """Where the far wire has no heartbeat, ours says that the bridge is there: better than a death that is none."""
        try:
            await monitor.wait_beating()
        except NotSupported:
            self._near.beating = True
        await asyncio.get_running_loop().create_future()

    async def _carry_iopub(self, far: ClientEnd) -> None:
        await far.iopub.ready()
        self._near.audible = True
        near = self._near

        def translate(message: WireMessage) -> WireMessage | None:
            return self._translate(message, self._far_session, self._near_session)

        async def on_gap(notice: GapNotice) -> None:
            if near.tells_gaps:
                await near.tell_gap(Channel.IOPUB, notice)
            else:
                near.dropped += notice.count or 0

        def on_refused() -> None:
            near.dropped += 1

        publisher = near.iopub

        def send_now(carried: WireMessage) -> bool:
            sent = publisher.send_now(carried)
            if self._asked is not None:
                # A kernel replies in the middle of what it publishes, and for that reply somebody waits.
                self._asked.hand_on()
            return sent

        await Carrier(
            far.iopub,
            translate=translate,
            send=publisher.send,
            send_now=send_now,
            on_gap=on_gap,
            on_refused=on_refused,
        ).run()

    async def _carry_requests(self, far: ClientEnd, name: Channel) -> None:
        witnessed = Witnessed(None if self._witness is None else functools.partial(self._witness.passes, name))

        async def send(carried: WireMessage) -> None:
            if name is Channel.SHELL:
                # Not before we can hear what the request makes the kernel publish.
                await far.iopub.ready()
            witnessed.once(carried)
            while True:
                client = self._client_of(carried.peer)
                if self._keeps_requests:
                    client.unanswered.on_request(name, carried.frames)
                try:
                    channel = getattr(await client.end, name)
                    self._on_request(name, channel)
                    await channel.send(carried)
                    return
                except ChannelClosed:  # let go just now; a client that speaks again is taken up again
                    if self._clients.get(carried.peer) is client:
                        raise

        def send_now(carried: WireMessage) -> bool:
            client = self._clients.get(carried.peer)
            if client is None or not client.is_open or (name is Channel.SHELL and not far.iopub.is_ready):
                return False
            if not witnessed.now(carried):
                return False
            if self._keeps_requests:
                client.unanswered.on_request(name, carried.frames)
            self._clients.move_to_end(carried.peer)
            channel = getattr(client.end.result(), name)
            self._on_request(name, channel)
            return bool(channel.send_now(carried))

        def translate(message: WireMessage) -> WireMessage | None:
            return self._translate(message, self._near_session, self._far_session)

        await Carrier(getattr(self._near, name), translate=translate, send=send, send_now=send_now).run()

    async def _carry_client(self, peer: bytes, opened: "asyncio.Future[ClientEnd]", unanswered: Unanswered) -> None:
        """One client's life: its end on the far side, and everything that comes back to it."""
        try:
            end = await self._open_client(_new_identity(), _REQUESTS)
        except Exception as error:  # noqa: BLE001 - whoever waits to send is told, and ends the bridge
            opened.set_exception(error)
            return
        async with _closing(end):
            # Not before the kernel could ask this client back.
            await end.stdin.ready()
            opened.set_result(end)
            try:
                await until_first_ends([self._carry_replies(end, name, peer, unanswered) for name in _REQUESTS])
            finally:
                # Before the end is closed, so that nobody is given a closed one.
                if (client := self._clients.get(peer)) is not None and client.end is opened:
                    del self._clients[peer]

    async def _carry_replies(self, end: ClientEnd, name: Channel, peer: bytes, unanswered: Unanswered) -> None:
        near: Sender = getattr(self._near, name)
        replies: Receiver = getattr(end, name)
        witnessed = Witnessed(None if self._witness is None else functools.partial(self._witness.returns, name))

        def translate(message: WireMessage) -> WireMessage | None:
            if replies is self._asked:
                self._asked = None
            carried = self._translate(message, self._far_session, self._near_session)
            if carried is not None and self._keeps_requests:
                unanswered.on_reply(carried.frames)
            return None if carried is None else WireMessage(carried.frames, peer)

        async def send(carried: WireMessage) -> None:
            witnessed.once(carried)
            await near.send(carried)

        def send_now(carried: WireMessage) -> bool:
            return witnessed.now(carried) and near.send_now(carried)

        async def on_gap(notice: GapNotice) -> None:
            await tell(self._near, self._near_session, name, notice, peer, unanswered)

        await Carrier(replies, translate=translate, send=send, send_now=send_now, on_gap=on_gap).run()

    def _on_request(self, name: Channel, replies: Receiver) -> None:
        if name is not Channel.STDIN:  # what a client says there is an answer itself
            self._asked = replies

    def _translate(self, message: WireMessage, source: Session, target: Session) -> WireMessage | None:
        """The message for the other side; None if it is not genuine."""
        try:
            if self._same_key:
                source.check(message.frames)
                return message
            return WireMessage(source.resign(message.frames, target), message.peer)
        except RemoteError as error:
            _log.debug("bridge: dropped a message: %s", error)
            return None

    def _client_of(self, peer: bytes) -> "_Client":
        client = self._clients.get(peer)
        if client is None:
            opened: asyncio.Future[ClientEnd] = asyncio.get_running_loop().create_future()
            unanswered = Unanswered()
            carrying = self._carry_client(peer, opened, unanswered)
            task = asyncio.create_task(carrying, name="kernelwire bridge client")
            task.add_done_callback(lambda _: _let_go(opened))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)
            client = self._clients[peer] = _Client(opened, task, unanswered)
            if len(self._clients) > self._max_clients:
                _, silent = self._clients.popitem(last=False)
                silent.task.cancel()
        self._clients.move_to_end(peer)
        return client

    async def _watch_peers(self, peers: PeerEvents) -> None:
        while True:
            try:
                event = await peers.receive()
            except GapNotice:  # those who left unnoticed are let go when they were silent longest
                continue
            if not event.joined and (client := self._clients.pop(event.peer, None)) is not None:
                client.task.cancel()


@asynccontextmanager
async def _closing(end: ClientEnd) -> AsyncIterator[None]:
    """Close an end whose client nobody could tell of what did not arrive."""
    try:
        async with end:
            yield
    except Undelivered as error:
        _log.warning("bridge: %s", error)


class _Client(NamedTuple):
    """A near client as the bridge knows it: its end on the far side once that is open, who reads it, what it asked."""

    end: "asyncio.Future[ClientEnd]"
    task: "asyncio.Task[None]"
    unanswered: Unanswered

    @property
    def is_open(self) -> bool:
        """Whether its end is there already."""
        return self.end.done() and not self.end.cancelled() and self.end.exception() is None


def _let_go(opened: "asyncio.Future[ClientEnd]") -> None:
    """Whoever waits for a client's end that will not open must not wait for ever: a task that is cancelled before its
    first step runs none of its own code.
    """
    if not opened.done():
        opened.set_exception(ChannelClosed("this client was let go"))
    if not opened.cancelled():
        opened.exception()  # perhaps nobody waits, and asyncio would complain


def _new_identity() -> bytes:
    return secrets.token_hex(16).encode("ascii")
