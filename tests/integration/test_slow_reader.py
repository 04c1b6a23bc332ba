"""A reader that does not keep up loses nothing: stock Jupyter loses a third of these lines, and hangs."""

import asyncio
from typing import NamedTuple

import pytest

from kernelwire.client import connect
from kernelwire.execution import ExecuteResult

from ._kernels import PATIENCE, real_kernel

LINES = 20_000

# Each print is flushed, so that there is a message, or two, for each line: far more than any queue of zmq's holds.
CODE = f"for i in range({LINES}): print(i, flush=True)"


ATTEMPTS = 3
"""A kernel drops output by itself where the machine is so busy that its own sending thread has no turn for long. That
hits by chance, and few lines; what a slow reader does to stock Jupyter happens each time, to thousands."""


class Reader(NamedTuple):
    """How a reader is slow.

    Attributes:
        transport: of its kernel.
        late: seconds that it takes for the first message.
        slow: seconds that it takes for each.
    """

    transport: str
    late: float
    slow: float


READERS = (Reader("tcp", 0, 0.001), Reader("ipc", 0, 0.001), Reader("tcp", 10, 0), Reader("ipc", 10, 0))


async def _read(reader: Reader, printing: asyncio.Lock) -> ExecuteResult:
    async with real_kernel(reader.transport) as kernel, connect(kernel.file) as client:
        await client.ready(PATIENCE)
        async with printing:
            execution = client.execute(CODE)
            # Time is the matter under test here: how long the reader takes for a message.
            async for _ in execution:
                await asyncio.sleep(reader.late or reader.slow)
                if reader.late or execution.done:
                    break
        if not reader.late:
            async for _ in execution:
                await asyncio.sleep(reader.slow)
        return await execution


@pytest.mark.timeout(300)
async def test_every_line_arrives() -> None:
    missing: tuple[Reader, ...] = READERS
    for _ in range(ATTEMPTS):
        # One kernel prints at a time, so that each has a processor; all the readers sleep at once.
        printing = asyncio.Lock()
        results = await asyncio.gather(
            *(asyncio.wait_for(_read(reader, printing), 90) for reader in missing), return_exceptions=True
        )
        missing = tuple(reader for reader, result in zip(missing, results, strict=True) if not _is_complete(result))
        if not missing:
            return
    pytest.fail(f"lines are missing: {missing}")


def _is_complete(result: ExecuteResult | BaseException) -> bool:
    if isinstance(result, TimeoutError):  # the idle status was among what the kernel dropped
        return False
    if isinstance(result, BaseException):
        raise result
    # That there is a result at all says that the reply and the idle status have come.
    assert result.status == "ok"
    lines = [int(line) for line in result.text.split()]
    assert lines == sorted(set(lines))
    assert len(result.outputs) > LINES // 2, "the kernel put the lines together: nothing was tested"
    print(f"{len(lines)} of {LINES} lines in {len(result.outputs)} messages")
    return len(lines) == LINES
