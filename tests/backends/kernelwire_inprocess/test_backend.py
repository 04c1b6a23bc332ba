"""The in-process backend: names, processes and loops; buffers that are not copied; ends that leave nothing behind."""

import asyncio
import mmap
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from kernelwire import registry
from kernelwire.channels import Channel, PeerEvent
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import (
    AddressInUse,
    ChannelClosed,
    EndOfChannel,
    GapNotice,
    InvalidField,
    MessageTooLarge,
    NoBeat,
    NotServed,
    PeerGone,
    WrongLoop,
)
from kernelwire.messages import WireMessage
from kernelwire.session import Session
from kernelwire_inprocess import InProcessBackend
from kernelwire_inprocess.backend import Kernel

LIMIT = InProcessBackend.capabilities.max_message_bytes
DUPLEX = ("shell", "control", "stdin")


@pytest.fixture
async def names() -> AsyncIterator[dict[str, Kernel]]:
    """A table of served names; at the end nothing may be left in it, and no task."""
    names: dict[str, Kernel] = {}
    yield names
    assert not names
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def backend(names: dict[str, Kernel]) -> InProcessBackend:
    return InProcessBackend(names)


@pytest.fixture
def info(backend: InProcessBackend) -> ConnectionInfo:
    return backend.prepare(ConnectionInfo(transport="inprocess"))


@pytest.fixture
async def kernel(backend: InProcessBackend, info: ConnectionInfo) -> AsyncIterator[KernelEnd]:
    async with await backend.serve(info) as end:
        yield end


@pytest.fixture
async def client(backend: InProcessBackend, info: ConnectionInfo, kernel: KernelEnd) -> AsyncIterator[ClientEnd]:
    async with await backend.connect(info, identity=b"a") as end:
        yield end


def message(text: str, peer: bytes = b"") -> WireMessage:
    return WireMessage((text.encode(),), peer)


def text(message: WireMessage) -> str:
    return bytes(message.frames[0]).decode()


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def peer_event(kernel: KernelEnd) -> PeerEvent:
    assert kernel.peers is not None
    return await kernel.peers.receive()


