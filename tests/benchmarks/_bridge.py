"""A bridge in a process of its own: from the connection file that it is given to a transport, until nobody holds it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernelwire.bridging import open_bridge
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile, read

KEY = b"another-key-than-the-kernel-itself-has"


@contextmanager
def running(connection_file: str, transport: str, *, same_key: bool = False) -> Iterator[str]:
    """Yields the connection file of its near side.

    Arguments:
        connection_file: of the far side.
        transport: of the near side.
        same_key: sign both sides with the kernel's key, so that nothing is signed anew.
    """
    command = [sys.executable, str(Path(__file__).resolve()), connection_file, transport, *(["same"] * same_key)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(10)


async def serve(connection_file: str, transport: str, *same: str) -> None:
    """Print the near side's connection file, then carry until standard input ends."""
    far = read(connection_file)
    near = ConnectionInfo(transport=transport, key=far.key if same else KEY)
    async with open_bridge(far, near) as info:
        with ConnectionFile.write(info, Path(connection_file).with_name("bridged.json")) as file:
            print(json.dumps(str(file.path)), flush=True)
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
