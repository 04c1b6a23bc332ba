"""A backend: how one transport connects to a kernel's channels, and how it serves them.

To write one, subclass :class:`Backend`, name it in the entry-point group ``kernelwire.backends``, and run the
conformance kit over it. Two methods here, three for a channel, one for the heartbeat: six in all.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.connection import ConnectionInfo, new_key
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import InvalidIdentity, NotSupported

MAX_IDENTITY: Final = 64


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backend claims. The conformance kit holds it to what it claims.

    Attributes:
        serve: it has a kernel end.
        signed: messages carry signatures. False where the wire authenticates by itself and the signature is empty.
        multi_client: several clients on one kernel, each with its own replies.
        lossless_iopub: a client that reads gets everything, however fast the kernel publishes. False where the wire
            drops when it is full, without a word.
        gap_notice: whatever this backend drops, at either end, the client learns of by a GapNotice.
        resume: a break of the wire is mended without loss.
        encrypted: every connection is encrypted end to end, by who holds the connection's secrets and by nobody else.
        peer_events: a kernel end learns of clients that come and go.
        beat: who answers the heartbeat: the kernel itself, only the nearest peer, or nobody.
        max_message_bytes: bound on all frames of a message together.
    """

    serve: bool = True
    signed: bool = True
    multi_client: bool = True
    lossless_iopub: bool = False
    gap_notice: bool = False
    resume: bool = False
    encrypted: bool = False
    peer_events: bool = False
    beat: Literal["kernel", "peer", "none"] = "none"
    max_message_bytes: int = 256 * 1024 * 1024


class Backend(ABC):
    """One transport. Cheap to make; holds nothing between calls but what its open ends share.

    Attributes:
        capabilities: what this transport claims.
    """

    capabilities: ClassVar[Capabilities]

    @abstractmethod
    async def connect(
        self, info: ConnectionInfo, *, identity: bytes, channels: Collection[Channel] = ALL_CHANNELS
    ) -> ClientEnd:
        """Open a client's end.

        Where the wire queues, this returns before the kernel is there, and what is sent meanwhile is delivered when
        it comes. The same end goes on after a kernel restart on the same address.

        Arguments:
            info: where the kernel is.
            identity: 1 to 64 bytes chosen by the caller, not starting with NUL: equal on one client's channels, unique
                per client, stable over resume. A second client with the identity of a first takes its place, or is
                refused where the wire can tell the two apart.
            channels: those that will be used; a backend may open more.

        Raises:
            InvalidIdentity: not such an identity; see :func:`check_identity`.
            InvalidField: a field that this transport needs is missing or cannot be used.
            NotServed: nobody serves the address, on a wire that does not queue.
            ConnectionLost: the wire cannot be opened.
        """

    async def serve(self, info: ConnectionInfo) -> KernelEnd:
        """Open the kernel's end at an address that `prepare` completed.

        Raises:
            NotSupported: this transport has no kernel end.
            AddressInUse: somebody else serves there.
            InvalidField: as for `connect`.
        """
        raise NotSupported(f"transport {info.transport!r} has no kernel end")

    def new_key(self) -> bytes:
        """A key for a new kernel's messages. Empty where the wire is encrypted: it shows by itself who sent them, so
        there is nothing to sign. A connection that has one all the same is signed.
        """
        return b"" if self.capabilities.encrypted else new_key()

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        """Complete the address for a new kernel: ports, paths, ids. What is set already stays.

        Blocking, but short. What this creates outside the process, `release` removes.

        Raises:
            InvalidField: what is set cannot be used.
        """
        return info

    def encrypt(self, info: ConnectionInfo) -> ConnectionInfo:
        """Add the keys with which a new kernel and its clients encrypt this wire. What is set already stays.

        For kernels that serve this transport themselves and claim to read such keys.

        Raises:
            NotSupported: this transport has none, or not on this machine.
        """
        raise NotSupported(f"transport {info.transport!r} has no keys for a new kernel to encrypt with")

    def for_clients(self, info: ConnectionInfo) -> ConnectionInfo:
        """The same without what only the kernel's end may know: what to write into files that clients read."""
        return info

    def release(self, info: ConnectionInfo) -> None:  # noqa: B027 - a working default, not a duty
        """Remove what `prepare` and a kernel on this address may have left behind. Never fails for what is gone.

        To be called once the kernel's end is closed, and never for an address that somebody else serves: after an
        AddressInUse there is nothing of ours to remove.
        """


def check_identity(identity: bytes) -> None:
    """For the start of every `connect`.

    Raises:
        InvalidIdentity: not 1 to :data:`MAX_IDENTITY` bytes, or starting with NUL, which ZeroMQ keeps for itself.
    """
    if not isinstance(identity, bytes) or not 0 < len(identity) <= MAX_IDENTITY or identity[0] == 0:
        raise InvalidIdentity(f"an identity has 1 to {MAX_IDENTITY} bytes, and the first of them is not NUL")
