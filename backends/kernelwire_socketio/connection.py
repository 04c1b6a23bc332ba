"""An end's connection to a relay: python-socketio's, with a short cut for what passes through a pipe."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import aiohttp
import socketio
from engineio.base_client import connected_clients

from kernelwire.errors import ConnectionLost
from kernelwire.link.waking import look_at
from kernelwire_socketio import events
from kernelwire_socketio.address import Address
from kernelwire_socketio.heap import keep_blocks
from kernelwire_socketio.packets import Packet
from kernelwire_socketio.refusals import Refused
from kernelwire_socketio.tap import IN_A_ROW, tap_into

OPENING_TIME: Final = 10.0
"""Seconds that connecting may take, name look-up and TLS included."""

_ANSWER_TIME: Final = 5.0
_CLOSING_TIME: Final = 0.8
_TURNS: Final = 3
"""Of the loop, in which a transport that was aborted closes its socket."""
_KEPT: Final = 4 * 1024 * 1024

_quiet = logging.getLogger("kernelwire_socketio.quiet")
_quiet.setLevel(logging.CRITICAL + 1)  # what is worth telling is raised

OnEvent = Callable[[str, memoryview], None]


class _WebSocket(aiohttp.ClientWebSocketResponse):
    """Hands events on as they come, before python-socketio would make tasks for each of them.

    Arguments:
        on_event: takes one.
        on_end: told that nothing more will come.
        arguments: aiohttp's.
    """

    def __init__(self, on_event: OnEvent, on_end: Callable[[], None], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._on_event = on_event
        self._on_end = on_end
        self._room: asyncio.Future[None] | None = None  # done when the wire is not full any more
        self._is_tapped = False

    def send_now(self, message: bytes) -> bool:
        """Send a binary message unless the wire was full before; whether that was so.

        Raises:
            whatever `send_bytes` does.
        """
        if self._room is not None and not self._room.done():
            return False
        sending = self.send_bytes(message)
        try:
            self._room = sending.send(None)
        except StopIteration:
            return True
        # It has written, and waits for room: that is for who sends the next.
        sending.close()
        assert self._room is not None
        self._room.add_done_callback(look_at)  # who sends the next is told by the wire itself that it is gone
        return True

    async def send_when_possible(self, message: bytes) -> None:
        """Send one, and wait while the wire is full: before, for all that did not wait, and after."""
        if self._room is not None:
            await asyncio.wait([self._room])
        await self.send_bytes(message)

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:
        """The next message that is no event."""
        if not self._is_tapped:  # not at once: aiohttp has not put its parser there then
            self._is_tapped = True
            connection = self._response.connection
            tap_into(connection and connection.protocol, self, self._take)
        row = 0
        while True:
            try:
                message = await super().receive(timeout)
            except BaseException:
                self._on_end()
                raise
            if self._take(message):
                row += 1
                if row % IN_A_ROW == 0:
                    await asyncio.sleep(0)
                continue
            if message.type not in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                self._on_end()
            return message

    def _take(self, message: aiohttp.WSMessage) -> bool:
        if message.type is not aiohttp.WSMsgType.BINARY or (event := events.decode(message.data)) is None:
            return False
        self._on_event(*event)
        return True


class Connection:
    """To be opened once, and closed however that ends.

    Arguments:
        address: the relay's.
        on_event: called with each event.
        on_end: called once, when nothing will come any more.
        dead_after: seconds without anything from the relay after which the connection is over; None where somebody
            else looks after that.

    Attributes:
        is_over: whether nothing will come any more.
        why: why that is, or would be.
    """

    def __init__(
        self, address: Address, on_event: OnEvent, on_end: Callable[[], None], dead_after: float | None = None
    ) -> None:
        self.is_over = False
        self.why = "the connection to the relay is lost"
        self._address = address
        self._on_event = on_event
        self._on_end = on_end
        self._refused: Refused | None = None
        self._abort: Callable[[], None]
        self._response: aiohttp.ClientResponse | None = None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=address.ssl_context(), force_close=True),
            trust_env=not address.is_local,  # a proxy to one's own machine is never meant
            ws_response_class=self._make_socket,  # type: ignore[arg-type] # is called, and nothing else
        )
        self._sio: Any = socketio.AsyncClient(
            serializer=Packet,
            reconnection=False,  # the link does that
            handle_sigint=False,
            http_session=self._session,
            request_timeout=_CLOSING_TIME,
            timestamp_requests=False,
            websocket_extra_options={
                "max_msg_size": events.LIMIT + 1,
                # aiohttp asks after so long, and waits for half as long again.
                "heartbeat": None if dead_after is None else dead_after * 2 / 3,
            },
            logger=_quiet,
            engineio_logger=_quiet,
        )
        self._sio.on("connect_error", self._on_refusal)

    async def open(self, shown: Mapping[str, object]) -> None:
        """Connect.

        Arguments:
            shown: who this is.

        Raises:
            Refused: the relay does not let this end in.
            NotServed: there is no relay.
            ConnectionLost: it cannot be reached just now.
        """
        keep_blocks(_KEPT)
        try:
            async with asyncio.timeout(OPENING_TIME):
                await self._sio.connect(
                    self._address.origin,
                    auth=dict(shown),
                    transports=["websocket"],
                    namespaces=["/"],
                    socketio_path=self._address.path,
                    wait_timeout=_ANSWER_TIME,
                )
        except TimeoutError:
            raise ConnectionLost(f"{self._address} did not answer within {OPENING_TIME:g} s") from None
        except Exception as error:
            raise self._refused or self._address.explain(error) from error

    async def send(self, message: bytes) -> None:
        """Hand an event to the wire, and wait while that is full.

        Raises:
            ConnectionLost: the connection is over.
        """
        try:
            # Past python-socketio's own queue, which has no bound and never makes anybody wait.
            await self._sio.eio.ws.send_when_possible(message)
        except (OSError, RuntimeError, aiohttp.ClientError) as error:
            raise ConnectionLost(self.why) from error

    def send_now(self, message: bytes) -> bool:
        """As `send`, if that need not wait; whether it was so."""
        try:
            return bool(self._sio.eio.ws.send_now(message))
        except (OSError, RuntimeError, aiohttp.ClientError) as error:
            raise ConnectionLost(self.why) from error

    async def aclose(self) -> None:
        """Say goodbye if that is possible, and close."""
        engine = self._sio.eio
        try:
            with suppress(Exception):
                async with asyncio.timeout(_CLOSING_TIME):
                    await self._sio.disconnect()
        finally:
            self._over()
            tasks = [task for task in (engine.read_loop_task, engine.write_loop_task) if task is not None]
            for task in tasks:
                task.cancel()
            if engine in connected_clients:
                connected_clients.remove(engine)
            await self._session.close()
            if self._response is not None:
                self._response.close()  # python-socketio leaves that to whenever it is forgotten
            if engine.ws is not None and engine.ws.close_code == aiohttp.WSCloseCode.OK:
                # The relay has seen the goodbye, and so all before it; TLS would still wait for one of its own.
                self._abort()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def _make_socket(self, *arguments: Any, **options: Any) -> _WebSocket:
        self._abort, self._response = arguments[1].transport.abort, arguments[3]
        return _WebSocket(self._take, self._over, *arguments, **options)

    def _take(self, name: str, data: memoryview) -> None:
        if name == events.RESTART:
            self.why = "the relay is being restarted"
        else:
            self._on_event(name, data)

    def _over(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._on_end()

    def _on_refusal(self, answer: object = None) -> None:
        if isinstance(answer, dict):
            self._refused = Refused.from_answer(answer)
