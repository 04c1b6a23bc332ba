"""What must come after the storm: nothing goes wrong any more, and so all arrives, and nothing more happens."""

import math
from typing import TYPE_CHECKING, Final

from kernelwire.link.peer import STATUS_AFTER
from simulation._checker import Broken
from simulation._stage import LANES

if TYPE_CHECKING:
    from simulation._world import World

NOTICED_IN: Final = 20.0
"""Seconds in which an end that hears nothing must have noticed. If it alone hears nothing, the other needs as long."""

_PATIENCE: Final = 20_000


class Calm:
    """See the module.

    Arguments:
        world: that becomes calm.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._stage = world.stage

    def settle(self) -> None:
        """Let all do what they have to do, until nobody has anything.

        Raises:
            Broken: it does not come to an end, or takes time although nobody has to wait.
        """
        stage = self._stage
        since = stage.now
        for _ in range(_PATIENCE):
            if self._sweep():
                continue
            self._check_silence(stage.now - since)
            if not self.unfinished():
                return
            wake_at = self._wake_at()
            if wake_at > stage.now + STATUS_AFTER + 0.001 and not self._somebody_has_to_wait():
                raise Broken("stalled", self.unfinished())
            stage.now = max(stage.now + 0.001, wake_at)
        raise Broken("hung", self.unfinished())

    def watch(self) -> None:
        """See that it stays so.

        Raises:
            Broken: silence is not noticed, or somebody gives up a connection without any.
        """
        if self._is_silence():
            self._let_pass(2 * NOTICED_IN)
            self._check_silence(math.inf)
        dials = self._stage.dials
        self._let_pass(NOTICED_IN)
        if self._stage.dials != dials:
            raise Broken("half-open", "a connection that was quiet was given up")

    def unfinished(self) -> str:
        """What is to be done yet, if there is anything."""
        world = self._world
        if world.intruders:
            return "an intruder waits for its answer"
        for process in world.processes:
            if not process.is_done:
                return f"{process.name} has not done what it wanted"
            session = world.host.sessions.get(process.identity)
            if session is None or session is not process.session:
                return f"{process.name} and the host do not know each other"
            if session.missing:
                return f"{process.name} waits for {session.missing}"
        for member in world.host.link.members.values():
            if member.since is None and (member.held or any(lane.kept for lane in member.peer.out)):
                return f"the host keeps what {member.identity!r} has got"
        return "" if world.host.kernel.is_idle else "the kernel is at work"

    def _sweep(self) -> bool:
        """Everybody does all that can be done now; whether there was anything."""
        world, moved = self._world, False
        for process in (*world.processes, *world.intruders):
            if process.over:
                world.bury(process)
                moved = True
                continue
            moved |= process.connect() if process.wire is None else process.look_at_clock()
            if process.requests or process.leaving:
                moved |= process.send() | process.send()
            moved |= process.write() | process.take()
            while process.read():
                moved = True
        host = world.host
        for wire in tuple(self._stage.wires):
            if not wire.up.reader:
                world.drop(wire)
                continue
            while host.read(wire):
                moved = True
            while host.write(wire):
                moved = True
            moved |= host.look_at_clock(wire)
        for lane in LANES:
            for _ in range(12):  # so that frames carry more than one message
                if not host.work(lane):
                    break
                moved = True
        return moved | host.tidy()

    def _wake_at(self) -> float:
        world = self._world
        times = [process.wake_at() for process in (*world.processes, *world.intruders)]
        times += [world.host.wake_at(wire) for wire in self._stage.wires if wire.up.reader]
        if (until := world.host.waits_until) is not None:
            times.append(until)
        return min(times)

    def _somebody_has_to_wait(self) -> bool:
        """Whether there is silence to be noticed, somebody to be waited for, or one who was told to come later."""
        if self._world.host.waits_until is not None:
            return True
        if any(process.again_at > self._stage.now for process in self._world.processes):
            return True
        return self._is_silence()

    def _check_silence(self, seconds: float) -> None:
        """That nobody was left in silence for so long."""
        for wire in self._stage.wires:
            silent = [flow for flow in (wire.up, wire.down) if flow.mute]
            if any(flow.reader for flow in silent) and seconds > NOTICED_IN * (3 - len(silent)):
                raise Broken("half-open", "a connection on which nothing comes was not noticed")

    def _is_silence(self) -> bool:
        """Whether there is somebody to whom nothing comes any more, and who was not told."""
        return any(flow.mute and flow.reader for wire in self._stage.wires for flow in (wire.up, wire.down))

    def _let_pass(self, seconds: float) -> None:
        stage = self._stage
        until = stage.now + seconds
        while stage.now < until:
            while self._sweep():
                pass
            stage.now = max(stage.now + 0.001, self._wake_at())
