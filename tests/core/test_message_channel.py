"""A channel and a session together: packed, signed and sent; received, verified and decoded."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kernelwire.channels import IOPubChannel, IOPubPublisher, Receiver, ShellChannel, Sink
from kernelwire.errors import EndOfChannel, GapNotice, InvalidMessage, KernelwireError, MessageTooLarge
from kernelwire.inbox import Inbox
from kernelwire.message_channel import MessageChannel, MessageReceiver, MessageSender
from kernelwire.messages import WireMessage
from kernelwire.queued_channels import QueuedIOPub
from kernelwire.session import Session

KEY = b"a key for these tests"


class Loopback(ShellChannel, IOPubChannel, IOPubPublisher):
    """What goes in comes out; an exception put between comes out as one."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[WireMessage | Exception] = asyncio.Queue()

    async def send(self, message: WireMessage) -> None:
        if message.size > 10_000:
            raise MessageTooLarge(message.size, 10_000)
        self.queue.put_nowait(message)

    async def receive(self) -> WireMessage:
        item = await self.queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    async def aclose(self) -> None:
        self.queue.put_nowait(EndOfChannel("closed"))


@pytest.fixture
async def channel() -> Loopback:
    return Loopback()


@pytest.fixture
def session() -> Session:
    return Session(KEY)


async def test_there_and_back(channel: Loopback, session: Session) -> None:
    messages = MessageChannel(channel, session)
    sent = session.message("execute_request", {"code": "Grüße"}, buffers=[b"", b"raw"])
    await messages.send(sent, b"peer")
    received, wire = await messages.receive_from()
    assert received == sent
    assert wire.peer == b"peer"
    assert wire.size == sum(map(len, wire.frames))
    await messages.send(sent.__class__(dict(sent.header, msg_id="2")))
    assert (await messages.receive()).msg_id == "2"


async def test_either_half_alone(channel: Loopback, session: Session) -> None:
    sent = session.message("stream", {"text": "a"})
    await MessageSender(channel, session).send(sent, b"stream")
    received, wire = await MessageReceiver(channel, session).receive_from()
    assert (received, wire.peer) == (sent, b"stream")


async def test_what_cannot_be_sent_is_not(channel: Loopback, session: Session) -> None:
    messages = MessageChannel(channel, session)
    with pytest.raises(InvalidMessage):
        await messages.send(session.message("odd", {"what": object()}))
    with pytest.raises(MessageTooLarge):
        await messages.send(session.message("large", {"text": "x" * 10_000}))
    assert channel.queue.empty()


Spoil = Callable[[list[Any]], list[Any]]


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        pytest.param(lambda frames: [], "MalformedMessage", id="nothing"),
        pytest.param(lambda frames: frames[:4], "MalformedMessage", id="a part is missing"),
        pytest.param(lambda frames: [b"", *frames[1:]], "InvalidSignature", id="no signature"),
        pytest.param(lambda frames: [*frames[:4], b'{"code": "other"}'], "InvalidSignature", id="other content"),
        pytest.param(lambda frames: frames, "DuplicateSignature", id="a replay"),
    ],
)
async def test_what_is_not_genuine_is_dropped_and_counted(
    channel: Loopback, session: Session, spoil: Spoil, error: str
) -> None:
    messages = MessageChannel(channel, session)
    first, last = session.message("first"), session.message("last")
    frames: list[Any] = session.pack(first)
    await channel.send(WireMessage(frames))
    await channel.send(WireMessage(spoil(frames)))
    await messages.send(last)
    assert await messages.receive() == first
    assert await messages.receive() == last
    assert session.rejected == {error: 1}


async def test_iteration_ends_with_the_channel_and_not_with_junk(channel: Loopback, session: Session) -> None:
    messages = MessageChannel(channel, session)
    sent = [session.message("number", {"number": number}) for number in range(5)]
    for message in sent:
        await channel.send(WireMessage([b"junk"]))
        await messages.send(message)
    await channel.aclose()
    assert [message async for message in messages] == sent
    assert session.rejected == {"MalformedMessage": 5}


async def test_a_gap_comes_out_and_what_is_behind_it_too(channel: Loopback, session: Session) -> None:
    messages = MessageChannel(channel, session)
    await messages.send(session.message("before"))
    channel.queue.put_nowait(GapNotice(1, 2, "a test"))
    await messages.send(session.message("after"))
    await channel.aclose()
    seen: list[str] = []

    async def read() -> None:
        async for message in messages:
            seen.append(message.msg_type)

    with pytest.raises(GapNotice):
        await read()
    await read()
    assert seen == ["before", "after"]


