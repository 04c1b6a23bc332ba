"""Opening and closing both ends: all of them or nothing, and nothing left."""

import asyncio
import gc
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq

from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.connection import PORT_FIELDS, ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import AddressInUse, ChannelClosed, InvalidField, InvalidIdentity, NotSupported
from kernelwire.messages import WireMessage
from kernelwire_zmq import IpcBackend, TcpBackend, ZmqBackend, ZmqSettings

FRAMES = [b"signature", b"{}", b"{}", b"{}", b"{}"]


def held() -> tuple[int, int]:
    """Threads and descriptors of this process."""
    gc.collect()
    return psutil.Process().num_threads(), psutil.Process().num_fds()


@pytest.fixture
async def nothing_left(info: ConnectionInfo) -> "Iterator[None]":  # type: ignore[misc]
    """In the end there is what was there in the beginning."""
    assert info
    asyncio.get_running_loop()
    before = held()
    readers = len(asyncio.get_running_loop()._selector.get_map())  # type: ignore[attr-defined]
    yield
    assert held() == before
    assert len(asyncio.get_running_loop()._selector.get_map()) == readers  # type: ignore[attr-defined]


def without(info: ConnectionInfo, field: str) -> ConnectionInfo:
    missing: dict[str, Any] = {field: None}
    return info.replace(**missing)


async def talk(client: ClientEnd, kernel: KernelEnd) -> None:
    """A request and its reply, with nothing else on the way."""
    await client.shell.send(WireMessage([*FRAMES, b"request"]))
    request = await kernel.shell.receive()
    assert request.frames == [*FRAMES, b"request"]
    await kernel.shell.send(WireMessage([*FRAMES, b"reply"], request.peer))
    assert (await client.shell.receive()).frames == [*FRAMES, b"reply"]


