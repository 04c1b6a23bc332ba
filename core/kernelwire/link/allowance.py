"""For how long one client may hold up who publishes for all of them. Sans-I/O.

While the log is full, a publisher waits for clients who would lose something. A client that merely makes some progress
must not slow down all others for ever; so it has an allowance, which it uses up while it is waited for, and regains as
more is published. Whoever takes a log's worth in that time loses nothing, however fast the kernel publishes.
"""

from typing import Final

from kernelwire.link.log import Log

PATIENCE: Final = 1.0
"""Seconds for which publishers wait for a client that is behind, for each log's worth of what they publish."""

_TRIFLE: Final = 0.001


class Allowance:
    """See the module.

    Arguments:
        seconds: it at the most, and for a log's worth.
        log: what is published.
    """

    def __init__(self, seconds: float, log: Log) -> None:
        self._most = self._left = seconds
        self._log = log
        self._seen = log.volume
        self._is_used_up = False

    @property
    def left(self) -> float:
        """Seconds. Who has used it up has none until all of it is regained: nobody waits for a moment at a time."""
        grown = self._log.volume - self._seen
        if grown:
            self._seen += grown
            self._left = min(self._most, self._left + self._most * grown / max(self._log.limit, 1))
            self._is_used_up = self._is_used_up and self._left < self._most - _TRIFLE
        return 0.0 if self._is_used_up else self._left

    def spend(self, seconds: float) -> bool:
        """It was waited for so long; return whether there is anything left."""
        left = self.left - seconds
        if not self._is_used_up:
            self._left, self._is_used_up = max(0.0, left), left < _TRIFLE
        return not self._is_used_up