async def test_a_cancelled_receive_loses_nothing(channel: Loopback, session: Session) -> None:
    messages = MessageChannel(channel, session)
    receiving = asyncio.create_task(messages.receive())
    await asyncio.sleep(0)
    receiving.cancel()
    sent = session.message("here")
    await messages.send(sent)
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert await messages.receive() == sent


# Some of the messages


async def test_messages_of_a_kind(channel: Loopback, session: Session) -> None:
    messages = MessageChannel(channel, session)
    request, other = session.message("execute_request"), session.message("execute_request")
    sent = [session.message(t, parent=p) for p in (request, other) for t in ("status", "stream", "error")]
    for _ in range(4):
        for each in sent:
            await messages.send(each.__class__(dict(each.header, date=str(_)), each.parent_header))
    await channel.aclose()
    wanted = [each async for each in messages.messages(msg_type={"stream", "error"}, parent=request)]
    assert [each.msg_id for each in wanted] == [each.msg_id for each in sent[1:3]] * 4


async def test_a_gap_among_messages_of_a_kind(channel: Loopback, session: Session) -> None:
    messages = MessageChannel(channel, session)
    channel.queue.put_nowait(GapNotice(1, 2, "a test"))
    await messages.send(session.message("stream"))
    await messages.send(session.message("status"))
    await channel.aclose()
    with pytest.raises(GapNotice):
        await anext(messages.messages(msg_type="status"))
    assert [each.msg_type async for each in messages.messages(msg_type="status")] == ["status"]


async def test_several_readers(channel: Loopback, session: Session) -> None:
    messages = MessageChannel(channel, session)
    request = session.message("execute_request")
    async with (
        messages.subscribe(msg_type="stream") as streams,
        messages.subscribe(parent=request) as answers,
    ):
        for msg_type, parent in (("stream", None), ("stream", request), ("status", request), ("status", None)):
            await messages.send(session.message(msg_type, parent=parent))
        await channel.send(WireMessage([b"junk"]))
        await channel.aclose()
        assert [each.msg_type async for each in streams] == ["stream", "stream"]
        assert [each.msg_type async for each in answers] == ["stream", "status"]
    assert session.rejected == {"MalformedMessage": 1}


async def test_a_bound_for_each_reader(channel: Loopback, session: Session) -> None:
    messages = MessageChannel(channel, session)
    async with messages.subscribe(limit=5000) as slow:
        for _ in range(10):
            await messages.send(session.message("stream", {"text": "x" * 1000}))
        await channel.aclose()
        with pytest.raises(GapNotice, match="fell behind"):
            await slow.receive()


async def test_pouring_hands_over_what_is_genuine_and_what_ends_it() -> None:
    session = Session(b"k")
    source = Pouring()
    messages: list[str] = []
    errors: list[KernelwireError] = []
    receiver = MessageReceiver(source, Session(b"k"))
    assert receiver.pour(lambda message, wire: messages.append(message.msg_type), errors.append)
    source.sink(WireMessage(session.pack(session.message("good"))))
    source.sink(WireMessage(Session(b"another").pack(session.message("bad"))))
    source.sink(GapNotice(1, 2, "lost"))
    source.sink(WireMessage(session.pack(session.message("better"))))
    source.sink(EndOfChannel("over"))
    assert messages == ["good", "better"]
    assert [type(error) for error in errors] == [GapNotice, EndOfChannel]


async def test_a_channel_that_does_not_pour_is_read() -> None:
    session = Session(b"k")
    inbox = Inbox[WireMessage]()
    receiver = MessageReceiver(QueuedIOPub(inbox, None), Session(b"k"))
    messages: list[str] = []
    errors: list[KernelwireError] = []
    assert not receiver.pour(lambda *_: None, errors.append)
    inbox.put(WireMessage(session.pack(session.message("good"))))
    inbox.put_gap(GapNotice(1, 2, "lost"))
    inbox.put(WireMessage(session.pack(session.message("better"))))
    inbox.close()
    with pytest.raises(EndOfChannel):
        await receiver.read_to(lambda message, wire: messages.append(message.msg_type), errors.append)
    assert messages == ["good", "better"]
    assert [type(error) for error in errors] == [GapNotice]


class Pouring(Receiver):
    """A channel that pours what a test gives it."""

    sink: Sink

    async def receive(self) -> WireMessage:
        raise NotImplementedError

    def pour(self, sink: Sink) -> bool:
        self.sink = sink
        return True

    async def aclose(self) -> None:
        pass
