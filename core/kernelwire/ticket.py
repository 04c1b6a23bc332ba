"""Tickets: all that a client must know to reach a kernel or a host over a link, as one line of text.

::

    ticket = "kernelwire1:" · base64url, without padding, of (length · checksum · body)
    length = 2 octets, big-endian: of the body
    checksum = the first 8 octets of SHA-256("kernelwire1:" · length · body)
    body = msgpack map: "kind": "kernel" or "host", "connection": map, the fields of a connection file

The checksum finds what mail, chat and terminals do to text; it keeps nobody from making tickets. A ticket lets whoever
has it run code, so it is written for its owner alone, and no error and no ``repr`` shows anything of it.
"""

import base64
import binascii
import hashlib
import os
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from kernelwire import private_file
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import InvalidField, LocalError, TicketError

Kind = Literal["kernel", "host"]

VERSION: Final = 1

MAX_BYTES: Final = 64 * 1024
"""Bound on a ticket, with the line breaks in it; real ones have a few hundred characters."""

VARIABLE: Final = "KERNELWIRE_TICKET"
"""The environment variable that commands take a ticket from."""

KEY_FIELDS: Final = ("link_secret", "host_key")
"""What every ticket has beside the transport: two fields of 32 bytes each, as :func:`key_text` writes them."""

PRIVATE_FIELDS: Final = ("host_private_key", "host_token", "curve_secretkey")
"""What never goes into a ticket: with these, somebody could pose as a host."""

_NAME: Final = "kernelwire"
_PREFIX: Final = f"{_NAME}{VERSION}:"
_FORM = re.compile(rf"{_NAME}([0-9]{{1,4}}):(.*)")
_BREAK = re.compile(r"[ \t]*[\r\n]+[ \t]*")
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_LENGTH = struct.Struct(">H")
_CHECKSUM_SIZE: Final = 8
_HEAD_SIZE: Final = _LENGTH.size + _CHECKSUM_SIZE
_KEY_SIZE: Final = 32
_MAX_DEPTH: Final = 32
_AGAIN: Final = "copy it again, whole, or ask for a new one"


@dataclass(frozen=True)
class Ticket:
    """What a ticket says. ``repr`` shows no secret.

    Attributes:
        kind: ``kernel`` for one kernel; ``host`` lets its holder start kernels, and so run code, on that machine.
        info: how to get there.
    """

    kind: Kind
    info: ConnectionInfo


def encode(info: ConnectionInfo, *, kind: Kind = "kernel") -> str:
    """A ticket for `info`, without a line break. It has all fields but those in ``PRIVATE_FIELDS``.

    Raises:
        InvalidField: ``link_secret`` or ``host_key`` is missing or not 32 bytes, or a field has a value that no
            connection file could hold.
        TicketError: it would be over 64 KiB.
        LocalError: there is no such kind.
    """
    import msgpack  # here, because reading a connection file does not need it

    if kind not in get_args(Kind):
        raise LocalError(f"kind: one of {', '.join(get_args(Kind))} is needed")
    for name in KEY_FIELDS:
        key_of(info, name)
    fields = {name: value for name, value in info.to_dict().items() if name not in PRIVATE_FIELDS}
    for name, value in fields.items():
        if not _is_plain({name: value}):
            raise InvalidField(str(name), "a name or a value that no ticket can hold")
    body = msgpack.packb({"kind": kind, "connection": fields})
    if len(body) > MAX_BYTES // 4 * 3 - _HEAD_SIZE - len(_PREFIX):
        raise TicketError(f"the ticket would be over {MAX_BYTES} bytes; a connection has a few hundred")
    length = _LENGTH.pack(len(body))
    return _PREFIX + _base64url(length + _checksum(length, body) + body)


