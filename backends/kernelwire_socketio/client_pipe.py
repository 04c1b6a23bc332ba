"""A client's pipe: a connection of its own to the relay."""

import asyncio
from typing import Final

from kernelwire.errors import ConnectionLost
from kernelwire.link.pipe import Pipe
from kernelwire_socketio import events
from kernelwire_socketio.dialling import Dialling
from kernelwire_socketio.experience import PATIENCE
from kernelwire_socketio.pipes import RelayPipe

HOST_TIME: Final = 10.0
"""Seconds that an attempt waits for the kernel's host to come into the room."""


async def open_pipe(dialling: Dialling) -> Pipe:
    """Connect to the relay, and wait until the host is there.

    Raises:
        ConfigurationError: that cannot succeed.
        ConnectionLost: not just now.
    """
    there: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_event(name: str, data: memoryview) -> None:
        match name:
            case events.OPEN if not there.done():
                there.set_result(None)
            case events.DATA:
                pipe.put(data)

    def on_end() -> None:
        pipe.end(ConnectionLost(connection.why))
        if not there.done():
            there.set_exception(ConnectionLost(connection.why))
            there.exception()

    connection = dialling.new_connection(on_event, on_end)
    pipe = RelayPipe(connection.send, connection.send_now, connection.aclose)
    await dialling.connect(connection)
    absent = f"the kernel's host is not at {dialling.address} just now"
    timer = asyncio.get_running_loop().call_later(PATIENCE, dialling.experience.tell, absent)
    try:
        async with asyncio.timeout(HOST_TIME):
            await there
    except BaseException as error:
        await connection.aclose()
        if isinstance(error, TimeoutError):
            raise ConnectionLost(absent) from None
        raise
    finally:
        timer.cancel()
    dialling.experience.succeeded()
    return pipe
