"""Jupyter kernels over any wire.

::

    async with kernelwire.connect("kernel.json") as client:
        async for message in client.execute("print('hello')"):
            print(message.content)

The names below are the public API. Each is imported when it is first used, so that ``import kernelwire`` costs next to
nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelwire import errors as errors
    from kernelwire.backend import Backend as Backend
    from kernelwire.backend import Capabilities as Capabilities
    from kernelwire.blocking_manager import BlockingKernelManager as BlockingKernelManager
    from kernelwire.bridge import Bridge as Bridge
    from kernelwire.bridging import open_bridge as open_bridge
    from kernelwire.channels import Channel as Channel
    from kernelwire.channels import ControlChannel as ControlChannel
    from kernelwire.channels import HeartbeatChannel as HeartbeatChannel
    from kernelwire.channels import IOPubChannel as IOPubChannel
    from kernelwire.channels import IOPubPublisher as IOPubPublisher
    from kernelwire.channels import ShellChannel as ShellChannel
    from kernelwire.channels import StdinChannel as StdinChannel
    from kernelwire.client import KernelClient as KernelClient
    from kernelwire.client import connect as connect
    from kernelwire.connection import ConnectionInfo as ConnectionInfo
    from kernelwire.connection import new_key as new_key
    from kernelwire.connection_file import ConnectionFile as ConnectionFile
    from kernelwire.ends import ClientEnd as ClientEnd
    from kernelwire.ends import KernelEnd as KernelEnd
    from kernelwire.execution import ExecuteResult as ExecuteResult
    from kernelwire.execution import Execution as Execution
    from kernelwire.execution import InputRequest as InputRequest
    from kernelwire.heartbeat import HeartbeatMonitor as HeartbeatMonitor
    from kernelwire.launch import AutoRestart as AutoRestart
    from kernelwire.launch import Patience as Patience
    from kernelwire.launcher import Launcher as Launcher
    from kernelwire.launcher import LocalLauncher as LocalLauncher
    from kernelwire.manager import KernelManager as KernelManager
    from kernelwire.message_channel import MessageChannel as MessageChannel
    from kernelwire.messages import Message as Message
    from kernelwire.messages import WireMessage as WireMessage
    from kernelwire.raw_channels import RawChannels as RawChannels
    from kernelwire.raw_channels import open_channels as open_channels
    from kernelwire.serving.service import serve as serve
    from kernelwire.session import Session as Session

    __version__: str

_HOMES = {
    "AutoRestart": "launch",
    "Backend": "backend",
    "BlockingKernelManager": "blocking_manager",
    "Bridge": "bridge",
    "Capabilities": "backend",
    "Channel": "channels",
    "ClientEnd": "ends",
    "ConnectionFile": "connection_file",
    "ConnectionInfo": "connection",
    "ControlChannel": "channels",
    "ExecuteResult": "execution",
    "Execution": "execution",
    "HeartbeatChannel": "channels",
    "HeartbeatMonitor": "heartbeat",
    "IOPubChannel": "channels",
    "IOPubPublisher": "channels",
    "InputRequest": "execution",
    "KernelClient": "client",
    "KernelEnd": "ends",
    "KernelManager": "manager",
    "Launcher": "launcher",
    "LocalLauncher": "launcher",
    "Message": "messages",
    "MessageChannel": "message_channel",
    "Patience": "launch",
    "RawChannels": "raw_channels",
    "Session": "session",
    "ShellChannel": "channels",
    "StdinChannel": "channels",
    "WireMessage": "messages",
    "connect": "client",
    "errors": "errors",
    "new_key": "connection",
    "open_bridge": "bridging",
    "open_channels": "raw_channels",
    "serve": "serving.service",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("kernelwire")
    if name not in _HOMES:
        raise AttributeError(f"module 'kernelwire' has no attribute {name!r}")
    home = importlib.import_module(f"kernelwire.{_HOMES[name]}")
    return home if name == _HOMES[name] == "errors" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
