"""Every errno of zmq becomes one of our errors, with the zmq one as its cause."""

import errno

import pytest
import zmq

from kernelwire.errors import AddressInUse, ChannelClosed, ConnectionLost, InvalidField, KernelwireError
from kernelwire_zmq.errors import broken, opening

ALL_ERRNOS = sorted(
    {int(getattr(zmq, name)) for name in dir(zmq) if name[0] == "E" and name.isupper() and name.isalpha()}
)


@pytest.mark.parametrize(
    ("number", "kind", "field"),
    [
        (zmq.EADDRINUSE, AddressInUse, None),
        (zmq.EADDRNOTAVAIL, InvalidField, "ip"),
        (errno.ENODEV, InvalidField, "ip"),
        (errno.EACCES, InvalidField, "shell_port"),
        (errno.EINVAL, InvalidField, "ip"),
        (errno.ENOENT, InvalidField, "ip"),
        (errno.EMFILE, ConnectionLost, None),
        (errno.ENFILE, ConnectionLost, None),
        (errno.ENOMEM, ConnectionLost, None),
    ],
)
def test_opening(number: int, kind: type[KernelwireError], field: str | None) -> None:
    with pytest.raises(kind) as caught, opening("tcp://127.0.0.1:1", "shell_port"):
        raise zmq.ZMQError(int(number))
    assert getattr(caught.value, "field", None) == field
    assert "tcp://127.0.0.1:1" in str(caught.value)
    assert isinstance(caught.value.__cause__, zmq.ZMQError)


def test_no_permission_for_an_ipc_path_is_about_the_path() -> None:
    with pytest.raises(InvalidField) as caught, opening("ipc:///elsewhere/k-1", "shell_port"):
        raise zmq.ZMQError(errno.EACCES)
    assert caught.value.field == "ip"


@pytest.mark.parametrize("number", ALL_ERRNOS)
def test_no_errno_crosses(number: int) -> None:
    with pytest.raises(KernelwireError), opening("tcp://127.0.0.1:1", "shell_port"):
        raise zmq.ZMQError(number)
    assert isinstance(broken(zmq.ZMQError(number)), KernelwireError)


@pytest.mark.parametrize("number", [zmq.ETERM, zmq.ENOTSOCK])
def test_closed_under_us(number: int) -> None:
    assert isinstance(broken(zmq.ZMQError(int(number))), ChannelClosed)


def test_broken() -> None:
    error = broken(zmq.ZMQError(errno.ENOMEM))
    assert isinstance(error, ConnectionLost)
    assert "memory" in str(error)


def test_others_pass() -> None:
    with pytest.raises(KeyError), opening("tcp://127.0.0.1:1", "shell_port"):
        raise KeyError
