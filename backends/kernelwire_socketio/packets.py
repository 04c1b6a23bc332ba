"""How python-socketio packs what is not our own to pack: connecting, being refused, disconnecting."""

import msgpack
import socketio.msgpack_packet

from kernelwire_socketio import events


class Packet(socketio.msgpack_packet.MsgPackPacket):  # type: ignore[misc] # has no types
    """Its packets in msgpack, but bounded, and without the empty fields that JavaScript's parser takes for errors."""

    def encode(self) -> bytes:
        """As it is sent."""
        fields = {name: value for name, value in self._to_dict().items() if value is not None}
        message: bytes = msgpack.packb(fields)
        return message

    def decode(self, encoded_packet: bytes) -> None:
        """As it came.

        Raises:
            ValueError: it is no packet.
        """
        packet = events.unpack(encoded_packet)
        if not isinstance(packet, dict) or not isinstance(packet.get("type"), int):
            raise ValueError("no packet")
        self.packet_type = packet["type"]
        self.data = packet.get("data")
        self.id = packet.get("id")
        self.namespace = packet.get("nsp", "/")
