"""The kernel's side of the heartbeat."""

from contextlib import suppress

import zmq

from kernelwire.ends import KernelEnd
from kernelwire_zmq.wire import Wire


class Echo:
    """Sends back what comes in, as long as the kernel's end is beating.

    Attributes:
        end: whose `beating` decides; set by whoever assembles the kernel's end.
    """

    end: KernelEnd

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._wire = Wire(socket, self._take)

    def close(self) -> None:
        """Beat no more."""
        self._wire.close(0)

    def _take(self) -> None:
        ping = self._wire.socket.recv_multipart(zmq.NOBLOCK)
        if not self.end.beating:
            return
        # Whoever does not read its pongs, or is gone, has no use for this one; the next ping is somebody else's.
        with suppress(zmq.ZMQError):
            self._wire.socket.send_multipart(ping, zmq.NOBLOCK)
