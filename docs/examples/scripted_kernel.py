"""A kernel made of one function, and a client for it, in one process: ``python scripted_kernel.py``."""

import asyncio
from collections.abc import Mapping

import kernelwire
from kernelwire import ConnectionInfo, Session, registry
from kernelwire.testing import Run, ScriptedKernel


async def shout(run: Run) -> Mapping[str, object] | None:
    await run.stream(run.code.upper() + "\n")
    return None


async def main() -> None:
    backend = registry.load("inprocess")
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=b"a key for this example"))
    async with (
        await backend.serve(info) as end,
        ScriptedKernel(end, Session.of(info), shout),
        kernelwire.connect(info) as client,
    ):
        result = await client.execute("hello")
        print(result.status, result.text, end="")


asyncio.run(main())
