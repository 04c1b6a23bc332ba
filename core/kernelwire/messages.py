"""Jupyter messages as immutable values, and the frames that carry them.

Source: "Messaging in Jupyter", https://jupyter-client.readthedocs.io/en/stable/messaging.html, sections "General
Message Format" and "The Wire Protocol". No I/O and no JSON here: :mod:`kernelwire.session` turns one into the other.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kernelwire.errors import InvalidMessage

if TYPE_CHECKING:
    from typing_extensions import Buffer

PROTOCOL_VERSION: Final = "5.4"
"""What our headers say. Features are never gated on it: kernels' own claims disagree with what they do."""

PARTS: Final = ("header", "parent_header", "metadata", "content")
"""The four JSON parts in wire order; the signature covers exactly these."""

Frame = bytes | memoryview
"""One frame of a message: bytes, or a read-only contiguous view of bytes that never change."""


class WireMessage(msgspec.Struct, frozen=True):
    """What a channel carries: a message as frames, still signed, and who it is from or for.

    Attributes:
        frames: ``[signature, header, parent_header, metadata, content, *buffers]``, each a :data:`Frame`. Whoever
            builds one promises that the frames never change; :func:`freeze` makes a frame of any buffer.
        peer: an opaque routing identity beside the message. At a kernel end it names the client on shell, control
            and stdin (equal for one client on all three); on iopub it is the topic. At a client end it is empty on
            all but iopub.
    """

    frames: Sequence[Frame]
    peer: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of all frames together; the peer is not counted."""
        return sum(map(len, self.frames))

    def __repr__(self) -> str:
        return f"<WireMessage of {len(self.frames)} frames, {self.size} bytes>"


class Message(msgspec.Struct, frozen=True, eq=True, repr_omit_defaults=True):
    """One Jupyter message, decoded. Immutable: treat the mappings as read-only, they are shared.

    Attributes:
        header: ``msg_id``, ``msg_type``, ``session``, ``username``, ``date``, ``version``, and whatever else came.
        parent_header: the header of the request that this message answers, or empty.
        metadata: as sent.
        content: as sent.
        buffers: binary frames after the JSON parts; the signature does not cover them.
    """

    header: Mapping[str, Any]
    parent_header: Mapping[str, Any] = {}
    metadata: Mapping[str, Any] = {}
    content: Mapping[str, Any] = {}
    buffers: tuple[Frame, ...] = ()

    @property
    def msg_type(self) -> str:
        """The kind of message: ``execute_request``, ``stream``, ..."""
        return str(self.header.get("msg_type", ""))

    @property
    def msg_id(self) -> str:
        """The message's own id."""
        return str(self.header.get("msg_id", ""))

    @property
    def parent_id(self) -> str:
        """The id of the request that this message answers; empty if there is none."""
        return str(self.parent_header.get("msg_id", ""))

    @property
    def date(self) -> datetime | None:
        """When the sender made it, aware of its time zone (UTC if it named none); None if absent or unreadable."""
        try:
            date = datetime.fromisoformat(str(self.header.get("date")))
        except ValueError:
            return None
        return date if date.tzinfo else date.replace(tzinfo=UTC)

    def is_child_of(self, parent: "Message") -> bool:
        """Whether this message answers `parent` (its ``parent_header`` has the parent's ``msg_id``)."""
        return bool(self.parent_id) and self.parent_id == parent.msg_id

    # Content never reaches a log or a traceback by way of a repr.
    def __repr__(self) -> str:
        return f"<Message {self.msg_type} {self.msg_id}>"

    def __rich_repr__(self) -> Any:
        yield self.msg_type
        yield self.msg_id


def freeze(buffer: "Buffer") -> Frame:
    """Make a frame of a buffer: what may change is copied once, what cannot is passed as it is.

    Arguments:
        buffer: bytes, bytearray, memoryview, array, or anything else with the buffer protocol, of any shape. A
            read-only view counts as unchanging: whoever made it so promises that.

    Raises:
        InvalidMessage: not a buffer, or one that was released or closed.
    """
    if type(buffer) is bytes:
        return buffer
    try:
        view = memoryview(buffer)
    except TypeError:
        raise InvalidMessage(f"buffers: {type(buffer).__name__} does not support the buffer protocol") from None
    except (ValueError, BufferError) as error:
        raise InvalidMessage(f"buffers: {type(buffer).__name__}: {error}") from None
    if not view.readonly or not view.c_contiguous or not view.nbytes:
        return view.tobytes()
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")
