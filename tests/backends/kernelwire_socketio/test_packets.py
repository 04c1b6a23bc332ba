"""What is python-socketio's to pack."""

import msgpack
import pytest

from kernelwire_socketio import events
from kernelwire_socketio.packets import Packet


def test_it_comes_out_as_it_went_in() -> None:
    packet = Packet(encoded_packet=Packet(0, data={"sid": "x"}, namespace="/").encode())
    assert (packet.packet_type, packet.data, packet.namespace, packet.id) == (0, {"sid": "x"}, "/", None)


def test_what_is_empty_is_left_out() -> None:
    assert msgpack.unpackb(Packet(1, namespace="/").encode()) == {"type": 1, "nsp": "/"}


@pytest.mark.parametrize(
    "packet", [b"\xc1", msgpack.packb([]), msgpack.packb({"nsp": "/"}), msgpack.packb({"type": "0"})]
)
def test_what_is_none_is_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match="no "):
        Packet(encoded_packet=packet)


def test_an_event_is_what_we_write_ourselves() -> None:
    assert Packet(2, data=["d", b"data"], namespace="/").encode() == events.encode(events.DATA, b"data")
