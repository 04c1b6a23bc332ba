"""The package's public names."""

import kernelwire_zmq
from kernelwire import registry


def test_the_public_names_are_these() -> None:
    assert kernelwire_zmq.__all__ == ["IpcBackend", "TcpBackend", "ZmqBackend", "ZmqSettings"]
    for name in kernelwire_zmq.__all__:
        assert getattr(kernelwire_zmq, name).__name__ == name


def test_they_are_what_the_registry_loads() -> None:
    assert type(registry.load("tcp")) is kernelwire_zmq.TcpBackend
    assert type(registry.load("ipc")) is kernelwire_zmq.IpcBackend
