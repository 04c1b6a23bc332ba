"""What everybody in a schedule shares: the clock, chance, the pipes, and what happened so far."""

import random
from collections import Counter
from collections.abc import Sized
from dataclasses import dataclass, field
from typing import Final

from kernelwire.link import seal
from kernelwire.link.records import Lane
from kernelwire.link.seal import Handshake
from simulation._pipe import Wire
from simulation._scale import Scale

LANES: Final = tuple(Lane)
"""To go through an enum takes its time."""

BODIES: Final = bytes(range(1, 256)) * 1200
"""All bodies are a piece of it. A piece that is moved by less than its period is another one."""

_SECRET = bytes(range(32))
_PRIVATE = bytes(range(1, 33))
_HOST_KEY = seal.public_key(_PRIVATE)


@dataclass
class Stage:
    """See the module.

    Attributes:
        rng: the only source of chance.
        scale: how large things are.
        now: seconds.
        sealed: whether frames are really sealed.
        wires: those with an end that is open, at the host or at a client, oldest first.
        delivered: messages that were handed on, at either end.
        cuts: connections that broke while both ends had them.
        dials: connections that clients have opened.
        largest: bytes of the largest message.
        seen: how often each thing happened that a schedule may or may not bring.
        history: what happened, if it is wanted.
    """

    rng: random.Random
    scale: Scale
    now: float = 1000.0
    sealed: bool = False
    wires: list[Wire] = field(default_factory=list)
    delivered: int = 0
    cuts: int = 0
    dials: int = 0
    largest: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    history: list[str] | None = None

    def note(self, text: str) -> None:
        """For the history."""
        if self.history is not None:
            self.history.append(f"{self.now:12.3f}  {text}")

    def some(self, things: Sized) -> int:
        """Any number of them."""
        return self.rng.randrange(len(things) + 1)

    def initiator(self) -> Handshake:
        """A client's handshake."""
        return Handshake.initiator(secret=_SECRET, host_key=_HOST_KEY, prologue=b"simulation")

    def responder(self) -> Handshake:
        """The host's."""
        return Handshake.responder(secret=_SECRET, private_key=_PRIVATE, prologue=b"simulation")
