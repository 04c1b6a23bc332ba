"""Transports that take a cancellation badly, or let one client hold up another, and the behaviours that kill them."""

import asyncio
import itertools

import pytest

from kernelwire.errors import ChannelBusy, GapNotice
from kernelwire.messages import WireMessage
from kernelwire.testing import Hanging

from ._mutants import Mutant, Receive, Send, assert_killed, spoil_receive, spoil_send


def test_a_cancelled_receive_loses_its_message() -> None:
    def spoil(receive: Receive) -> Receive:
        async def spoilt() -> WireMessage:
            message = await receive()
            await asyncio.sleep(0)
            return message

        return spoilt

    assert_killed(Mutant(kernel=spoil_receive("shell", spoil)), "a_cancelled_receive_loses_nothing")


def test_a_receive_that_cannot_be_cancelled() -> None:
    def spoil(receive: Receive) -> Receive:
        async def spoilt() -> WireMessage:
            while True:
                try:
                    return await receive()
                except asyncio.CancelledError:
                    continue

        return spoilt

    name = "a_cancelled_receive_loses_nothing"
    assert_killed(Mutant(kernel=spoil_receive("shell", spoil)), name, Hanging, watchdog=0.5)


@pytest.mark.parametrize("kept_frames", [5, 6])
def test_a_cancelled_send_is_torn(kept_frames: int) -> None:
    def spoil(send: Send) -> Send:
        async def spoilt(message: WireMessage) -> None:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                await send(WireMessage(message.frames[:kept_frames], message.peer))
                raise
            await send(message)

        return spoilt

    assert_killed(Mutant(client=spoil_send("shell", spoil)), "a_cancelled_send_is_all_or_nothing")


def test_a_send_that_returns_before_the_wire_has_it() -> None:
    def spoil(send: Send) -> Send:
        numbers = itertools.count(1)

        async def spoilt(message: WireMessage) -> None:
            if next(numbers) % 50:  # the queue of this one has no room now and then, and it does not wait
                await send(message)

        return spoilt

    assert_killed(Mutant(client=spoil_send("shell", spoil)), "a_cancelled_send_is_all_or_nothing")


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_a_second_reader_is_let_in(channel: str) -> None:
    def spoil(receive: Receive) -> Receive:
        async def spoilt() -> WireMessage:
            while True:
                try:
                    return await receive()
                except ChannelBusy:
                    await asyncio.sleep(0)

        return spoilt

    mutant = Mutant(kernel=spoil_receive(channel, spoil))
    assert_killed(mutant, "a_second_reader_is_refused", Hanging, watchdog=0.3)


def test_who_does_not_read_stops_everybody() -> None:
    room: list[asyncio.Semaphore] = []

    def spoil_reading(receive: Receive) -> Receive:
        """Each client of this transport has to make room for the next publication."""
        mine = asyncio.Semaphore(100)
        room.append(mine)

        async def spoilt() -> WireMessage:
            message = await receive()
            mine.release()
            return message

        return spoilt

    def spoil_publishing(send: Send) -> Send:
        room.clear()

        async def spoilt(message: WireMessage) -> None:
            for each in room:
                await each.acquire()
            await send(message)

        return spoilt

    mutant = Mutant(kernel=spoil_send("iopub", spoil_publishing), client=spoil_receive("iopub", spoil_reading))
    assert_killed(mutant, "one_who_does_not_read_stops_nobody", Hanging, watchdog=0.5)


def test_who_does_not_read_makes_others_lose() -> None:
    def spoil(send: Send) -> Send:
        numbers = itertools.count(1)

        async def spoilt(message: WireMessage) -> None:
            number = next(numbers)
            if number < 1000 or number % 2:
                await send(message)

        return spoilt

    assert_killed(Mutant(kernel=spoil_send("iopub", spoil)), "one_who_does_not_read_stops_nobody")


def test_who_falls_behind_is_told_of_too_little() -> None:
    def spoil(receive: Receive) -> Receive:
        numbers = itertools.count(1)

        async def spoilt() -> WireMessage:
            if next(numbers) == 30:
                await receive()
                await receive()
                raise GapNotice(1, None, "the oldest were dropped")
            return await receive()

        return spoilt

    assert_killed(Mutant(client=spoil_receive("iopub", spoil)), "who_falls_behind_is_told_what_is_missing")
