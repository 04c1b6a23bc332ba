"""Connection fields to zmq addresses: tcp ports and ipc paths, as Jupyter writes them."""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import zmq

from kernelwire.connection import PORT_FIELDS, ConnectionInfo
from kernelwire.errors import AddressInUse, InvalidField

_IPC_DIRECTORY: Final = "kw-"
"""Prefix of the private directories that `prepare_ipc` makes, by which `release_ipc` knows them again. Short, as is the
name below: kernels made with xeus have 32 bytes for an address, and end if it has more."""

_FREE_TRIES: Final = 500
_FREE_PAUSE: Final = 0.002

_ANY: Final = frozenset({"*", "0.0.0.0", "::"})  # noqa: S104 - recognised, not chosen


def address(info: ConnectionInfo, field: str) -> str:
    """The zmq address of one port field.

    Raises:
        InvalidField: ``ip`` or the port is missing, or an ipc path is too long for the operating system.
    """
    port = info.port(field)
    if info.transport == "ipc":
        return _ipc_address(info, port)
    host = info.ip or "127.0.0.1"
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def to_connect(info: ConnectionInfo) -> ConnectionInfo:
    """With an ``ip`` that can be connected to: a kernel that listens everywhere is reached on this machine."""
    if info.transport != "ipc" and info.ip in _ANY:
        return info.replace(ip="::1" if info.ip == "::" else "127.0.0.1")
    return info


def prepare_tcp(info: ConnectionInfo) -> ConnectionInfo:
    """Give each port field that has none a port that is free now; another process may still be faster.

    Raises:
        InvalidField: ``ip`` is no address of this machine.
    """
    missing = [field for field in PORT_FIELDS if getattr(info, field) is None]
    kept = {getattr(info, field) for field in PORT_FIELDS}
    ip = info.ip or "127.0.0.1"
    host = "0.0.0.0" if ip == "*" else ip  # noqa: S104 - only where the caller's "*" says so
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    chosen = {}
    with ExitStack() as held:  # all at once, so that no port is given twice
        while missing:
            probe = held.enter_context(socket.socket(family))
            try:
                probe.bind((host, 0))
            except OSError as error:
                raise InvalidField("ip", f"{ip!r} is no address of this machine: {error.strerror}") from error
            if (port := probe.getsockname()[1]) not in kept:
                chosen[missing.pop(0)] = port
    return info.replace(ip=ip, **chosen)


def prepare_ipc(info: ConnectionInfo) -> ConnectionInfo:
    """Give ``ip`` a path in a new private directory if it has none, and each missing port the next number that is free.

    A path that is given becomes absolute: kernel and clients may be in other directories than this process.

    Raises:
        InvalidField: the path is too long for the operating system, or no socket can be made there.
    """
    import tempfile  # here, because a client starts without it

    path = _absolute(info.ip) if info.ip else str(Path(tempfile.mkdtemp(prefix=_IPC_DIRECTORY)) / "k")
    made = None if info.ip else Path(path).parent
    chosen: dict[str, int] = {}
    taken = {getattr(info, field) for field in PORT_FIELDS}
    number = 0
    for field in PORT_FIELDS:
        if getattr(info, field) is None:
            number += 1
            while number in taken or Path(f"{path}-{number}").exists():
                number += 1
            chosen[field] = number
    info = info.replace(ip=path, **chosen)
    try:
        for field in PORT_FIELDS:
            address(info, field)
    except InvalidField:
        if made is not None:
            made.rmdir()
        raise
    return info


def _absolute(path: str) -> str:
    absolute = Path(path).absolute()
    if not os.access(directory := absolute.parent, os.W_OK | os.X_OK):
        problem = "cannot be written" if directory.is_dir() else "is no directory"
        raise InvalidField("ip", f"no sockets can be made in {directory}: it {problem}")
    return str(absolute)


def release_ipc(info: ConnectionInfo) -> None:
    """Remove the socket files of a kernel that is gone, and the directory if `prepare_ipc` made it."""
    import tempfile

    if info.ip is None:
        return
    for field in PORT_FIELDS:
        if (port := getattr(info, field)) is not None:
            path = Path(f"{info.ip}-{port}")
            if _is_socket(path):
                with suppress(OSError):  # gone by now, or not ours to remove
                    path.unlink()
    directory = Path(info.ip).parent
    if directory.name.startswith(_IPC_DIRECTORY) and directory.parent == Path(tempfile.gettempdir()):
        with suppress(OSError):  # gone already, or somebody else keeps files in it
            directory.rmdir()


def claim_ipc(endpoint: str, field: str) -> None:
    """Make way for a bind: libzmq unlinks whatever stands at the path, even a live kernel's socket.

    Raises:
        AddressInUse: a process answers there, or what stands there is no socket.
    """
    path = endpoint.removeprefix("ipc://")
    if not os.path.lexists(path):
        return
    if not _is_socket(Path(path)):
        raise AddressInUse(f"{field}: {path} exists and is no socket")
    if _answers(path):
        raise AddressInUse(f"{field}: {endpoint} is in use by another process or socket")


async def until_free(endpoints: Sequence[str]) -> None:
    """Wait until the addresses of sockets that are closed can be bound again, though not for ever: zmq takes them down
    in a thread of its own, and does not tell when.
    """
    for _ in range(_FREE_TRIES):
        if not any(map(_is_bound, endpoints)):
            return
        await asyncio.sleep(_FREE_PAUSE)


def _is_bound(endpoint: str) -> bool:
    scheme, _, rest = endpoint.partition("://")
    if scheme == "ipc":
        return _is_socket(Path(rest)) and _answers(rest)
    host, _, port = rest.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _answers(path: str) -> bool:
    """Whether a process listens on the socket at `path`; what a process that is gone left behind does not answer."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # its queue is full: alive
    return True


def _ipc_address(info: ConnectionInfo, port: int) -> str:
    if info.ip is None:
        raise InvalidField("ip", "missing; transport 'ipc' needs the path that '-PORT' is added to")
    path = f"{info.ip}-{port}"
    if len(os.fsencode(path)) > zmq.IPC_PATH_MAX_LEN:
        raise InvalidField(
            "ip",
            f"the ipc path {path!r} has {len(os.fsencode(path))} bytes, and this system allows "
            f"{zmq.IPC_PATH_MAX_LEN}: use a shorter directory",
        )
    return f"ipc://{path}"


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False
