"""kernelwire, blocking and async."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import kernelwire
import kernelwire.blocking

if TYPE_CHECKING:
    from benchmarks._contestant import Burst, Contestant, Drained, Info, OnLoop
else:
    from _contestant import Burst, Contestant, Drained, Info, OnLoop  # beside this script, from wherever it is run


class Blocking(Contestant):
    """``kernelwire.blocking.connect``."""

    name = "blocking"

    def open(self, info: Info) -> None:
        self._client = kernelwire.blocking.connect(str(info["connection_file"]))
        self._client.ready(timeout=60)

    def close(self) -> None:
        self._client.close()

    def kernel_info(self, count: int) -> list[float]:
        client, times = self._client, []
        for _ in range(count):
            start = time.perf_counter()
            client.kernel_info()
            times.append(time.perf_counter() - start)
        return times

    def execute(self, count: int) -> list[float]:
        client, times = self._client, []
        for _ in range(count):
            start = time.perf_counter()
            client.execute("pass").result()
            times.append(time.perf_counter() - start)
        return times

    def drain(self, burst: Burst) -> Drained:
        messages = iter(self._client.execute("hold"))
        assert next(messages).msg_type == "execute_input"
        cpu = time.process_time()
        burst()
        start = time.perf_counter()
        count = 1 + sum(1 for _ in messages)  # status messages are the execution's to read
        seconds = time.perf_counter() - start
        return Drained(count, seconds, time.process_time() - cpu)

    def in_flight(self, count: int) -> None:
        raise NotImplementedError

    def large(self, size: int) -> float:
        start = time.perf_counter()
        messages = iter(self._client.execute(f"large {size}", keep=False))
        message = next(message for message in messages if message.msg_type == "display_data")
        seconds = time.perf_counter() - start
        assert len(message.buffers[0]) == size
        del message
        for _ in messages:
            pass
        return seconds


class Async(OnLoop):
    """``kernelwire.connect``."""

    name = "async"

    def execute(self, count: int) -> list[float]:
        return self.run(self._execute(count))

    def drain(self, burst: Burst) -> Drained:
        return self.run(self._drain(burst))

    def in_flight(self, count: int) -> None:
        self.run(self._in_flight(count))

    def large(self, size: int) -> float:
        return self.run(self._large(size))

    async def connect(self, info: Info) -> None:
        self._stack = AsyncExitStack()
        self._client = await self._stack.enter_async_context(kernelwire.connect(str(info["connection_file"])))
        await self._client.ready(timeout=60)

    async def disconnect(self) -> None:
        await self._stack.aclose()

    async def ask(self, count: int) -> list[float]:
        client, times = self._client, []
        for _ in range(count):
            start = time.perf_counter()
            await client.kernel_info()
            times.append(time.perf_counter() - start)
        return times

    async def _execute(self, count: int) -> list[float]:
        client, times = self._client, []
        for _ in range(count):
            start = time.perf_counter()
            await client.execute("pass")
            times.append(time.perf_counter() - start)
        return times

    async def _drain(self, burst: Burst) -> Drained:
        messages = aiter(self._client.execute("hold"))
        assert (await anext(messages)).msg_type == "execute_input"
        cpu = time.process_time()
        burst()
        start = time.perf_counter()
        count = 1  # status messages are the execution's to read
        async for _ in messages:
            count += 1
        seconds = time.perf_counter() - start
        return Drained(count, seconds, time.process_time() - cpu)

    async def _in_flight(self, count: int) -> None:
        await asyncio.gather(*(self._client.kernel_info() for _ in range(count)))

    async def _large(self, size: int) -> float:
        start = time.perf_counter()
        messages = aiter(self._client.execute(f"large {size}", keep=False))
        async for message in messages:
            if message.msg_type == "display_data":
                break
        seconds = time.perf_counter() - start
        assert len(message.buffers[0]) == size
        del message
        async for _ in messages:
            pass
        return seconds
