"""A relay's log: one JSON object on a line, about who came and went and how much passed. Nothing of what passed."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

from kernelwire_socketio.relay.limits import Bucket

_RATE: Final = 20.0
_BURST: Final = 200.0
"""Lines about one kind of event, per second and at once: a log is not to be filled by strangers."""


class Log:
    """Writes lines.

    Arguments:
        stream: where to.
        clock: seconds since the epoch.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._left_out: dict[str, int] = {}

    def __call__(self, event: str, **fields: str | float | None) -> None:
        """Write a line, unless there were too many about this kind of event; the next one says how many.

        Arguments:
            event: what happened.
            fields: more of it, but those that are None.
        """
        now = self._clock()
        bucket = self._buckets.get(event)
        if bucket is None:
            bucket = self._buckets[event] = Bucket(_RATE, _BURST, now)
        if not bucket.try_spend(1, now):
            self._left_out[event] = self._left_out.get(event, 0) + 1
            return
        line = {"time": round(now, 3), "event": event, **{k: v for k, v in fields.items() if v is not None}}
        if left_out := self._left_out.pop(event, 0):
            line["left_out"] = left_out
        with suppress(OSError, ValueError):  # whoever read it has gone; that ends no relay
            print(json.dumps(line), file=self._stream, flush=True)
