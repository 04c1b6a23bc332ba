"""Where a kernel is reached: files and sockets come and go with the address."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kernelwire import connection_file, registry
from kernelwire.client import connect
from kernelwire.connection import PORT_FIELDS
from kernelwire.connection_file import ConnectionFile
from kernelwire.errors import ConnectionFileError, InvalidField, NotSupported, UnknownTransport
from kernelwire.kernel_address import KernelAddress
from kernelwire.launch import Encryption
from kernelwire.session import Session
from kernelwire.testing import Resources, ScriptedKernel
from kernelwire_zmq import IpcBackend

PATIENCE = 60.0

on_every_wire = pytest.mark.parametrize("transport", ["tcp", "ipc", "inprocess"])


@pytest.fixture(autouse=True)
async def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """Everything that is written is here, and gone at the end."""
    directory = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    before = Resources.now()
    yield directory
    assert list(directory.iterdir()) == []
    assert await before.settled() == []


async def works(address: KernelAddress) -> None:
    """A kernel that reads its file is reached by a client that reads the other."""
    told = connection_file.read(address.kernel_file.path)
    assert told == address.kernel_info
    async with (
        await registry.load(told.transport).serve(told) as end,
        ScriptedKernel(end, Session.of(told)),
        connect(connection_file.read(address.file.path)) as client,
    ):
        await client.ready(PATIENCE)
        assert (await client.execute("text")).text == "text"


@on_every_wire
async def test_a_kernel_is_reached(transport: str, runtime: Path) -> None:
    address = await KernelAddress.open(transport, kernel_name="mine")
    try:
        assert address.info.transport == transport
        assert address.info.kernel_name == address.kernel_info.kernel_name == "mine"
        assert address.is_bridged is (transport == "inprocess")
        assert (address.info == address.kernel_info) is not address.is_bridged
        assert connection_file.find() == address.file.path  # and not the kernel's own
        await works(address)
    finally:
        await address.aclose()
        await address.aclose()


@on_every_wire
async def test_renewed(transport: str, runtime: Path) -> None:
    address = await KernelAddress.open(transport, kernel_name="mine", path=runtime / "mine.json")
    try:
        info, kernel_info = address.info, address.kernel_info
        await address.renew()
        assert address.kernel_info != kernel_info
        assert address.kernel_info.key == kernel_info.key
        assert (address.info == info) is address.is_bridged
        assert address.file.path == runtime / "mine.json"
        await works(address)
    finally:
        await address.aclose()


@on_every_wire
async def test_files_that_somebody_removed(transport: str, runtime: Path) -> None:
    address = await KernelAddress.open(transport, kernel_name="mine")
    try:
        before = {path: path.read_text() for path in runtime.glob("*.json")}
        for path in before:
            path.unlink()
        address.restore()
        assert {path: path.read_text() for path in runtime.glob("*.json")} == before
        address.restore()
        await works(address)
    finally:
        await address.aclose()


@on_every_wire
async def test_files_that_the_kernel_has_written_anew(transport: str, runtime: Path) -> None:
    address = await KernelAddress.open(transport, kernel_name="mine")
    for then in (address.renew, address.aclose):
        for path in runtime.glob("*.json"):
            ConnectionFile.write(connection_file.read(path), path, overwrite=True)
        await then()
        if then == address.renew:
            await works(address)


@on_every_wire
async def test_a_file_of_somebody_else(transport: str, runtime: Path) -> None:
    theirs = runtime / "theirs.json"
    theirs.write_text("{}")
    with pytest.raises(ConnectionFileError, match="exists already"):
        await KernelAddress.open(transport, kernel_name="mine", path=theirs)
    assert theirs.read_text() == "{}"
    theirs.unlink()
    address = await KernelAddress.open("tcp", kernel_name="mine", path=theirs)
    ConnectionFile.write(address.info.replace(key=b"theirs"), theirs, overwrite=True)
    with pytest.raises(ConnectionFileError, match="exists already"):
        await address.renew()
    await address.aclose()
    assert theirs.exists()
    theirs.unlink()


async def test_every_address_of_this_machine() -> None:
    address = await KernelAddress.open("tcp", kernel_name="mine", ip="*")
    assert json.loads(address.file.path.read_text())["ip"] == "0.0.0.0"
    await works(address)
    await address.aclose()


async def test_what_cannot_be() -> None:
    with pytest.raises(InvalidField, match="address of this machine"):
        await KernelAddress.open("tcp", kernel_name="mine", ip="192.0.2.1")
    with pytest.raises(UnknownTransport):
        await KernelAddress.open("carrier-pigeon", kernel_name="mine")


async def test_a_transport_that_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(*_args: object) -> None:
        raise NotSupported("no kernel end")

    monkeypatch.setattr("kernelwire_inprocess.InProcessBackend.serve", serve)
    with pytest.raises(NotSupported):
        await KernelAddress.open("inprocess", kernel_name="mine")


async def test_tcp_behind_the_bridge_where_ipc_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(*_args: object) -> None:
        raise InvalidField("ip", "too long")

    with monkeypatch.context() as patch:
        patch.setattr(IpcBackend, "prepare", prepare)
        address = await KernelAddress.open("inprocess", kernel_name="mine")
    assert address.kernel_info.transport == "tcp"
    assert not address.may_fall_back
    await works(address)
    await address.aclose()


async def test_falling_back_to_tcp() -> None:
    address = await KernelAddress.open("inprocess", kernel_name="mine")
    assert address.kernel_info.transport == "ipc"
    assert address.may_fall_back
    served = Path(f"{address.kernel_info.ip}-{address.kernel_info.hb_port}")
    served.touch()
    assert not address.may_fall_back
    served.unlink()
    info = address.info
    await address.renew(fall_back=True)
    assert address.kernel_info.transport == "tcp"
    assert address.info == info
    assert not address.may_fall_back
    await works(address)
    await address.aclose()


async def test_left(runtime: Path) -> None:
    address = await KernelAddress.open("ipc", kernel_name="mine")
    path, info = address.file.path, address.info
    address.leave()
    assert connection_file.read(path) == info
    path.unlink()
    IpcBackend().release(info)


async def test_every_port_is_another() -> None:
    address = await KernelAddress.open("tcp", kernel_name="mine")
    assert len({getattr(address.info, field) for field in PORT_FIELDS}) == len(PORT_FIELDS)
    await address.aclose()


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("encryption", ["auto", "required"])
async def test_encrypted(transport: str, encryption: Encryption) -> None:
    address = await KernelAddress.open(transport, kernel_name="mine", encryption=encryption)
    keys = (address.info.curve_publickey, address.info.curve_secretkey)
    assert None not in keys
    assert json.loads(address.file.path.read_text())["curve_secretkey"].encode() == keys[1]
    await works(address)
    await address.renew()
    assert (address.info.curve_publickey, address.info.curve_secretkey) == keys
    await works(address)
    await address.aclose()


async def test_the_kernels_side_of_a_bridge_encrypted() -> None:
    address = await KernelAddress.open("inprocess", kernel_name="mine", encryption="auto")
    assert address.kernel_info.curve_secretkey is not None
    assert address.info.curve_secretkey is None
    await works(address)
    await address.renew(fall_back=True)
    assert address.kernel_info.transport == "tcp"
    assert address.kernel_info.curve_secretkey is not None
    await works(address)
    await address.aclose()


async def test_not_encrypted_where_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotSupported, match="'inprocess' does not encrypt"):
        await KernelAddress.open("inprocess", kernel_name="mine", encryption="required")
    monkeypatch.setattr("zmq.has", lambda _: False)
    with pytest.raises(NotSupported, match="without CURVE"):
        await KernelAddress.open("tcp", kernel_name="mine", encryption="required")
    address = await KernelAddress.open("tcp", kernel_name="mine", encryption="auto")
    assert address.info.curve_secretkey is None
    await address.aclose()


@pytest.mark.parametrize("transport", ["tcp", "inprocess"])
async def test_a_key_that_was_chosen_stays(transport: str, runtime: Path) -> None:
    address = await KernelAddress.open(transport, kernel_name="mine", fields={"key": b"chosen"})
    try:
        assert address.info.key == b"chosen"
    finally:
        await address.aclose()


async def test_fields_of_the_transport(runtime: Path) -> None:
    address = await KernelAddress.open("inprocess", kernel_name="mine", fields={"note": "x"})
    try:
        assert address.info.extra["note"] == address.near.extra["note"] == "x"
        assert connection_file.read(address.file.path).extra["note"] == "x"
        assert "note" not in address.kernel_info.extra
        assert address.clients is None, "rooms do not count"
    finally:
        await address.aclose()
    with pytest.raises(InvalidField, match="shell_port"):
        await KernelAddress.open("inprocess", kernel_name="mine", fields={"shell_port": 0})