@pytest.mark.usefixtures("nothing_left")
class TestNothingIsLeft:
    async def test_after_use(self, backend: ZmqBackend, info: ConnectionInfo) -> None:
        async with await backend.serve(info) as kernel, await backend.connect(info, identity=b"me") as client:
            await talk(client, kernel)
            await client.iopub.ready()
            await client.heartbeat.beat(10)

    async def test_after_a_client_without_a_kernel(self, backend: ZmqBackend, info: ConnectionInfo) -> None:
        async with await backend.connect(info, identity=b"me") as client:
            await client.control.send(WireMessage(FRAMES))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.iopub.ready()

    async def test_closing_twice_and_by_two_tasks(self, backend: ZmqBackend, info: ConnectionInfo) -> None:
        kernel = await backend.serve(info)
        await asyncio.gather(kernel.aclose(), kernel.aclose())
        await kernel.aclose()

    @pytest.mark.parametrize("field", PORT_FIELDS)
    async def test_after_a_port_is_missing(self, backend: ZmqBackend, info: ConnectionInfo, field: str) -> None:
        with pytest.raises(InvalidField) as caught:
            await backend.connect(without(info, field), identity=b"me")
        assert caught.value.field == field
        with pytest.raises(InvalidField) as caught:
            await backend.serve(without(info, field))
        assert caught.value.field == field

    @pytest.mark.parametrize("field", PORT_FIELDS)
    async def test_after_an_address_is_in_use(self, backend: ZmqBackend, info: ConnectionInfo, field: str) -> None:
        family, address = socket.AF_INET, ("127.0.0.1", info.port(field))
        with socket.socket(socket.AF_UNIX if info.transport == "ipc" else family) as taken:
            taken.bind(f"{info.ip}-{info.port(field)}" if info.transport == "ipc" else address)
            taken.listen()
            with pytest.raises(AddressInUse, match=field) as caught:
                await backend.serve(info)
            assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, zmq.ZMQError)
        # None of those that were bound before it stayed.
        async with await backend.serve(info):
            pass

    async def test_after_a_key_is_refused(self, backend: ZmqBackend, info: ConnectionInfo) -> None:
        public, _ = zmq.curve_keypair()
        _, secret = zmq.curve_keypair()
        info = info.replace(curve_publickey=public, curve_secretkey=secret)
        for opening in (backend.connect(info, identity=b"me"), backend.serve(info)):
            with pytest.raises(InvalidField):
                await opening

    async def test_after_a_cancelled_close(self, backend: ZmqBackend, info: ConnectionInfo) -> None:
        kernel = await backend.serve(info)
        client = await backend.connect(info, identity=b"me")
        await client.aclose()
        closing = asyncio.create_task(kernel.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(ChannelClosed):
            await kernel.shell.receive()
        for thread in threading.enumerate():
            if thread.name == "kernelwire zmq termination":
                await asyncio.to_thread(thread.join)
        # The pool's thread is not ours to count.
        await asyncio.get_running_loop().shutdown_default_executor()
        async with await backend.serve(info):
            pass


class TestIdentity:
    @pytest.mark.parametrize("identity", [b"", b"\0", b"\0abcd", b"x" * 65])
    async def test_refused(self, backend: ZmqBackend, info: ConnectionInfo, identity: bytes) -> None:
        with pytest.raises(InvalidIdentity, match="identity"):
            await backend.connect(info, identity=identity)

    @pytest.mark.parametrize("identity", [b"x", b"\xff\0" * 32])
    async def test_is_the_peer_everywhere(
        self, backend: ZmqBackend, info: ConnectionInfo, kernel: KernelEnd, identity: bytes
    ) -> None:
        async with await backend.connect(info, identity=identity) as client:
            for mine, theirs in (
                (client.shell, kernel.shell),
                (client.control, kernel.control),
                (client.stdin, kernel.stdin),
            ):
                await mine.send(WireMessage(FRAMES))
                assert (await theirs.receive()).peer == identity


class TestContexts:
    async def test_ends_share_one(self, backend: ZmqBackend, info: ConnectionInfo) -> None:
        async with await backend.serve(info) as kernel:
            context = backend._contexts._context
            first = await backend.connect(info, identity=b"first")
            second = await backend.connect(info, identity=b"second")
            assert backend._contexts._context is context is not None
            await first.aclose()
            await talk(second, kernel)
            await second.aclose()
            assert not context.closed
        assert context.closed
        assert backend._contexts._context is None

    async def test_other_channels_are_not_opened(self, backend: ZmqBackend, info: ConnectionInfo) -> None:
        only = info.replace(stdin_port=None, iopub_port=None, hb_port=None)
        wanted = {Channel.SHELL, Channel.CONTROL}
        async with await backend.connect(only, identity=b"me", channels=wanted) as client:
            assert client.shell
            assert client.control
            for name in ALL_CHANNELS - wanted:
                with pytest.raises(NotSupported):
                    getattr(client, "heartbeat" if name is Channel.HEARTBEAT else name)


async def knows_it_is_gone(client: ClientEnd) -> None:
    """Wait until zmq has told a client that its kernel has gone: until then, its iopub is ready for that one."""
    while client.iopub._readiness._ready.is_set():  # type: ignore[attr-defined]
        await asyncio.sleep(0.001)


class TestRestart:
    async def test_requests_wait_for_the_kernel(
        self, backend: ZmqBackend, info: ConnectionInfo, client: ClientEnd
    ) -> None:
        sent = [WireMessage([*FRAMES, b"%d" % number]) for number in range(20)]
        for message in sent:
            await client.shell.send(message)
        await client.control.send(sent[0])
        async with await backend.serve(info) as kernel:
            assert [(await kernel.shell.receive()).frames for _ in sent] == [message.frames for message in sent]
            assert (await kernel.control.receive()).frames == sent[0].frames

    async def test_the_same_client_goes_on(self, backend: ZmqBackend, info: ConnectionInfo, client: ClientEnd) -> None:
        for life in range(3):
            async with await backend.serve(info) as kernel:
                await talk(client, kernel)
                await client.iopub.ready()
                for number in range(50):
                    await kernel.iopub.send(WireMessage([*FRAMES, b"%d %d" % (life, number)], b"topic"))
                got: list[bytes] = []
                while len(got) < 50:
                    message = await client.iopub.receive()
                    if len(message.frames) == 6:  # no welcome
                        got.append(bytes(message.frames[5]))
                assert got == [b"%d %d" % (life, number) for number in range(50)]
                assert await client.heartbeat.beat(10) > 0
            await knows_it_is_gone(client)

    async def test_ready_waits_for_the_next_kernel(
        self, backend: ZmqBackend, info: ConnectionInfo, client: ClientEnd
    ) -> None:
        async with await backend.serve(info):
            await client.iopub.ready()
        await knows_it_is_gone(client)
        waiting = asyncio.create_task(client.iopub.ready())
        await asyncio.sleep(0)
        assert not waiting.done()
        async with await backend.serve(info):
            await waiting

    async def test_an_address_is_free_when_close_returns(self, backend: ZmqBackend, info: ConnectionInfo) -> None:
        # A client keeps the context, so that there is no termination to wait for.
        async with await backend.connect(info, identity=b"me"):
            for _ in range(10):
                await (await backend.serve(info)).aclose()


class TestIpc:
    @pytest.fixture
    def transport(self) -> str:
        return "ipc"

    async def test_stale_sockets_are_replaced(self, backend: ZmqBackend, info: ConnectionInfo) -> None:
        for field in PORT_FIELDS:
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(f"{info.ip}-{info.port(field)}")
        async with await backend.serve(info) as kernel, await backend.connect(info, identity=b"me") as client:
            await talk(client, kernel)

    async def test_a_file_is_not(self, backend: ZmqBackend, info: ConnectionInfo) -> None:
        path = Path(f"{info.ip}-{info.shell_port}")
        path.write_text("precious")
        with pytest.raises(AddressInUse, match="shell_port"):
            await backend.serve(info)
        assert path.read_text() == "precious"
        path.unlink()

    async def test_a_second_kernel_does_not_take_the_place_of_the_first(
        self, backend: ZmqBackend, info: ConnectionInfo, kernel: KernelEnd, client: ClientEnd
    ) -> None:
        for other in (backend, IpcBackend()):
            with pytest.raises(AddressInUse):
                await other.serve(info)
        await talk(client, kernel)

    async def test_release_removes_everything(self, backend: ZmqBackend) -> None:
        info = backend.prepare(ConnectionInfo(transport="ipc"))
        assert info.ip is not None
        async with await backend.serve(info):
            assert len(list(Path(info.ip).parent.iterdir())) == 5
        backend.release(info)
        assert not Path(info.ip).parent.exists()
        backend.release(info)

    @pytest.mark.parametrize("ip", ["/nowhere/at/all/k", "/" + "x" * 120])
    async def test_no_such_path(self, backend: ZmqBackend, ip: str) -> None:
        info = ConnectionInfo(transport="ipc", ip=ip, **dict.fromkeys(PORT_FIELDS, 1))  # type: ignore[arg-type]
        with pytest.raises(InvalidField) as caught:
            await backend.serve(info)
        assert caught.value.field == "ip"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    async def test_no_permission(self, backend: ZmqBackend) -> None:
        with tempfile.TemporaryDirectory(prefix="kw") as directory:
            Path(directory).chmod(0o500)
            info = backend.prepare(ConnectionInfo(transport="ipc", ip=f"{directory}/k"))
            with pytest.raises(InvalidField) as caught:
                await backend.serve(info)
            assert caught.value.field == "ip"


class TestTcp:
    @pytest.fixture
    def transport(self) -> str:
        return "tcp"

    async def test_in_use(self, backend: ZmqBackend, info: ConnectionInfo, kernel: KernelEnd) -> None:
        assert kernel
        for other in (backend, TcpBackend()):
            with pytest.raises(AddressInUse) as caught:
                await other.serve(info)
            assert isinstance(caught.value.__cause__, zmq.ZMQError)

    @pytest.mark.parametrize("ip", ["192.0.2.1", "no such host"])
    async def test_not_of_this_machine(self, backend: ZmqBackend, info: ConnectionInfo, ip: str) -> None:
        with pytest.raises(InvalidField) as caught:
            await backend.serve(info.replace(ip=ip))
        assert caught.value.field == "ip"

    @pytest.mark.parametrize("ip", ["*", "0.0.0.0"])
    async def test_everywhere(self, backend: ZmqBackend, ip: str) -> None:
        info = backend.prepare(ConnectionInfo(ip=ip))
        assert info.ip == ip
        async with await backend.serve(info) as kernel, await backend.connect(info, identity=b"me") as client:
            await talk(client, kernel)

    @pytest.mark.parametrize("ip", ["::1", "::"])
    async def test_ipv6(self, backend: ZmqBackend, ip: str) -> None:
        try:
            info = backend.prepare(ConnectionInfo(ip=ip))
        except (InvalidField, OSError):
            pytest.skip("no IPv6 here")
        async with await backend.serve(info) as kernel, await backend.connect(info, identity=b"me") as client:
            await talk(client, kernel)
            await client.iopub.ready()

    def test_release_has_nothing_to_do(self, backend: ZmqBackend, info: ConnectionInfo) -> None:
        backend.release(info)


async def test_settings(info: ConnectionInfo, transport: str) -> None:
    settings = ZmqSettings(queue=7)
    backend = (IpcBackend if transport == "ipc" else TcpBackend)(settings)
    async with await backend.serve(info) as kernel, await backend.connect(info, identity=b"me") as client:
        ends: list[Any] = [kernel.shell, client.shell, client.control]
        for end in ends:
            assert end._wire.socket.getsockopt(zmq.SNDHWM) == 7
        assert client.iopub._wire.socket.getsockopt(zmq.RCVHWM) == 0  # type: ignore[attr-defined]
