"""Transports that close badly, and the behaviours that kill them."""

import asyncio
import dataclasses
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from kernelwire.channels import PeerEvent
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd
from kernelwire.errors import (
    ChannelClosed,
    ConfigurationError,
    InvalidField,
    NotServed,
    WrongLoop,
)
from kernelwire.messages import WireMessage
from kernelwire.testing import BackendHarness, Hanging, LeftBehind, Pair, leaks

from ._mutants import Elsewhere, Mutant, Receive, Send, assert_killed, spoil_receive, spoil_send


def test_a_second_close_fails() -> None:
    def spoil(end: Any) -> None:
        aclose = end.shell.aclose
        closed: list[bool] = []

        async def once() -> None:
            if closed:
                raise ChannelClosed("closed already")
            closed.append(True)
            await aclose()

        end.shell.aclose = once

    assert_killed(Mutant(client=spoil), "closing_twice_is_closing_once", ChannelClosed)


def test_a_close_that_hangs() -> None:
    def spoil(end: Any) -> None:
        async def for_ever() -> None:
            await asyncio.get_running_loop().create_future()

        end.aclose = for_ever

    assert_killed(Mutant(client=spoil), "closing_twice_is_closing_once", Hanging, watchdog=0.3)


def test_a_close_that_hangs_and_cannot_be_cancelled() -> None:
    give_up = threading.Event()

    def spoil(end: Any) -> None:
        aclose = end.aclose

        async def for_ever() -> None:
            while not give_up.is_set():
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)
            await aclose()

        end.aclose = for_ever

    outcome = assert_killed(Mutant(client=spoil), "closing_twice_is_closing_once", Hanging, watchdog=0.3)
    give_up.set()
    assert "0.3 s" in str(outcome.error)


def test_a_close_that_does_nothing() -> None:
    def spoil(end: Any) -> None:
        async def nothing() -> None:
            pass

        end.aclose = nothing

    assert_killed(Mutant(client=spoil), "a_closed_channel_says_so")


@pytest.mark.parametrize("channel", ["shell", "control", "stdin", "iopub"])
def test_a_channel_that_ends_with_another_error(channel: str) -> None:
    def spoil(receive: Receive) -> Receive:
        async def spoilt() -> WireMessage:
            try:
                return await receive()
            except ChannelClosed:
                raise OSError("bad file descriptor") from None

        return spoilt

    assert_killed(Mutant(client=spoil_receive(channel, spoil)), "a_closed_channel_says_so", OSError)


@pytest.mark.parametrize("channel", ["shell", "iopub"])
def test_a_reader_that_is_not_woken(channel: str) -> None:
    def spoil(receive: Receive) -> Receive:
        async def spoilt() -> WireMessage:
            try:
                return await receive()
            except ChannelClosed:
                await asyncio.get_running_loop().create_future()
                raise

        return spoilt

    assert_killed(Mutant(client=spoil_receive(channel, spoil)), "closing_wakes_who_waits", Hanging, watchdog=0.3)


def test_the_last_message_is_lost() -> None:
    def spoil(send: Send) -> Send:
        """Each goes out with the next, as in a buffer that nobody flushes."""
        held: list[WireMessage] = []

        async def spoilt(message: WireMessage) -> None:
            held.append(message)
            if len(held) > 1:
                await send(held.pop(0))

        return spoilt

    name = "what_was_sent_before_closing_arrives"
    assert_killed(Mutant(client=spoil_send("shell", spoil)), name, Hanging, watchdog=0.3)


def leak_a_task(kept: list[Callable[[], object]]) -> None:
    task = asyncio.get_running_loop().create_task(asyncio.Event().wait())
    kept.append(task.get_name)


def leak_a_thread(kept: list[Callable[[], object]]) -> None:
    event = threading.Event()
    kept.append(event.set)
    threading.Thread(target=event.wait, daemon=True).start()


def leak_a_descriptor(kept: list[Callable[[], object]]) -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    kept.append(lambda: os.close(descriptor))


@pytest.mark.parametrize("leak", [leak_a_task, leak_a_thread, leak_a_descriptor])
def test_something_stays_of_every_client(
    leak: Callable[[list[Callable[[], object]]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks, "_PATIENCE", 0.1)
    kept: list[Callable[[], object]] = []
    assert_killed(Mutant(client=lambda _end: leak(kept)), "clients_may_come_and_go", LeftBehind)
    for free in kept:
        free()


def test_any_loop_will_do() -> None:
    def spoil(send: Send) -> Send:
        async def spoilt(message: WireMessage) -> None:
            with suppress(WrongLoop):
                await send(message)

        return spoilt

    assert_killed(Mutant(client=spoil_send("shell", spoil)), "another_loop_is_refused")
    assert_killed(Mutant(kernel=spoil_send("iopub", spoil)), "another_loop_is_refused")


def test_nobody_tells_the_kernel() -> None:
    def spoil(end: Any) -> None:
        end.peers = None

    assert_killed(Mutant(kernel=spoil), "the_kernel_learns_who_comes_and_goes")


def test_the_kernel_is_told_of_somebody_else() -> None:
    def spoil(end: Any) -> None:
        receive = end.peers.receive

        async def spoilt() -> PeerEvent:
            return PeerEvent(b"somebody", (await receive()).joined)

        end.peers.receive = spoilt

    assert_killed(Mutant(kernel=spoil), "the_kernel_learns_who_comes_and_goes")


def test_peer_events_are_claimed_and_not_there() -> None:
    harness = BackendHarness("tcp")
    harness.capabilities = dataclasses.replace(harness.capabilities, peer_events=True)
    assert_killed(harness, "the_kernel_learns_who_comes_and_goes")


@pytest.mark.parametrize(
    ("raises", "by"),
    [
        (lambda _info: ConnectionRefusedError("nobody listens"), ConnectionRefusedError),
        (lambda info: NotServed(f"nobody serves {info.to_dict()}"), AssertionError),
    ],
)
def test_an_error_of_somebody_else_or_with_the_key(
    raises: Callable[[ConnectionInfo], Exception], by: type[Exception]
) -> None:
    assert_killed(Elsewhere(raises), "nobody_there_is_said_or_waited_for", by)


def test_ready_and_nobody_is_there() -> None:
    async def at_once() -> None:
        pass

    class Ready(BackendHarness):
        @asynccontextmanager
        async def open(self) -> AsyncIterator[Pair]:
            async with super().open() as pair:
                open_client = pair._open_client

                async def spoilt(identity: bytes) -> ClientEnd:
                    end = await open_client(identity)
                    end.iopub.ready = at_once  # type: ignore[method-assign]
                    return end

                pair._open_client = spoilt
                yield pair

    assert_killed(Ready("tcp"), "nobody_there_is_said_or_waited_for")


@pytest.mark.parametrize(
    ("raises", "by"),
    [
        (lambda _: TypeError("expected str, not dict"), TypeError),
        (lambda _: ConfigurationError("a field is wrong"), AssertionError),
        (lambda info: InvalidField("name", f"{info.to_dict()} cannot be used"), AssertionError),
    ],
)
def test_a_field_that_cannot_be_used(raises: Callable[[ConnectionInfo], Exception], by: type[Exception]) -> None:
    assert_killed(Elsewhere(raises), "a_field_that_cannot_be_used_is_named", by)
