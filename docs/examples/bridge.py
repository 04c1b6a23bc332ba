"""Serve a running kernel on another transport too: ``python bridge.py CONNECTION_FILE``."""

import asyncio
import secrets
import sys

import kernelwire
from kernelwire import ConnectionFile, ConnectionInfo, connection_file


async def main(path: str) -> None:
    far = connection_file.read(path)
    near = ConnectionInfo(transport="ipc", key=secrets.token_hex(32).encode())
    async with kernelwire.open_bridge(far, near) as address:
        with ConnectionFile.write(address) as file:
            print("serving", far.transport, "on", address.transport)
            await use(file)


async def use(file: ConnectionFile) -> None:
    async with kernelwire.connect(file.path) as client:
        await client.ready(timeout=60)
        print((await client.execute("print('hello over the bridge')")).text, end="")


asyncio.run(main(sys.argv[1]))
