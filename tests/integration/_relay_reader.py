"""A client in a process of its own: ``_relay_reader.py CONNECTION_FILE CODE`` prints what the kernel publishes for it.

It begins with the first message that the kernel's host has kept.
"""

import asyncio
import json
import sys

from kernelwire import connection_file, registry


async def _read(file: str, code: str) -> None:
    info = connection_file.read(file)
    async with await registry.load(info.transport).connect(info.replace(since=0), identity=b"another") as end:
        parent = None
        while True:
            frames = (await end.iopub.receive()).frames
            header, parent_header, content = (json.loads(bytes(frames[at])) for at in (1, 2, 4))
            if header["msg_type"] == "execute_input" and content["code"] == code:
                parent = parent_header["msg_id"]
            elif parent is None or parent_header.get("msg_id") != parent:
                continue
            elif header["msg_type"] == "stream":
                print(content["text"], end="", flush=True)
            elif content.get("execution_state") == "idle":
                return


if __name__ == "__main__":
    asyncio.run(_read(*sys.argv[1:]))
