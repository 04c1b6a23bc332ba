"""A wire that is read late while nobody waits."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import zmq

from kernelwire_zmq import patient_wire
from kernelwire_zmq.patient_wire import PatientWire

RawContext = zmq.Context[zmq.Socket[bytes]]


class Near:
    """A patient wire that collects what it takes."""

    def __init__(self, context: RawContext) -> None:
        self.far, near = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        near.bind("inproc://near")
        self.far.connect("inproc://near")
        self.taken: list[bytes] = []
        self.waits = True
        self.came = asyncio.Event()
        self.wire = PatientWire(near, self.take, lambda: self.waits)

    def take(self) -> None:
        self.taken.append(self.wire.socket.recv(zmq.NOBLOCK))
        self.came.set()

    async def until(self, count: int) -> None:
        while len(self.taken) < count:
            self.came.clear()
            await self.came.wait()

    async def until_put_off(self) -> None:
        while self.wire._later is None:
            await asyncio.sleep(0)


@pytest.fixture
async def near(context: RawContext) -> AsyncIterator[Near]:
    near = Near(context)
    await asyncio.sleep(0)  # its first look at the socket
    yield near
    near.wire.close(0)


@pytest.fixture
def very_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_wire, "_LATER", 3600.0)


async def test_what_nobody_waits_for_comes_all_the_same(near: Near) -> None:
    for number in range(200):
        near.far.send(b"%d" % number)
        if number % 50 == 0:
            await near.until(number + 1)
    await near.until(200)
    assert near.taken == [b"%d" % number for number in range(200)]


@pytest.mark.usefixtures("very_late")
async def test_it_comes_late(near: Near) -> None:
    near.far.send(b"one")
    await near.until_put_off()
    near.far.send(b"two")
    for _ in range(20):
        await asyncio.sleep(0)
    assert near.taken == []
    near.wire.hurry()
    await near.until(2)
    assert near.taken == [b"one", b"two"]


@pytest.mark.usefixtures("very_late")
async def test_what_somebody_waits_for_comes_at_once(near: Near) -> None:
    near.waits = False
    near.wire.hurry()
    near.far.send(b"one")
    await near.until(1)
    assert near.wire._later is None
    near.waits = True
    near.far.send(b"two")
    await near.until_put_off()
    near.wire.hurry()
    await near.until(2)


@pytest.mark.usefixtures("very_late")
async def test_close_forgets_what_was_put_off(near: Near) -> None:
    near.far.send(b"one")
    await near.until_put_off()
    near.wire.close(0)
    near.wire.hurry()
    for _ in range(5):
        await asyncio.sleep(0)
    assert near.taken == []
