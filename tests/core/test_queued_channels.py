"""The waist's channels on queues, each alone. What they do together is tested with the demultiplexer."""

import asyncio

import pytest

from kernelwire.channels import Channel, PeerEvent
from kernelwire.errors import ChannelClosed, EndOfChannel, GapNotice, MessageTooLarge
from kernelwire.inbox import Inbox
from kernelwire.messages import WireMessage
from kernelwire.queued_channels import Outlet, QueuedIOPub, QueuedPeerEvents, QueuedPublisher, QueuedShell

MESSAGE = WireMessage([b"", b"{}", b"{}", b"{}", b"{}"])


class Wire:
    """Takes what is transmitted while it is open."""

    def __init__(self) -> None:
        self.taken: list[tuple[Channel, WireMessage]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def transmit(self, channel: Channel, message: WireMessage) -> None:
        await self.open.wait()
        self.taken.append((channel, message))


async def test_an_outlet_hands_on_what_it_is_given() -> None:
    wire = Wire()
    outlet = Outlet(wire.transmit, Channel.CONTROL, 100)
    await outlet.send(MESSAGE)
    assert wire.taken == [(Channel.CONTROL, MESSAGE)]


async def test_an_outlet_refuses_what_is_too_large_and_goes_on() -> None:
    wire = Wire()
    outlet = Outlet(wire.transmit, Channel.SHELL, MESSAGE.size)
    with pytest.raises(MessageTooLarge) as raised:
        await outlet.send(WireMessage([*MESSAGE.frames, b"x"]))
    assert (raised.value.size, raised.value.limit) == (MESSAGE.size + 1, MESSAGE.size)
    await outlet.send(MESSAGE)
    assert len(wire.taken) == 1


async def test_closing_an_outlet_ends_the_sends_that_wait() -> None:
    wire = Wire()
    wire.open.clear()
    outlet = Outlet(wire.transmit, Channel.SHELL, 100)
    sending = asyncio.create_task(outlet.send(MESSAGE))
    await asyncio.sleep(0)
    outlet.close()
    with pytest.raises(ChannelClosed):
        await sending
    with pytest.raises(ChannelClosed):
        await outlet.send(MESSAGE)
    assert wire.taken == []
    assert sending.cancelling() == 0


async def test_a_channel_closes_both_halves() -> None:
    inbox = Inbox[WireMessage]()
    shell = QueuedShell(Outlet(Wire().transmit, Channel.SHELL, 100), inbox)
    inbox.put(MESSAGE)
    assert await shell.receive() == MESSAGE
    await shell.aclose()
    with pytest.raises(ChannelClosed):
        await shell.receive()
    with pytest.raises(ChannelClosed):
        await shell.send(MESSAGE)


async def test_iopub_is_ready_when_the_kernel_is_audible() -> None:
    audible = asyncio.Event()

    async def wait() -> None:
        await audible.wait()

    iopub = QueuedIOPub(Inbox[WireMessage](), wait)
    ready = asyncio.create_task(iopub.ready())
    await asyncio.sleep(0)
    assert not ready.done()
    audible.set()
    await ready
    await QueuedIOPub(Inbox[WireMessage](), None).ready()


async def test_waiting_for_readiness_ends_when_the_channel_does() -> None:
    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    iopub = QueuedIOPub(Inbox[WireMessage](), never)
    ready = asyncio.create_task(iopub.ready())
    await asyncio.sleep(0)
    await iopub.aclose()
    with pytest.raises(ChannelClosed):
        await ready

    inbox = Inbox[WireMessage]()
    iopub = QueuedIOPub(inbox, never)
    ready = asyncio.create_task(iopub.ready())
    await asyncio.sleep(0)
    inbox.close()
    iopub.end_waiting()
    with pytest.raises(EndOfChannel):
        await ready


async def test_peer_events_that_nobody_reads_are_bounded_and_their_loss_is_told() -> None:
    events = QueuedPeerEvents()
    for number in range(10_010):
        events.put(PeerEvent(str(number).encode(), True))
    with pytest.raises(GapNotice) as raised:
        await events.receive()
    assert raised.value.count == 10
    events.close()
    for number in range(10, 10_010):
        assert await events.receive() == PeerEvent(str(number).encode(), True)
    with pytest.raises(ChannelClosed):
        await events.receive()


async def test_an_outlet_transmits_at_once_where_it_can() -> None:
    wire = Wire()
    free = [True]

    def now(channel: Channel, message: WireMessage) -> bool:
        if free[0]:
            wire.taken.append((channel, message))
        return free[0]

    outlet = Outlet(wire.transmit, Channel.IOPUB, MESSAGE.size, now)
    publisher = QueuedPublisher(outlet)
    assert publisher.send_now(MESSAGE)
    assert wire.taken == [(Channel.IOPUB, MESSAGE)]
    assert not publisher.send_now(WireMessage([*MESSAGE.frames, b"x"]))  # too large: `send` says so
    free[0] = False
    assert not publisher.send_now(MESSAGE)
    await publisher.aclose()
    free[0] = True
    assert not publisher.send_now(MESSAGE)
    assert len(wire.taken) == 1
    assert not Outlet(wire.transmit, Channel.IOPUB, 100).send_now(MESSAGE)


# At once


@pytest.mark.parametrize("pours", [True, False])
async def test_what_comes_is_poured_only_where_that_is_allowed(pours: bool) -> None:
    shell_inbox, iopub_inbox = Inbox[WireMessage](), Inbox[WireMessage]()
    shell = QueuedShell(Outlet(Wire().transmit, Channel.SHELL, 100), shell_inbox, pours=pours)
    iopub = QueuedIOPub(iopub_inbox, None, pours=pours)
    for channel, inbox in ((shell, shell_inbox), (iopub, iopub_inbox)):
        poured: list[object] = []
        assert channel.pour(poured.append) is pours
        inbox.put(MESSAGE)
        assert poured == [MESSAGE] * pours
        if not pours:
            assert await channel.receive() == MESSAGE


async def test_a_client_sends_at_once_where_the_wire_does() -> None:
    wire = Wire()
    taken: list[WireMessage] = []

    def transmit_now(_channel: Channel, message: WireMessage) -> bool:
        taken.append(message)
        return True

    inbox = Inbox[WireMessage]()
    assert not QueuedShell(Outlet(wire.transmit, Channel.SHELL, 100), inbox).send_now(MESSAGE)
    assert QueuedShell(Outlet(wire.transmit, Channel.SHELL, 100, transmit_now), inbox).send_now(MESSAGE)
    assert taken == [MESSAGE]
    assert not wire.taken


async def test_who_is_known_to_be_audible_is_not_waited_for() -> None:
    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    channel = QueuedIOPub(Inbox[WireMessage](), never, is_audible=lambda: True)
    assert channel.is_ready
    await channel.ready()
    assert not QueuedIOPub(Inbox[WireMessage](), never).is_ready
