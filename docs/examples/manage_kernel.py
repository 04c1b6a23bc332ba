"""Start a kernel, interrupt it, let it die, restart it, end it: ``python manage_kernel.py``."""

import asyncio
import signal
from pathlib import Path

from kernelwire import AutoRestart, KernelManager, LocalLauncher
from kernelwire.errors import KernelExited

FOR_EVER = "print('at work', flush=True)\nimport time\nwhile True: time.sleep(0.05)"


async def main() -> None:
    async with KernelManager(auto_restart=AutoRestart(limit=3)) as manager:
        await manager.start("python3", timeout=60)
        async with manager.client() as client:
            print((await client.execute("6 * 7")).data)
        await interrupt(manager)
        await survive(manager)
        await stay(manager)
        await lend(manager.connection_file)
        await restart(manager)


async def interrupt(manager: KernelManager) -> None:
    async with manager.client() as client:
        execution = client.execute(FOR_EVER)
        async for message in execution:
            if message.msg_type == "stream":
                await manager.interrupt()
                break
        result = await execution
        print(result.error[0] if result.error else "?")


async def survive(manager: KernelManager) -> None:
    back = asyncio.Event()
    manager.add_callback(back.set, "restart")
    manager.add_callback(lambda: print("started again"), "restart")
    async with manager.client() as client:
        execution = client.execute(FOR_EVER)
        async for _ in execution:
            manager.signal(signal.SIGKILL)
            break
        await back.wait()
        try:
            await execution
        except KernelExited as error:  # at once, not when the heartbeat has been missed for long enough
            print(str(error).partition(";")[0])
        print((await client.execute("print('back')")).text, end="")  # the same client


async def stay(manager: KernelManager) -> None:
    client = await manager.start_channels(stdin=False)
    print((await client.execute("print(1 + 1)")).text, end="")
    await manager.stop_channels()


async def lend(connection_file: Path) -> None:
    async with KernelManager() as guest:
        await guest.attach(connection_file)
        async with guest.client() as client:
            print((await client.execute("print('guest: back')")).text, end="")


async def restart(manager: KernelManager) -> None:
    quiet = LocalLauncher(pass_on=lambda output: None)
    await manager.restart(arguments=["--quiet"], launcher=quiet, env={"GREETING": "quiet"})
    async with manager.client() as client:
        print((await client.execute("import os; print('restarted as', os.environ['GREETING'])")).text, end="")


asyncio.run(main())
