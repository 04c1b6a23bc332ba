"""The conformance kit: behaviours that every backend must show, and what runs them.

Each behaviour gets a fresh pair, a watchdog and a check for what it left behind. The kit has no false positives: what
it fails is broken. It may have false negatives: run it more than once, the seeds differ.
"""

import asyncio
import random
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from kernelwire.backend import Capabilities
from kernelwire.errors import WrongLoop
from kernelwire.link.waking import look_at
from kernelwire.testing.alarm import alarm
from kernelwire.testing.harness import Harness, Pair
from kernelwire.testing.leaks import Resources

SUITE: Final = "2026.1"
"""Version of the suite; a report names it."""

WATCHDOG: Final = 60.0
"""Seconds after which a behaviour counts as hanging."""

_INSISTENCE: Final = 5
"""How often one that hangs is cancelled: what it holds may need a cancellation each to be closed."""

_GRACE: Final = 0.2
"""Seconds for each of these."""

_BLOCKED: Final = 5.0
"""Seconds beyond the watchdog's after which the loop itself must be blocked, since the watchdog has had no turn."""

_abandoned: Final[list[object]] = []
"""What did not even end when it was cancelled. Kept, because Python complains of tasks that go before they end."""


class Group(StrEnum):
    """What a behaviour is about."""

    DELIVERY = "delivery"
    PAYLOAD = "payload"
    SIGNING = "signing"
    LIFECYCLE = "lifecycle"
    CONCURRENCY = "concurrency"
    HEARTBEAT = "heartbeat"
    RELIABLE = "reliable"
    REMOTE = "remote"
    CLAIMS = "claims"


class Level(StrEnum):
    """Who needs a behaviour."""

    CORE = "core"
    """Everybody."""
    RELIABLE = "reliable"
    """A transport that mends its breaks."""
    REMOTE = "remote"
    """One whose wire somebody else runs."""


class Status(StrEnum):
    """How a behaviour came out."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NOT_APPLICABLE = "n/a"
    """What it requires is not claimed, and nobody has found it either."""
    KNOWN = "known"
    """It fails, as the author has declared."""
    NOT_RUN = "not run"


Check = Callable[[Pair, random.Random], Awaitable[None]]


@dataclass(frozen=True)
class Behaviour:
    """One thing that every backend must do.

    Attributes:
        number: its place in the list of behaviours.
        name: unique.
        group: what it is about.
        summary: one line.
        requires: the capabilities without which it does not apply.
        check: raises if the pair does not behave so.
    """

    number: int
    name: str
    group: Group
    summary: str
    requires: Collection[str] = field(repr=False)
    check: Check = field(repr=False)

    @property
    def level(self) -> Level:
        """Who needs it."""
        return Level(self.group) if self.group in (Group.RELIABLE, Group.REMOTE) else Level.CORE

    def applies_to(self, capabilities: Capabilities) -> bool:
        """Whether everything that it requires is claimed."""
        return all(getattr(capabilities, name) not in (False, "none") for name in self.requires)


BEHAVIOURS: Final[list[Behaviour]] = []
"""All behaviours, in the order of their numbers; filled by importing :mod:`kernelwire.testing.behaviours`."""


def behaviour(number: int, group: Group, *requires: str) -> Callable[[Check], Check]:
    """Add a function to the suite; the first line of its docstring is the behaviour's summary."""

    def add(check: Check) -> Check:
        summary = (check.__doc__ or "").strip().splitlines()[0]
        name = getattr(check, "__name__", str(number))
        BEHAVIOURS.append(Behaviour(number, name, group, summary, requires, check))
        BEHAVIOURS.sort(key=lambda each: each.number)
        return check

    return add


@dataclass(frozen=True)
class Outcome:
    """How one behaviour came out for one harness.

    Attributes:
        behaviour: which.
        status: how.
        seconds: how long it took.
        seed: replays its random choices.
        error: what was raised, if it failed.
        note: what else there is to say.
    """

    behaviour: Behaviour
    status: Status
    seconds: float
    seed: int
    error: BaseException | None = None
    note: str = ""

    def __str__(self) -> str:
        line = f"{self.behaviour.number:2} {self.status:4} {self.behaviour.name} ({self.seconds:.2f} s)"
        line += f": {self.note}" if self.note else ""
        if self.error is None:
            return line
        return f"{line}, seed {self.seed}\n{''.join(traceback.format_exception(self.error))}"


