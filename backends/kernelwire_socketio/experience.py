"""What an end has learned about a relay, and what it tells people of that: one line when it is away for a while."""

import logging
import time
from collections.abc import Callable
from typing import Final

_log = logging.getLogger(__name__)

PATIENCE: Final = 2.0
"""Seconds of trouble that are not worth a word."""


class Experience:
    """With one relay, of all ends that one backend has there.

    Arguments:
        relay: which, for people.
        clock: seconds since whenever.

    Attributes:
        reached: whether it has let us in once. What looks like a wrong address then is a relay, or a proxy, that is
            being restarted.
        ahead: seconds that its clock is ahead of ours, if that was ever in the way.
    """

    def __init__(self, relay: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.reached = False
        self.ahead = 0.0
        self._relay = relay
        self._clock = clock
        self._since: float | None = None
        self._told: str | None = None

    def failed(self, why: str) -> None:
        """An attempt to reach a kernel there has failed, and another one will follow."""
        now = self._clock()
        if self._since is None:
            self._since = now
        if now - self._since >= PATIENCE:
            self.tell(why)

    def tell(self, why: str) -> None:
        """Tell people, unless they know."""
        if why != self._told:
            self._told = why
            _log.warning("%s; trying again", why)

    def succeeded(self) -> None:
        """A kernel, or its clients, can be reached there."""
        if self._told is not None:
            _log.warning("%s: all is well again", self._relay)
        self._since = self._told = None
