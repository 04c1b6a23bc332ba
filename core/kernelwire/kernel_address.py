"""Where a kernel of ours is reached: its address, its connection file, and the bridge to a wire that it cannot speak."""

import os
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final, Self
from uuid import uuid4

from kernelwire import registry
from kernelwire.bridge import open_bridge
from kernelwire.connection import ConnectionInfo, new_key
from kernelwire.connection_file import ConnectionFile, runtime_dir
from kernelwire.errors import InvalidField, KernelwireError

SPOKEN: Final = frozenset({"tcp", "ipc"})
"""The transports that kernels themselves speak; to any other they are bridged."""


class KernelAddress:
    """Made by :meth:`open`; everything that it made outside of this process is gone after :meth:`aclose`.

    Attributes:
        info: where clients reach the kernel.
        file: the connection file of that.
        kernel_info: what the kernel is told: the same, or behind a bridge an address of its own.
        kernel_file: the connection file of that.
    """

    info: ConnectionInfo
    file: ConnectionFile
    kernel_info: ConnectionInfo
    kernel_file: ConnectionFile

    def __init__(self) -> None:
        self._asked = ConnectionInfo()  # what the kernel's address was made from
        self._bridge = AsyncExitStack()
        self._undo = AsyncExitStack()

    @classmethod
    async def open(
        cls, transport: str, *, kernel_name: str, ip: str | None = None, path: str | os.PathLike[str] | None = None
    ) -> Self:
        """Choose an address for a new kernel, and write its connection file.

        Arguments:
            transport: the clients'. If it is none of :data:`SPOKEN`, the kernel gets an address of its own and a
                bridge.
            kernel_name: for the connection file.
            ip: as in a connection file; ``*`` for every address of this machine.
            path: of the connection file; a new one in the runtime directory if None.

        Raises:
            InvalidField: `ip` is no address of this machine, or cannot be used on this transport.
            ConnectionFileError: `path` exists, or cannot be written.
            TransportError, NotSupported: `transport` cannot be used or cannot serve.
        """
        # "*" is no address to connect to, and some readers of the file would try.
        ip = "0.0.0.0" if transport == "tcp" and ip == "*" else ip  # noqa: S104 - the caller's choice
        asked = ConnectionInfo(transport=transport, ip=ip, key=new_key(), kernel_name=kernel_name)
        address = cls()
        try:
            if transport in SPOKEN:
                address._choose(asked)
                address.info = address.kernel_info
                address.file = address.kernel_file = address._write(address.info, path)
            else:
                address._choose_private(kernel_name)
                address.kernel_file = address._write(address.kernel_info, _private_path())
                await address._open_bridge(asked)
                address.file = address._write(address.info, path)
        except BaseException:
            await address.aclose()
            raise
        address._undo.callback(address.restore)
        address._undo.pop_all()
        return address

    @property
    def is_bridged(self) -> bool:
        """Whether there is a bridge between the clients and the kernel."""
        return self.kernel_file is not self.file

    def restore(self) -> None:
        """Write connection files again that somebody has removed: kernels do when they end."""
        raise NotImplementedError
