"""A transport of pipes: its author writes how to open one, and how to wait for them; the channels come from here."""

from abc import abstractmethod
from collections.abc import Collection
from functools import partial
from typing import ClassVar

from kernelwire.backend import Backend, Capabilities, check_identity
from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import InvalidField, NotSupported
from kernelwire.inbox import GAP_LIMIT
from kernelwire.link import seal
from kernelwire.link.dialer import Dialer
from kernelwire.link.log import LOG_LIMIT, Log
from kernelwire.link.peer import USUAL, Timing
from kernelwire.link.pipe import Listener, Pipe
from kernelwire.link.sealed import Secrets
from kernelwire.link.server import Server
from kernelwire.ticket import PRIVATE_FIELDS, key_of, key_text


class PipeBackend(Backend):
    """What the link makes of pipes. To be subclassed: see :class:`kernelwire.link.pipe.Pipe` for what to write.

    The connection fields that the link needs are ``link_secret`` and ``host_key``, and at the host
    ``host_private_key``: each 32 bytes in URL-safe base64 without padding. `prepare` fills them in. A client may add
    ``since``: the number of the message on iopub, as the host counts them, from which on it wants to hear them. With 0
    it gets all that the host has kept, and a gap notice for the rest; without it, what is published from now on.

    Attributes:
        timing: when to ask the other end, and when to give up a connection.
        log_limit: bytes of what the kernel publishes that a host keeps for clients that are behind or away.
    """

    timing: Timing = USUAL
    log_limit: int = LOG_LIMIT

    capabilities: ClassVar[Capabilities] = Capabilities(
        gap_notice=True,
        resume=True,
        encrypted=True,
        peer_events=True,
        beat="kernel",
    )

    @abstractmethod
    async def open_pipe(self, info: ConnectionInfo) -> Pipe:
        """Dial the host. Called again whenever the pipe broke, so it should neither wait nor try for long.

        Raises:
            InvalidField: a field that is needed is missing or cannot be used; nobody tries again after this, nor after
                another ConfigurationError.
            whatever else: the host cannot be reached just now.
        """

    async def listen(self, info: ConnectionInfo) -> Listener:
        """Wait for clients at an address that `prepare` completed.

        Raises:
            NotSupported: this transport has no kernel end.
            AddressInUse: somebody else serves there.
            InvalidField: as `open_pipe`.
        """
        raise NotSupported(f"transport {info.transport!r} has no kernel end")

    def room(self, info: ConnectionInfo) -> bytes:
        """What two kernels behind one intermediary differ in, for the seal to bind; by default nothing."""
        return b""

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        """Add what the seal needs. Who overrides this calls it too."""
        if not info.extra.get("link_secret"):
            info = info.replace(link_secret=key_text(seal.new_secret()))
        if not info.extra.get("host_private_key") and not info.extra.get("host_key"):
            info = info.replace(host_private_key=key_text(seal.new_private_key()))
        if info.extra.get("host_private_key"):
            info = info.replace(host_key=key_text(seal.public_key(key_of(info, "host_private_key"))))
        return info

    def for_clients(self, info: ConnectionInfo) -> ConnectionInfo:  # noqa: D102 - as the abstract one
        extra = {name: value for name, value in info.extra.items() if name not in PRIVATE_FIELDS}
        return info.replace(extra=extra, curve_secretkey=None)

    async def connect(  # noqa: D102 - as the abstract one
        self, info: ConnectionInfo, *, identity: bytes, channels: Collection[Channel] = ALL_CHANNELS
    ) -> ClientEnd:
        check_identity(identity)
        secrets = Secrets(key_of(info, "link_secret"), key_of(info, "host_key"), room=self.room(info))
        # Here, where somebody hears of it, rather than at the first connection.
        seal.Handshake.initiator(secret=secrets.link_secret, host_key=secrets.host_key, prologue=secrets.prologue)
        return Dialer(
            partial(self.open_pipe, info),
            secrets,
            identity,
            max_message_bytes=self.capabilities.max_message_bytes,
            iopub_held=GAP_LIMIT,
            cursor=_since(info),
            timing=self.timing,
        ).end

    async def serve(self, info: ConnectionInfo) -> KernelEnd:  # noqa: D102 - as the abstract one
        private_key = key_of(info, "host_private_key")
        secrets = Secrets(key_of(info, "link_secret"), seal.public_key(private_key), private_key, self.room(info))
        listener = await self.listen(info)
        return Server(
            listener,
            secrets,
            max_message_bytes=self.capabilities.max_message_bytes,
            log=Log(self.log_limit),
            timing=self.timing,
        ).end


def _since(info: ConnectionInfo) -> int | None:
    since = info.extra.get("since")
    if since is None or (type(since) is int and 0 <= since < 2**64):
        return since
    raise InvalidField("since", "no number of a message; 0 is the first")
