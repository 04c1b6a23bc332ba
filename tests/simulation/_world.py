"""A schedule from beginning to end: who runs next is chance, then nothing goes wrong any more, and all must arrive."""

import itertools
import random
from typing import Final

from kernelwire.channels import Channel
from kernelwire.link.records import Lane
from simulation._calm import Calm
from simulation._checker import Broken
from simulation._faults import Faults
from simulation._host import Host
from simulation._pipe import Wire
from simulation._plan import Plan
from simulation._process import Process, Request
from simulation._stage import BODIES, Stage

MESSAGES: Final = 200
"""How many a schedule delivers at least."""

CUTS: Final = 5
"""How many connections break at least."""


_PATIENCE: Final = 5_000


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
        intruders: those who try to get in as one of them.
    """

    def __init__(self, plan: Plan, rng: random.Random, *, history: list[str] | None = None) -> None:
        self.stage = Stage(rng, plan.scale, sealed=plan.sealed, history=history)
        self.plan = plan
        self._rng = rng
        self._born = 0
        self.host = self._new_host()
        self.processes = [self._new_process() for _ in range(plan.clients)]
        self.processes[0].appetite = 0.0 if plan.has_sleeper else 1.0
        self.intruders: list[Process] = []
        self._faults = Faults(self)

    def run(self) -> None:
        """All of it.

        Raises:
            Broken: a promise was.
        """
        self._storm()
        self.settle()
        while self.stage.delivered < MESSAGES:
            for process in self.processes:
                process.requests += self._requests(2)
            self.settle()
        if self.plan.is_watched:
            Calm(self).watch()

    def settle(self) -> None:
        """Nothing goes wrong any more."""
        self.stage.note("calm")
        for process in self.processes:
            process.frozen, process.appetite = 0.0, 1.0
        self.host.appetite = 1.0
        Calm(self).settle()

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
        self.intruders.append(intruder)

    def body(self) -> bytes:
        """Of a message."""
        size = self._size()
        return BODIES[size % 255 : size % 255 + size]

    # Trouble.

    def _storm(self) -> None:
        plan, rng, stage = self.plan, self._rng, self.stage
        random_, (names, weights) = rng.random, plan.faults
        sums = tuple(itertools.accumulate(weights))
        steps, rate = 0, plan.fault_rate
        while steps < plan.steps or stage.cuts < CUTS:
            steps += 1
            self._step()
            stage.now += plan.pace * random_() * 2
            if random_() < rate:
                self._faults.happen(rng.choices(names, cum_weights=sums)[0])
            if steps > plan.steps and not steps % 5:
                self._faults.cut()
            if steps > _PATIENCE:
                raise Broken("hung", "nobody connects any more, so that nothing can break")

    def _step(self) -> None:
        """Somebody's turn. What is to be done then is done in part, or not at all."""
        stage, random_ = self.stage, self._rng.random
        processes, wires = self.processes, stage.wires
        choice = int(random_() * (len(processes) + len(wires) + 2))
        if choice < len(processes):
            self._run_process(processes[choice])
        elif (choice := choice - len(processes)) < len(wires):
            self._run_wire(wires[choice])
        elif self.intruders and random_() < 0.3:
            self._run_process(self.intruders[-1])
        elif random_() < self.host.appetite:
            self.host.work(Lane.C)
            for _ in range(int(random_() * 24)):
                if not self.host.work(Lane.D):
                    break

    def _run_process(self, process: Process) -> None:
        stage, random_, idle = self.stage, self._rng.random, self.plan.idle
        if process.over:
            self.bury(process)
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
            self.drop(wire)
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

    def drop(self, wire: Wire) -> None:
        """The host has done with a connection; forget it if its client has too."""
        if wire.process.wire is not wire:
            self.stage.wires.remove(wire)

    # Births and deaths.

    def bury(self, process: Process) -> None:
        """Put another process in the place of one that is over."""
        if process.intruder:
            self.intruders.remove(process)
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
