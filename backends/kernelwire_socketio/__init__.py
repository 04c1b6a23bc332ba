"""Transport ``socketio``: kernels behind NAT, reached through a relay to which both ends dial out; and that relay.

Importing this imports nothing else: who only lists what is installed needs no web framework.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelwire_socketio.backend import SocketioBackend

__all__ = ["SocketioBackend"]


def __getattr__(name: str) -> Any:
    if name == "SocketioBackend":
        from kernelwire_socketio.backend import SocketioBackend

        return SocketioBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
