"""A schedule from beginning to end: who runs next is chance, then nothing goes wrong any more, and all must arrive."""

import random
from typing import Final

from kernelwire.channels import Channel
from kernelwire.link.peer import STATUS_AFTER
from kernelwire.link.records import Lane
from simulation._checker import Broken
from simulation._faults import Faults
from simulation._host import Host
from simulation._pipe import Wire
from simulation._plan import Plan
from simulation._process import BODIES, Process, Request
from simulation._stage import Stage

MESSAGES: Final = 200
"""How many a schedule delivers at least."""

CUTS: Final = 5
"""How many connections break at least."""

NOTICED_IN: Final = 20.0
"""Seconds in which an end that hears nothing must have noticed."""

_PATIENCE: Final = 20_000


class World:
    """See the module.

    Arguments:
        plan: what the schedule is like.
        rng: the only source of chance.
        history: where to write down what happens, if it is wanted.

    Attributes:
        plan: as given.
        stage: what all share.
        host: the one that runs.
        processes: the clients that run.
        delivered_in_storm: messages, while things went wrong.
    """

    def __init__(self, plan: Plan, rng: random.Random, *, history: list[str] | None = None) -> None:
        self.stage = Stage(rng, plan.scale, sealed=plan.sealed, history=history)
        self.plan = plan
        self._rng = rng
        self.delivered_in_storm = 0
        self._born = 0
        self.host = self._new_host()
        self.processes = [self._new_process() for _ in range(plan.clients)]
        self.processes[0].appetite = 0.0 if plan.has_sleeper else 1.0
        self._intruders: list[Process] = []
        self._faults = Faults(self)

    def run(self) -> None:
        """All of it.

        Raises:
            Broken: a promise was.
        """
        self._storm()
        self.stage.note("calm")
        self.delivered_in_storm = self.stage.delivered
        self._calm()
        while self.stage.delivered < MESSAGES:
            for process in self.processes:
                process.requests += self._requests(2)
            self._calm()
        if self.plan.is_watched:
            self._watch()

    def restart_host(self) -> None:
        """The host ends, and another is started."""
        stage = self.stage
        stage.note("the host ends, and another is started")
        if self._rng.random() < 0.3:
            self.host.close()
        for session in self.host.sessions.values():
            session.ended = "the host was started anew"
        for wire in stage.wires:
            self.host.hang_up(wire, told=self._rng.random() < self.plan.told)
        self.host = self._new_host()

    def intrude(self, victim: Process) -> None:
        """Somebody else who has the ticket takes a client's name."""
        self._born += 1
        self.stage.note(f"intruder{self._born} takes the name of {victim.name}")
        intruder = Process(
            self.stage, f"intruder{self._born}", victim.identity, self._rng.randbytes(32), [], intruder=True
        )
        intruder.link._attempt = 1000  # the worst that it could guess
        if self._rng.random() < 0.5:
            intruder.link._epoch = victim.link._epoch
        self._intruders.append(intruder)

    def body(self) -> bytes:
        """Of a message."""
        size = self._size()
        return BODIES[size % 255 : size % 255 + size]

    # Trouble.

    def _storm(self) -> None:
        plan, rng, stage = self.plan, self._rng, self.stage
        random_, names, weights = rng.random, *plan.faults
        steps, rate = 0, plan.fault_rate
        while steps < plan.steps or stage.cuts < CUTS:
            steps += 1
            self._step()
            stage.now += plan.pace * random_() * 2
            if random_() < rate:
                self._faults.happen(rng.choices(names, weights)[0])
            if steps > plan.steps and not steps % 5:
                self._faults.cut()

    def _step(self) -> None:
        """Somebody's turn. What is to be done then is done in part, or not at all."""
        stage, random_ = self.stage, self._rng.random
        processes, wires = self.processes, stage.wires
        choice = int(random_() * (len(processes) + len(wires) + 2))
        if choice < len(processes):
            self._run_process(processes[choice])
        elif (choice := choice - len(processes)) < len(wires):
            self._run_wire(wires[choice])
        elif self._intruders and random_() < 0.3:
            self._run_process(self._intruders[-1])
        elif random_() < self.host.appetite:
            self.host.work(Lane.C)
            for _ in range(int(random_() * 24)):
                if not self.host.work(Lane.D):
                    break

    def _run_process(self, process: Process) -> None:
        stage, random_, idle = self.stage, self._rng.random, self.plan.idle
        if process.over:
            self._bury(process)
            return
        if process.frozen > stage.now:
            return
        if process.wire is None and random_() > idle:
            process.connect()
        if (wire := process.wire) is not None and random_() < wire.haste:
            for _ in range(1 + int(random_() * 4)):
                if not process.read():
                    break
        if random_() < process.appetite:
            process.take()
        if random_() > idle:
            for _ in range(int(random_() * 4)):
                process.send()
        if random_() > idle:
            for _ in range(1 + int(random_() * 4)):
                if not process.write():
                    break
        if random_() > idle:
            process.look_at_clock()
        if random_() < 0.02:
            process.ask()

    def _run_wire(self, wire: Wire) -> None:
        random_, host, idle = self._rng.random, self.host, self.plan.idle
        if not wire.up.reader:
            self._drop(wire)
            return
        if random_() < wire.haste:
            for _ in range(1 + int(random_() * 4)):
                if not host.read(wire):
                    break
        if random_() > idle:
            for _ in range(1 + int(random_() * 4)):
                if not host.write(wire):
                    break
        if random_() > idle:
            host.look_at_clock(wire)
        if random_() < 0.05:
            host.tidy()

    def _drop(self, wire: Wire) -> None:
        if wire.process.wire is not wire:
            self.stage.wires.remove(wire)

    # Calm.

    def _calm(self) -> None:
        """Nothing goes wrong any more."""
        stage = self.stage
        for process in self.processes:
            process.frozen, process.appetite = 0.0, 1.0
        self.host.appetite = 1.0
        silent = [wire for wire in stage.wires if wire.up.mute or wire.down.mute]
        since = stage.now
        for _ in range(_PATIENCE):
            if self._sweep():
                continue
            if stage.now > since + 2 * NOTICED_IN and any(self._is_there(wire) for wire in silent):
                raise Broken("half-open", "a connection on which nothing comes was not noticed")
            if self._is_quiet():
                return
            wake_at = self._wake_at()
            if wake_at > stage.now + STATUS_AFTER + 0.001 and not self._has_to_wait():
                raise Broken("stalled", self._why_not_quiet())
            stage.now = max(stage.now + 0.001, wake_at)
        raise Broken("hung", self._why_not_quiet())

    def _sweep(self) -> bool:
        """Everybody does all that can be done now; whether there was anything."""
        moved = False
        for process in [*self.processes, *self._intruders]:
            if process.over:
                self._bury(process)
                moved = True
                continue
            for act in (process.connect, process.look_at_clock, process.send, process.send, process.write, process.take):
                moved |= act()
            while process.read():
                moved = True
        host = self.host
        for wire in tuple(self.stage.wires):
            if not wire.up.reader:
                self._drop(wire)
                continue
            while host.read(wire):
                moved = True
            while host.write(wire):
                moved = True
            moved |= host.look_at_clock(wire)
        moved |= host.tidy()
        for lane in Lane:
            for _ in range(12):  # so that frames carry more than one message
                if not host.work(lane):
                    break
                moved = True
        return moved

    def _is_quiet(self) -> bool:
        return not self._why_not_quiet()

    def _why_not_quiet(self) -> str:
        if self._intruders:
            return "an intruder waits for its answer"
        for process in self.processes:
            if not process.is_done:
                return f"{process.name} has not done what it wanted"
            session = self.host.sessions.get(process.identity)
            if session is None or session is not process.session:
                return f"{process.name} and the host do not know each other"
            if session.missing:
                return f"{process.name} waits for {session.missing}"
        for member in self.host.link.members.values():
            if member.since is None and (member.held or any(lane.kept for lane in member.peer.out)):
                return f"the host keeps what {member.identity!r} has got"
        return "" if self.host.is_idle else "the kernel is at work"

    def _wake_at(self) -> float:
        times = [process.wake_at() for process in (*self.processes, *self._intruders)]
        times += [self.host.wake_at(wire) for wire in self.stage.wires if wire.up.reader]
        return min(times)

    def _has_to_wait(self) -> bool:
        """Whether there is silence that nobody has noticed, or somebody who was told to come later."""
        if any(process.again_at > self.stage.now for process in self.processes):
            return True
        return any(flow.mute and flow.reader for wire in self.stage.wires for flow in (wire.up, wire.down))

    def _watch(self) -> None:
        """All is quiet, and stays so."""
        stage = self.stage
        dials, until = stage.dials, stage.now + 2 * NOTICED_IN
        while stage.now < until:
            while self._sweep():
                pass
            stage.now = max(stage.now + 0.001, self._wake_at())
        if stage.dials != dials:
            raise Broken("half-open", "a connection that was quiet was given up")

    def _is_there(self, wire: Wire) -> bool:
        return wire in self.stage.wires and (wire.up.reader or wire.down.reader)

    # Births and deaths.

    def _bury(self, process: Process) -> None:
        if process.intruder:
            self._intruders.remove(process)
            return
        successor = self._new_process(after=process)
        self.stage.note(f"{successor.name} takes the place of {process.name}, which is over: {process.over}")
        self.processes[self.processes.index(process)] = successor

    def _new_process(self, after: Process | None = None) -> Process:
        rng = self._rng
        self._born += 1
        number = self._born
        identity = b"client%d" % number
        requests = self._requests(self.plan.requests)
        if after is not None:
            requests = list(after.requests)
            if after.over != "conflict" and rng.random() < 0.5:
                identity = after.identity
        cursor = rng.choice((None, None, 0, rng.randrange(200)))
        return Process(self.stage, f"c{number}", identity, rng.randbytes(32), requests, cursor=cursor)

    def _new_host(self) -> Host:
        return Host(
            self.stage,
            epoch=self._rng.getrandbits(63) + 1,
            members_limit=self.plan.members_limit,
            output=self._sizes,
        )

    def _requests(self, count: int) -> list[Request]:
        rng = self._rng
        channels = (Channel.SHELL, Channel.SHELL, Channel.SHELL, Channel.CONTROL, Channel.STDIN)
        return [Request(rng.choice(channels), self._size()) for _ in range(count)]

    def _sizes(self) -> list[int]:
        return [self._size() for _ in range(self._rng.choice(self.plan.outputs))]

    def _size(self) -> int:
        rng, plan = self._rng, self.plan
        if rng.random() < plan.large:
            return rng.randrange(plan.scale.large)
        return int(rng.random() * 60)
