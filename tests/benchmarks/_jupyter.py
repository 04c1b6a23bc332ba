"""jupyter_client, blocking and async."""

import time
from typing import TYPE_CHECKING

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.blocking.client import BlockingKernelClient

if TYPE_CHECKING:
    from benchmarks._contestant import Burst, Contestant, Drained, Info, OnLoop
else:
    from _contestant import Burst, Contestant, Drained, Info, OnLoop  # beside this script, from wherever it is run


class JupyterBlocking(Contestant):
    """``jupyter_client.BlockingKernelClient``. Output is read by get_iopub_msg until the idle status, then the reply by
    get_shell_msg, as its users do; execute_interactive takes twice as long.
    """

    name = "jc blocking"

    def open(self, info: Info) -> None:
        self._client = BlockingKernelClient(connection_file=info["connection_file"])
        self._client.load_connection_file()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def close(self) -> None:
        self._client.stop_channels()
        self._client.context.destroy(0)

    def kernel_info(self, count: int) -> list[float]:
        client, times = self._client, []
        for _ in range(count):
            start = time.perf_counter()
            client.kernel_info(reply=True)
            times.append(time.perf_counter() - start)
        return times

    def execute(self, count: int) -> list[float]:
        client, times = self._client, []
        for _ in range(count):
            start = time.perf_counter()
            request = client.execute("pass", allow_stdin=False)
            self._read_until("status", request)
            self._reply(request)
            times.append(time.perf_counter() - start)
        return times

    def drain(self, burst: Burst) -> Drained:
        request = self._client.execute("hold", allow_stdin=False)
        self._read_until("execute_input", request)
        cpu = time.process_time()
        burst()
        start = time.perf_counter()
        count = self._read_until("status", request)
        seconds = time.perf_counter() - start
        cpu = time.process_time() - cpu
        self._reply(request)
        return Drained(count, seconds, cpu)

    def in_flight(self, count: int) -> None:
        waiting = {self._client.kernel_info() for _ in range(count)}
        while waiting:
            waiting.discard(self._client.get_shell_msg()["parent_header"]["msg_id"])

    def large(self, size: int) -> float:
        start = time.perf_counter()
        request = self._client.execute(f"large {size}", allow_stdin=False)
        while True:
            message = self._client.get_iopub_msg()
            if message["parent_header"].get("msg_id") == request and message["msg_type"] == "display_data":
                break
        seconds = time.perf_counter() - start
        assert len(message["buffers"][0]) == size
        self._read_until("status", request)
        self._reply(request)
        return seconds

    def _read_until(self, msg_type: str, request: str) -> int:
        count = 0
        while True:
            message = self._client.get_iopub_msg()
            count += 1
            mine = message["parent_header"].get("msg_id") == request and message["msg_type"] == msg_type
            if mine and (msg_type != "status" or message["content"]["execution_state"] == "idle"):
                return count

    def _reply(self, request: str) -> None:
        while self._client.get_shell_msg()["parent_header"].get("msg_id") != request:
            pass


class JupyterAsync(OnLoop):
    """``jupyter_client.AsyncKernelClient``, used as the blocking one."""

    name = "jc async"

    def execute(self, count: int) -> list[float]:
        return self.run(self._execute(count))

    def drain(self, burst: Burst) -> Drained:
        return self.run(self._drain(burst))

    def in_flight(self, count: int) -> None:
        self.run(self._in_flight(count))

    def large(self, size: int) -> float:
        return self.run(self._large(size))

    async def connect(self, info: Info) -> None:
        self._client = AsyncKernelClient(connection_file=info["connection_file"])
        self._client.load_connection_file()
        self._client.start_channels()
        await self._client.wait_for_ready(timeout=60)

    async def disconnect(self) -> None:
        self._client.stop_channels()
        self._client.context.destroy(0)

    async def ask(self, count: int) -> list[float]:
        client, times = self._client, []
        for _ in range(count):
            start = time.perf_counter()
            await client.kernel_info(reply=True)
            times.append(time.perf_counter() - start)
        return times

    async def _execute(self, count: int) -> list[float]:
        client, times = self._client, []
        for _ in range(count):
            start = time.perf_counter()
            request = client.execute("pass", allow_stdin=False)
            await self._read_until("status", request)
            await self._reply(request)
            times.append(time.perf_counter() - start)
        return times

    async def _drain(self, burst: Burst) -> Drained:
        request = self._client.execute("hold", allow_stdin=False)
        await self._read_until("execute_input", request)
        cpu = time.process_time()
        burst()
        start = time.perf_counter()
        count = await self._read_until("status", request)
        seconds = time.perf_counter() - start
        cpu = time.process_time() - cpu
        await self._reply(request)
        return Drained(count, seconds, cpu)

    async def _in_flight(self, count: int) -> None:
        waiting = {self._client.kernel_info() for _ in range(count)}
        while waiting:
            waiting.discard((await self._client.get_shell_msg())["parent_header"]["msg_id"])

    async def _large(self, size: int) -> float:
        start = time.perf_counter()
        request = self._client.execute(f"large {size}", allow_stdin=False)
        while True:
            message = await self._client.get_iopub_msg()
            if message["parent_header"].get("msg_id") == request and message["msg_type"] == "display_data":
                break
        seconds = time.perf_counter() - start
        assert len(message["buffers"][0]) == size
        await self._read_until("status", request)
        await self._reply(request)
        return seconds

    async def _read_until(self, msg_type: str, request: str) -> int:
        count = 0
        while True:
            message = await self._client.get_iopub_msg()
            count += 1
            mine = message["parent_header"].get("msg_id") == request and message["msg_type"] == msg_type
            if mine and (msg_type != "status" or message["content"]["execution_state"] == "idle"):
                return count

    async def _reply(self, request: str) -> None:
        while (await self._client.get_shell_msg())["parent_header"].get("msg_id") != request:
            pass
