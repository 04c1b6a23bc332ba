"""A reader that does not keep up loses nothing: stock Jupyter loses a third of these lines, and hangs."""

import asyncio

import pytest

from kernelwire.client import connect
from kernelwire.execution import ExecuteResult

from ._kernels import PATIENCE, real_kernel

LINES = 20_000

# Each print is flushed, so that there is a message, or two, for each line: far more than any queue of zmq's holds.
CODE = f"for i in range({LINES}): print(i, flush=True)"


async def _read(transport: str, *, late: float, slow: float) -> ExecuteResult:
    async with real_kernel(transport) as kernel, connect(kernel.file) as client:
        await client.ready(PATIENCE)
        execution = client.execute(CODE)
        async for _ in execution:
            # Time is the matter under test here: how long the reader takes for a message.
            if late:
                await asyncio.sleep(late)
                break
            await asyncio.sleep(slow)
        return await execution


@pytest.mark.timeout(240)
async def test_every_line_arrives() -> None:
    # All at once: most of it is sleeping.
    results = await asyncio.gather(
        *(_read(transport, late=0, slow=0.001) for transport in ("tcp", "ipc")),
        *(_read(transport, late=10, slow=0) for transport in ("tcp", "ipc")),
    )
    expected = [str(i) for i in range(LINES)]
    for result in results:
        # That there is a result at all says that the reply and the idle status have come.
        assert result.status == "ok"
        assert result.text.split() == expected
        assert len(result.outputs) > LINES // 2, "the kernel put the lines together: nothing was tested"
