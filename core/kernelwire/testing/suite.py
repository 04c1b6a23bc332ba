"""The whole kit over one harness: what is claimed is tried, what is not claimed is looked for, what is known is held
to its terms.
"""

import re
import secrets
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from kernelwire import registry
from kernelwire.backend import Capabilities
from kernelwire.errors import ConfigurationError, TransportUnavailable
from kernelwire.testing.absences import ABSENCES, CannotTell
from kernelwire.testing.harness import BackendHarness, Harness, Known
from kernelwire.testing.kit import BEHAVIOURS, SUITE, WATCHDOG, Behaviour, Group, Level, Outcome, Status, run, summary

HARNESSES: Final = "kernelwire.harnesses"
"""Entry-point group of harnesses, by transport: for those that :class:`BackendHarness` cannot serve."""

_KIT: Final = Path(__file__).parent

_INTERRUPTED: Final = "interrupted"

_BEATS: Final = ("kernel", "peer", "none")


@dataclass(frozen=True)
class Report:
    """What came of it.

    Attributes:
        transport: the harness's name.
        distribution, version: what provides the transport; empty if it is not installed.
        capabilities: what it claims.
        started: when.
        seconds: how long it took.
        outcomes: one for each behaviour and each repetition, then one for each capability that is not claimed.
    """

    transport: str
    distribution: str
    version: str
    capabilities: Capabilities
    started: datetime
    seconds: float
    outcomes: Sequence[Outcome]

    @property
    def passed(self) -> bool:
        """Whether every behaviour of the level *core* that applies ran and passed, and nothing failed."""
        core = [each for each in self.outcomes if each.behaviour.level is Level.CORE]
        undecided = {Status.KNOWN, Status.NOT_RUN} & {each.status for each in core}
        ran = any(each.status is Status.PASS for each in core)
        return ran and not undecided and not self.failures

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C has ended it before its time."""
        return any(each.note == _INTERRUPTED for each in self.outcomes)

    @property
    def failures(self) -> list[Outcome]:
        """What failed."""
        return [each for each in self.outcomes if each.status is Status.FAIL]

    @property
    def headline(self) -> str:
        """As ``core 39/39 · reliable 0/6 not claimed · remote 0/12 not claimed``."""
        return summary(self.worst())

    def worst(self) -> list[Outcome]:
        """One outcome for each behaviour: of several, the worst."""
        order = (Status.FAIL, Status.NOT_RUN, Status.KNOWN, Status.PASS, Status.NOT_APPLICABLE)
        worst: dict[str, Outcome] = {}
        for each in self.outcomes:
            name = each.behaviour.name
            if name not in worst or order.index(each.status) < order.index(worst[name].status):
                worst[name] = each
        return list(worst.values())

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "transport": self.transport,
            "distribution": self.distribution,
            "version": self.version,
            "kernelwire": metadata.version("kernelwire"),
            "suite": SUITE,
            "passed": self.passed,
            "summary": self.headline,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "capabilities": {name: getattr(self.capabilities, name) for name in Capabilities.__dataclass_fields__},
            "outcomes": [_row(each) for each in self.outcomes],
        }


def _row(outcome: Outcome) -> dict[str, Any]:
    behaviour = outcome.behaviour
    return {
        "number": behaviour.number,
        "name": behaviour.name,
        "group": str(behaviour.group),
        "level": None if behaviour.group is Group.CLAIMS else str(behaviour.level),
        "claims": sorted(behaviour.requires),
        "status": str(outcome.status),
        "seconds": round(outcome.seconds, 3),
        "seed": outcome.seed,
        "note": outcome.note,
        "error": None if outcome.error is None else reason(outcome.error),
        "place": None if outcome.error is None else place(outcome.error),
    }


def reason(error: BaseException) -> str:
    """An error in one line; of a group, those that it is made of."""
    return "; ".join(dict.fromkeys(_reasons(error)))


def _reasons(error: BaseException) -> Iterator[str]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _reasons(each)
        return
    text = " ".join(str(error).split())
    yield f"{type(error).__name__}: {text}" if text else type(error).__name__


def place(error: BaseException) -> str:
    """Where an error came from, as ``serve (backend.py, line 55)``; empty if the kit itself raised it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    while error.__cause__ is not None:
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or Path(frames[-1].filename).is_relative_to(_KIT):
        return ""
    return f"{frames[-1].name} ({frames[-1].filename}, line {frames[-1].lineno})"


