"""A channel without a client: ``python raw_channels.py CONNECTION_FILE``."""

import asyncio
import sys

from kernelwire import Channel, Session, WireMessage, connection_file, registry


async def main(path: str) -> None:
    info = connection_file.read(path)
    session = Session.of(info)
    backend = registry.load(info.transport)
    end = await backend.connect(info, identity=session.session_id.encode(), channels={Channel.SHELL})
    async with end, asyncio.timeout(60):
        request = session.message("kernel_info_request")
        await end.shell.send(WireMessage(session.pack(request)))
        reply = session.unpack((await end.shell.receive()).frames)
        assert reply.is_child_of(request)
        print(reply.msg_type, reply.content["status"])


asyncio.run(main(sys.argv[1]))
