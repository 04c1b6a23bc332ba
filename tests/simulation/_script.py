"""One short script, always the same, cut twice: at every frame, and on both sides."""

import itertools
import random
from collections.abc import Iterator
from typing import Final

from kernelwire.channels import Channel
from kernelwire.link.records import Lane
from simulation._calm import Calm
from simulation._checker import Broken
from simulation._plan import Plan
from simulation._process import Request
from simulation._scale import Scale, applied
from simulation._world import World

FRAMES: Final = 40
"""Frames that the script takes, if nothing is cut, at least."""

SCALE: Final = Scale(
    window=(1_000, 2_000),
    own=1_000,
    shared=1_000,
    swift=0,
    loose=1_000,
    kept=3_000,
    frame=600,
    first_frame=200,
    worthwhile=32,
    sparse=700,
    sparse_messages=4,
    pinned=2_000,
    log=1_000_000,
    patience=1.0,
    replies=1_000_000,
    message=5_000,
    desk=2_000,
    large=1_500,
)
_PLAN: Final = Plan(
    scale=SCALE,
    sealed=False,
    clients=1,
    members_limit=64,
    steps=0,
    idle=0.0,
    pace=0.0,
    told=1.0,
    requests=0,
    outputs=(2,),
    large=0.0,
    faults=((), ()),
    fault_rate=0.0,
    has_sleeper=False,
    is_watched=False,
)
_REQUESTS: Final = (
    Request(Channel.SHELL, 30),
    Request(Channel.CONTROL, 10),
    Request(Channel.SHELL, 900),
    Request(Channel.STDIN, 400),
    Request(Channel.SHELL, 1_500),
    Request(Channel.CONTROL, 700),
    Request(Channel.SHELL, 10),
    Request(Channel.STDIN, 10),
)

Cut = tuple[int, int]
"""After how many more frames, and which way what is in flight is lost: 0 to the host, 1 to the client."""


class Script(World):
    """See the module.

    Arguments:
        cuts: each counts from the one before.

    Attributes:
        frames: those that were delivered before all cuts were made.
    """

    def __init__(self, cuts: tuple[Cut, ...]) -> None:
        super().__init__(_PLAN, random.Random(1))
        self.frames = 0
        self._cuts = list(cuts)
        (process,) = self.processes
        process.requests.extend(_REQUESTS)

    def run(self) -> None:
        """All of it."""
        calm = Calm(self)
        while self._cuts and (self._round() or calm.unfinished()):
            self.stage.now += 0.03
        self.settle()

    @property
    def cuts_left(self) -> int:
        """How many were not made, since all had arrived before."""
        return len(self._cuts)

    def _round(self) -> bool:
        (process,) = self.processes
        moved = process.connect() | process.send() | process.write() | process.take()
        for wire in tuple(self.stage.wires):
            if not wire.up.reader:
                self.drop(wire)
                continue
            moved |= (wire is process.wire and self._next_frame(0)) or self.host.read(wire)
            moved |= self.host.write(wire)
        for lane in Lane:
            moved |= self.host.work(lane)
        return moved | (self._next_frame(1) or process.read())

    def _next_frame(self, way: int) -> bool:
        """Count the frame that is to be delivered now, or cut instead."""
        (process,) = self.processes
        wire = process.wire
        if wire is None or not (wire.down if way else wire.up).frames or not self._cuts:
            return False
        after, side = self._cuts[0]
        if after:
            self._cuts[0] = (after - 1, side)
            self.frames += 1
            return False
        self._cuts.pop(0)
        self.stage.note(f"cut on the side of the {('host', 'client')[side]}")
        for at, flow in enumerate((wire.up, wire.down)):
            flow.cut(len(flow.frames) if at == side else 0, told=True)
        return True


def all_cuts() -> Iterator[tuple[Cut, Cut]]:
    """Every pair of cuts within the script, or within what follows from the first."""
    one = list(itertools.product(range(FRAMES), (0, 1)))
    yield from itertools.product(one, one)


def run_often_cut(frames: int) -> int:
    """The script, on a wire that breaks after so many frames each time; returns how often it broke.

    Raises:
        Broken: a promise was, or it took more than 1,000 connections.
    """
    with applied(SCALE):
        script = Script(tuple((frames, side) for side in (0, 1) for _ in range(500)))
        script.run()
        if not script.cuts_left:
            raise Broken("stalled", f"nothing passes a wire that breaks after {frames} frames")
        return 1000 - script.cuts_left


def run_cuts(pairs: list[tuple[Cut, Cut]]) -> list[str]:
    """What failed of these."""
    failures = []
    with applied(SCALE):
        for pair in pairs:
            try:
                Script(pair).run()
            except Exception as error:  # noqa: BLE001 - whatever it is
                failures.append(f"cuts {pair}: {error}")
    return failures