def decode(text: str | bytes) -> Ticket:
    """What the ticket `text` says; space around it and line breaks within are no harm.

    Raises:
        TicketError: no ticket, or one that is mangled, cut short, of another version or over 64 KiB; or whoever made it
            left out or misspelt a field. The text says which.
    """
    if len(text) > MAX_BYTES:
        raise TicketError(f"over {MAX_BYTES} bytes, which no ticket is")
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    line = _BREAK.sub("", text.strip())
    if not line:
        raise TicketError("there is no ticket: it is empty")
    form = _FORM.fullmatch(line)
    if form is None:
        if _PREFIX.startswith(line):
            raise TicketError(f"the ticket is cut short after {len(line)} characters; {_AGAIN}")
        raise TicketError(f"this is no ticket: one begins with {_PREFIX}")
    version, encoded = form.groups()
    if version != str(VERSION):
        fix = "upgrade kernelwire here" if int(version) > VERSION else "ask for a new one, from a newer kernelwire"
        raise TicketError(f"the ticket has version {version}, and this kernelwire reads version {VERSION}; {fix}")
    return _ticket(_body(encoded))


def is_ticket(data: bytes) -> bool:
    """Whether `data` is meant as a ticket and not as a JSON object; it may still be a bad one."""
    return data.lstrip().startswith(_NAME.encode())


def write(
    path: str | os.PathLike[str], info: ConnectionInfo, *, kind: Kind = "kernel", overwrite: bool = False
) -> Path:
    """Write a ticket for `info` to a file of mode 0600, at once and whole; return where, absolute.

    Arguments:
        path: the file. Directories that are missing are made with mode 0700.
        info: what to write.
        kind: of the ticket.
        overwrite: whether to take the place of a file that is there.

    Raises:
        ConnectionFileError: `path` exists and may not be overwritten, or cannot be written.
        InvalidField: see :func:`encode`, as for the others.
    """
    target = Path(path).absolute()
    os.close(private_file.write(target, encode(info, kind=kind).encode("ascii") + b"\n", overwrite=overwrite))
    return target


def read(path: str | os.PathLike[str]) -> Ticket:
    """What the ticket in the file at `path` says, or for ``-`` the one on standard input.

    Warns with :class:`~kernelwire.private_file.InsecureFileWarning` if others may open the file.

    Raises:
        ConnectionFileNotFound: there is no such file.
        ConnectionFileError: it cannot be read.
        TicketError: see :func:`decode`; the text says where it stood.
    """
    if path == "-":
        return _decode_from(_standard_input(), "on standard input")
    path = Path(path)
    data, mode = private_file.read(path, MAX_BYTES)
    found = _decode_from(data, f"in {path}")
    private_file.warn_if_open(path, mode, "a ticket", stacklevel=2)
    return found


def from_environment(variable: str = VARIABLE) -> Ticket:
    """What the ticket in an environment variable says.

    Raises:
        TicketError: the variable is not set; or see :func:`decode`.
    """
    text = os.environ.get(variable)
    if text is None:
        raise TicketError(f"there is no ticket: the environment variable {variable} is not set")
    return _decode_from(text, f"in the environment variable {variable}")


def key_text(key: bytes) -> str:
    """How a key of 32 bytes stands in a connection file: 43 characters of base64url.

    Raises:
        LocalError: `key` has another size.
    """
    if len(key) != _KEY_SIZE:
        raise LocalError(f"{len(key)} bytes where {_KEY_SIZE} are needed")
    return _base64url(key)


def key_of(info: ConnectionInfo, field: str) -> bytes:
    """The 32 bytes of `field`, such as ``link_secret``, ``host_key`` or ``host_private_key``.

    Raises:
        InvalidField: it is missing, no base64url, or not 32 bytes. The value is not shown.
    """
    value = info.extra.get(field)
    if value is None:
        raise InvalidField(field, "missing; a link needs it")
    key = _bytes(value) if isinstance(value, str) else None
    if key is None:
        raise InvalidField(field, f"no text in base64url, in which {_KEY_SIZE} bytes are needed")
    if len(key) != _KEY_SIZE:
        raise InvalidField(field, f"too {'short' if len(key) < _KEY_SIZE else 'long'}: {_KEY_SIZE} bytes are needed")
    return key