def harness_of(transport: str) -> Harness:
    """The harness for an installed transport: its own, if its distribution names one, or else the general one.

    Raises:
        TransportError: as :func:`kernelwire.registry.load`; the harness cannot be made.
        InvalidClaim: the backend claims what cannot be claimed.
    """
    backend = registry.load(transport)
    check_claim(transport, getattr(backend, "capabilities", None))
    entries = tuple(metadata.entry_points(group=HARNESSES, name=transport))
    if not entries:
        return BackendHarness(transport, backend)
    try:
        harness = entries[0].load()()
    except Exception as error:
        text = f"the harness of transport {transport!r} cannot be made ({reason(error)})"
        raise TransportUnavailable(text) from error
    if not isinstance(harness, Harness):
        raise TransportUnavailable(f"the harness of transport {transport!r} is no kernelwire.testing.Harness")
    check_claims_match(harness)
    return harness


def check_claims_match(harness: Harness) -> None:
    """What a transport claims is for its backend to say: a harness that claims less would leave behaviours out.

    Raises:
        TransportUnavailable: a harness claims something else than the backend that is installed under its name.
    """
    if harness.name not in {each.name for each in registry.installed()}:
        return
    claim, its_own = registry.load(harness.name).capabilities, harness.capabilities
    for name in Capabilities.__dataclass_fields__:
        if getattr(its_own, name) != getattr(claim, name):
            raise TransportUnavailable(
                f"the harness of transport {harness.name!r} claims {name}={getattr(its_own, name)!r}, and its backend "
                f"{getattr(claim, name)!r}: let the harness take the backend's capabilities"
            )


def check_claim(transport: str, claim: object) -> None:
    """Raises:
    TransportUnavailable: what a backend claims is no claim: the text names the field.
    """
    if not isinstance(claim, Capabilities):
        raise TransportUnavailable(f"transport {transport!r}: its `capabilities` are no kernelwire.Capabilities")
    for name in Capabilities.__dataclass_fields__:
        value = getattr(claim, name)
        if name == "beat":
            good, needed = value in _BEATS, "one of " + ", ".join(_BEATS)
        elif name == "max_message_bytes":
            good, needed = type(value) is int and value > 0, "a number of bytes"
        else:
            good, needed = isinstance(value, bool), "True or False"
        if not good:
            raise TransportUnavailable(f"transport {transport!r} claims {name}={value!r}: {needed} is needed")


def cases(harness: Harness) -> list[Behaviour]:
    """All that a harness is to be tried with: the behaviours that apply, and the absence of what is not claimed."""
    check_known(harness)
    return [each for each in BEHAVIOURS if each.applies_to(harness.capabilities)] + absences(harness.capabilities)


def absences(claim: Capabilities) -> list[Behaviour]:
    """One for each capability that is not claimed."""
    return [absence for name, absence in ABSENCES.items() if getattr(claim, name) in (False, "none")]


def check_known(harness: Harness) -> None:
    """Raises:
    ConfigurationError: a known failure of a behaviour that there is not, or without a reason, or without an end.
    """
    names = {each.name for each in BEHAVIOURS}
    for name, known in harness.known.items():
        if name not in names:
            raise ConfigurationError(f"known failure {name!r} of {harness.name}: there is no such behaviour")
        if not known.reason or not _release(known.until):
            raise ConfigurationError(f"known failure {name!r} of {harness.name}: a reason and a version are needed")


def try_one(harness: Harness, behaviour: Behaviour, *, seed: int | None = None, watchdog: float = WATCHDOG) -> Outcome:
    """As :func:`run`, for an absence too, and with what is known of it: a failure that is known counts as one once it
    should be mended, and a known failure that passes is a failure.
    """
    if behaviour.group is Group.CLAIMS:
        return _absent(run(harness, behaviour, seed=seed, watchdog=watchdog))
    outcome = run(harness, behaviour, seed=seed, watchdog=watchdog)
    known = harness.known.get(behaviour.name)
    return outcome if known is None else _judge(outcome, known, provided_by(harness.name)[1])


