"""The channels: order, bounds, closing, and what they refuse."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import zmq

from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import (
    ChannelBusy,
    ChannelClosed,
    GapNotice,
    KernelwireError,
    MessageTooLarge,
    PeerGone,
    WrongLoop,
)
from kernelwire.messages import Frame, WireMessage
from kernelwire_zmq import IpcBackend, TcpBackend, ZmqBackend, ZmqSettings
from kernelwire_zmq.addresses import address

FRAMES = [b"signature", b"{}", b"{}", b"{}", b"{}"]
ME = b"me"


def text(message: WireMessage) -> bytes:
    return bytes(message.frames[-1])


def message(content: bytes, peer: bytes = b"") -> WireMessage:
    return WireMessage([*FRAMES[:4], content], peer)


def backend_with(transport: str, settings: ZmqSettings) -> ZmqBackend:
    return (IpcBackend if transport == "ipc" else TcpBackend)(settings)


async def until_quiet() -> None:
    """Give callbacks that are ready a chance to run."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("name", ["shell", "control", "stdin"])
async def test_there_and_back(kernel: KernelEnd, client: ClientEnd, name: str) -> None:
    mine, theirs = getattr(client, name), getattr(kernel, name)
    buffers: list[Frame] = [b"", b"\0<IDS|MSG>\0", memoryview(b"x" * 200_000), b"<IDS|MSG>"]
    await mine.send(WireMessage([*FRAMES, *buffers], b"a client's peer is ignored"))
    request = await theirs.receive()
    assert request == WireMessage([*FRAMES, *buffers], ME)
    await theirs.send(request)
    reply = await mine.receive()
    assert reply == WireMessage([*FRAMES, *buffers], b"")


async def test_control_does_not_wait_behind_shell(transport: str, info: ConnectionInfo) -> None:
    backend = backend_with(transport, ZmqSettings(queue=1, held=1))
    async with await backend.serve(info) as kernel, await backend.connect(info, identity=ME) as client:
        flood = asyncio.create_task(send_all(client, 5_000))
        await client.control.send(message(b"now"))
        assert text(await kernel.control.receive()) == b"now"
        assert not flood.done()
        flood.cancel()
        await asyncio.wait([flood])


async def send_all(client: ClientEnd, count: int) -> None:
    for number in range(count):
        await client.shell.send(message(b"%d" % number + b"." * 5000))


async def test_nothing_is_lost_to_a_reader_that_is_slow(transport: str, info: ConnectionInfo) -> None:
    backend = backend_with(transport, ZmqSettings(queue=2, held=20_000))
    async with await backend.serve(info) as kernel, await backend.connect(info, identity=ME) as client:
        flood = asyncio.create_task(send_all(client, 3_000))
        for number in range(3_000):
            assert text(await kernel.shell.receive()).rstrip(b".") == b"%d" % number
            assert kernel.shell._inbox.held < 40_000  # type: ignore[attr-defined]
        await flood


async def test_a_malformed_message_has_no_frames_and_the_next_is_fine(
    kernel: KernelEnd, info: ConnectionInfo, context: "zmq.Context[zmq.Socket[bytes]]"
) -> None:
    raw = context.socket(zmq.DEALER)
    raw.connect(address(info, "shell_port"))
    for junk in ([b"hello"], [b""] * 50, [b"x"] * 40 + [b"<IDS|MSG>"], [b"<ids|msg>", *FRAMES]):
        raw.send_multipart(junk)
        assert (await kernel.shell.receive()).frames == ()
    raw.send_multipart([b"<IDS|MSG>", *FRAMES])
    request = await kernel.shell.receive()
    assert request.frames == FRAMES
    assert request.peer[0] == 0
    assert len(request.peer) == 5


async def test_a_reply_takes_its_request_s_whole_way_back(
    kernel: KernelEnd, info: ConnectionInfo, context: "zmq.Context[zmq.Socket[bytes]]"
) -> None:
    raw = context.socket(zmq.DEALER)
    raw.setsockopt(zmq.RCVTIMEO, 10_000)
    raw.connect(address(info, "shell_port"))
    for routing in ([], [b"a"], [b"", b"b"], [b"a", b"b", b"c"]):
        raw.send_multipart([*routing, b"<IDS|MSG>", *FRAMES])
        await kernel.shell.send(await kernel.shell.receive())
        assert await asyncio.to_thread(raw.recv_multipart) == [*routing, b"<IDS|MSG>", *FRAMES]


