"""The ends: what was opened, and closing all of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from kernelwire.channels import (
    Channel,
    ControlChannel,
    HeartbeatChannel,
    IOPubChannel,
    IOPubPublisher,
    ShellChannel,
    StdinChannel,
)
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import NotSupported, WrongLoop
from kernelwire.messages import WireMessage


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Recorder:
    """A channel of any kind that writes down when it is closed."""

    def __init__(self, closed: list[str], name: str) -> None:
        self.closed, self.name = closed, name
        self.started = asyncio.Event()
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.error: Exception | None = None

    async def aclose(self) -> None:
        self.started.set()
        await self.may_close.wait()
        self.closed.append(self.name)
        if self.error is not None:
            raise self.error

    async def send(self, message: WireMessage) -> None:
        raise NotImplementedError

    async def receive(self) -> WireMessage:
        raise NotImplementedError

    async def beat(self, timeout: float) -> float:
        raise NotImplementedError


class Shell(Recorder, ShellChannel):
    pass


class Control(Recorder, ControlChannel):
    pass


class Stdin(Recorder, StdinChannel):
    pass


class IOPub(Recorder, IOPubChannel):
    pass


class Publisher(Recorder, IOPubPublisher):
    pass


class Heartbeat(Recorder, HeartbeatChannel):
    pass


NAMES = ["shell", "control", "stdin", "iopub"]


class Ends:
    """An end of each kind on recorders; `closed` has them in the order of their closing."""

    def __init__(self, kind: str) -> None:
        self.closed: list[str] = []
        self.shell = Shell(self.closed, "shell")
        self.control = Control(self.closed, "control")
        self.stdin = Stdin(self.closed, "stdin")
        self.iopub = IOPub(self.closed, "iopub") if kind == "client" else Publisher(self.closed, "iopub")
        self.names = ["heartbeat", *NAMES] if kind == "client" else NAMES
        self.end: ClientEnd | KernelEnd
        if isinstance(self.iopub, IOPub):
            self.heartbeat = Heartbeat(self.closed, "heartbeat")
            self.end = ClientEnd(
                shell=self.shell,
                control=self.control,
                stdin=self.stdin,
                iopub=self.iopub,
                heartbeat=self.heartbeat,
                on_close=self.on_close,
            )
        else:
            self.end = KernelEnd(
                shell=self.shell,
                control=self.control,
                stdin=self.stdin,
                iopub=self.iopub,
                on_close=self.on_close,
            )

    async def on_close(self) -> None:
        self.closed.append("on_close")

    def assert_closed_once(self) -> None:
        assert sorted(self.closed[:-1]) == sorted(self.names)
        assert self.closed[-1] == "on_close"


@pytest.fixture(params=["client", "kernel"])
async def ends(request: pytest.FixtureRequest) -> Ends:
    return Ends(request.param)


async def test_closes_everything_once_and_then_what_is_shared(ends: Ends) -> None:
    await ends.end.aclose()
    await ends.end.aclose()
    ends.assert_closed_once()


async def test_leaving_the_context_closes(ends: Ends) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the context under test
        async with ends.end as end:
            assert end is ends.end
            raise ZeroDivisionError
    ends.assert_closed_once()


@pytest.mark.parametrize("failing", NAMES)
async def test_one_channel_that_fails_to_close_keeps_nothing_else_open(ends: Ends, failing: str) -> None:
    getattr(ends, failing).error = OSError(failing)
    with pytest.raises(OSError, match=failing):
        await ends.end.aclose()
    ends.assert_closed_once()
    await ends.end.aclose()
    ends.assert_closed_once()


async def test_the_second_of_two_tasks_returns_when_all_is_closed(ends: Ends) -> None:
    ends.stdin.may_close.clear()
    first = asyncio.create_task(ends.end.aclose())
    await ends.stdin.started.wait()
    second = asyncio.create_task(ends.end.aclose())
    for _ in range(8):
        await asyncio.sleep(0)
    assert not first.done()
    assert not second.done()
    assert "on_close" not in ends.closed  # a channel still needs what it releases
    ends.stdin.may_close.set()
    await asyncio.gather(first, second)
    ends.assert_closed_once()


async def test_a_cancelled_call_closes_the_rest(ends: Ends) -> None:
    ends.stdin.may_close.clear()
    closing = asyncio.create_task(ends.end.aclose())
    await ends.stdin.started.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert sorted(ends.closed) == sorted({*ends.names, "on_close"} - {"stdin"})


async def test_another_loop_is_refused_and_the_own_can_still_close(ends: Ends) -> None:
    def elsewhere() -> None:
        with pytest.raises(WrongLoop):
            asyncio.run(ends.end.aclose())

    await asyncio.to_thread(elsewhere)
    assert not ends.closed
    await ends.end.aclose()
    ends.assert_closed_once()


async def test_a_channel_that_was_not_opened_is_named() -> None:
    end = ClientEnd()
    for name, channel in zip([*NAMES, "heartbeat"], [*NAMES, "hb"], strict=True):
        with pytest.raises(NotSupported, match=rf"\b{channel} channel"):
            getattr(end, name)
    await end.aclose()


async def test_what_a_backend_opened_unasked_is_closed() -> None:
    ends = Ends("client")
    assert isinstance(ends.end, ClientEnd)
    await ends.end.narrow({Channel.SHELL, Channel.HEARTBEAT})
    assert sorted(ends.closed) == ["control", "iopub", "stdin"]
    assert ends.end.channels == {Channel.SHELL, Channel.HEARTBEAT}
    assert ends.end.shell is ends.shell
    for name in ("control", "iopub", "stdin"):
        with pytest.raises(NotSupported):
            getattr(ends.end, name)
    await ends.end.narrow({Channel.SHELL, Channel.HEARTBEAT, Channel.IOPUB})  # what is closed stays so
    assert ends.end.channels == {Channel.SHELL, Channel.HEARTBEAT}
    await ends.end.aclose()
    assert ends.closed[-1] == "on_close"


async def test_all_is_closed_if_that_fails() -> None:
    ends = Ends("client")
    assert isinstance(ends.end, ClientEnd)
    ends.iopub.error = OSError("iopub")
    with pytest.raises(OSError, match="iopub"):
        await ends.end.narrow(set())
    assert {*ends.names, "on_close"} == set(ends.closed)


async def test_a_client_may_have_some_channels_only() -> None:
    closed: list[str] = []
    async with ClientEnd(shell=Shell(closed, "shell")) as end:
        assert isinstance(end.shell, Shell)
        with pytest.raises(NotSupported):
            _ = end.iopub
    assert closed == ["shell"]


async def test_a_kernel_beats_and_has_dropped_nothing_at_first() -> None:
    ends = Ends("kernel")
    assert isinstance(ends.end, KernelEnd)
    assert ends.end.beating
    assert ends.end.dropped == 0
    assert ends.end.peers is None


async def test_waiting_for_a_beat_or_to_be_audible_ends_when_it_is_so() -> None:
    kernel = Ends("kernel").end
    assert isinstance(kernel, KernelEnd)
    for name, wait in (("beating", kernel.wait_beating), ("audible", kernel.wait_audible)):
        assert getattr(kernel, name)
        setattr(kernel, name, False)
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        setattr(kernel, name, True)
        await waiting