def _absent(outcome: Outcome) -> Outcome:
    if isinstance(outcome.error, CannotTell):
        return replace(outcome, status=Status.NOT_APPLICABLE, error=None, note=f"not verified: {outcome.error}")
    if outcome.status is Status.PASS:
        return replace(outcome, status=Status.NOT_APPLICABLE, note="absence verified")
    return replace(outcome, note="not claimed")


def _judge(outcome: Outcome, known: Known, version: str) -> Outcome:
    if outcome.status is Status.PASS:
        error = AssertionError(f"unexpected pass: take it out of what is known ({known.reason})")
        return replace(outcome, status=Status.FAIL, error=error)
    if outcome.status is not Status.FAIL:
        return outcome
    if version and _release(version) >= _release(known.until):
        return replace(outcome, note=f"known, but only until {known.until}: {known.reason}")
    return replace(outcome, status=Status.KNOWN, note=f"until {known.until}: {known.reason}")


def try_all(
    harness: Harness,
    *,
    seed: int | None = None,
    repeat: int = 1,
    only: Collection[str] = (),
    level: Level | None = None,
    watchdog: float = WATCHDOG,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> Report:
    """Try everything, or a part of it: then the rest is reported as not run.

    Ends early, with the rest not run, on KeyboardInterrupt, and when no pair can be opened at all.

    Arguments:
        harness: of the transport.
        seed: of the first round's random choices; the next rounds have the numbers after it. New ones if None.
        repeat: how many rounds.
        only: names of behaviours; all if empty.
        level: of behaviours; all if None.
        watchdog: seconds for each.
        on_outcome: called with each outcome as it comes.

    Raises:
        ConfigurationError: a name in `only` that there is not; see :func:`check_known`.
    """
    check_known(harness)
    behaviours = [*BEHAVIOURS, *absences(harness.capabilities)]
    if unknown := set(only) - {each.name for each in behaviours}:
        raise ConfigurationError(f"there is no behaviour {min(unknown)!r}; docs/reference/behaviours.md lists them")
    started, clock = datetime.now(UTC), time.monotonic()
    outcomes: list[Outcome] = []

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        on_outcome(outcome)

    why = _try_to_open(harness, watchdog, note)
    for round_ in range(repeat):
        for behaviour in behaviours:
            chosen = (not only or behaviour.name in only) and (level is None or behaviour.level is level)
            if not behaviour.applies_to(harness.capabilities):
                if round_:  # once is enough
                    continue
                note(Outcome(behaviour, Status.NOT_APPLICABLE, 0.0, 0, note=_missing(behaviour, harness.capabilities)))
            elif why or not chosen:
                note(Outcome(behaviour, Status.NOT_RUN, 0.0, 0, note=why or "not chosen"))
            else:
                number = secrets.randbits(32) if seed is None else seed + round_
                try:
                    note(try_one(harness, behaviour, seed=number, watchdog=watchdog))
                except KeyboardInterrupt:
                    why = _INTERRUPTED
                    note(Outcome(behaviour, Status.NOT_RUN, 0.0, number, note=why))
    distribution, version = provided_by(harness.name)
    seconds = time.monotonic() - clock
    return Report(harness.name, distribution, version, harness.capabilities, started, seconds, outcomes)


def _try_to_open(harness: Harness, watchdog: float, note: Callable[[Outcome], None]) -> str:
    """Why no pair can be opened; empty if one can."""

    async def nothing(*_: object) -> None:
        pass

    opens = Behaviour(0, "it_opens", Group.CLAIMS, "A pair can be opened, and a message sent.", (), nothing)
    outcome = run(harness, opens, watchdog=watchdog)
    if outcome.error is None:
        return ""
    note(replace(outcome, note="claims serve" if harness.capabilities.serve else ""))
    return "no pair can be opened"


def _missing(behaviour: Behaviour, claim: Capabilities) -> str:
    lacking = [name for name in behaviour.requires if getattr(claim, name) in (False, "none")]
    return f"{', '.join(lacking)} not claimed"


def provided_by(transport: str) -> tuple[str, str]:
    """The distribution that provides a transport, and its version; empty if none is installed."""
    for each in registry.installed():
        if each.name == transport:
            return each.distribution, each.version
    return "", ""


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version: what comes behind them makes no difference here."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    while parts and not parts[-1]:  # 2.0 is 2
        parts.pop()
    return (*parts,) if numbers is None or parts else (0,)
