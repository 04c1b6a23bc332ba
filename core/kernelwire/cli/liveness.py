"""Whether a kernel that another process has started lives, as far as that can be found out in a short time."""

import asyncio
import secrets
import socket
from typing import Any, Final

from kernelwire import registry
from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ConfigurationError, NotSupported, WireError
from kernelwire.first_answer import DEAF

_KNOCK: Final = 1.0
"""Seconds to wait for an answer to a knock, or for a heartbeat; on this machine it comes at once."""


async def nobody_listens(info: ConnectionInfo) -> bool:
    """Whether the system refuses connections to the kernel. False too where that is not known."""
    address: Any
    if info.transport == "ipc":
        family, address = socket.AF_UNIX, f"{info.ip}-{info.control_port}"
    elif info.transport == "tcp":
        ip = info.ip or "127.0.0.1"
        family, address = (socket.AF_INET6 if ":" in ip else socket.AF_INET), (ip, info.control_port)
    else:
        return False
    if info.control_port is None:
        return False
    with socket.socket(family) as knock:
        knock.setblocking(False)
        try:
            async with asyncio.timeout(_KNOCK):
                await asyncio.get_running_loop().sock_connect(knock, address)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:  # a time limit is one too
            return False
    return False


async def why_away(info: ConnectionInfo) -> str:
    """That a kernel is certainly not at its address just now, to be put behind that it does not answer; or nothing."""
    return "; nobody listens at its address: it is dead, or has not begun yet" if await nobody_listens(info) else ""


async def why_deaf(info: ConnectionInfo) -> str:
    """Why a kernel may not have answered that was asked on control, to be put behind that; or nothing."""
    if away := await why_away(info):
        return away
    try:
        return f"; {DEAF}" if await beats(info, _KNOCK) else ""
    except ConfigurationError:
        return ""


async def beats(info: ConnectionInfo, timeout: float) -> bool | None:
    """Whether the kernel answers a heartbeat; None where the wire has none.

    Arguments:
        info: where the kernel is.
        timeout: seconds to wait for the answer.

    Raises:
        ConfigurationError: the connection cannot be used, or nobody serves it.
    """
    backend = registry.load(info.transport)
    identity = secrets.token_hex(16).encode("ascii")
    try:
        async with asyncio.timeout(timeout):
            async with await backend.connect(info, identity=identity, channels={Channel.HEARTBEAT}) as end:
                await end.heartbeat.beat(timeout)
                return True
    except (WireError, TimeoutError):
        return False
    except NotSupported:
        return None
