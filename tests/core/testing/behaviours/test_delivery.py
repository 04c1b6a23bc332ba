"""Transports that lose, repeat, mix up or misdirect messages, and the behaviours that kill them."""

import asyncio
import itertools
from typing import Any

import pytest

from kernelwire.messages import WireMessage
from kernelwire.testing import Hanging

from ._gallery import drop_every_97th, repeat_every_97th, swap_two
from ._mutants import Mutant, Receive, Send, assert_killed, spoil_receive, spoil_send


@pytest.mark.parametrize("spoil", [drop_every_97th, repeat_every_97th, swap_two])
def test_order_on_iopub(spoil: Any) -> None:
    assert_killed(Mutant(kernel=spoil_send("iopub", spoil)), "order_is_kept_on_each_channel")


@pytest.mark.parametrize("spoil", [drop_every_97th, swap_two])
def test_order_of_several_senders(spoil: Any) -> None:
    assert_killed(Mutant(client=spoil_send("shell", spoil)), "order_is_kept_for_each_of_eight_senders")


@pytest.mark.parametrize("spoil", [drop_every_97th, swap_two])
def test_publications_to_all(spoil: Any) -> None:
    assert_killed(Mutant(kernel=spoil_send("iopub", spoil)), "publications_reach_every_client")


def test_replies_mixed_up() -> None:
    assert_killed(Mutant(kernel=spoil_send("shell", swap_two)), "replies_find_their_request")


def test_one_client_of_three_misses_one() -> None:
    clients = itertools.count(1)

    def spoil(receive: Receive) -> Receive:
        number, messages = next(clients), itertools.count(1)

        async def spoilt() -> WireMessage:
            message = await receive()
            return await receive() if number % 3 == 0 and next(messages) == 500 else message

        return spoilt

    assert_killed(Mutant(client=spoil_receive("iopub", spoil)), "publications_reach_every_client")


def to_everybody(channel: str) -> Any:
    """A kernel's end that takes every reply for a publication."""

    def spoil(end: Any) -> None:
        spoilt, peers = getattr(end, channel), set()
        send = spoilt.send
        for name in ("shell", "control", "stdin"):
            inner = getattr(end, name)

            def listen(receive: Receive) -> Receive:
                async def listening() -> WireMessage:
                    message = await receive()
                    peers.add(message.peer)
                    return message

                return listening

            inner.receive = listen(inner.receive)

        async def send_to_all(message: WireMessage) -> None:
            for peer in sorted(peers):
                await send(WireMessage(message.frames, peer))

        spoilt.send = send_to_all

    return spoil


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_replies_to_everybody(channel: str) -> None:
    assert_killed(Mutant(kernel=to_everybody(channel)), "replies_reach_only_who_asked")


def test_questions_to_everybody() -> None:
    assert_killed(Mutant(kernel=to_everybody("stdin")), "questions_reach_only_who_asked")


@pytest.mark.parametrize("channel", ["control", "stdin"])
def test_another_peer_on_another_channel(channel: str) -> None:
    def spoil(receive: Receive) -> Receive:
        async def spoilt() -> WireMessage:
            message = await receive()
            return WireMessage(message.frames, message.peer + b" on " + channel.encode())

        return spoilt

    assert_killed(Mutant(kernel=spoil_receive(channel, spoil)), "a_client_has_one_identity")


def test_one_peer_for_all() -> None:
    def spoil(end: Any) -> None:
        for channel in ("shell", "control", "stdin"):
            spoil_receive(channel, nameless)(end)

    def nameless(receive: Receive) -> Receive:
        async def spoilt() -> WireMessage:
            return WireMessage((await receive()).frames, b"the client")

        return spoilt

    assert_killed(Mutant(kernel=spoil), "a_client_has_one_identity")


def test_ready_too_early() -> None:
    def spoil(receive: Receive) -> Receive:
        missed = iter(range(5))

        async def spoilt() -> WireMessage:
            for _ in missed:
                await receive()
            return await receive()

        return spoilt

    assert_killed(Mutant(client=spoil_receive("iopub", spoil)), "nothing_is_missed_after_ready")


def test_control_waits_for_shell() -> None:
    def spoil(end: Any) -> None:
        lock = asyncio.Lock()

        def one_at_a_time(send: Send) -> Send:
            async def spoilt(message: WireMessage) -> None:
                async with lock:
                    await send(message)

            return spoilt

        spoil_send("shell", one_at_a_time)(end)
        spoil_send("control", one_at_a_time)(end)

    assert_killed(Mutant(client=spoil), "control_overtakes_shell", Hanging, watchdog=0.5)


def test_channels_mixed_up() -> None:
    def spoil(end: Any) -> None:
        end.control.send = end.shell.send

    assert_killed(Mutant(client=spoil), "round_trip_on_each_channel", Hanging, watchdog=0.5)


def test_a_flood_is_thinned_out() -> None:
    assert_killed(Mutant(kernel=spoil_send("iopub", drop_every_97th)), "a_fast_publisher_loses_nothing")
