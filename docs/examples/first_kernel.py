"""The tutorial's program: ``python first_kernel.py CONNECTION_FILE``."""

import asyncio
import sys

import kernelwire
from kernelwire import InputRequest, KernelClient


async def run(client: KernelClient) -> None:
    result = await client.execute("print('hello'); 6 * 7")
    print(result.status)
    print(result.text, end="")
    print(result.data)


async def stream(client: KernelClient) -> None:
    async for message in client.execute("for i in range(3): print('step', i, flush=True)"):
        if message.msg_type == "stream":
            print(message.content["text"], end="")


async def fail(client: KernelClient) -> None:
    result = await client.execute("1 / 0")
    print(result.status)
    if result.error is not None:
        name, value, _traceback = result.error
        print(name, value)


async def complete(client: KernelClient) -> None:
    await client.execute("temperature = 21")
    reply = await client.complete("tempera")
    print(reply.content["matches"])


async def answer(request: InputRequest) -> str:
    print("the kernel asks:", request.prompt)
    return "Ada"


async def ask(client: KernelClient) -> None:
    result = await client.execute("print('hello', input('your name? '))", input_hook=answer)
    print(result.text, end="")


async def main(connection_file: str) -> None:
    async with kernelwire.connect(connection_file) as client:
        information = await client.ready(timeout=60)
        print("a kernel for", information.content["language_info"]["name"])
        for chapter in (run, stream, fail, complete, ask):
            await chapter(client)


asyncio.run(main(sys.argv[1]))
