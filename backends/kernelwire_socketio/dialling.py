"""What an end shows a relay, and what the relay's answers mean."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import AddressInUse, ConfigurationError, ConnectionLost, InvalidField, KernelwireError, NotServed
from kernelwire.ticket import key_of
from kernelwire_socketio import refusals
from kernelwire_socketio.address import Address
from kernelwire_socketio.connection import Connection, OnEvent
from kernelwire_socketio.events import VERSION
from kernelwire_socketio.experience import Experience
from kernelwire_socketio.refusals import Refused
from kernelwire_socketio.role_tokens import Role, mint, new_instance
from kernelwire_socketio.rooms import RoomKey, fingerprint
from kernelwire_socketio.tokens import MAX_SIZE


@dataclass(frozen=True)
class Dialling:
    """How one end dials.

    Attributes:
        address: the relay's.
        key: the room's.
        role: this end's.
        experience: with that relay.
        host: a host's fingerprint.
        instance: a host's.
        host_token: as it stands in the connection information.
        dead_after: seconds of silence after which a host gives its connection up. A client's link does that by itself.
    """

    address: Address
    key: RoomKey
    role: Role
    experience: Experience
    host: str = ""
    instance: str = ""
    host_token: str | None = field(default=None, repr=False)
    dead_after: float | None = None

    @classmethod
    def as_client(cls, info: ConnectionInfo, experience: Callable[[Address], Experience]) -> Self:
        """For a client.

        Raises:
            InvalidField: a field is missing, or cannot be used.
        """
        address = Address.of(info)
        return cls(address, RoomKey(key_of(info, "link_secret")), "client", experience(address))

    @classmethod
    def as_host(
        cls, info: ConnectionInfo, experience: Callable[[Address], Experience], dead_after: float | None = None
    ) -> Self:
        """For a host. Raises as `as_client`."""
        address = Address.of(info)
        token = info.extra.get("host_token")
        if token is not None and (not isinstance(token, str) or not token.isascii() or len(token) > MAX_SIZE):
            raise InvalidField("host_token", f"no token; one is text of at most {MAX_SIZE} characters")
        return cls(
            address,
            RoomKey(key_of(info, "link_secret")),
            "host",
            experience(address),
            fingerprint(key_of(info, "host_key")),
            new_instance(),
            token.strip() if token else None,
            dead_after,
        )

    def shown(self) -> Mapping[str, object]:
        """What to show; new each time."""
        now = time.time() + self.experience.ahead
        token = mint(self.key, self.role, host=self.host, instance=self.instance, now=now)
        shown: dict[str, Any] = {"v": VERSION, "role": self.role, "token": token}
        if self.host_token is not None:
            shown["host_token"] = self.host_token
        return shown

    def new_connection(self, on_event: OnEvent, on_end: Callable[[], None]) -> Connection:
        """For one attempt; the arguments are those of :class:`~kernelwire_socketio.connection.Connection`.

        Raises:
            InvalidField: ``relay_ca`` cannot be used.
        """
        return Connection(self.address, on_event, on_end, self.dead_after)

    async def connect(self, connection: Connection) -> None:
        """Connect to the relay; if that fails, the connection is closed.

        Raises:
            AddressInUse: the room has another host.
            ConfigurationError: this cannot succeed, now or later.
            ConnectionLost: not just now.
        """
        try:
            await connection.open(self.shown())
        except BaseException as error:
            await connection.aclose()
            meaning = self._meaning(error)
            if isinstance(meaning, ConnectionLost):
                self.experience.failed(str(meaning))
            if meaning is error:
                raise
            raise meaning from None
        self.experience.reached = True

    def _meaning(self, error: BaseException) -> BaseException:
        if isinstance(error, Refused):
            return self._explain(error)
        if isinstance(error, NotServed) and self.experience.reached:
            return ConnectionLost(str(error))
        return error

    def _explain(self, refused: Refused) -> KernelwireError:
        match refused.code:
            case refusals.CLOCK if refused.now is not None:
                self.experience.ahead = refused.now - time.time()
            case refusals.CONFLICT:
                return AddressInUse(f"{self.address} has another host for this kernel")
            case refusals.HOST_TOKEN:
                return InvalidField("host_token", f"{self.address} refuses it: {refused.text}")
            case code if code in refusals.LASTING:
                return ConfigurationError(f"{self.address} refuses this {self.role}: {refused.text}")
        return ConnectionLost(f"{self.address} does not let this {self.role} in just now: {refused.text}")
