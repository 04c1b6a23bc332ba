"""The backend of transport ``socketio``."""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from kernelwire.connection import ConnectionInfo
from kernelwire.link.backend import PipeBackend
from kernelwire.link.pipe import Listener, Pipe
from kernelwire.ticket import key_of

if TYPE_CHECKING:
    from kernelwire_socketio.address import Address
    from kernelwire_socketio.experience import Experience

VARIABLE: Final = "KERNELWIRE_RELAY"
"""The environment variable with the address of the relay for a new kernel whose connection information names none."""

# The libraries are imported when they are used; whether they are there is known now, when it can still be said well.
for _name in ("aiohttp", "engineio", "jwt", "socketio"):
    if find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)


class SocketioBackend(PipeBackend):
    """Kernels through a relay. The connection fields beside those of every link:

    ``relay``: its address, ``https://…``; ``prepare`` takes it from ``KERNELWIRE_RELAY`` if it is missing.
    ``relay_ca``: a file with the certificates to trust; the system's if it is missing.
    ``host_token``: for the kernel's end, at relays that want one.
    """

    def __init__(self) -> None:
        self._experiences: dict[str, Experience] = {}

    async def open_pipe(self, info: ConnectionInfo) -> Pipe:
        from kernelwire_socketio.client_pipe import open_pipe
        from kernelwire_socketio.dialling import Dialling

        return await open_pipe(Dialling.as_client(info, self._experience))

    async def listen(self, info: ConnectionInfo) -> Listener:
        from kernelwire_socketio.dialling import Dialling
        from kernelwire_socketio.listener import RelayListener

        listener = RelayListener(Dialling.as_host(info, self._experience, self.timing.dead_after))
        await listener.start()
        return listener

    def room(self, info: ConnectionInfo) -> bytes:
        from kernelwire_socketio.rooms import RoomKey

        return RoomKey(key_of(info, "link_secret")).room

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        from kernelwire_socketio.address import Address

        if info.extra.get("relay") is None and (relay := os.environ.get(VARIABLE)):
            info = info.replace(relay=relay)
        Address.of(info)
        return super().prepare(info)

    def _experience(self, address: "Address") -> "Experience":
        from kernelwire_socketio.experience import Experience

        return self._experiences.setdefault(str(address), Experience(str(address)))
