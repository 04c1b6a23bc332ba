"""Run code in a kernel that is running: ``python hello.py CONNECTION_FILE``."""

import asyncio
import sys

import kernelwire


async def main(connection_file: str) -> None:
    async with kernelwire.connect(connection_file) as client:
        await client.ready(timeout=60)
        execution = client.execute("for i in range(3): print('line', i, flush=True)\n6 * 7")
        async for message in execution:  # output as it comes
            print(message.msg_type, message.content)
        result = await execution  # how it ended
        print(result.status, result.data)


asyncio.run(main(sys.argv[1]))
