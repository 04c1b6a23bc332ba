"""What the abstract channels themselves promise: their names, how few methods a backend owes, and iteration."""

import inspect

import pytest

from kernelwire.channels import (
    ALL_CHANNELS,
    Channel,
    ControlChannel,
    HeartbeatChannel,
    IOPubChannel,
    IOPubPublisher,
    PeerEvent,
    PeerEvents,
    Receiver,
    Sender,
    ShellChannel,
    StdinChannel,
)
from kernelwire.errors import ChannelClosed, EndOfChannel, GapNotice
from kernelwire.messages import WireMessage


def test_the_names_are_those_of_connection_files() -> None:
    assert {f"{name}_port" for name in Channel} == {
        "shell_port",
        "control_port",
        "stdin_port",
        "iopub_port",
        "hb_port",
    }
    assert frozenset(Channel) == ALL_CHANNELS
    assert Channel("hb") is Channel.HEARTBEAT


def test_a_channel_owes_three_methods() -> None:
    for duplex in (ShellChannel, ControlChannel, StdinChannel):
        assert duplex.__abstractmethods__ == {"send", "receive", "aclose"}
    assert IOPubChannel.__abstractmethods__ == {"receive", "aclose"}
    assert IOPubPublisher.__abstractmethods__ == {"send", "aclose"}
    assert HeartbeatChannel.__abstractmethods__ == {"beat", "aclose"}
    assert PeerEvents.__abstractmethods__ == {"receive"}


@pytest.mark.parametrize("kind", [Sender, Receiver, ShellChannel, IOPubChannel, HeartbeatChannel, PeerEvents])
def test_every_method_says_what_it_raises(kind: type) -> None:
    for name in kind.__dict__.keys() & {"send", "receive", "beat", "ready", "__aiter__"}:
        assert "Raises:" in (inspect.getdoc(getattr(kind, name)) or ""), name


def test_a_peer_event_is_a_pair() -> None:
    assert PeerEvent(b"a", joined=True) == (b"a", True)


class Scripted(IOPubChannel):
    """Receives what it was made with; an error is raised."""

    def __init__(self, *script: WireMessage | Exception) -> None:
        self.script = list(script)

    async def receive(self) -> WireMessage:
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def aclose(self) -> None:
        self.script = [ChannelClosed("closed")]


A, B, C = (WireMessage((letter,)) for letter in (b"a", b"b", b"c"))


async def test_iteration_ends_with_the_channel() -> None:
    assert [message async for message in Scripted(A, B, EndOfChannel("end"))] == [A, B]


async def test_a_gap_ends_an_iteration_that_may_be_taken_up_again() -> None:
    channel = Scripted(A, GapNotice(3, 30, "dropped"), B, C, EndOfChannel("end"))
    received = []
    with pytest.raises(GapNotice):  # noqa: PT012 - what was received before it matters too
        async for message in channel:
            received.append(message)
    assert received == [A]
    assert [message async for message in channel] == [B, C]


async def test_own_aclose_is_no_end_but_an_error() -> None:
    channel = Scripted(A)
    await channel.aclose()
    with pytest.raises(ChannelClosed):
        await anext(aiter(channel))


async def test_where_connecting_is_subscribing_iopub_is_ready_at_once() -> None:
    channel = Scripted(A)
    await channel.ready()
    assert channel.script == [A]
