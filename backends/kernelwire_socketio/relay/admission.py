"""Admission: whether what somebody shows on arrival lets them in."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from kernelwire_socketio import refusals
from kernelwire_socketio.events import VERSION
from kernelwire_socketio.host_tokens import Grant, HostKeys
from kernelwire_socketio.refusals import Refused
from kernelwire_socketio.relay.limits import Buckets, Limits
from kernelwire_socketio.role_tokens import Role, RoleClaims, check
from kernelwire_socketio.tokens import LEEWAY, BadToken, NotNow

_MEMORY: Final = 100_000
"""Tokens that are remembered, so that none is used twice; if as many are valid at a time, nobody else comes in."""


class Admission:
    """Looks at tokens.

    Arguments:
        limits: what is allowed.
        host_keys: whose word hosts need; None if they need none.
        clock: seconds since the epoch.
    """

    def __init__(self, limits: Limits, host_keys: HostKeys | None, clock: Callable[[], float] = time.time) -> None:
        self._host_keys = host_keys
        self._clock = clock
        self._rooms = Buckets(limits.joins / 60, limits.joins) if limits.joins else None
        self._seen: OrderedDict[str, float] = OrderedDict()

    def admit(self, shown: object) -> tuple[RoleClaims, Grant | None]:
        """Who it is, and what a host may do.

        Arguments:
            shown: what came; anything may.

        Raises:
            Refused: not to be let in.
        """
        now = self._clock()
        role, shown = _role(shown)
        try:
            claims = check(shown.get("token"), role, now)
        except NotNow as error:
            raise Refused(
                refusals.CLOCK, f"the room's token cannot be used: {error}; do the clocks differ?", now
            ) from None
        except BadToken as error:
            raise Refused(refusals.TOKEN, f"the room's token cannot be used: {error}") from None
        self._remember(claims, now)
        grant = None
        if role == "host" and self._host_keys is not None:
            grant = self._grant(self._host_keys, shown.get("host_token"), claims.room, now)
        if self._rooms is not None and not self._rooms.try_spend(claims.room, now):
            raise Refused(refusals.RATE, "too many attempts to join this room; wait a minute")
        return claims, grant

    def _remember(self, claims: RoleClaims, now: float) -> None:
        seen = self._seen
        while seen and next(iter(seen.values())) < now:
            seen.popitem(last=False)
        if claims.jti in seen:
            raise Refused(refusals.TOKEN, "the room's token cannot be used: it was used before")
        if len(seen) >= _MEMORY:
            raise Refused(refusals.RATE, "too many attempts to join at this relay; wait a minute")
        # Not in the order of their ends, which is no harm: they are kept for a little longer, never for too short.
        seen[claims.jti] = max(claims.expires + LEEWAY, next(reversed(seen.values()), 0.0))

    @staticmethod
    def _grant(keys: HostKeys, token: object, room: bytes, now: float) -> Grant:
        if token is None:
            raise Refused(refusals.HOST_TOKEN, "a host token is needed here; ask the relay's operator for one")
        try:
            return keys.check(token, room, now)
        except BadToken as error:
            raise Refused(
                refusals.HOST_TOKEN, f"the host token cannot be used: {error}; ask the relay's operator for another"
            ) from None


def _role(shown: object) -> tuple[Role, Mapping[str, object]]:
    if not isinstance(shown, dict) or "v" not in shown:
        raise Refused(refusals.TOKEN, "this is a relay of kernelwire, and nothing that it knows was shown")
    if shown["v"] != VERSION:
        raise Refused(
            refusals.VERSION,
            f"the relay speaks version {VERSION} of its protocol, and this end another; install one kernelwire on both",
        )
    match shown.get("role"):
        case "host":
            return "host", shown
        case "client":
            return "client", shown
    raise Refused(refusals.TOKEN, "there are hosts and clients, and nothing else")
