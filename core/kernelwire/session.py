"""Messages to signed frames and back: pure, bytes in, bytes out.

Source: "Messaging in Jupyter", section "The Wire Protocol": the signature is the hex HMAC, under the connection's key,
of the four JSON parts in order; buffers and routing are not covered. An empty key means no signatures at all.

Order matters in :meth:`Session.check`: a signature is remembered only after it proved genuine, so that junk cannot
push genuine ones out of the replay history.
"""

import getpass
import itertools
import os
import threading
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from kernelwire import adapter, jsoncodec
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import (
    DuplicateSignature,
    InvalidSignature,
    MalformedMessage,
    RemoteError,
)
from kernelwire.messages import PROTOCOL_VERSION, Frame, Message, freeze
from kernelwire.signing import DEFAULT_SCHEME, Signer, joined

if TYPE_CHECKING:
    from typing_extensions import Buffer

HISTORY: Final = 65536
"""Genuine signatures remembered against replay, first in first out."""

MAX_JSON_BYTES: Final = 256 * 1024 * 1024
"""Bound on the four JSON parts together; buffers are bounded by the transport."""

_USUAL_HEADER: Final = 4096
"""Bytes of a parent header that is worth keeping."""

_EMPTY: Final = b"{}"
"""Most metadata."""

_MAX_SIGNATURE_BYTES: Final = 256
"""No hash has a longer one; longer frames are not even compared."""