async def in_a_thread(*uses: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Each use runs in an event loop of its own in another thread, and must be refused there."""

    def run() -> None:
        for use in uses:
            with pytest.raises(WrongLoop):
                asyncio.run(use())

    await asyncio.to_thread(run)


# Names


def test_a_new_address_is_a_name_in_this_process(backend: InProcessBackend) -> None:
    first, second = (backend.prepare(ConnectionInfo(transport="inprocess", key=b"k")) for _ in range(2))
    assert first.extra["pid"] == os.getpid()
    assert first.extra["name"] != second.extra["name"]
    assert first.key == b"k"
    assert backend.prepare(first) == first
    backend.release(first)


def test_the_address_survives_a_connection_file(info: ConnectionInfo) -> None:
    assert ConnectionInfo.from_dict(info.to_dict()) == info


async def test_request_reply_and_output_by_name(kernel: KernelEnd, client: ClientEnd) -> None:
    await client.iopub.ready()
    for name in DUPLEX:
        await getattr(client, name).send(message("question"))
        question = await getattr(kernel, name).receive()
        assert question.peer == b"a"
        await getattr(kernel, name).send(message("answer", question.peer))
        assert text(await getattr(client, name).receive()) == "answer"
    await kernel.iopub.send(message("output", b"topic"))
    assert await client.iopub.receive() == message("output", b"topic")


async def test_backends_of_one_process_see_each_others_kernels(names: dict[str, Kernel]) -> None:
    serving, connecting = registry.load("inprocess"), registry.load("inprocess")
    info = serving.prepare(ConnectionInfo(transport="inprocess"))
    async with await serving.serve(info) as kernel, await connecting.connect(info, identity=b"a") as client:
        await client.shell.send(message("hello"))
        assert text(await kernel.shell.receive()) == "hello"
    with pytest.raises(NotServed):
        await connecting.connect(info, identity=b"a")


async def test_a_name_is_served_once(backend: InProcessBackend, info: ConnectionInfo, kernel: KernelEnd) -> None:
    with pytest.raises(AddressInUse, match=info.extra["name"]):
        await backend.serve(info)
    async with await backend.connect(info, identity=b"a") as client:
        await client.shell.send(message("undisturbed"))
        assert text(await kernel.shell.receive()) == "undisturbed"


async def test_a_name_that_nobody_serves(backend: InProcessBackend, info: ConnectionInfo) -> None:
    with pytest.raises(NotServed, match=info.extra["name"]):
        await backend.connect(info, identity=b"a")


async def test_a_name_is_served_again_after_its_end(backend: InProcessBackend, info: ConnectionInfo) -> None:
    for round_ in range(3):
        async with await backend.serve(info) as kernel, await backend.connect(info, identity=b"a") as client:
            await client.shell.send(message(str(round_)))
            assert text(await kernel.shell.receive()) == str(round_)
        with pytest.raises(NotServed):
            await backend.connect(info, identity=b"a")


async def test_an_end_that_closes_late_takes_nothing_from_its_successor(
    backend: InProcessBackend, info: ConnectionInfo, names: dict[str, Kernel]
) -> None:
    old = await backend.serve(info)
    del names[info.extra["name"]]
    async with await backend.serve(info):
        await old.aclose()
        await (await backend.connect(info, identity=b"a")).aclose()


@pytest.mark.parametrize("name", [None, "", 5, ["a"]])
async def test_an_unusable_name_is_named(backend: InProcessBackend, name: object) -> None:
    info = ConnectionInfo(transport="inprocess", extra={"pid": os.getpid(), "name": name})
    for use in (backend.serve(info), backend.connect(info, identity=b"a")):
        with pytest.raises(InvalidField) as caught:
            await use
        assert caught.value.field == "name"


# Processes and loops


async def test_a_kernel_of_another_process_is_not_served_here(
    backend: InProcessBackend, info: ConnectionInfo, kernel: KernelEnd
) -> None:
    elsewhere = info.replace(pid=os.getppid())
    with pytest.raises(NotServed, match=str(os.getppid())):
        await backend.connect(elsewhere, identity=b"a")
    # Nobody could connect to what would be served under this address.
    with pytest.raises(InvalidField) as caught:
        await backend.serve(elsewhere.replace(name="other"))
    assert caught.value.field == "pid"


_FORK = """
import asyncio, os, sys
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import NotServed, WrongLoop
from kernelwire.messages import WireMessage
from kernelwire_inprocess import InProcessBackend

backend = InProcessBackend()
info = backend.prepare(ConnectionInfo(transport="inprocess"))
only_name = ConnectionInfo(transport="inprocess", extra={"name": info.extra["name"]})

async def refused(error, awaitable):
    try:
        await awaitable
    except error:
        return True
    return False

async def child(kernel, client):
    assert await refused(NotServed, backend.connect(info, identity=b"a"))
    assert await refused(NotServed, backend.connect(only_name, identity=b"a"))
    assert await refused(WrongLoop, client.shell.send(WireMessage((b"x",))))
    assert await refused(WrongLoop, client.heartbeat.beat(0))
    assert await refused(WrongLoop, client.aclose())
    assert await refused(WrongLoop, kernel.aclose())
    async with await backend.serve(only_name) as own, await backend.connect(only_name, identity=b"a") as to_own:
        await to_own.shell.send(WireMessage((b"x",)))
        await own.shell.receive()
    return 42

async def main():
    async with await backend.serve(info) as kernel, await backend.connect(info, identity=b"a") as client:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = asyncio.run(child(kernel, client))
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        await client.shell.send(WireMessage((b"x",)))
        await kernel.shell.receive()
        return code

sys.exit(asyncio.run(main()))
"""


def test_a_forked_child_inherits_no_kernel_and_may_serve_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", _FORK], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 42, done.stderr


async def test_another_loop_is_refused_and_nothing_changes(
    backend: InProcessBackend, info: ConnectionInfo, kernel: KernelEnd, client: ClientEnd
) -> None:
    await in_a_thread(
        lambda: backend.connect(info, identity=b"b"),
        lambda: client.shell.send(message("x")),
        lambda: client.heartbeat.beat(0),
        client.shell.receive,
        client.heartbeat.aclose,
        client.aclose,
        kernel.shell.receive,
        kernel.aclose,
    )
    assert await client.heartbeat.beat(60) >= 0
    await client.shell.send(message("goes on"))
    assert text(await kernel.shell.receive()) == "goes on"


async def test_a_name_whose_loop_is_gone_is_free(
    backend: InProcessBackend, info: ConnectionInfo, names: dict[str, Kernel]
) -> None:
    await asyncio.to_thread(lambda: asyncio.run(backend.serve(info)))  # and never closed
    with pytest.raises(NotServed):
        await backend.connect(info, identity=b"a")
    await (await backend.serve(info)).aclose()
    assert not names


# Ends


async def test_after_the_kernel_closed_comes_what_it_sent_and_then_the_end(
    backend: InProcessBackend, info: ConnectionInfo
) -> None:
    kernel = await backend.serve(info)
    async with await backend.connect(info, identity=b"a") as client:
        for name in (*DUPLEX, "iopub"):
            for number in range(3):
                await getattr(kernel, name).send(message(str(number), b"a"))
        waiting = asyncio.create_task(peer_event(kernel))
        assert await waiting == PeerEvent(b"a", True)
        await kernel.aclose()
        for name in (*DUPLEX, "iopub"):
            assert [text(one) async for one in getattr(client, name)] == ["0", "1", "2"]
            with pytest.raises(EndOfChannel):
                await getattr(client, name).receive()
        for name in DUPLEX:
            with pytest.raises(EndOfChannel):
                await getattr(client, name).send(message("too late"))
        with pytest.raises(EndOfChannel):
            await client.iopub.ready()
        with pytest.raises(ChannelClosed):
            await peer_event(kernel)


async def test_a_reply_to_a_client_that_closed(
    backend: InProcessBackend, info: ConnectionInfo, kernel: KernelEnd
) -> None:
    client = await backend.connect(info, identity=b"a")
    assert await peer_event(kernel) == PeerEvent(b"a", True)
    await client.shell.send(message("last words"))
    await client.aclose()
    assert await peer_event(kernel) == PeerEvent(b"a", False)
    question = await kernel.shell.receive()
    assert text(question) == "last words"
    for name in DUPLEX:
        with pytest.raises(PeerGone):
            await getattr(kernel, name).send(message("too late", question.peer))
    await kernel.iopub.send(message("to nobody"))


async def test_a_client_that_closed_one_channel_only(kernel: KernelEnd, client: ClientEnd) -> None:
    await client.shell.aclose()
    with pytest.raises(PeerGone):
        await kernel.shell.send(message("x", b"a"))
    await client.iopub.aclose()
    await kernel.iopub.send(message("x"))
    await kernel.control.send(message("goes on", b"a"))
    assert text(await client.control.receive()) == "goes on"


async def test_neither_end_is_left_waiting_for_room_at_the_other(names: dict[str, Kernel]) -> None:
    backend = InProcessBackend(names, held=1)
    info = backend.prepare(ConnectionInfo(transport="inprocess"))
    kernel = await backend.serve(info)
    client = await backend.connect(info, identity=b"a")
    await client.shell.send(message("fills it"))
    await kernel.shell.send(message("fills it", b"a"))
    up = asyncio.create_task(client.shell.send(message("has to wait")))
    down = asyncio.create_task(kernel.shell.send(message("has to wait", b"a")))
    await settle()
    assert not up.done()
    assert not down.done()
    await client.control.send(message("is not held up"))
    assert text(await kernel.control.receive()) == "is not held up"
    await client.aclose()
    with pytest.raises(ChannelClosed):
        await up
    with pytest.raises(PeerGone):
        await down
    client = await backend.connect(info, identity=b"a")
    up = asyncio.create_task(client.shell.send(message("has to wait")))
    await settle()
    await kernel.aclose()
    with pytest.raises(EndOfChannel):
        await up
    await client.aclose()


async def test_a_second_client_with_an_identity_takes_the_firsts_place(
    backend: InProcessBackend, info: ConnectionInfo, kernel: KernelEnd
) -> None:
    old = await backend.connect(info, identity=b"a")
    await kernel.shell.send(message("for the old one", b"a"))
    async with await backend.connect(info, identity=b"a") as new:
        for joined in (True, False, True):
            assert await peer_event(kernel) == PeerEvent(b"a", joined)
        await kernel.shell.send(message("for the new one", b"a"))
        assert text(await new.shell.receive()) == "for the new one"
        assert [text(one) async for one in old.shell] == ["for the old one"]
        with pytest.raises(EndOfChannel, match="same identity"):
            await old.iopub.receive()
        with pytest.raises(EndOfChannel, match="identity"):
            await old.shell.send(message("x"))
        await old.aclose()
        await kernel.shell.send(message("still there", b"a"))
        assert text(await new.shell.receive()) == "still there"
    assert await peer_event(kernel) == PeerEvent(b"a", False)


async def test_opening_and_closing_leaves_nothing(backend: InProcessBackend, names: dict[str, Kernel]) -> None:
    before = asyncio.all_tasks()
    for _ in range(200):
        info = backend.prepare(ConnectionInfo(transport="inprocess"))
        async with await backend.serve(info) as kernel:
            client = await backend.connect(info, identity=b"a", channels={Channel.SHELL})
            await client.shell.send(message("hello"))
            await kernel.shell.receive()
            await client.aclose()
    assert not names
    assert asyncio.all_tasks() == before


# Buffers and bounds


async def test_a_large_read_only_buffer_arrives_as_the_same_object(kernel: KernelEnd, client: ClientEnd) -> None:
    # Never written to, so never allocated.
    large = mmap.mmap(-1, 100_000_000, prot=mmap.PROT_READ)
    session = Session(b"key")
    frames = session.pack(session.message("comm_msg", buffers=[large]))
    await client.shell.send(WireMessage(frames))
    request = await kernel.shell.receive()
    assert request.frames[5] is frames[5]
    await kernel.iopub.send(WireMessage(request.frames))
    output = await client.iopub.receive()
    assert output.frames[5] is frames[5]
    received = Session(b"key").unpack(output.frames).buffers[0]
    assert isinstance(received, memoryview)
    assert received.obj is large
    assert len(received) == 100_000_000


async def test_a_buffer_that_may_change_is_copied_once(kernel: KernelEnd, client: ClientEnd) -> None:
    session = Session(b"key")
    changing = bytearray(b"before")
    made = session.message("comm_msg", buffers=[changing])
    changing[:] = b"after!"
    await client.shell.send(WireMessage(session.pack(made)))
    received = Session(b"key").unpack((await kernel.shell.receive()).frames)
    assert received.buffers[0] == b"before"
    assert received.buffers[0] is made.buffers[0]


async def test_a_message_over_the_bound_is_refused(kernel: KernelEnd, client: ClientEnd) -> None:
    large = WireMessage((memoryview(mmap.mmap(-1, LIMIT + 1, prot=mmap.PROT_READ)),), b"a")
    for channel in (client.shell, kernel.shell, kernel.iopub):
        with pytest.raises(MessageTooLarge):
            await channel.send(large)
    await client.shell.send(message("goes on"))
    assert text(await kernel.shell.receive()) == "goes on"


async def test_a_client_that_reads_gets_all_that_a_kernel_publishes_without_pause(names: dict[str, Kernel]) -> None:
    backend = InProcessBackend(names, iopub_held=100_000)
    info = backend.prepare(ConnectionInfo(transport="inprocess"))
    async with await backend.serve(info) as kernel, await backend.connect(info, identity=b"a") as client:

        async def read() -> list[str]:
            return [text(one) async for one in client.iopub]

        reader = asyncio.create_task(read())
        for number in range(2000):  # twenty times what the client may hold
            await kernel.iopub.send(message(str(number)))
        await kernel.aclose()
        assert await reader == [str(number) for number in range(2000)]


async def test_a_client_that_does_not_read_loses_the_oldest_and_holds_up_nobody(names: dict[str, Kernel]) -> None:
    backend = InProcessBackend(names, iopub_held=100_000)
    info = backend.prepare(ConnectionInfo(transport="inprocess"))
    async with await backend.serve(info) as kernel, await backend.connect(info, identity=b"a") as client:
        for number in range(2000):
            await kernel.iopub.send(message(f"{number:4}"))
        with pytest.raises(GapNotice) as caught:
            await client.iopub.receive()
        missing = caught.value.count
        assert missing
        assert caught.value.size == 4 * missing
        await kernel.aclose()
        assert [int(text(one)) async for one in client.iopub] == list(range(missing, 2000))


# The heartbeat


async def test_a_kernel_beats_while_it_lets_it(kernel: KernelEnd, client: ClientEnd) -> None:
    assert await client.heartbeat.beat(60) >= 0
    kernel.beating = False
    for timeout in (0, 0.001):
        with pytest.raises(NoBeat):
            await client.heartbeat.beat(timeout)
    kernel.beating = True
    assert await client.heartbeat.beat(60) >= 0


async def test_a_kernel_that_closed_does_not_beat(kernel: KernelEnd, client: ClientEnd) -> None:
    await kernel.aclose()
    with pytest.raises(NoBeat):
        await client.heartbeat.beat(0)


async def test_own_aclose_ends_a_beat_that_waits(kernel: KernelEnd, client: ClientEnd) -> None:
    kernel.beating = False
    beats = [asyncio.create_task(client.heartbeat.beat(3600)) for _ in range(2)]
    await settle()
    beats[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await beats[0]
    await client.heartbeat.aclose()
    await client.heartbeat.aclose()
    with pytest.raises(ChannelClosed):
        await beats[1]
    with pytest.raises(ChannelClosed):
        await client.heartbeat.beat(3600)
