"""A kernel that takes its time, and says much."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from kernelwire.channels import Channel
from kernelwire.link.envelope import LANE_OF
from kernelwire.link.host import Member
from kernelwire.link.records import Lane
from kernelwire.messages import WireMessage
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

    def publish(self, body: bytes) -> None:
        """To all."""

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
        self._jobs: list[Iterator[None] | None] = [None, None]

    def put(self, asked: Asked, request: WireMessage) -> None:
        """Somebody asks."""
        self._desk.put(LANE_OF[asked.channel], request.size, asked)

    def has_room(self, lane: Lane) -> bool:
        """Whether more may be asked."""
        return self._desk.has_room(lane)

    def work(self, lane: Lane) -> bool:
        """Do a step of what was asked there; return whether there was anything to do."""
        job = self._jobs[lane]
        if job is None:
            if (asked := self._desk.take(lane)) is None:
                return False
            job = self._jobs[lane] = self._run(asked)
        if next(job, self) is self:
            self._jobs[lane] = None
        return True

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._desk and not any(self._jobs)

    def _run(self, asked: Asked) -> Iterator[None]:
        mouth = self._mouth
        if asked.channel is not Channel.SHELL:
            mouth.answer(asked, asked.channel, b"done")
            return
        mouth.publish(_BUSY)
        yield
        sizes = self._output()
        for size in sizes:
            mouth.publish(BODIES[size % 255 : size % 255 + size])
            yield
        if len(sizes) == 2:
            mouth.answer(asked, Channel.STDIN, b"what?")
            yield
        is_late = len(sizes) == 3
        if not is_late:
            mouth.answer(asked, Channel.SHELL, BODIES[: sum(sizes) % 50])
            yield
        mouth.publish(PIN)
        if is_late:
            mouth.answer(asked, Channel.SHELL, BODIES[: sum(sizes) % 50])
