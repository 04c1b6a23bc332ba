"""What each of those that are compared must be able to do."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
Info = dict[str, str | int]
"""What a connection file says, and under ``connection_file`` where it is."""

Burst = Callable[[], None]
"""Has the kernel publish a burst of output for what is on ``hold``."""


class Drained(NamedTuple):
    """What it took to read a burst.

    Attributes:
        messages: all that were read.
        seconds: from when the burst was published.
        cpu: seconds of this process, its own and zmq's threads, from before that.
    """

    messages: int
    seconds: float
    cpu: float


class Contestant(ABC):
    """One way to talk to a kernel. All methods block; what has a loop runs it."""

    name: str

    @abstractmethod
    def open(self, info: Info) -> None:
        """Connect; return when the kernel answers and what it publishes arrives."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    def kernel_info(self, count: int) -> list[float]:
        """Seconds that each of so many kernel_info requests took to be answered, one after the other."""

    @abstractmethod
    def execute(self, count: int) -> list[float]:
        """Seconds from each of so many execute requests to both its reply and its idle status."""

    @abstractmethod
    def drain(self, burst: Burst) -> Drained:
        """Start ``hold``, read until its execute_input, call `burst`, and read until its idle status."""

    @abstractmethod
    def in_flight(self, count: int) -> None:
        """Send so many kernel_info requests, then take their replies."""

    @abstractmethod
    def large(self, size: int) -> float:
        """Seconds from the request for an output with a buffer of `size` bytes until it is here."""


class OnLoop(Contestant):
    """One that needs an event loop, which runs while a method does.

    Arguments:
        runner: the loop, if it is shared with others.
    """

    def __init__(self, runner: asyncio.Runner | None = None) -> None:
        self._runner = runner or asyncio.Runner()
        self._owned = runner is None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self._runner.run(work)

    def open(self, info: Info) -> None:
        self.run(self.connect(info))

    def close(self) -> None:
        self.run(self.disconnect())
        if self._owned:
            self._runner.close()

    def kernel_info(self, count: int) -> list[float]:
        return self.run(self.ask(count))

    @abstractmethod
    async def connect(self, info: Info) -> None:
        """As `open`."""

    @abstractmethod
    async def disconnect(self) -> None:
        """As `close`."""

    @abstractmethod
    async def ask(self, count: int) -> list[float]:
        """As `kernel_info`."""
