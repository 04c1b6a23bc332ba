"""Comms that threads wait for, opened from either side."""

import logging
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from kernelwire.blocking import BlockingKernelClient, connect
from kernelwire.blocking_comm import BlockingComm
from kernelwire.channels import Channel
from kernelwire.errors import ChannelClosed, EndOfChannel, RequestTimeout
from kernelwire.messages import Message

from ._threaded_kernel import PATIENCE, ThreadedKernel


@pytest.fixture(params=["tcp", "ipc"])
def kernel(request: pytest.FixtureRequest) -> Iterator[ThreadedKernel]:
    kernel = ThreadedKernel(request.param)
    yield kernel
    kernel.stop()


@pytest.fixture
def client(kernel: ThreadedKernel) -> Iterator[BlockingKernelClient]:
    with connect(kernel.info) as client:
        client.ready(PATIENCE)
        yield client


def sent(client: BlockingKernelClient, kernel: ThreadedKernel) -> Message:
    """The last message of a comm that has arrived at the kernel."""
    client.kernel_info()  # shell keeps its order
    return [each for each in kernel.scripted.received[Channel.SHELL] if each.msg_type.startswith("comm")][-1]


def handlers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "kernelwire comm"]


def test_a_comm_that_we_open(client: BlockingKernelClient, kernel: ThreadedKernel) -> None:
    with client.open_comm("widgets", {"a": 1}, buffers=[b"zero"]) as comm:
        opened = sent(client, kernel)
        assert opened.content == {"comm_id": comm.comm_id, "target_name": "widgets", "data": {"a": 1}}
        assert bytes(opened.buffers[0]) == b"zero"
        assert (comm.target_name, comm.data) == ("widgets", {})
        comm.send({"b": 2}, [b"one"])
        assert sent(client, kernel).content["data"] == {"b": 2}
        with pytest.raises(RequestTimeout, match=r"no message of the comm within 0\.01 s"):
            comm.receive(timeout=0.01)
        kernel.publish("comm_msg", {"comm_id": comm.comm_id, "data": {"c": 3}})
        assert comm.receive(PATIENCE).content["data"] == {"c": 3}
    assert sent(client, kernel).content == {"comm_id": comm.comm_id, "data": {}}
    with pytest.raises(ChannelClosed):
        comm.send({})


def test_the_kernel_closes_a_comm_after_its_last_message(client: BlockingKernelClient, kernel: ThreadedKernel) -> None:
    comm = client.open_comm("widgets")
    for number in range(3):
        kernel.publish("comm_msg", {"comm_id": comm.comm_id, "data": {"number": number}})
    kernel.publish("comm_close", {"comm_id": comm.comm_id, "data": {}})
    assert [message.content["data"]["number"] for message in comm] == [0, 1, 2]
    with pytest.raises(EndOfChannel):
        comm.receive()
    comm.close()


def test_a_handler_has_a_thread_of_its_own_and_may_use_the_client(
    client: BlockingKernelClient, kernel: ThreadedKernel
) -> None:
    heard: SimpleQueue[Any] = SimpleQueue()

    def handle(comm: BlockingComm) -> None:
        heard.put((comm.comm_id, comm.target_name, comm.data))
        for message in comm:
            heard.put((message.content["data"], client.kernel_info().content["status"]))
        heard.put("the end")

    client.on_comm("plots", handle)
    for comm_id, target in (("1", "plots"), ("2", "other")):
        kernel.publish("comm_open", {"comm_id": comm_id, "target_name": target, "data": {"id": comm_id}})
    client.flush()
    assert heard.get(timeout=PATIENCE) == ("1", "plots", {"id": "1"})
    # From here on nobody but the handler waits.
    kernel.publish("comm_msg", {"comm_id": "1", "data": {"x": 1}})
    assert heard.get(timeout=PATIENCE) == ({"x": 1}, "ok")
    (thread,) = handlers()
    kernel.publish("comm_close", {"comm_id": "1"})
    assert heard.get(timeout=PATIENCE) == "the end"
    thread.join(PATIENCE)
    client.on_comm("plots", None)
    kernel.publish("comm_open", {"comm_id": "3", "target_name": "plots"})
    client.flush()
    assert heard.empty()
    assert handlers() == []


def test_a_handler_that_fails_stops_nothing(
    client: BlockingKernelClient, kernel: ThreadedKernel, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(comm: BlockingComm) -> None:
        comm.close()
        comm.send({})

    client.on_comm("plots", fail)
    kernel.publish("comm_open", {"comm_id": "1", "target_name": "plots"})
    client.flush()
    for thread in handlers():
        thread.join(PATIENCE)
    assert "handler of a comm failed" in caplog.text
    assert client.execute("after").result().text == "after"


def test_closing_the_client_ends_its_handlers_without_a_word(
    kernel: ThreadedKernel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    waiting: SimpleQueue[threading.Thread] = SimpleQueue()

    def wait(comm: BlockingComm) -> None:
        waiting.put(threading.current_thread())
        comm.receive()

    with connect(kernel.info) as client:
        client.ready(PATIENCE)
        client.on_comm("plots", wait)
        kernel.publish("comm_open", {"comm_id": "1", "target_name": "plots"})
        client.flush()
        thread = waiting.get(timeout=PATIENCE)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert "handler" not in caplog.text
