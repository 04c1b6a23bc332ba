"""The requests under way, by id; while none of them waits for output, iopub need not hurry."""

from collections.abc import Iterator

from kernelwire.channels import IOPubChannel
from kernelwire.requests import Request


class Pending:
    """Requests under way.

    Arguments:
        iopub: where their output comes; None if that channel is not open.
    """

    def __init__(self, iopub: IOPubChannel | None) -> None:
        self._iopub = iopub
        self._requests: dict[str, Request] = {}
        self._listening = 0
        self._set_urgent()

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        """All of them, as it is now."""
        return iter(list(self._requests.values()))

    def __contains__(self, request: Request) -> bool:
        return request.message.msg_id in self._requests

    def get(self, msg_id: str) -> Request | None:
        """The one with this id."""
        return self._requests.get(msg_id)

    def add(self, request: Request) -> None:
        """It is under way from now on."""
        self._requests[request.message.msg_id] = request
        if request.listens:
            self.listen()

    def drop(self, request: Request) -> None:
        """It has ended. Nothing happens if it is not under way."""
        if self._requests.pop(request.message.msg_id, None) is not None and request.listens:
            self._listening -= 1
            self._set_urgent()

    def listen(self) -> None:
        """Somebody waits for output; for good, unless it is a request that ends."""
        self._listening += 1
        self._set_urgent()

    def _set_urgent(self) -> None:
        if self._iopub is not None:
            self._iopub.urgent = self._listening > 0
