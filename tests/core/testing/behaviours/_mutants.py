"""Transports that are broken on purpose: the in-process one, with a method or two of its ends spoilt; and links.

A kit is worth what it catches. Each test names a mutant and the behaviour that must kill it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from conformance.pipes import MemoryPipeBackend
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import KernelwireError
from kernelwire.link.peer import Timing
from kernelwire.messages import WireMessage
from kernelwire.testing import BEHAVIOURS, BackendHarness, Harness, Outcome, Pair, Status, run
from kernelwire.testing.behaviours import reliable
from kernelwire.testing.through import Through

Spoil = Callable[[Any], None]
"""Changes an end in place; called for the kernel's, or for each client's."""

Send = Callable[[WireMessage], Awaitable[None]]
Receive = Callable[[], Awaitable[WireMessage]]


class Mutant(BackendHarness):
    """The in-process transport, spoilt.

    Arguments:
        kernel: spoils the kernel's end.
        client: spoils each client's end.
    """

    def __init__(self, *, kernel: Spoil | None = None, client: Spoil | None = None) -> None:
        super().__init__("inprocess")
        self.name = "mutant"
        self._kernel = kernel
        self._client = client

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pair]:
        async with super().open() as pair:
            if self._kernel is not None:
                self._kernel(pair.kernel.end)
            open_client = pair._open_client

            async def open_spoilt(identity: bytes) -> Any:
                end = await open_client(identity)
                if self._client is not None:
                    self._client(end)
                return end

            pair._open_client = open_spoilt
            yield pair


class Elsewhere(Mutant):
    """Addresses of it that lead to nobody, or are none.

    Arguments:
        raises: makes what connecting raises, of the fields of an address; None for what it raises by itself.
        again: what serving raises where somebody has served before; None for nothing.
    """

    def __init__(
        self,
        raises: Callable[[ConnectionInfo], Exception] | None = None,
        again: type[Exception] | None = None,
    ) -> None:
        super().__init__()
        self._raises = raises
        self._again = again

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pair]:
        async with super().open() as pair:
            self._spoil_connecting(pair)
            if self._again is not None:
                pair._serve_again = self._refuse
            yield pair

    def _spoil_connecting(self, pair: Pair) -> None:
        connect_at, raises = pair._connect_at, self._raises
        if connect_at is None or raises is None:
            return

        async def connect(info: ConnectionInfo, identity: bytes) -> ClientEnd:
            try:
                return await connect_at(info, identity)
            except KernelwireError:
                raise raises(info) from None

        async def open_client(identity: bytes) -> ClientEnd:
            return await connect(pair.client_info, identity)

        pair._connect_at, pair._open_client = connect, open_client

    async def _refuse(self) -> KernelEnd:
        assert self._again is not None
        raise self._again("name: somebody serves there")


LOG, OVERFLOW = 4 * 1024 * 1024, 24
"""Bytes that a link for these tests keeps, and what is more than that, in messages of 512 KiB."""

QUICK = Timing(ping_after=0.1, dead_after=0.4)
"""How soon it notices that nothing passes."""


class BrokenLink(BackendHarness):
    """A pipe whose link is spoilt; it keeps less than others do, and notices silence sooner.

    Arguments:
        spoil: replaces what the link is made of, as long as a pair is open.
    """

    def __init__(self, spoil: Callable[[pytest.MonkeyPatch], None]) -> None:
        backend = MemoryPipeBackend()
        backend.log_limit = LOG
        super().__init__("memory-pipe", backend)
        self.name = "broken link"
        self._spoil = spoil

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pair]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Through, "timing", QUICK)
            patch.setattr(reliable, "OVERFLOW", OVERFLOW)
            self._spoil(patch)
            async with super().open() as pair:
                yield pair


def spoil_send(channel: str, spoil: Callable[[Send], Send]) -> Spoil:
    """Replaces the send of a channel by what `spoil` makes of it."""

    def change(end: Any) -> None:
        spoilt = getattr(end, channel)
        spoilt.send = spoil(spoilt.send)

    return change


def spoil_receive(channel: str, spoil: Callable[[Receive], Receive]) -> Spoil:
    """Replaces the receive of a channel by what `spoil` makes of it."""

    def change(end: Any) -> None:
        spoilt = getattr(end, channel)
        spoilt.receive = spoil(spoilt.receive)

    return change


def spoil_buffers(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Send], Send]:
    """A send that changes the buffers, which no signature covers."""

    def spoil(send: Send) -> Send:
        async def spoilt(message: WireMessage) -> None:
            buffers = change([bytes(frame) for frame in message.frames[5:]])
            await send(WireMessage([*message.frames[:5], *buffers], message.peer))

        return spoilt

    return spoil


def assert_killed(
    mutant: Harness,
    name: str,
    by: type[BaseException] | tuple[type[BaseException], ...] = AssertionError,
    *,
    watchdog: float = 30,
) -> Outcome:
    """The behaviour of this name fails the mutant, for the reason that it should."""
    (behaviour,) = (each for each in BEHAVIOURS if each.name == name)
    outcome = run(mutant, behaviour, watchdog=watchdog)
    assert outcome.status is Status.FAIL, f"{name} let the mutant live"
    assert outcome.error is not None
    reasons = list(_flat(outcome.error))
    assert any(isinstance(reason, by) for reason in reasons), str(outcome)
    return outcome


def assert_works_otherwise(mutant: Harness) -> None:
    """What kills it is no mere accident: in peace it works."""
    for name in ("round_trip_on_each_channel", "buffers_keep_their_number_and_lengths"):
        (behaviour,) = (each for each in BEHAVIOURS if each.name == name)
        outcome = run(mutant, behaviour)
        assert outcome.status is Status.PASS, str(outcome)


def _flat(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _flat(each)]
    return [error]