def summary(outcomes: Iterable[Outcome]) -> str:
    """How many behaviours of each level have passed, of those that apply: ``core 39/39 · reliable 6/6``.

    A level of which nothing applies counts them all: ``remote 0/12 not claimed``.
    """
    by_level: dict[Level, list[Status]] = {level: [] for level in Level}
    for outcome in outcomes:
        if outcome.behaviour.group is not Group.CLAIMS:
            by_level[outcome.behaviour.level].append(outcome.status)
    return " · ".join(_of_level(level, statuses) for level, statuses in by_level.items() if statuses)


def _of_level(level: Level, statuses: list[Status]) -> str:
    tried = [status for status in statuses if status is not Status.NOT_APPLICABLE]
    if not tried:
        return f"{level} 0/{len(statuses)} not claimed"
    others = [f"{tried.count(each)} {each}" for each in (Status.KNOWN, Status.NOT_RUN) if each in tried]
    return f"{level} {tried.count(Status.PASS)}/{len(tried)}" + (f" ({', '.join(others)})" if others else "")


class LeftBehind(AssertionError):
    """A behaviour ended, and something of it is still there."""


class Hanging(AssertionError):
    """A behaviour did not end."""


def run(harness: Harness, behaviour: Behaviour, *, seed: int | None = None, watchdog: float = WATCHDOG) -> Outcome:
    """Try one behaviour in an event loop of its own.

    Arguments:
        harness: makes the pair.
        behaviour: what to try.
        seed: of its random choices; a new one if not given.
        watchdog: seconds that it may take. Whoever blocks the loop itself is interrupted and named a little later, in
            a main thread on a system that has alarms; elsewhere that is beyond it.

    Raises:
        WrongLoop: called from a running event loop.
    """
    seed = secrets.randbits(32) if seed is None else seed
    if not behaviour.applies_to(harness.capabilities):
        return Outcome(behaviour, Status.NOT_APPLICABLE, 0.0, seed)
    _refuse_a_running_loop()
    loop = asyncio.new_event_loop()
    attempt = _attempt(harness, behaviour, random.Random(seed))  # noqa: S311 - to be replayed
    started = time.perf_counter()
    error: BaseException | None = None
    with alarm(watchdog + _BLOCKED) as blocked:
        try:
            loop.run_until_complete(_watched(attempt, watchdog))
        # A transport may let somebody else's cancellation out, too.
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - reported
            error = failure
        finally:
            _end(loop)
    if blocked:
        error = Hanging(f"the event loop was blocked, for more than {watchdog:g} s, in {blocked[0]}")
    status = Status.PASS if error is None else Status.FAIL
    return Outcome(behaviour, status, time.perf_counter() - started, seed, error)


def _refuse_a_running_loop() -> None:
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise WrongLoop("a behaviour runs in a loop of its own: call run() outside of one, or in a thread")


async def _watched(attempt: Coroutine[Any, Any, None], watchdog: float) -> None:
    # A task of its own: a transport that swallows its cancellation must not take the watchdog with it.
    task = asyncio.create_task(attempt, name="behaviour")
    task.add_done_callback(look_at)  # an interruption comes out of the loop past whoever waits for the task
    await asyncio.wait([task], timeout=watchdog)
    if task.done():
        return task.result()
    for _ in range(_INSISTENCE):
        task.cancel()
        await asyncio.wait([task], timeout=_GRACE)
        if task.done():
            break
    raise Hanging(f"still not done after {watchdog:g} s")


async def _attempt(harness: Harness, behaviour: Behaviour, chance: random.Random) -> None:
    await _once_for_warmth(harness)
    before = Resources.now()
    async with harness.open() as pair:
        await behaviour.check(pair, chance)
    left = await before.settled()
    if left:
        raise LeftBehind("left behind: " + "; ".join(left))


async def _once_for_warmth(harness: Harness) -> None:
    """Open a pair first: what a library makes once and keeps for the process is no leak."""
    async with harness.open() as pair:
        client = await pair.connect()
        await client.shell.send(client.session.message("request", buffers=[bytes(1 << 20)]))
        await pair.kernel.shell.receive()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """As :func:`asyncio.run` ends its loop, but without waiting for ever."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        ending = loop.create_task(asyncio.wait(tasks, timeout=_GRACE))
        while not ending.done():
            with suppress(KeyboardInterrupt):  # one that a task has passed on comes out of the loop once more
                loop.run_until_complete(ending)
        done, stuck = ending.result()
        for task in done:
            if not task.cancelled():
                task.exception()  # or it is called unnoticed: what has ended the behaviour is reported
        _abandoned.extend(stuck)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
