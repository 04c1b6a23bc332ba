"""What one schedule is like: each is drawn to be bad in ways of its own, since all faults at once hide each other."""

import random
from dataclasses import dataclass, replace
from typing import Final

from simulation._scale import REAL, Scale, small

FAULTS: Final = (
    "cut", "half-open", "hang up", "redial", "middle", "sleep", "freeze", "slow client", "slow host", "busy host",
    "restart", "die", "goodbye", "intrude", "expire",
)  # fmt: skip
"""Names of :class:`simulation._faults.Faults`' methods, with blanks."""

_RARE: Final = {"restart": 0.15, "expire": 0.2, "sleep": 0.3, "middle": 0.3, "die": 0.2, "goodbye": 0.3}


@dataclass(frozen=True)
class Plan:
    """See the module.

    Attributes:
        scale: how large things are.
        sealed: whether frames are really sealed.
        clients: at a time.
        members_limit: what the host allows.
        steps: before it may become calm.
        idle: how probable it is that somebody leaves undone what could be done.
        pace: seconds that a step takes, in the middle.
        told: how probable it is that an end hears of the end of its connection.
        requests: of each client.
        outputs: numbers of messages that a request may publish.
        large: how probable a large body is.
        faults: how probable each is, beside the others.
        has_sleeper: whether one of the clients reads nothing, from beginning to end.
        is_watched: whether all must stay quiet in the end.
        fault_rate: how probable a fault is at a step.
    """

    scale: Scale
    sealed: bool
    clients: int
    members_limit: int
    steps: int
    idle: float
    pace: float
    told: float
    requests: int
    outputs: tuple[int, ...]
    large: float
    faults: tuple[tuple[str, ...], tuple[float, ...]]
    fault_rate: float
    has_sleeper: bool
    is_watched: bool


def draw(rng: random.Random) -> Plan:
    """Any one."""
    clients = rng.choice((2, 2, 3, 4))
    chosen = [name for name in FAULTS if rng.random() < 0.5] or ["cut"]
    if rng.random() < 0.3:  # the usual faults alone: what they break must not hide behind a restart
        chosen = [name for name in chosen if name in ("cut", "half-open", "hang up", "redial", "middle")] or ["redial"]
    pace = rng.choice((0.01, 0.1, 0.5, 2.0))
    is_slow = pace >= 0.5  # so slow that silence is noticed before all is over
    if not is_slow:
        chosen = [name for name in chosen if name != "half-open"] or ["cut"]
    scale = REAL if rng.random() < 0.02 else small(rng)
    large = rng.choice((0.0, 0.02, 0.2))
    has_sleeper = rng.random() < 0.15
    if has_sleeper and scale is not REAL:  # there must be more for it than it may be sent
        scale, large = replace(scale, window=(800, 2_000), desk=500, log=1_000_000, large=800), 0.2
    return Plan(
        scale=scale,
        sealed=rng.random() < 0.02,
        clients=clients,
        members_limit=rng.choice((clients, clients, clients + 1, 64)),
        steps=rng.randrange(200, 400),
        idle=rng.choice((0.1, 0.3, 0.6)),
        pace=pace,
        told=0.7 if is_slow else 0.97,
        requests=rng.randrange(16, 26) // clients,
        outputs=rng.choice(((0, 1, 2, 3), (1, 2), (2, 3, 6), (5,))),
        large=large,
        faults=(tuple(chosen), tuple(_RARE.get(name, 1.0) for name in chosen)),
        fault_rate=rng.choice((0.015, 0.03, 0.06)),
        has_sleeper=has_sleeper,
        is_watched=rng.random() < 0.1,
    )
