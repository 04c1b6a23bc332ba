"""Making the sockets of one end."""

import asyncio
import errno
import threading

import pytest
import zmq

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ConnectionLost, InvalidField, WrongLoop
from kernelwire_zmq.contexts import SharedContext
from kernelwire_zmq.sockets import Sockets


async def test_release_closes_what_nobody_else_did(info: ConnectionInfo) -> None:
    shared = SharedContext()
    sockets = Sockets(shared, info)
    mine, monitor = sockets.connect_watched(zmq.DEALER, "shell_port", zmq.EVENT_ALL)
    bound = sockets.bind(zmq.ROUTER, "hb_port")
    context = shared._context
    assert context is not None
    bound.close(0)
    await sockets.release()
    assert mine.closed
    assert monitor.closed
    assert context.closed


async def test_options(info: ConnectionInfo) -> None:
    sockets = Sockets(SharedContext(), info)
    socket = sockets.connect(zmq.DEALER, "shell_port", ROUTING_ID=b"me", SNDHWM=3)
    assert socket.getsockopt(zmq.ROUTING_ID) == b"me"
    assert socket.getsockopt(zmq.SNDHWM) == 3
    assert socket.getsockopt(zmq.LINGER) == 0
    await sockets.release()


async def test_closed_ones_are_forgotten(info: ConnectionInfo) -> None:
    sockets = Sockets(SharedContext(), info)
    for _ in range(5):
        sockets.connect(zmq.DEALER, "shell_port").close()
    assert len(sockets._made) == 1
    await sockets.release()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_no_room_for_another(info: ConnectionInfo, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise zmq.ZMQError(number)

    sockets = Sockets(SharedContext(), info)
    first = sockets.connect(zmq.DEALER, "shell_port")
    monkeypatch.setattr(sockets, "_context", type("Full", (), {"socket": refuse})())
    for make in (sockets.connect, sockets.bind):
        with pytest.raises(ConnectionLost) as caught:
            make(zmq.DEALER, "shell_port")
        assert isinstance(caught.value.__cause__, zmq.ZMQError)
    await sockets.release()
    assert first.closed


async def test_a_key_that_libzmq_refuses(info: ConnectionInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise zmq.ZMQError(errno.EINVAL)

    monkeypatch.setattr("kernelwire_zmq.curve.as_client", refuse)
    sockets = Sockets(SharedContext(), info)
    with pytest.raises(InvalidField) as caught:
        sockets.connect(zmq.DEALER, "shell_port")
    assert caught.value.field == "curve_publickey"
    assert caught.value.__cause__ is None
    await sockets.release()


async def test_release_from_another_loop_changes_nothing(info: ConnectionInfo) -> None:
    sockets = Sockets(SharedContext(), info)
    socket = sockets.connect(zmq.DEALER, "shell_port")
    caught: list[BaseException] = []

    def release() -> None:
        try:
            asyncio.run(sockets.release())
        except WrongLoop as error:
            caught.append(error)

    thread = threading.Thread(target=release)
    thread.start()
    thread.join()
    assert len(caught) == 1
    assert not socket.closed
    await sockets.release()
    assert socket.closed
