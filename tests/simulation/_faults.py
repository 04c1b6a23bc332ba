"""What goes wrong. Each method is one kind of trouble, at a moment and a place that chance has chosen."""

from typing import TYPE_CHECKING

from simulation._pipe import Wire
from simulation._process import Process

if TYPE_CHECKING:
    from simulation._world import World


class Faults:
    """See the module.

    Arguments:
        world: to which it happens.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._stage = world.stage
        self._rng = world.stage.rng

    def happen(self, name: str) -> None:
        """One of :data:`simulation._plan.FAULTS`."""
        getattr(self, name.replace(" ", "_").replace("-", "_"))()

    def cut(self) -> None:
        """A connection breaks on the way; each end is told, or finds out."""
        if wire := self._wire():
            self._break(wire)

    def half_open(self) -> None:
        """Frames vanish, one way or both, and nobody is told."""
        if wire := self._wire():
            self._stage.note(f"connection {wire.number} goes silent")
            self._stage.cuts += 1
            ways = self._rng.choice(((wire.up,), (wire.down,), (wire.up, wire.down)))
            for flow in ways:
                flow.cut(self._stage.some(flow.frames), told=False)

    def hang_up(self) -> None:
        """One end closes its connection."""
        wire = self._wire()
        if wire is None:
            return
        told = self._is_told()
        if self._rng.random() < 0.5:
            self._stage.note(f"{wire.process.name} hangs up")
            wire.process.hang_up(told=told)
        else:
            self._stage.note(f"the host hangs up connection {wire.number}")
            self._world.host.hang_up(wire, told=told)

    def redial(self) -> None:
        """A client takes another connection, of which the host hears before it hears the end of the old one."""
        if process := self._process():
            self._stage.note(f"{process.name} takes another connection")
            process.hang_up(told=self._is_told())
            process.connect()

    def middle(self) -> None:
        """Whoever runs the pipes is killed: all break at once."""
        for wire in self._stage.wires:
            if wire.is_whole:
                self._break(wire)

    def sleep(self) -> None:
        """Eight hours pass, and nobody notices."""
        self._stage.note("eight hours pass")
        self._stage.now += 8 * 3600.0

    def freeze(self) -> None:
        """A client does nothing for a while; what has come waits."""
        if process := self._process():
            process.frozen = self._stage.now + self._world.plan.pace * self._rng.choice((5, 20, 80))
            if self._rng.random() < 0.2:
                self._stage.now += 16.0  # the host has waited in vain, and the client does not know it
            self._stage.note(f"{process.name} freezes until {process.frozen:.3f}")

    def slow_client(self) -> None:
        """A client's application reads slowly, or as it should again."""
        if process := self._process():
            process.appetite = self._rng.choice((0.0, 0.02, 1.0))

    def slow_host(self) -> None:
        """The kernel works slowly, or as it should again."""
        self._world.host.appetite = self._rng.choice((0.0, 0.05, 1.0))

    def busy_host(self) -> None:
        """The kernel publishes a lot, which nobody asked for."""
        for _ in range(self._rng.randrange(4, 12)):
            self._world.host.kernel.chat(self._world.body())

    def restart(self) -> None:
        """The host dies, and another is started."""
        self._world.restart_host()

    def die(self) -> None:
        """A client dies; its successor has another secret, or another name too."""
        if process := self._process():
            self._stage.note(f"{process.name} dies")
            process.hang_up(told=self._rng.random() < 0.5)
            process.over = "died"

    def goodbye(self) -> None:
        """A client is going to say goodbye when all it sends has arrived."""
        if process := self._process():
            process.leaving = True

    def intrude(self) -> None:
        """Somebody else who has the ticket takes a client's name."""
        if process := self._process():
            self._world.intrude(process)

    def expire(self) -> None:
        """A day passes."""
        self._stage.note("25 hours pass")
        self._stage.now += 25 * 3600.0

    def _break(self, wire: Wire) -> None:
        self._stage.note(f"connection {wire.number} breaks")
        self._stage.cuts += 1
        for flow in (wire.up, wire.down):
            flow.cut(self._stage.some(flow.frames), told=self._is_told())

    def _is_told(self) -> bool:
        return self._rng.random() < self._world.plan.told

    def _wire(self) -> Wire | None:
        wires = [wire for wire in self._stage.wires if wire.is_whole]
        return self._rng.choice(wires) if wires else None

    def _process(self) -> Process | None:
        living = [process for process in self._world.processes if not process.over]
        return self._rng.choice(living) if living else None
