"""Random cancellations of sends and receives: what was sent arrives once and in order, what was cancelled at most once.

``KERNELWIRE_SEED`` replays the choices of a run that failed; its output names the seed.
"""

import asyncio
import os
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from kernelwire.backend import Backend
from kernelwire.channels import Receiver, Sender
from kernelwire.connection import ConnectionInfo
from kernelwire.messages import WireMessage
from kernelwire_inprocess import InProcessBackend
from kernelwire_zmq import IpcBackend, TcpBackend
from kernelwire_zmq.backend import ZmqSettings

CANCELLATIONS: Final = 10_000
"""For each transport, half of sends and half of receives."""

_SMALL: Final = 256 * 1024
# Small queues, so that sends have to wait and can be cancelled while they do.
BACKENDS: Final[dict[str, Callable[[], Backend]]] = {
    "tcp": lambda: TcpBackend(ZmqSettings(held=_SMALL, queue=2)),
    "ipc": lambda: IpcBackend(ZmqSettings(held=_SMALL, queue=2)),
    "inprocess": lambda: InProcessBackend(held=_SMALL),
}

_PADDING: Final = bytes(100_000)
"""Makes messages so large that a few of them fill the operating system's buffers."""


@pytest.fixture
def seed() -> int:
    seed = int(os.environ.get("KERNELWIRE_SEED") or secrets.randbits(32))
    print(f"KERNELWIRE_SEED={seed}")  # pytest shows it if the test fails
    return seed


@pytest.mark.parametrize("direction", ["to the kernel", "to the client"])
@pytest.mark.parametrize("transport", BACKENDS)
async def test_nothing_is_lost_or_doubled(transport: str, direction: str, seed: int) -> None:
    backend = BACKENDS[transport]()
    info = backend.prepare(ConnectionInfo(transport=transport))
    try:
        async with (
            asyncio.timeout(110),
            await backend.serve(info) as kernel,
            await backend.connect(info, identity=b"client") as client,
        ):
            # The kernel's end must have heard of the client before it can send to it.
            await client.shell.send(WireMessage([b"hello"] * 5))
            peer = (await kernel.shell.receive()).peer
            if direction == "to the kernel":
                lane = Lane(client.shell, kernel.shell, b"", seed)
            else:
                lane = Lane(kernel.shell, client.shell, peer, seed)
            await lane.run(CANCELLATIONS // 4)
    finally:
        backend.release(info)
    lane.check()


class Lane:
    """One direction of one channel, with a numbered message for each attempt to send."""

    def __init__(self, sender: Sender, receiver: Receiver, peer: bytes, seed: int) -> None:
        self._sender = sender
        self._receiver = receiver
        self._peer = peer
        self._random = random.Random(seed)
        self._attempts = 0
        self._sent: set[int] = set()
        self._received: list[int] = []
        self._cancelled_sends = 0
        self._cancelled_receives = 0

    async def run(self, cancellations: int) -> None:
        """Until both kinds of calls were cancelled so often; then everything that was sent is received."""
        while min(self._cancelled_sends, self._cancelled_receives) < cancellations:
            # Bursts of unlike length fill the wire at times, and empty it at others.
            await asyncio.gather(
                self._burst(self._try_send, self._random.randrange(200)),
                self._burst(self._try_receive, self._random.randrange(200)),
            )
        # Whatever comes before this one has come when it does; the sending may have to wait until that is read.
        last = asyncio.create_task(self._send(self._next()))
        while not self._received or self._received[-1] != self._attempts - 1:
            self._take(await self._receiver.receive())
        await last

    def check(self) -> None:
        """Each once, in order; of those whose send was cancelled, any."""
        assert self._received == sorted(set(self._received))
        assert self._sent - set(self._received) == set()
        assert set(self._received) <= set(range(self._attempts))

    async def _burst(self, attempt: Callable[[], Awaitable[None]], count: int) -> None:
        for _ in range(count):
            await attempt()

    async def _try_send(self) -> None:
        self._cancelled_sends += await self._cancelled(asyncio.create_task(self._send(self._next())))

    async def _try_receive(self) -> None:
        receive = asyncio.create_task(self._receiver.receive())
        if await self._cancelled(receive):
            self._cancelled_receives += 1
        else:
            self._take(receive.result())

    async def _cancelled(self, task: "asyncio.Task[WireMessage] | asyncio.Task[None]") -> bool:
        """Give a call a few turns of the loop, then cancel it; whether that came in time."""
        for _ in range(self._random.randrange(1, 6)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    def _next(self) -> int:
        self._attempts += 1
        return self._attempts - 1

    async def _send(self, number: int) -> None:
        header = number.to_bytes(8, "big")
        await self._sender.send(WireMessage([b"", header, b"{}", b"{}", b"{}", _PADDING], self._peer))
        self._sent.add(number)

    def _take(self, message: WireMessage) -> None:
        assert len(message.frames) == 6
        assert message.frames[5] == _PADDING
        self._received.append(int.from_bytes(message.frames[1], "big"))
