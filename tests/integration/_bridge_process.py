"""One part of a chain in a process of its own, so that its memory can be measured.

Arguments: the part (``kernel``, ``bridge`` or ``client``), then its addresses as JSON objects, the far one first. It
reads commands from standard input, answers each with a line on standard output, and ends when there are no more.
"""

import asyncio
import hashlib
import json
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from kernelwire import registry
from kernelwire.bridging import open_bridge
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import KernelEnd
from kernelwire.message_channel import MessageChannel, MessageReceiver, MessageSender
from kernelwire.session import Session

SIZE: Final = 100_000_000

Command = Callable[[str], Awaitable[str]]


class LargeKernel:
    """Answers each request with the hash of the buffer that it brought, and publishes a large one when it is asked to.

    Arguments:
        end: where requests come in.
        session: verifies and signs.
    """

    def __init__(self, end: KernelEnd, session: Session) -> None:
        self._shell = MessageChannel(end.shell, session)
        self._iopub = MessageSender(end.iopub, session)
        self._session = session
        # Made beforehand, and so no part of what carrying it costs.
        self._data = random.Random(1).randbytes(SIZE)
        self._digest = hashlib.sha256(self._data).hexdigest()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            request, wire = await self._shell.receive_from()
            if request.msg_type == "publish_request":
                buffers = [self._data] if request.content["large"] else []
                published = self._session.message("display_data", parent=request, buffers=buffers)
                await self._iopub.send(published, b"display_data")
                digest = self._digest
                del published
            else:
                digest = hashlib.sha256(request.buffers[0]).hexdigest()
            reply = self._session.message("reply", {"sha256": digest}, parent=request)
            # Or this would hold them until the next request comes.
            del request
            await self._shell.send(reply, wire.peer)
            del wire


class LargeClient:
    """Commands: ``prepare``, ``up`` and ``down``. The answers to the last two are two hashes that should be equal.

    Arguments:
        info: where the kernel is.
    """

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._data = b""

    async def __call__(self, command: str) -> str:
        """Do it."""
        session = Session.of(self._info)
        backend = registry.load(self._info.transport)
        async with await backend.connect(self._info, identity=session.session_id.encode("ascii")) as end:
            shell = MessageChannel(end.shell, session)
            iopub = MessageReceiver(end.iopub, session)
            match command:
                case "prepare":
                    self._data = random.Random(2).randbytes(SIZE)
                    request = session.message("publish_request", {"large": False})
                case "up":
                    request = session.message("large_request", buffers=[self._data])
                case _:
                    request = session.message("publish_request", {"large": True})
            # The kernel publishes no status, so nothing but a message of its own proves that we are subscribed;
            # a bridge, and any kernel end of ours, welcomes us.
            await end.iopub.ready()
            await shell.send(request)
            received = ""
            while command != "up":
                message = await iopub.receive()
                if message.msg_type == "display_data":
                    received = hashlib.sha256(message.buffers[0]).hexdigest() if message.buffers else ""
                    break
            reply = await shell.receive()
            mine = hashlib.sha256(self._data).hexdigest()
            return f"{reply.content['sha256']} {mine if command == 'up' else received}"


async def _serve_commands(answer: Command) -> None:
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(await answer(line.strip()), flush=True)


async def _nothing(_command: str) -> str:
    return ""


async def _main(part: str, *addresses: str) -> None:
    infos = [ConnectionInfo.from_dict(json.loads(address)) for address in addresses]
    if part == "client":
        await _serve_commands(LargeClient(infos[0]))
    elif part == "bridge":
        async with open_bridge(infos[0], infos[1]):
            await _serve_commands(_nothing)
    else:
        async with await registry.load(infos[0].transport).serve(infos[0]) as end:
            running = asyncio.create_task(LargeKernel(end, Session.of(infos[0])).run())
            await _serve_commands(_nothing)
            running.cancel()
            await asyncio.wait([running])


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
