"""Where a kernel of ours is reached: its address, its connection file, and a bridge to a wire that it cannot speak."""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4

from kernelwire import connection_file, registry
from kernelwire.bridging import open_bridge
from kernelwire.carrying import Witness
from kernelwire.connection import PORT_FIELDS, ConnectionInfo, new_key
from kernelwire.connection_file import ConnectionFile, runtime_dir
from kernelwire.ends import KernelEnd
from kernelwire.errors import ConfigurationError, ConnectionFileError, InvalidField, KernelwireError, NotSupported
from kernelwire.launch import Encryption

SPOKEN: Final = frozenset({"tcp", "ipc"})
"""The transports that kernels themselves speak; to any other they are bridged."""


class KernelAddress:
    """Made by :meth:`open`; everything that it made outside of this process is gone after :meth:`aclose`.

    Attributes:
        info: where clients reach the kernel, without what only a host may know.
        near: the same, with that.
        file: the connection file of that.
        kernel_info: what the kernel is told: the same, or behind a bridge an address of its own.
        kernel_file: the connection file of that.
    """

    near: ConnectionInfo
    info: ConnectionInfo
    file: ConnectionFile
    kernel_info: ConnectionInfo
    kernel_file: ConnectionFile

    def __init__(self, witness: Witness | None = None) -> None:
        self._is_left = False
        self._witness = witness
        self._near_end: KernelEnd | None = None
        self._asked = ConnectionInfo()  # what the kernel's own address was made from
        self._files: list[ConnectionFile] = []
        self._bridge = AsyncExitStack()

    @classmethod
    async def open(
        cls,
        transport: str,
        *,
        kernel_name: str,
        ip: str | None = None,
        path: str | os.PathLike[str] | None = None,
        fields: Mapping[str, Any] | None = None,
        encryption: Encryption = "disabled",
        witness: Witness | None = None,
    ) -> Self:
        """Choose an address for a new kernel, and write its connection file.

        Arguments:
            transport: the clients'. If it is none of :data:`SPOKEN`, the kernel gets an address of its own and a
                bridge.
            kernel_name: for the connection file.
            ip: as in a connection file; ``*`` for every address of this machine.
            path: of the connection file; a new one in the runtime directory if None.
            fields: further connection fields of the transport.
            encryption: whether the kernel gets keys. If required, a bridge's other side must be encrypted too.
            witness: of the bridge, if there is one.

        Raises:
            InvalidField: `ip` is no address of this machine, or cannot be used on this transport, nor can a field.
            ConnectionFileError: `path` exists, or cannot be written.
            TransportError, NotSupported: `transport` cannot be used, cannot serve, or cannot encrypt as required.
        """
        # "*" is no address to connect to, and some readers of the file would try.
        ip = "0.0.0.0" if transport == "tcp" and ip == "*" else ip  # noqa: S104 - the caller's choice
        extra = dict(fields or {})
        key = registry.load(transport).new_key()
        asked = ConnectionInfo(transport=transport, ip=ip, key=key, kernel_name=kernel_name).replace(**extra)
        address = cls(witness)
        try:
            if transport in SPOKEN:
                address._choose(_with_keys(asked, encryption))
                address.near = address.info = address.kernel_info
                address.file = address.kernel_file = address._write(address.info, path)
            else:
                near = registry.load(transport)  # before anything is made that would have to go again
                if encryption == "required" and not near.capabilities.encrypted:
                    raise NotSupported(f"transport {transport!r} does not encrypt, and encryption is required")
                own = ConnectionInfo(transport="ipc", key=new_key(), kernel_name=kernel_name)
                address._choose_private(_with_keys(own, encryption))
                # Not named as kernels' files are: it is not what somebody looks for.
                private = runtime_dir() / f"bridged-{uuid4()}.json"
                address.kernel_file = address._write(address.kernel_info, private)
                await address._enter_bridge(asked)
                address.file = address._write(address.info, path)
        except BaseException:
            await address.aclose()
            raise
        return address

    @classmethod
    async def adopt(
        cls,
        near: ConnectionInfo,
        kernel_file: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        witness: Witness | None = None,
    ) -> Self:
        """Take up the address of a bridged kernel that runs, and that another process has left.

        Arguments:
            near: as `near` was there, so that clients find it again.
            kernel_file: the kernel's own connection file.
            path: of the clients' connection file, which is written anew.
            witness: of the bridge.

        Raises:
            ConnectionFileError: a file cannot be read or written.
            AddressInUse: the other process still serves there; or as `open`. The kernel keeps all that it needs.
        """
        address = cls(witness)
        info = connection_file.read(kernel_file)
        address._asked = ConnectionInfo(transport=info.transport, key=info.key, kernel_name=info.kernel_name)
        address._backend = registry.load(info.transport)
        address.kernel_info = info
        try:
            await address._enter_bridge(near)
            for name, told, file in (("kernel_file", info, kernel_file), ("file", address.info, path)):
                setattr(address, name, ConnectionFile.write(told, file, overwrite=True))
                address._files.append(getattr(address, name))
        except BaseException:
            address.leave()
            await address.aclose()
            raise
        return address

    @property
    def clients(self) -> int | None:
        """How many clients are connected to the bridge just now; None where nobody knows."""
        return None if self._near_end is None else self._near_end.connected

    @property
    def is_bridged(self) -> bool:
        """Whether there is a bridge between the clients and the kernel."""
        return self.kernel_file is not self.file

    @property
    def may_fall_back(self) -> bool:
        """Whether the kernel's own address is on ipc, nothing has ever been served there, and it is ours to change."""
        info = self.kernel_info
        if not self.is_bridged or info.transport != "ipc":
            return False
        return not any(Path(f"{info.ip}-{getattr(info, field)}").exists() for field in PORT_FIELDS)

    def restore(self) -> None:
        """Write a connection file again that is gone: some kernels remove it when they end.

        Raises:
            ConnectionFileError: it cannot be written.
        """
        for file in list(self._files):
            if not file.path.exists():
                self._rewrite(file, file.info)

    async def renew(self, *, fall_back: bool = False) -> None:
        """Choose another address for the kernel, with the same key, and write the same files for it.

        Clients on the old one are lost, except behind a bridge: their side of it opens again where it was.

        Arguments:
            fall_back: tcp instead of what it was, for a kernel that does not speak ipc.

        Raises:
            ConnectionFileError: somebody has put another file in the place of ours.
        """
        bridged = self.is_bridged
        await self._leave_bridge()
        self._release()
        self._choose(self._asked.replace(transport="tcp", ip=None) if fall_back else self._asked)
        self.kernel_file = self._rewrite(self.kernel_file, self.kernel_info)
        if bridged:
            await self._enter_bridge(self.near)
        else:
            self.near = self.info = self.kernel_info
            self.file = self.kernel_file

    async def aclose(self) -> None:
        """End the bridge, and remove the files and whatever else the address needed."""
        try:
            await self._leave_bridge()
        finally:
            for file in self._files:
                _remove(file)
            self._files.clear()
            self._release()

    def leave(self) -> None:
        """Keep files and address: the kernel goes on without us. Where there is a bridge, `aclose` still ends that."""
        self._files.clear()
        self._is_left = True

    def _choose_private(self, asked: ConnectionInfo) -> None:
        try:
            self._choose(asked)
        except InvalidField:  # the path of the temporary directory is too long for sockets
            self._choose(asked.replace(transport="tcp"))

    def _choose(self, asked: ConnectionInfo) -> None:
        self._asked = asked
        self._backend = registry.load(asked.transport)
        self.kernel_info = self._backend.prepare(asked)

    def _release(self) -> None:
        if hasattr(self, "kernel_info") and not self._is_left:
            self._backend.release(self.kernel_info)

    async def _enter_bridge(self, near: ConnectionInfo) -> None:
        def see(end: KernelEnd) -> None:
            self._near_end = end

        bridge = open_bridge(self.kernel_info, near, on_open=see, witness=self._witness)
        self.near = await self._bridge.enter_async_context(bridge)
        self.info = registry.load(near.transport).for_clients(self.near)

    async def _leave_bridge(self) -> None:
        bridge, self._bridge = self._bridge, AsyncExitStack()
        with suppress(KernelwireError):  # that it broke is in the log already
            await bridge.aclose()

    def _write(self, info: ConnectionInfo, path: str | os.PathLike[str] | None) -> ConnectionFile:
        try:
            file = ConnectionFile.write(info, path)
        except ConnectionFileError as error:
            if not isinstance(error.__cause__, FileExistsError):
                raise
            # Never overwritten here: it may be the file of a kernel that runs.
            hint = "attach to the kernel that it belongs to, remove it, or give another path"
            raise ConnectionFileError(f"{path}: exists already; {hint}") from error
        self._files.append(file)
        return file

    def _rewrite(self, file: ConnectionFile, info: ConnectionInfo) -> ConnectionFile:
        _remove(file)
        self._files.remove(file)
        written = self._write(info, file.path)
        self.file, self.kernel_file = (written if each is file else each for each in (self.file, self.kernel_file))
        return written


def _remove(file: ConnectionFile) -> None:
    """Remove a connection file, also if the kernel has written it anew: ipykernel does where there are CURVE keys."""
    if file.remove():
        return
    with suppress(ConfigurationError, OSError):  # gone, or of somebody else
        if connection_file.read(file.path).key == file.info.key:
            file.path.unlink()


def _with_keys(asked: ConnectionInfo, encryption: Encryption) -> ConnectionInfo:
    """What a kernel's own address is made from: with the keys of its transport, where it has some and may use them."""
    if encryption == "disabled":
        return asked
    try:
        return registry.load(asked.transport).encrypt(asked)
    except NotSupported:
        if encryption == "required":
            raise
        return asked
