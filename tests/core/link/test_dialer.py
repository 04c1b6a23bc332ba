"""A client's end of a link, over pipes that hang, break, freeze and lie: what it makes of each."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from kernelwire.errors import (
    ConnectionLost,
    GapNotice,
    InvalidField,
)
from kernelwire.link import dialer as module
from kernelwire.link import seal
from kernelwire.link.framing import MAGIC, VERSION
from kernelwire.link.records import Bye, Data, Position, Ready, Reason, Status, Welcome, decode
from kernelwire.link.resume import NOTHING
from kernelwire.link.sealed import Secrets

from ._dialers import crash, dialer, ends_with, receives
from ._pipes import CLIENT, INFO, QUICK, MemoryBackend, Network, answer, joined, message, say, settle, texts

pytestmark = pytest.mark.usefixtures("no_task_is_left", "in_haste")


# Dialling


@pytest.mark.parametrize("error", [OSError("no"), ConnectionLost("no"), RuntimeError("no"), asyncio.CancelledError()])
async def test_whatever_dialling_raises_it_is_tried_again(error: BaseException) -> None:
    backend = MemoryBackend()
    backend.network.down = error
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"me") as client:
        await client.shell.send(message("sent while nobody could be reached"))
        await backend.network.dialled(8)
        backend.network.down = None
        assert await texts(kernel.shell, 1) == ["sent while nobody could be reached"]


async def test_dialling_that_hangs_is_given_up_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DIALLING_TIME", 0.01)
    backend = MemoryBackend()
    backend.network.dialling = asyncio.get_running_loop().create_future()
    async with await backend.serve(INFO), await backend.connect(INFO, identity=b"me") as client:
        await backend.network.dialled(3)
        backend.network.dialling = None
        await client.iopub.ready()


async def test_a_field_that_cannot_be_used_is_not_tried_again(network: Network) -> None:
    network.down = InvalidField("shell_port", "missing")
    async with dialer(network).end as end:
        await ends_with(end, InvalidField, "shell_port")
        assert network.dials == 1


async def test_a_host_that_cannot_be_met_is_waited_for_and_can_be_given_up(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for secrets in (
        Secrets(seal.new_secret(), CLIENT.host_key),
        Secrets(CLIENT.link_secret, seal.public_key(bytes(32))),
    ):
        backend = MemoryBackend()
        async with await backend.serve(INFO), dialer(backend.network, secrets).end as end:
            ready = asyncio.create_task(end.iopub.ready())
            await backend.network.dialled(5)
            assert not ready.done()
            ready.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ready
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await end.iopub.ready()
        assert backend.network.open_pipes == 0
        (told,) = caplog.messages
        assert told == "the other end breaks off each handshake; is the connection file its own? trying again"
        caplog.clear()


async def test_a_host_that_was_met_before_is_not_suspected_of_other_keys(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    async with dialer(network).end:
        sealed, _ = await answer(network)
        await say(sealed, Welcome(7, False, NOTHING, 0))
        for _ in range(module.DOUBTFUL + 1):
            await settle()
            network.cut()
            await network.accept()
    assert not caplog.records


async def test_another_version_says_so_on_every_channel(network: Network) -> None:
    async with dialer(network).end as end:
        far = await network.accept()
        await far.send(MAGIC + bytes([VERSION + 1]))
        await ends_with(end, ConnectionLost, f"version {VERSION + 1} of the link's protocol, and this one {VERSION}")
    assert network.dials == 1


async def test_who_was_met_before_is_not_given_up_for_one_word_of_another_version(network: Network) -> None:
    async with dialer(network).end as end:
        sealed, _ = await answer(network)
        await say(sealed, Welcome(7, False, NOTHING, 0))
        await settle()
        network.cut()
        await (await network.accept()).send(MAGIC + bytes([VERSION + 1]))
        sealed, hello = await answer(network)
        assert (hello.epoch, hello.attempt) == (7, 2)
        await say(sealed, Welcome(7, True, NOTHING, 0))
        await say(sealed, Ready())
        await end.iopub.ready()


async def test_a_second_client_of_the_same_name_is_refused_for_good() -> None:
    async with joined() as (backend, kernel, client):
        pipes = len(backend.network.pairs)
        async with await backend.connect(INFO, identity=b"me") as second:
            await ends_with(second, ConnectionLost, "identity")
        assert len(backend.network.pairs) == pipes + 1
        await client.shell.send(message("the first goes on"))
        assert await texts(kernel.shell, 1) == ["the first goes on"]


async def test_a_host_without_room_is_asked_again(network: Network) -> None:
    async with dialer(network).end as end:
        for _ in range(4):
            sealed, _ = await answer(network)
            await say(sealed, Bye(Reason.FULL, ()))
        sealed, hello = await answer(network)
        assert hello.attempt == 5
        await say(sealed, Welcome(7, False, NOTHING, 0))
        await say(sealed, Ready())
        await end.iopub.ready()


def test_attempts_become_rarer_and_for_ten_minutes_there_is_always_one_within_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    delays = [module.delay(attempt) for attempt in range(2000)]
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert delays[-1] == module.delay(10**9) == module.LONGEST_DELAY
    swift = [each for each in delays if 1.5 * each < 1]
    assert sum(swift) * 1.25 > 600
    assert sum(1.5 * each for each in delays if each < module.LONGEST_DELAY) < 2 * 3600


async def test_who_sends_something_is_not_made_to_wait_for_an_attempt_that_is_far_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SWIFT_ATTEMPTS", 0)
    monkeypatch.setattr(module, "_DOUBLED_AFTER", 0.01)
    monkeypatch.setattr(module, "LONGEST_DELAY", 3600.0)
    backend = MemoryBackend()
    backend.network.down = OSError("nobody there")
    async with await backend.connect(INFO, identity=b"me") as client:
        await backend.network.dialled(3)
        await asyncio.sleep(0.02)
        assert backend.network.dials <= 4
        backend.network.down = None
        async with await backend.serve(INFO) as kernel:
            await client.shell.send(message("now"))
            assert await texts(kernel.shell, 1) == ["now"]


async def test_who_is_greeted_and_gets_nowhere_does_not_ask_again_at_once(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DELAY", 3600.0)
    async with dialer(network).end as end:
        sealed, _ = await answer(network)
        await say(sealed, Welcome(7, False, NOTHING, 0))
        for _ in range(2):
            await sealed.send(b"rubbish")
            sealed, _ = await answer(network)
            await say(sealed, Welcome(7, True, NOTHING, 0))
        # Who gets on is quick again.
        await say(sealed, Status(0, 0, 1000), Status(1, 0, 1000))
        await end.shell.send(message("taken"))
        await _until_data(sealed, 1)
        await say(sealed, Status(1, 1, 2000))
        await settle()
        for _ in range(3):
            await sealed.send(b"rubbish")
            sealed, _ = await answer(network)
            await say(sealed, Welcome(7, True, (Position(0, 0), Position(1, 0)), 0))
        await sealed.send(b"rubbish")
        await settle(200)
        assert network.dials == len(network.pairs) == 6


async def _until_data(sealed: Any, count: int) -> list[Data]:
    found: list[Data] = []
    while len(found) < count:
        found += [each for each in decode(await sealed.receive()) if isinstance(each, Data)]
    return found


# Breaks


async def test_cuts_cost_nothing_and_change_no_order() -> None:
    async with joined() as (backend, kernel, client):
        ways: list[tuple[Callable[[Any], Coroutine[Any, Any, None]], Any]] = [
            (client.shell.send, kernel.shell),
            (client.control.send, kernel.control),
            (client.stdin.send, kernel.stdin),
            (kernel.shell.send, client.shell),
            (kernel.control.send, client.control),
            (kernel.stdin.send, client.stdin),
            (kernel.iopub.send, client.iopub),
        ]

        async def send(way: int) -> None:
            for number in range(60):
                await ways[way][0](message(f"{way} {number}", b"me", size=number * 97))

        async def cut() -> None:
            for turns in range(1, 25):
                await settle(turns * 3)
                backend.network.cut()

        async def receive(way: int) -> None:
            assert await texts(ways[way][1], 60) == [f"{way} {number}" for number in range(60)]

        async with asyncio.TaskGroup() as group:
            for way in range(len(ways)):
                group.create_task(send(way))
                group.create_task(receive(way))
            group.create_task(cut())
    assert backend.network.open_pipes == 0


async def test_a_pipe_that_freezes_is_given_up() -> None:
    async with joined(MemoryBackend(timing=QUICK)) as (backend, kernel, client):
        backend.network.freeze()
        await client.shell.send(message("after all"))
        assert await texts(kernel.shell, 1) == ["after all"]
        assert len(backend.network.pairs) >= 2


async def test_a_pipe_that_takes_nothing_more_is_given_up() -> None:
    async with joined(MemoryBackend(timing=QUICK)) as (backend, kernel, client):
        backend.network.freeze()
        for number in range(3):
            await client.shell.send(message(number, size=400_000))
        assert await texts(kernel.shell, 3) == ["0", "1", "2"]


@pytest.mark.parametrize("how", ["hangs", "raises", "is cancelled"])
async def test_a_pipe_that_cannot_even_be_closed_holds_nobody_up(how: str) -> None:
    def fail() -> object:
        if how == "hangs":
            return asyncio.get_running_loop().create_future()
        raise asyncio.CancelledError if how == "is cancelled" else RuntimeError("no")

    async with joined() as (backend, kernel, client):
        for number in range(3):
            for pipe in backend.network.pairs[-1]:
                pipe.on_close = fail
            backend.network.cut()
            await client.shell.send(message(number))
            assert await texts(kernel.shell, 1) == [str(number)]
        for pipe in backend.network.pairs[-1]:
            pipe.on_close = fail
    assert backend.network.open_pipes == 0


async def test_a_host_that_breaks_the_rules_is_dropped_and_met_again() -> None:
    async with joined() as (backend, kernel, client):
        await kernel.shell.send(message("before", b"me"))
        assert await texts(client.shell, 1) == ["before"]
        near, far = backend.network.pairs[-1]
        far.outgoing._pieces.append(b"\0\0\0\x20" + bytes(32))
        far.outgoing._changed.turn()
        await kernel.shell.send(message("after", b"me"))
        assert await texts(client.shell, 1) == ["after"]
        assert len(backend.network.pairs) == 2
        assert near.closings == far.closings == 1


# A host that starts anew


async def test_a_new_host_is_told_by_a_gap_on_each_channel_and_then_all_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 1000)
    backend = MemoryBackend()
    kernel = await backend.serve(INFO)
    async with await backend.connect(INFO, identity=b"me") as client:
        await client.iopub.ready()
        await client.shell.send(message("handled"))
        assert await texts(kernel.shell, 1) == ["handled"]
        await crash(backend, kernel)
        await client.shell.send(message("for the old one", size=2000))
        late = asyncio.create_task(client.shell.send(message("taken by the wire afterwards")))
        await settle()
        assert not late.done()
        backend.network.down = None
        async with await backend.serve(INFO) as kernel:
            for receive in receives(client):
                with pytest.raises(GapNotice, match="anew") as caught:
                    await receive()
                assert (caught.value.count, caught.value.size) == (None, None)
            await late
            await client.shell.send(message("for the new one"))
            assert await texts(kernel.shell, 2) == ["taken by the wire afterwards", "for the new one"]
            await kernel.iopub.send(message("published"))
            assert await texts(client.iopub, 1) == ["published"]


async def test_ready_again_says_the_new_host_itself() -> None:
    backend = MemoryBackend()
    kernel = await backend.serve(INFO)
    async with await backend.connect(INFO, identity=b"me") as client:
        await client.iopub.ready()
        await crash(backend, kernel)
        await client.iopub.ready()  # of a mere break it knows nothing
        backend.network.down = None
        async with await backend.serve(INFO) as kernel:
            kernel.audible = False
            with pytest.raises(GapNotice):
                await client.iopub.receive()
            ready = asyncio.create_task(client.iopub.ready())
            await settle()
            assert not ready.done()
            kernel.audible = True
            await ready


async def test_not_ready_before_the_host_is_audible() -> None:
    backend = MemoryBackend()
    async with await backend.serve(INFO) as kernel, await backend.connect(INFO, identity=b"me") as client:
        kernel.audible = False
        waiting = [asyncio.create_task(client.iopub.ready()) for _ in range(2)]
        await settle()
        for _ in range(2):  # nor on a later connection
            backend.network.cut()
            await settle(200)
        assert not any(each.done() for each in waiting)
        kernel.audible = True
        await asyncio.gather(*waiting)