@pytest.mark.parametrize("peer", [b"nobody", b"", b"\0\1\2\3\4", b"\0several\0\0\0\0\1x"])
async def test_unknown_peer(kernel: KernelEnd, client: ClientEnd, peer: bytes) -> None:
    with pytest.raises(PeerGone) as caught:
        await kernel.shell.send(message(b"", peer))
    assert isinstance(caught.value.__cause__, zmq.ZMQError)
    await client.shell.send(message(b"request"))
    assert text(await kernel.shell.receive()) == b"request"


async def test_a_client_that_does_not_read_holds_up_nobody_else(transport: str, info: ConnectionInfo) -> None:
    backend = backend_with(transport, ZmqSettings(queue=1, held=1))
    async with (
        await backend.serve(info) as kernel,
        await backend.connect(info, identity=b"deaf") as deaf,
        await backend.connect(info, identity=b"keen") as keen,
    ):
        for client in (deaf, keen):
            await client.shell.send(message(b"hello"))
            await kernel.shell.receive()

        async def flood() -> None:
            for _ in range(100):
                await kernel.shell.send(message(b"." * 1_000_000, b"deaf"))

        flooding = asyncio.create_task(flood())
        while not kernel.shell._wire._waiting:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        for number in range(20):
            await kernel.shell.send(message(b"%d" % number, b"keen"))
            assert text(await keen.shell.receive()) == b"%d" % number
        assert not flooding.done()
        # It goes: whoever waits for room at it is told.
        await deaf.aclose()
        with pytest.raises(PeerGone):
            await flooding


async def test_a_second_client_of_one_identity_takes_the_place_of_the_first(
    backend: ZmqBackend, info: ConnectionInfo, kernel: KernelEnd, client: ClientEnd
) -> None:
    await client.shell.send(message(b"first"))
    await kernel.shell.receive()
    async with await backend.connect(info, identity=ME) as second:
        await second.shell.send(message(b"second"))
        await kernel.shell.send(await kernel.shell.receive())
        assert text(await second.shell.receive()) == b"second"


async def test_too_large(kernel: KernelEnd, client: ClientEnd, backend: ZmqBackend) -> None:
    limit = backend.capabilities.max_message_bytes
    ends: list[Any] = [client.shell, kernel.shell, kernel.iopub]
    for end in ends:
        end._max_bytes = 100
        with pytest.raises(MessageTooLarge) as caught:
            await end.send(message(b"x" * 101, ME))
        assert caught.value.limit == 100
    await client.shell.send(message(b"small"))
    # 100 is less than this one has, for the kernel's end:
    client.shell._max_bytes = limit  # type: ignore[attr-defined]
    await client.shell.send(message(b"x" * 101))
    await client.shell.send(message(b"after"))
    got = [await kernel.shell.receive() for _ in range(3)]
    assert [len(m.frames) for m in got] == [5, 0, 5]
    assert text(got[2]) == b"after"


async def test_one_reader(client: ClientEnd, kernel: KernelEnd) -> None:
    for channel in (client.shell, client.iopub, kernel.shell):
        first = asyncio.create_task(channel.receive())
        await asyncio.sleep(0)
        if not first.done():
            with pytest.raises(ChannelBusy):
                await channel.receive()
        first.cancel()
        await asyncio.wait([first])


async def test_a_cancelled_receive_loses_nothing(kernel: KernelEnd, client: ClientEnd) -> None:
    sending = asyncio.create_task(send_all(client, 500))
    got: list[bytes] = []
    while len(got) < 500:
        receiving = asyncio.create_task(kernel.shell.receive())
        for _ in range(len(got) % 3):
            await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait([receiving])
        if not receiving.cancelled():
            got.append(text(receiving.result()))
        else:
            got.append(text(await kernel.shell.receive()))
    await sending
    assert [g.rstrip(b".") for g in got] == [b"%d" % number for number in range(500)]


async def test_closed(backend: ZmqBackend, info: ConnectionInfo, kernel: KernelEnd) -> None:
    client = await backend.connect(info, identity=ME)
    waiting = [asyncio.ensure_future(pending) for pending in (client.shell.receive(), client.stdin.receive())]
    await client.iopub.ready()
    await until_quiet()
    await client.aclose()
    await client.aclose()
    for task in waiting:
        with pytest.raises(ChannelClosed):
            await task
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.shell.send(message(b"")),
        client.shell.receive,
        client.iopub.receive,
        client.iopub.ready,
        lambda: client.heartbeat.beat(1),
    ]
    for call in calls:
        with pytest.raises(ChannelClosed):
            await call()
    await kernel.aclose()
    for channel in (kernel.shell, kernel.iopub):
        with pytest.raises(ChannelClosed):
            await channel.send(message(b"", ME))


async def test_what_was_sent_before_a_close_arrives(
    backend: ZmqBackend, info: ConnectionInfo, kernel: KernelEnd
) -> None:
    async with await backend.connect(info, identity=ME) as client:
        for number in range(100):
            await client.shell.send(message(b"%d" % number))
    assert [text(await kernel.shell.receive()) for _ in range(100)] == [b"%d" % number for number in range(100)]