def _body(encoded: str) -> bytes:
    if foreign := _FOREIGN.search(encoded):
        place = len(_PREFIX) + foreign.start() + 1
        raise TicketError(f"the ticket is mangled: character {place} is none that a ticket has; {_AGAIN}")
    there = len(_PREFIX) + len(encoded)
    head = _bytes(encoded[:4])
    if head is None or len(head) < _LENGTH.size:
        raise TicketError(f"the ticket is cut short after {there} characters; {_AGAIN}")
    size = _HEAD_SIZE + _LENGTH.unpack_from(head)[0]
    wanted = len(_PREFIX) + -(-size * 4 // 3)
    if there != wanted:
        what = "cut short" if there < wanted else "mangled, or something was added to it"
        raise TicketError(f"the ticket is {what}: {there} characters where it says {wanted}; {_AGAIN}")
    data = _bytes(encoded)
    if data is None or data[_LENGTH.size : _HEAD_SIZE] != _checksum(data[: _LENGTH.size], data[_HEAD_SIZE:]):
        raise TicketError(f"the ticket is mangled: it has all its characters, but not the right ones; {_AGAIN}")
    return data[_HEAD_SIZE:]


def _ticket(body: bytes) -> Ticket:
    import msgpack

    try:
        content: Any = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException, RecursionError):
        content = None
    # All of these are raised where no error is being handled: those hold the content, and would travel as the context.
    if not isinstance(content, dict) or content.keys() != {"kind", "connection"}:
        raise TicketError("the ticket came whole, but not with what one has; whoever made it must mend that")
    kind, fields = content["kind"], content["connection"]
    if kind not in get_args(Kind) or not isinstance(fields, dict) or not _is_plain(fields):
        raise TicketError("the ticket came whole, but not with what one has; whoever made it must mend that")
    problem = ""
    if private := fields.keys() & set(PRIVATE_FIELDS):
        problem = f"connection field {min(private)!r}: no ticket may hold it"
    elif "transport" not in fields:
        problem = "connection field 'transport': missing"
    else:
        try:
            info = ConnectionInfo.from_dict(fields)
            for name in KEY_FIELDS:
                key_of(info, name)
        except InvalidField as error:
            problem = str(error)
    if problem:
        raise TicketError(f"the ticket came whole, but cannot be used: {problem}; ask for a new one")
    return Ticket(kind, info)


def _decode_from(text: str | bytes, where: str) -> Ticket:
    try:
        return decode(text)
    except TicketError as error:
        error.args = (f"{error} ({where})",)
        raise


def _standard_input() -> str | bytes:
    if sys.stdin is None:
        return ""
    # Not as text, where it can be helped: an error in decoding would hold all of it.
    stream = getattr(sys.stdin, "buffer", sys.stdin)
    data: str | bytes = stream.read(MAX_BYTES + 1)
    return data


def _checksum(length: bytes, body: bytes) -> bytes:
    return hashlib.sha256(_PREFIX.encode("ascii") + length + body).digest()[:_CHECKSUM_SIZE]


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _bytes(text: str) -> bytes | None:
    """What `text` is the base64url of; None for anything that :func:`_base64url` does not write."""
    if _FOREIGN.search(text):
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
    return data if _base64url(data) == text else None  # the last character can have bits that mean nothing


def _is_plain(value: object, depth: int = 0) -> bool:
    """Whether both JSON and msgpack can say `value`."""
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, bool | float | None):
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    if isinstance(value, list | tuple):
        return all(_is_plain(item, depth + 1) for item in value)
    return isinstance(value, dict) and all(
        isinstance(name, str) and _is_plain(name) and _is_plain(item, depth + 1) for name, item in value.items()
    )
