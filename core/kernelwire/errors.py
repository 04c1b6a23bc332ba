"""Every error that kernelwire raises, as one tree; the branch says whose fault it was.

::

    KernelwireError
    ├── LocalError                     the calling code broke a rule of the API
    │   ├── ChannelClosed              used after its own aclose()
    │   ├── ChannelBusy                a second reader on a channel that has one
    │   ├── WrongLoop                  used from a loop, thread or process that does not own it
    │   ├── NotSupported               the backend does not claim this ability
    │   ├── InvalidIdentity            an identity that no wire could route by
    │   ├── InvalidMessage             a message that cannot be put on any wire
    │   ├── InvalidKernel              an object to serve that lacks a method, or has one that is not async
    │   └── MessageTooLarge            a message over the backend's max_message_bytes
    ├── ConfigurationError             what was asked for cannot be; names the field and the fix
    │   ├── ConnectionFileError        the file itself: missing, unreadable, not a JSON object
    │   │   └── ConnectionFileNotFound
    │   ├── InvalidField               one field of the connection information
    │   ├── TransportError             choosing a backend
    │   │   ├── UnknownTransport       nothing installed under that name
    │   │   ├── AmbiguousTransport     two distributions under that name
    │   │   └── TransportUnavailable   installed, but it cannot be imported
    │   ├── AddressInUse               somebody else serves there
    │   ├── NotServed                  nobody serves there, and nobody can later
    │   ├── BridgeLoop                 a kernel bridged to itself
    │   ├── KernelspecError            a kernelspec that cannot be used
    │   │   └── NoSuchKernelspec
    │   ├── LaunchFailed               a kernel's command that cannot be run
    │   └── TicketError                a ticket that is mangled, incomplete, or of another version
    ├── RemoteError                    what arrived broke the protocol; never ends a channel by itself
    │   ├── MalformedMessage
    │   ├── InvalidSignature
    │   ├── DuplicateSignature
    │   └── LinkViolation              the other end of a link, or somebody on the way, broke its rules
    │       └── SealBroken             what arrived was not sealed by the other end, or not at this place
    ├── WireError                      the outside world: peers leave, wires break
    │   ├── EndOfChannel               the other end closed; nothing more will come
    │   ├── ConnectionLost             the wire broke and will not come back
    │   ├── Undelivered                this end closed before all that it had sent was known to have arrived
    │   ├── PeerGone                   a message for a peer that is not connected (any more)
    │   └── NoBeat                     no heartbeat within the time allowed
    │       └── WireDown               ... because the wire is down just now, which says nothing about the kernel
    ├── GapNotice                      messages are missing exactly here; the channel goes on
    └── RequestFailed                  a request that ended without its reply
        ├── RequestTimeout             ... within the caller's own time limit
        ├── KernelDied                 ... because the kernel stopped beating, or was shut down
        │   └── KernelExited           ... or its process ended; says how
        ├── KernelRestarted            ... because another kernel has taken the place of the one that worked on it
        ├── OutcomeUnknown             ... because the other end of the wire was started anew: it may have run, or not
        ├── NoReply                    ... although the kernel says that it is done with it
        └── Incomplete                 with its reply, but not with all of its output

No exception of an I/O library leaves a backend: each is mapped to one of these and kept as ``__cause__``.
No message of any of them contains a key, a token or the content of a message.
"""

from collections.abc import Sequence
from typing import Any, Self


class KernelwireError(Exception):
    """The root of all errors that kernelwire raises."""

    def again(self) -> Self:
        """A new error like this one: an instance raised twice gathers tracebacks, and keeps their frames alive."""
        fresh: Self = _rebuild(type(self), self.args, self.__dict__)
        fresh.__cause__ = self.__cause__
        return fresh

    # Errors cross process pools; the arguments of a subclass's __init__ are not those of Exception.
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class LocalError(KernelwireError):
    """The calling code broke a rule of the API; the fix is in the caller."""


class ChannelClosed(LocalError):
    """The channel was used after its own ``aclose()``."""


class ChannelBusy(LocalError):
    """Two tasks wait on one receiving side; a channel has one reader."""


class WrongLoop(LocalError):
    """An end was used from an event loop, thread or process other than the one that opened it."""


class NotSupported(LocalError):
    """The backend does not have this ability; its ``capabilities`` say so too."""


class InvalidIdentity(LocalError):
    """The identity given to `connect` is empty, too long, or starts with NUL."""


class InvalidMessage(LocalError):
    """A message that cannot be serialised: the text names the part and the reason."""


class InvalidKernel(LocalError):
    """An object cannot be served as a kernel: the text names the method or the attribute, and what to write."""


class MessageTooLarge(LocalError):
    """A message is over the backend's ``max_message_bytes``; nothing of it was sent.

    Attributes:
        size: bytes of all frames together.
        limit: the bound that they exceed.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the message has {size} bytes, and this transport carries at most {limit}")
        self.size = size
        self.limit = limit


class ConfigurationError(KernelwireError):
    """What was asked for cannot be; the text names the field and the fix."""


class ConnectionFileError(ConfigurationError):
    """A connection file cannot be read or written, or does not hold a JSON object."""


class ConnectionFileNotFound(ConnectionFileError):
    """No connection file of that name, or none that the pattern matches."""


class InvalidField(ConfigurationError):
    """A field of the connection information is missing, or its value cannot be used.

    Attributes:
        field: the name as it stands in the connection file.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"connection field {field!r}: {problem}")
        self.field = field


class TransportError(ConfigurationError):
    """No backend can be chosen for a transport name."""


