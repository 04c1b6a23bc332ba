"""The channels of a manager, over a kernel that is simply there; with kernels of its own in test_manager.py."""

from collections.abc import AsyncIterator

import pytest

from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import LocalError, NotSupported
from kernelwire.execution import InputRequest
from kernelwire.kernel_access import KernelAccess
from kernelwire.session import Session
from kernelwire.testing import Resources, ScriptedKernel
from kernelwire_inprocess import InProcessBackend


class Access(KernelAccess):
    """Access to a kernel, or to none."""

    def __init__(self, info: ConnectionInfo | None) -> None:
        super().__init__()
        self._info = info

    @property
    def info(self) -> ConnectionInfo:
        if self._info is None:
            raise LocalError("no kernel")
        return self._info


@pytest.fixture
async def access() -> AsyncIterator[Access]:
    before = Resources.now()
    backend = InProcessBackend()
    info = backend.prepare(ConnectionInfo(transport="inprocess", key=b"a key for these tests"))
    async with await backend.serve(info) as end, ScriptedKernel(end, Session.of(info)):
        access = Access(info)
        yield access
        await access.stop_channels()
    assert await before.settled() == []


async def answer(_request: InputRequest) -> str:
    return "an answer"


async def test_a_client(access: Access) -> None:
    async with access.client(channels={Channel.SHELL, Channel.IOPUB}) as client:
        assert client.end.channels == {Channel.SHELL, Channel.IOPUB}
        assert (await client.execute("1")).text == "1"
        assert not access.channels_running


async def test_channels_that_stay(access: Access) -> None:
    assert access.channels is None
    assert access.channels_running is False
    client = await access.start_channels(input_hook=answer)
    assert access.channels is client
    assert access.channels_running is True
    assert client.end.channels == ALL_CHANNELS
    assert client.allow_stdin is True
    assert (await client.execute("1")).text == "1"
    assert await access.start_channels(input_hook=answer) is client
    for other in ({"input_hook": answer, "stdin": False}, {}):
        with pytest.raises(LocalError, match=r"stop_channels\(\) first"):
            await access.start_channels(**other)
    await access.stop_channels()
    await access.stop_channels()
    assert access.channels is None
    again = await access.start_channels()
    assert (await again.execute("2")).text == "2"


@pytest.mark.parametrize(
    ("left_out", "channel"),
    [
        ("shell", Channel.SHELL),
        ("iopub", Channel.IOPUB),
        ("stdin", Channel.STDIN),
        ("hb", Channel.HEARTBEAT),
        ("control", Channel.CONTROL),
    ],
)
async def test_some_channels_only(access: Access, left_out: str, channel: Channel) -> None:
    client = await access.start_channels(**{left_out: False}, input_hook=answer)
    assert client.end.channels == ALL_CHANNELS - {channel}
    assert client.allow_stdin is (left_out != "stdin")
    with pytest.raises(NotSupported, match=f"the {channel} channel"):
        getattr(client.end, "heartbeat" if left_out == "hb" else left_out)


async def test_without_a_kernel() -> None:
    access = Access(None)
    with pytest.raises(LocalError, match="no kernel"):
        await access.start_channels()
    with pytest.raises(LocalError, match="no kernel"):
        async with access.client():
            pass
    await access.stop_channels()
