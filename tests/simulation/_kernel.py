"""A kernel that takes its time, and says much."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from kernelwire.channels import Channel
from kernelwire.link.envelope import LANE_OF
from kernelwire.link.host import Member
from kernelwire.link.records import Lane
from simulation._checker import PIN, Session
from simulation._desk import Desk
from simulation._stage import BODIES, Stage

_BUSY: Final = b"busy"


class Asked(NamedTuple):
    """A request, and whose it is."""

    member: Member
    session: Session
    channel: Channel


class Mouth(Protocol):
    """How a kernel speaks."""

    def publish(self, body: bytes) -> bool:
        """To all; whether that can be done now."""

    def answer(self, asked: Asked, channel: Channel, body: bytes) -> None:
        """To who asked."""


class Kernel:
    """Works on one request to shell and one to control or stdin at a time, step by step.

    Arguments:
        stage: what all share.
        mouth: how it speaks.
        output: sizes of what a request publishes.
    """

    def __init__(self, stage: Stage, mouth: Mouth, output: Callable[[], list[int]]) -> None:
        self._mouth = mouth
        self._output = output
        self._desk = Desk[Asked](stage)
        self._jobs: list[Iterator[bool] | None] = [None, None]
        self._chatter: deque[bytes] = deque()

    def chat(self, body: bytes) -> None:
        """It is going to publish something that nobody asked for."""
        self._chatter.append(body)

    def put(self, asked: Asked, size: int) -> None:
        """Somebody asks, with a request of so many bytes."""
        self._desk.put(LANE_OF[asked.channel], size, asked)

    def has_room(self, lane: Lane) -> bool:
        """Whether more may be asked."""
        return self._desk.has_room(lane)

    def work(self, lane: Lane) -> bool:
        """Do a step of what was asked there; return whether there was anything that could be done."""
        if lane is Lane.D and self._chatter:  # publishers wait for each other
            if not self._mouth.publish(self._chatter[0]):
                return False
            self._chatter.popleft()
            return True
        job = self._jobs[lane]
        if job is None:
            if (asked := self._desk.take(lane)) is None:
                return False
            job = self._jobs[lane] = self._run(asked)
        moved = next(job, None)
        if moved is None:
            self._jobs[lane] = None
        return moved is not False

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._desk or any(self._jobs) or self._chatter)

    def _publish(self, body: bytes) -> Iterator[bool]:
        while not self._mouth.publish(body):
            yield False

    def _run(self, asked: Asked) -> Iterator[bool]:
        mouth = self._mouth
        if asked.channel is not Channel.SHELL:
            mouth.answer(asked, asked.channel, b"done")
            return
        yield from self._publish(_BUSY)
        yield True
        sizes = self._output()
        for size in sizes:
            yield from self._publish(BODIES[size % 255 : size % 255 + size])
            yield True
        if len(sizes) == 2:
            mouth.answer(asked, Channel.STDIN, b"what?")
            yield True
        is_late = len(sizes) == 3
        if not is_late:
            mouth.answer(asked, Channel.SHELL, BODIES[: sum(sizes) % 50])
            yield True
        yield from self._publish(PIN)
        if is_late:
            mouth.answer(asked, Channel.SHELL, BODIES[: sum(sizes) % 50])
