"""What a kernel sends: in the version of the request, and to a sender that may be gone."""

from collections.abc import AsyncIterator

import pytest

from kernelwire.channels import Channel
from kernelwire.serving.publisher import Publisher, Request
from kernelwire.testing import BackendHarness, Pair


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with BackendHarness("inprocess").open() as pair:
        yield pair


async def test_messages_on_iopub(pair: Pair) -> None:
    client = await pair.connect()
    seen = []
    publisher = Publisher(pair.kernel.end, pair.kernel.session)
    publisher.on_publish = lambda msg_type, _content: seen.append(msg_type)
    request = Request(client.message(), b"", Channel.SHELL, is_v4=False)
    await publisher.status("starting")
    await publisher.publish("display_data", {"data": {}}, request, metadata={"a": 1}, buffers=[b"b"])
    assert (await client.iopub.receive()).content == {"execution_state": "starting"}
    shown = await client.iopub.receive()
    assert shown.is_child_of(request.message)
    assert (dict(shown.metadata), bytes(shown.buffers[0])) == ({"a": 1}, b"b")
    await publisher.publish("comm_close", {"comm_id": "c"})
    assert seen == ["comm_close"]


async def test_a_v4_client_gets_v4(pair: Pair) -> None:
    client = await pair.connect()
    publisher = Publisher(pair.kernel.end, pair.kernel.session)
    request = Request(client.message(), b"", Channel.SHELL, is_v4=True)
    await publisher.publish("execute_result", {"data": {}, "metadata": {}, "execution_count": 1}, request)
    frames = (await client.end.iopub.receive()).frames
    assert b"pyout" in bytes(frames[1])
    await publisher.status("idle")
    assert b'"version"' in bytes((await client.end.iopub.receive()).frames[1])


async def test_a_client_that_is_gone(pair: Pair) -> None:
    client = await pair.connect()
    publisher = Publisher(pair.kernel.end, pair.kernel.session)
    await client.end.aclose()
    await publisher.reply(Request(client.message(), b"gone", Channel.SHELL, is_v4=False), {"status": "ok"})