class Session:
    """One side's half of a conversation: its id, its key, and what it has already accepted.

    A session reads one stream of messages once. Two readers of one stream need a session each, or the second takes
    the first's messages for replays. All methods may be called from any thread.

    Arguments:
        key: the connection's ``key``; empty for unsigned messages.
        signature_scheme: ``hmac-`` and the name of any hash that :mod:`hashlib` has.
        session_id: unique to this client or kernel; made up if not given.
        username: for the ``username`` header; the operating system's if not given.
        history: how many signatures to remember.

    Attributes:
        rejected: how many messages :meth:`check` and :meth:`unpack` refused, by the name of the error.
        signer: signs and verifies under this session's key.
        speaks_v4: whether the last message that `unpack` saw was of protocol v4; `pack` then writes v4 too. A client
            has one kernel, so this answers it as it speaks; a kernel's end sets it for each reply.

    Raises:
        InvalidField: the scheme is unknown.
    """

    def __init__(
        self,
        key: bytes = b"",
        *,
        signature_scheme: str = DEFAULT_SCHEME,
        session_id: str | None = None,
        username: str | None = None,
        history: int = HISTORY,
    ) -> None:
        self.session_id = session_id or uuid.uuid4().hex
        self.username = _username() if username is None else username
        self.rejected: Counter[str] = Counter()
        self.signer = Signer(key, signature_scheme)
        self.speaks_v4 = False
        self._history = history
        self._accepted: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()
        self._count = itertools.count(1)
        # Messages come and go in runs that answer one request: its header is written and read once.
        self._packed: tuple[Mapping[str, Any], Frame] = ({}, b"{}")
        self._unpacked: tuple[bytes, Mapping[str, Any]] = (b"{}", {})

    @property
    def is_foreign(self) -> bool:
        """Whether signatures came that are wrong, and none yet that is right: the other side has another key."""
        return bool(self.rejected[InvalidSignature.__name__]) and not self._accepted

    @classmethod
    def of(cls, info: ConnectionInfo) -> Self:
        """A session with a new id for a connection: its key, its signature scheme."""
        return cls(info.key, signature_scheme=info.signature_scheme)

    def message(
        self,
        msg_type: str,
        content: Mapping[str, Any] | None = None,
        *,
        parent: Message | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence["Buffer"] = (),
        **header: Any,
    ) -> Message:
        """Make a message from this session with an id that no other message has.

        Arguments:
            msg_type: ``execute_request``, ``stream``, ...
            content: the message's content.
            parent: the message that this one answers.
            metadata: the message's metadata.
            buffers: binary data; what is mutable is copied now, so the caller may change it afterwards.
            header: further header fields, such as ``subshell_id``.

        Raises:
            InvalidMessage: a buffer is no buffer.
        """
        return Message(
            {
                # Counting is atomic in CPython; the process id keeps forked children apart.
                "msg_id": f"{self.session_id}_{os.getpid()}_{next(self._count)}",
                "msg_type": msg_type,
                "username": self.username,
                "session": self.session_id,
                "date": _now(),
                "version": PROTOCOL_VERSION,
                **header,
            },
            parent.header if parent else {},
            metadata or {},
            content or {},
            tuple(map(freeze, buffers)),
        )

    def pack(self, message: Message) -> list[Frame]:
        """Serialise and sign: ``[signature, header, parent_header, metadata, content, *buffers]``.

        Raises:
            InvalidMessage: a part holds something that JSON cannot say.
        """
        if self.speaks_v4:
            message = adapter.to_v4(message)
        parent, parent_header = self._packed
        if message.parent_header is not parent:
            parent_header = jsoncodec.encode(message.parent_header, "parent_header")
            if len(parent_header) <= _USUAL_HEADER:
                self._packed = message.parent_header, parent_header
        parts = [
            jsoncodec.encode(message.header, "header"),
            parent_header,
            jsoncodec.encode(message.metadata, "metadata") if message.metadata else _EMPTY,
            jsoncodec.encode(message.content, "content"),
        ]
        return [self.signer.sign(parts), *parts, *map(freeze, message.buffers)]

    def unpack(self, frames: Sequence[Frame]) -> Message:
        """Verify and decode frames as they came off a channel. Protocol v4 messages are adapted to v5.

        Raises:
            MalformedMessage: too few frames, too large, not JSON, a part that is no object, or no ``msg_type``.
            InvalidSignature: see :meth:`check`.
            DuplicateSignature: see :meth:`check`.
        """
        self.check(frames)
        try:
            header = _decode_part(frames[1], "header")
            read, parent_header = self._unpacked
            if frames[2] != read:
                parent_header = _decode_part(frames[2], "parent_header")
                if len(frames[2]) <= _USUAL_HEADER:
                    self._unpacked = bytes(frames[2]), parent_header
            metadata = {} if frames[3] == _EMPTY else _decode_part(frames[3], "metadata")
            content = _decode_part(frames[4], "content")
            if not isinstance(header.get("msg_type"), str):
                raise MalformedMessage("header: msg_type is missing or not a string")
            message = Message(header, parent_header, metadata, content, tuple(frames[5:]))
            self.speaks_v4 = adapter.is_v4(message)
            return adapter.to_v5(message) if self.speaks_v4 else message
        except RemoteError as error:
            raise self._refusal(error) from None

    def check(self, frames: Sequence[Frame]) -> None:
        """Verify frames without decoding them, and remember the signature against replay.

        Without a key everything well-formed passes, whatever its signature. With one, an empty signature fails.

        Raises:
            MalformedMessage: fewer than five frames, or JSON parts over :data:`MAX_JSON_BYTES`.
            InvalidSignature: the signature is absent or wrong.
            DuplicateSignature: the signature was accepted before.
        """
        self._checked(frames)

    def resign(self, frames: Sequence[Frame], target: "Session") -> list[Frame]:
        """Check it; then the same message under another session's key. Nothing is decoded. Raises as `check`."""
        return [target.signer.sign(self._checked(frames)), *frames[1:]]

    def _checked(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """What is signed of a message, perhaps in one piece. Raises as `check`."""
        if len(frames) < 5:
            raise self._refusal(MalformedMessage(f"{len(frames)} frames where at least 5 are needed"))
        parts = frames[1:5]
        size = sum(map(len, parts))
        if size > MAX_JSON_BYTES:
            raise self._refusal(MalformedMessage(f"the JSON parts are over {MAX_JSON_BYTES} bytes"))
        signer = self.signer
        if not signer.signs:
            return parts
        parts = joined(parts, size)
        signature = frames[0]
        if len(signature) > _MAX_SIGNATURE_BYTES or not signer.verify(signature, parts):
            raise self._refusal(InvalidSignature("the signature is wrong" if signature else "no signature"))
        if not self._remember(bytes(signature)):
            raise self._refusal(DuplicateSignature("this message was accepted before"))
        return parts

    def _remember(self, signature: bytes) -> bool:
        """Whether the signature is new."""
        with self._lock:
            if signature in self._accepted:
                return False
            self._accepted[signature] = None
            if len(self._accepted) > self._history:
                self._accepted.popitem(last=False)
            return True

    def _refusal(self, error: RemoteError) -> RemoteError:
        with self._lock:
            self.rejected[type(error).__name__] += 1
        return error

    def __repr__(self) -> str:
        return f"<Session {self.session_id} {self.signer}>"


def _decode_part(data: Frame, name: str) -> dict[str, Any]:
    value = jsoncodec.decode(data, name)
    if not isinstance(value, dict):
        raise MalformedMessage(f"{name}: a JSON {type(value).__name__} where an object is needed")
    return value


def _now() -> str:
    """The time in ISO 8601. What messages of one second share is written once."""
    global _second
    second, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    known, text = _second
    if second != known:
        text = datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")
        _second = second, text
    return f"{text}.{microseconds:06d}+00:00"


_second = (-1, "")
"""The last second that `_now` wrote, and how."""


def _username() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "username"
