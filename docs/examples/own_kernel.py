"""An object of one's own as a kernel, and a client for it: ``python own_kernel.py [TRANSPORT]``."""

import asyncio
import sys

import kernelwire
from kernelwire.serving import Run


class Shouter:
    banner = "I shout"

    async def execute(self, code: str, run: Run) -> str:
        await run.stream(f"hearing {code}\n")
        name = await run.input("who says so? ")
        return f"{code.upper()}, says {name}!"

    async def complete(self, code: str, cursor_pos: int) -> dict[str, object]:
        return {"matches": ["hello", "help"], "cursor_start": 0}


async def ada(_question: kernelwire.InputRequest) -> str:
    return "Ada"


async def main(transport: str) -> None:
    async with kernelwire.serve(Shouter(), transport) as info:
        await use(info)


async def use(info: kernelwire.ConnectionInfo) -> None:
    async with kernelwire.connect(info, input_hook=ada) as client:
        await client.ready(timeout=60)
        result = await client.execute("hello")
        print(result.text, end="")
        print(result.data)
        print((await client.complete("he")).content["matches"])


asyncio.run(main(*sys.argv[1:] or ["tcp"]))
