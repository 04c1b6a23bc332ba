"""Clients that work through a relay while it is killed and started again."""

import asyncio
import random
import statistics
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

from integration._relay_attacks import MEGABYTE, room_at
from integration._relays import PATIENCE, RelayProcess
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.messages import WireMessage

_PACE: Final = 0.01


class Seen(NamedTuple):
    """What happened.

    Attributes:
        messages: how many there were for each client.
        lost, repeated: of all clients.
        p50, p95: seconds from the relay's being back to a client's next message.
    """

    messages: int
    lost: int
    repeated: int
    p50: float
    p95: float

    def __str__(self) -> str:
        return (
            f"{self.messages} messages to each, {self.lost} lost, {self.repeated} repeated; "
            f"work goes on after {self.p50:.2f} s (median), {self.p95:.2f} s (p95)"
        )


class _Reader:
    """A client: the numbers that it has heard, and when."""

    def __init__(self, end: ClientEnd) -> None:
        self.end = end
        self.heard: list[tuple[int, float]] = []
        self.buffers = 0
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            message = await self.end.iopub.receive()
            self.heard.append((int(bytes(message.frames[4])), loop.time()))
            self.buffers += sum(map(len, message.frames[5:]))


async def kills(relay: RelayProcess, *, clients: int, count: int, buffer: int = 0) -> Seen:
    """Kill the relay so often, while a kernel publishes numbers, and a large buffer once in between."""
    backend, info = room_at(relay)
    loop = asyncio.get_running_loop()
    recovered: list[float] = []
    async with AsyncExitStack() as stack:
        kernel = await stack.enter_async_context(await backend.serve(info))
        readers = []
        for number in range(clients):
            end = await backend.connect(backend.for_clients(info), identity=b"c%d" % number)
            await stack.enter_async_context(end)
            await end.iopub.ready()
            readers.append(_Reader(end))
        publisher = _Publisher(kernel)
        publishing = asyncio.create_task(publisher.publish(buffer))
        for _ in range(count):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(relay.kill)
            await asyncio.sleep(random.uniform(0, 1))
            await asyncio.to_thread(relay.start)
            started, marks = loop.time(), [len(reader.heard) for reader in readers]
            async with asyncio.timeout(PATIENCE):
                while any(len(reader.heard) == mark for reader, mark in zip(readers, marks, strict=True)):
                    await asyncio.sleep(0.005)
            recovered += [reader.heard[mark][1] - started for reader, mark in zip(readers, marks, strict=True)]
        publisher.stop = True
        await publishing
        async with asyncio.timeout(10 * PATIENCE):
            while any(reader.heard[-1][0] < publisher.number for reader in readers):
                await asyncio.sleep(0.01)
        for reader in readers:
            reader.task.cancel()
        await asyncio.gather(*(reader.task for reader in readers), return_exceptions=True)
    lost = repeated = 0
    for reader in readers:
        numbers = [number for number, _ in reader.heard]
        assert numbers == sorted(numbers)
        assert reader.buffers == buffer
        lost += publisher.number - numbers[0] + 1 - len(set(numbers))
        repeated += len(numbers) - len(set(numbers))
    recovered.sort()
    return Seen(
        publisher.number, lost, repeated, statistics.median(recovered), recovered[int(0.95 * (len(recovered) - 1))]
    )


class _Publisher:
    """Numbers, one after the other."""

    def __init__(self, kernel: KernelEnd) -> None:
        self.number = 0
        self.stop = False
        self._kernel = kernel

    async def publish(self, buffer: int) -> None:
        large = b"x" * MEGABYTE * (buffer // MEGABYTE)
        while not self.stop:
            self.number += 1
            frames = [b"", b"{}", b"{}", b"{}", str(self.number).encode()]
            if large and self.number == 20:
                frames.append(large)
            await self._kernel.iopub.send(WireMessage(frames))
            await asyncio.sleep(_PACE)
