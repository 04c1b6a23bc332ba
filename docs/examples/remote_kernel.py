"""A kernel on another machine, started and ended from here: give it the file of a host's ticket."""

import asyncio
import sys

from kernelwire import KernelManager
from kernelwire.host.remote import RemoteHost


async def main(ticket: str) -> None:
    host = RemoteHost.of(ticket)
    async with KernelManager() as manager:
        await manager.start("python3", host=host)
        async with manager.client() as client:
            print((await client.execute("6 * 7")).data)
            await manager.restart()
            print((await client.execute("6 * 7 + 1")).data)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
