"""Both transports, with real sockets: an address, a backend, and the two ends at it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest
import zmq

from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire_zmq import IpcBackend, TcpBackend, ZmqBackend


class _Keeping(zmq.Context[zmq.Socket[bytes]]):
    """Holds its sockets: one that is collected while open is a warning."""

    _kept: ClassVar["list[zmq.Socket[bytes]]"] = []  # of the class, for an instance's attributes are zmq's options

    def socket(self, *args: Any, **kwargs: Any) -> "zmq.Socket[bytes]":
        self._kept.append(super().socket(*args, **kwargs))
        return self._kept[-1]


@pytest.fixture(params=["tcp", "ipc"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backend(transport: str) -> ZmqBackend:
    return IpcBackend() if transport == "ipc" else TcpBackend()


@pytest.fixture
def info(transport: str, backend: ZmqBackend) -> Iterator[ConnectionInfo]:
    prepared = backend.prepare(ConnectionInfo(transport=transport, key=b"a key"))
    yield prepared
    backend.release(prepared)


@pytest.fixture
async def kernel(backend: ZmqBackend, info: ConnectionInfo) -> AsyncIterator[KernelEnd]:
    async with await backend.serve(info) as end:
        yield end


@pytest.fixture
async def client(backend: ZmqBackend, info: ConnectionInfo) -> AsyncIterator[ClientEnd]:
    async with await backend.connect(info, identity=b"me") as end:
        yield end


@pytest.fixture
def context() -> "Iterator[zmq.Context[zmq.Socket[bytes]]]":
    """For raw sockets, which play the other end, and are closed after the test."""
    made = _Keeping()
    yield made
    made.destroy(0)
    made._kept.clear()