async def test_iopub_beyond_its_bound_tells_of_the_gap(transport: str, info: ConnectionInfo) -> None:
    backend = backend_with(transport, ZmqSettings(iopub_held=20_000))
    async with await backend.serve(info) as kernel, await backend.connect(info, identity=ME) as client:
        await client.iopub.ready()
        for number in range(100):
            await kernel.iopub.send(message(b"%d" % number, b"topic"))
        await kernel.iopub.send(message(b"end"))
        inbox = client.iopub._inbox  # type: ignore[attr-defined]
        while text(inbox._messages[-1][1]) != b"end":
            await asyncio.sleep(0)
        with pytest.raises(GapNotice) as caught:
            await client.iopub.receive()
        rest = 0
        while text(await client.iopub.receive()) != b"end":
            rest += 1
        assert caught.value.count == 102 - rest - 1  # one of them a welcome
        assert rest > 0


async def test_another_loop(backend: ZmqBackend, info: ConnectionInfo, kernel: KernelEnd, client: ClientEnd) -> None:
    errors: list[KernelwireError] = []
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.shell.send(message(b"")),
        client.shell.receive,
        client.shell.aclose,
        client.iopub.receive,
        client.iopub.ready,
        client.iopub.aclose,
        lambda: client.heartbeat.beat(1),
        client.heartbeat.aclose,
        client.aclose,
        lambda: kernel.iopub.send(message(b"")),
        kernel.iopub.aclose,
        kernel.aclose,
    ]

    async def use() -> None:
        for call in calls:
            try:
                await call()
            except WrongLoop as error:
                errors.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(use()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert len(errors) == len(calls)
    assert all("another event loop" in str(error) for error in errors)
    # Nothing has changed.
    await client.shell.send(message(b"still"))
    assert text(await kernel.shell.receive()) == b"still"
    await client.iopub.ready()


FORKING = """
    import asyncio, os, sys
    from kernelwire.connection import ConnectionInfo
    from kernelwire.errors import WrongLoop
    from kernelwire.messages import WireMessage
    from kernelwire_zmq import IpcBackend, TcpBackend

    MESSAGE = WireMessage([b"s", b"{}", b"{}", b"{}", b"{}"])

    async def childs(client, backend, info):
        for call in (lambda: client.shell.send(MESSAGE), client.shell.receive, client.iopub.ready, client.aclose):
            try:
                await call()
            except WrongLoop as error:
                assert "before a fork" in str(error), error
            else:
                raise AssertionError(call)
        async with await backend.connect(info, identity=b"child") as own:
            await own.shell.send(MESSAGE)
            await own.shell.receive()

    async def main():
        backend = {"tcp": TcpBackend, "ipc": IpcBackend}[sys.argv[1]]()
        info = backend.prepare(ConnectionInfo(transport=sys.argv[1]))
        async with await backend.serve(info) as kernel, await backend.connect(info, identity=b"parent") as client:
            await client.iopub.ready()
            child = os.fork()
            if not child:
                os._exit(in_child(client, backend, info))
            await kernel.shell.send(await kernel.shell.receive())
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert status == 0, status
            await client.shell.send(MESSAGE)
            assert (await kernel.shell.receive()).peer == b"parent"
        backend.release(info)

    def in_child(client, backend, info):
        try:
            # Forked in a running loop, which asyncio lets no child go on with.
            asyncio.run(childs(client, backend, info))
        except BaseException:
            import traceback
            traceback.print_exc()
            return 1
        return 0

    asyncio.run(main())
    print("done")
"""


def test_after_a_fork(transport: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(FORKING), transport]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


async def test_a_reply_at_once(kernel: KernelEnd, client: ClientEnd) -> None:
    await client.shell.send(message(b"request"))
    request = await kernel.shell.receive()
    assert kernel.shell.send_now(message(b"reply", request.peer))
    assert text(await client.shell.receive()) == b"reply"
    with pytest.raises(PeerGone):
        kernel.shell.send_now(message(b"reply", b"nobody"))


async def test_what_comes_is_offered_first(kernel: KernelEnd, client: ClientEnd) -> None:
    offered: list[bytes] = []

    def offer(message: WireMessage) -> bool:
        offered.append(text(message))
        return text(message) != b"two"

    assert kernel.shell.intercept(offer)
    receiving = asyncio.create_task(kernel.shell.receive())
    await asyncio.sleep(0)
    for content in (b"one", b"two"):
        await client.shell.send(message(content))
    assert text(await receiving) == b"two"
    assert offered == [b"one", b"two"]
