"""Transports ``tcp`` and ``ipc``: Jupyter's own wire, ZeroMQ, at both ends."""

from kernelwire_zmq.backend import IpcBackend, TcpBackend, ZmqBackend, ZmqSettings

__all__ = ["IpcBackend", "TcpBackend", "ZmqBackend", "ZmqSettings"]
