"""Pipes whose every fault is chosen: a frame in flight arrives or not, and an end is told or not."""

from collections import deque
from typing import TYPE_CHECKING, Final

from kernelwire.link.seal import Handshake, Seal
from simulation._checker import Broken

if TYPE_CHECKING:
    from kernelwire.link.host import Member
    from simulation._checker import Session
    from simulation._process import Process

_NONE: Final = (0, 0)


class Flow:
    """One direction of a pipe.

    Attributes:
        frames: those in flight.
        ended: whether the reader will be told that no more come, after those.
        mute: whether what is put in vanishes, and nobody is told.
        reader: whether there is still somebody to read.
        flying: bytes of messages in flight, on lanes C and D.
    """

    __slots__ = ("_sizes", "_windows", "ended", "flying", "frames", "mute", "reader")

    def __init__(self, windows: tuple[int, int]) -> None:
        self.frames: deque[bytes] = deque()
        self.ended = False
        self.mute = False
        self.reader = True
        self.flying = [0, 0]
        self._sizes: deque[tuple[int, int]] = deque()
        self._windows = windows

    def put(self, data: bytes, sizes: tuple[int, int] = _NONE) -> None:
        """Send a frame, which has so many bytes of messages on C and D."""
        if self.mute or self.ended or not self.reader:
            return
        self.frames.append(data)
        self._sizes.append(sizes)
        if sizes != _NONE:
            flying, (c, d), (most_c, most_d) = self.flying, sizes, self._windows
            flying[0] += c
            flying[1] += d
            if flying[0] > most_c or flying[1] > most_d:
                raise Broken("bound", f"{flying[0]} and {flying[1]} bytes are on the way on lanes C and D")

    def take(self) -> bytes:
        """The next frame."""
        sizes = self._sizes.popleft()
        if sizes != _NONE:
            self.flying[0] -= sizes[0]
            self.flying[1] -= sizes[1]
        return self.frames.popleft()

    def cut(self, lost: int, *, told: bool) -> None:
        """The end: the last `lost` of the frames in flight never arrive, and the reader is told behind the others."""
        for _ in range(lost):
            self.frames.pop()
            sizes = self._sizes.pop()
            self.flying[0] -= sizes[0]
            self.flying[1] -= sizes[1]
        if told:
            self.ended = True
        else:
            self.mute = True

    def abandon(self) -> None:
        """The reader has gone."""
        self.reader = False
        self.frames.clear()
        self._sizes.clear()
        self.flying = [0, 0]


class Wire:
    """A connection.

    Attributes:
        number: one more than the one before.
        process: the client's, also when it has closed its end.
        up: from the client to the host.
        down: the other way.
        member: who the host thinks that this is; None before it was greeted.
        session: what should follow from that.
        born: when it was opened.
        haste: how probable it is that a frame is delivered when it is its turn.
        shakes: handshakes of the client and the host; None when they are over.
        seals: of the client and the host.
    """

    __slots__ = (
        "born", "down", "haste", "member", "number", "process", "seals", "session", "shakes", "up",
    )  # fmt: skip

    def __init__(
        self, number: int, process: "Process", windows: tuple[int, int], *, now: float, haste: float = 1.0
    ) -> None:
        self.number = number
        self.process = process
        self.up = Flow(windows)
        self.down = Flow(windows)
        self.member: Member | None = None
        self.session: Session | None = None
        self.born = now
        self.haste = haste
        self.shakes: list[Handshake | None] = [None, None]
        self.seals: list[Seal | None] = [None, None]

    @property
    def is_whole(self) -> bool:
        """Whether both ends have it, and nothing has broken it yet."""
        up, down = self.up, self.down
        return up.reader and down.reader and not (up.ended or up.mute or down.ended or down.mute)

    def seal(self, end: int, plaintext: bytes) -> bytes:
        """What an end, 0 for the client's, puts on the wire."""
        seal = self.seals[end]
        return plaintext if seal is None else seal.seal(plaintext)

    def open(self, end: int, data: bytes) -> bytes:
        """What an end has got."""
        seal = self.seals[end]
        return data if seal is None else seal.open(data)
