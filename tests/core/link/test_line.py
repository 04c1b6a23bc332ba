"""A client's connection at its host: the machine's frames go to the newest one only."""

import asyncio
from collections.abc import Callable

import pytest

from kernelwire.errors import ConnectionLost
from kernelwire.link.host import HostLink
from kernelwire.link.line import Line
from kernelwire.link.records import Hello, Lane, Ping, Pong, Status, Welcome, decode
from kernelwire.link.resume import NOTHING, WINDOW
from kernelwire.link.throttle import OWN


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_line_is_its_members_machine_until_it_is_replaced() -> None:
    admission = HostLink(max_message_bytes=1000).greet(Hello(b"me", bytes(32), 0, NOTHING, None, 1).encode(), 0.0)
    assert admission.member is not None
    task = asyncio.create_task(forever())
    line = Line(admission.member, task, admission.answer)
    assert line.has_frame(0.0)
    (welcome,) = decode(line.next_frame(0.0))
    assert isinstance(welcome, Welcome)
    assert line.receive(Ping(7).encode(), 0.0) == []
    assert Pong(7) in decode(line.next_frame(0.0))
    assert line.next_frame(0.0) == b""
    assert not line.is_swift()
    window = WINDOW[Lane.D]
    for granted in (window, window + OWN):  # in no time
        line.receive(Status(Lane.D, 0, granted).encode(), 0.0)
    assert line.is_swift()
    assert line.dead_at() == admission.member.peer.dead_at()
    assert line.wake_at() == admission.member.peer.wake_at()
    line.replace()
    uses: tuple[Callable[[], object], ...] = (
        lambda: line.receive(Ping(8).encode(), 0.0),
        lambda: line.has_frame(0.0),
        lambda: line.next_frame(0.0),
        line.is_swift,
        line.dead_at,
        line.wake_at,
    )
    for use in uses:
        with pytest.raises(ConnectionLost):
            use()
    with pytest.raises(asyncio.CancelledError):
        await task
