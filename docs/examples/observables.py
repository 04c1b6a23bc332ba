"""Executions and channels as observables: ``python observables.py CONNECTION_FILE``."""

import asyncio
import sys

from reactivex import operators as ops

from kernelwire import KernelClient, Message, RawChannels, connect, open_channels, rx


def is_stream(message: Message) -> bool:
    return message.msg_type == "stream"


def text(message: Message) -> str:
    return str(message.content["text"])


async def show_output(client: KernelClient) -> None:
    done = asyncio.get_running_loop().create_future()
    output = rx.execute(client, "for i in range(3): print('line', i, flush=True)")
    output.pipe(ops.filter(is_stream), ops.map(text)).subscribe(
        on_next=lambda line: print(line, end=""),
        on_error=done.set_exception,
        on_completed=lambda: done.set_result(None),
    )
    await done


async def ask(kernel: RawChannels) -> Message:
    request = kernel.session.message("kernel_info_request")
    await kernel.shell.send(request)
    return await rx.observable(kernel.shell, parent=request).pipe(ops.first())


async def main(path: str) -> None:
    async with connect(path) as client, open_channels(path) as kernel, asyncio.timeout(60):
        await client.ready()
        await show_output(client)
        print((await ask(kernel)).content["status"])


asyncio.run(main(sys.argv[1]))
