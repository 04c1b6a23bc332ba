"""Messages on their way to a lane, in order and accounted for."""

from collections import deque

from kernelwire.link.envelope import Payload
from kernelwire.link.log import ENTRY_OVERHEAD


class Queue:
    """First in, first out: a :class:`~kernelwire.link.resume.Source`.

    Attributes:
        held: bytes, with what each message costs beside its own.
    """

    def __init__(self) -> None:
        self.held = 0
        self._payloads: deque[Payload] = deque()

    def put(self, payload: Payload) -> None:
        """Add one."""
        self._payloads.append(payload)
        self.held += payload.size + ENTRY_OVERHEAD

    def pull(self) -> Payload | None:
        """The oldest; None if there is none."""
        if not self._payloads:
            return None
        payload = self._payloads.popleft()
        self.held -= payload.size + ENTRY_OVERHEAD
        return payload

    def clear(self) -> None:
        """Drop them all."""
        self._payloads.clear()
        self.held = 0

    def __bool__(self) -> bool:
        return bool(self._payloads)