class UnknownTransport(TransportError):
    """No installed distribution provides this transport.

    Attributes:
        name: what was asked for.
        available: the names that are installed.
    """

    def __init__(self, name: str, available: Sequence[str], hint: str = "") -> None:
        installed = ", ".join(available) or "none"
        super().__init__(f"no transport {name!r} is installed (installed: {installed}){hint}")
        self.name = name
        self.available = tuple(available)


class AmbiguousTransport(TransportError):
    """Two or more distributions provide one transport name; uninstall all but one."""


class TransportUnavailable(TransportError):
    """A transport is installed but cannot be imported; ``__cause__`` is the reason."""


class AddressInUse(ConfigurationError):
    """The address to serve on is taken."""


class NotServed(ConfigurationError):
    """Nobody serves the address, and connecting first cannot help on this transport."""


class BridgeLoop(ConfigurationError):
    """Both sides of a bridge are the same kernel."""


class KernelspecError(ConfigurationError):
    """A kernelspec cannot be used; the text names the file and the field."""


class NoSuchKernelspec(KernelspecError):
    """No kernelspec of that name is installed.

    Attributes:
        name: what was asked for.
        available: the names that are installed.
    """

    def __init__(self, text: str, name: str, available: Sequence[str]) -> None:
        super().__init__(text)
        self.name = name
        self.available = tuple(available)


class LaunchFailed(ConfigurationError):
    """The command of a kernel cannot be run: the system's reason is in the text."""


class TicketError(ConfigurationError):
    """A ticket cannot be read: mangled, cut short, or of a version that this release does not know."""


class RemoteError(KernelwireError):
    """A message that arrived broke the protocol. It was not delivered; the next one may be good."""


class MalformedMessage(RemoteError):
    """What arrived is not a Jupyter message: too few frames, not JSON, not objects, too large."""


class InvalidSignature(RemoteError):
    """The HMAC of a message is absent or wrong."""


class DuplicateSignature(RemoteError):
    """A valid message that was accepted before: a replay."""


class LinkViolation(RemoteError):
    """The other end of a link broke its rules, or somebody on the way did. The link opens another pipe."""


class SealBroken(LinkViolation):
    """What arrived was not sealed by the other end, or not at this place: altered, lost, repeated or out of order."""


class WireError(KernelwireError):
    """The outside world: the other end left, or the wire broke."""


class EndOfChannel(WireError):
    """The other end closed the channel; everything sent before that was delivered."""


class ConnectionLost(WireError):
    """The wire broke for good; what was under way may or may not have arrived."""


class Undelivered(WireError):
    """One end was closed, and some of what it had sent is not known to have arrived. All that it held is released.

    Attributes:
        count: how many messages.
        size: their bytes together.
    """

    def __init__(self, count: int, size: int) -> None:
        super().__init__(f"closed before {count} messages of {size} bytes were known to have arrived")
        self.count = count
        self.size = size


class PeerGone(WireError):
    """A message is addressed to a peer that is not connected."""


class NoBeat(WireError):
    """The other end's heartbeat did not answer in the time allowed."""


class WireDown(NoBeat):
    """No heartbeat could be asked for: the wire is down just now and will be mended. The kernel may well be alive."""


class GapNotice(KernelwireError):
    """Messages are missing at this point of the channel, which stays usable: receive again.

    Attributes:
        count: how many are missing, or None where nobody can know.
        size: their bytes together, or None where nobody can know.
        reason: what made them go, for people.
    """

    def __init__(self, count: int | None, size: int | None, reason: str) -> None:
        number = "an unknown number of" if count is None else str(count)
        super().__init__(f"{number} messages are missing here: {reason}")
        self.count = count
        self.size = size
        self.reason = reason


class RequestFailed(KernelwireError):
    """A request ended without its reply; the type says how."""


class RequestTimeout(RequestFailed):
    """No reply within the time that the caller allowed. The kernel may still be at work on it."""


class KernelDied(RequestFailed):
    """The kernel's heartbeat stopped while the request waited, or the kernel was shut down."""


class KernelExited(KernelDied):
    """The kernel's process ended, and nobody had asked for that.

    Attributes:
        exit_code: its exit code, or the negative number of the signal that ended it.
        stderr: the last that it wrote there.
    """

    def __init__(self, exit_code: int, stderr: str) -> None:
        how = f"with exit code {exit_code}" if exit_code >= 0 else f"by signal {-exit_code}"
        said = f"; its last words:\n{stderr.strip()}" if stderr.strip() else "; it said nothing on stderr"
        super().__init__(f"the kernel's process ended {how}{said}")
        self.exit_code = exit_code
        self.stderr = stderr


class KernelRestarted(RequestFailed):
    """The kernel that worked on the request is gone, and another answers in its place."""


class OutcomeUnknown(RequestFailed):
    """The other end of the wire was started anew while the request was under way: it may have run, or not.

    It is never sent a second time. A host that takes requests can tell: :meth:`kernelwire.RemoteHost.fate`.

    Attributes:
        msg_id: the request's; empty where it has none.
    """

    def __init__(self, reason: str, msg_id: str = "") -> None:
        super().__init__(f"it may have run, or not: {reason}")
        self.msg_id = msg_id


class NoReply(RequestFailed):
    """The kernel published that it is done with the request, and its reply is lost or was never sent."""


class Incomplete(RequestFailed):
    """The reply has come, but output of the request was dropped between the kernel and this client.

    Attributes:
        result: what has come, for an execution; None for other requests.
    """

    result: Any = None


def _rebuild(kind: type[Any], args: tuple[object, ...], attributes: dict[str, Any]) -> Any:
    error: Any = kind.__new__(kind)  # type: ignore[call-overload] # not the metaclass's
    error.args = args
    error.__dict__.update(attributes)
    return error
