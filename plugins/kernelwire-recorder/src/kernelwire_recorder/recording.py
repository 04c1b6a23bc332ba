"""The file: JSON lines, of which the first says what it is.

::

    {"kernelwire-recording": 1}
    {"client": "3f…", "channel": "shell", "to": "kernel", "header": {…}, …, "buffers": ["base64"]}
    {"client": "3f…", "end": true}

It holds no key and no signature, but all that was said, passwords among it: so it is for its owner alone.
"""

import base64
import binascii
import fcntl
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from kernelwire.channels import Channel
from kernelwire.errors import ConfigurationError
from kernelwire.messages import Message

MARK: Final = "kernelwire-recording"
VERSION: Final = 1

To = Literal["kernel", "client"]

_PARTS: Final = ("header", "parent_header", "metadata", "content")
_CHANNELS: Final = frozenset(Channel) - {Channel.HEARTBEAT}


class RecordingError(ConfigurationError):
    """A recording that cannot be read, is of another version, truncated, or no recording at all."""


@dataclass(frozen=True)
class Said:
    """One message of a recording.

    Attributes:
        channel: where.
        to: whom.
        message: what.
    """

    channel: Channel
    to: To
    message: Message


class Recording:
    """A client's part of a recording, for writing. Several clients may write to one file.

    Arguments:
        path: made if nothing is there, with mode 0600.

    Raises:
        RecordingError: it cannot be written, or is something else.
    """

    def __init__(self, path: Path) -> None:
        self._client = uuid.uuid4().hex
        try:
            self._file = open(path, "ab", opener=_for_its_owner)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise RecordingError(f"recording: {path} cannot be written: {error.strerror or error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)  # so that one of several writes the first line
            if not os.fstat(self._file.fileno()).st_size:
                self._write({MARK: VERSION})
            else:
                _check_first_line(path)
            fcntl.flock(self._file, fcntl.LOCK_UN)
        except BaseException:
            self._file.close()
            raise

    def note(self, said: Said) -> None:
        """Write down one message."""
        parts = {name: getattr(said.message, name) for name in _PARTS}
        buffers = [base64.b64encode(buffer).decode("ascii") for buffer in said.message.buffers]
        self._write({"client": self._client, "channel": said.channel, "to": said.to, **parts, "buffers": buffers})

    def close(self) -> None:
        """Write down that this client has said all."""
        if not self._file.closed:
            self._write({"client": self._client, "end": True})
            self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line).encode("ascii") + b"\n")
        self._file.flush()  # a line is whole or not there, whoever writes beside this


def read(path: Path) -> list[Said]:
    """All that a recording holds, in the order in which it was written.

    Raises:
        RecordingError: see there.
    """
    try:
        with path.open("rb") as file:
            lines = file.read().split(b"\n")
    except OSError as error:
        raise RecordingError(f"recording: {path} cannot be read: {error.strerror or error}") from error
    _check_first_line(path)
    if lines.pop():
        raise RecordingError(f"recording: {path} is truncated: line {len(lines) + 1} does not end; record it again")
    said: list[Said] = []
    unfinished: dict[str, int] = {}
    for number, text in enumerate(lines[1:], 2):
        line = _parse(path, number, text)
        client = str(line.get("client"))
        if "end" in line:
            unfinished.pop(client, None)
            continue
        unfinished.setdefault(client, number)
        said.append(_said(path, number, line))
    if unfinished:
        first = min(unfinished.values())
        raise RecordingError(f"recording: {path} is truncated: the client of line {first} has no end; record it again")
    return said


def _check_first_line(path: Path) -> None:
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline(1000))
    except (OSError, ValueError):
        first = None
    if not isinstance(first, dict) or MARK not in first:
        raise RecordingError(f"recording: {path} is no recording of kernelwire-recorder")
    if first[MARK] != VERSION:
        raise RecordingError(
            f"recording: {path} is of version {first[MARK]!r}, and this reads version {VERSION}; record it again"
        )


def _parse(path: Path, number: int, text: bytes) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    if not isinstance(line, dict):
        raise RecordingError(f"recording: {path}, line {number}: no JSON object")
    return line


def _said(path: Path, number: int, line: Mapping[str, Any]) -> Said:
    parts = {name: line.get(name) for name in _PARTS}
    to, buffers = line.get("to"), line.get("buffers")
    if not all(isinstance(part, dict) for part in parts.values()) or to not in ("kernel", "client"):
        raise RecordingError(f"recording: {path}, line {number}: no message")
    if line.get("channel") not in _CHANNELS or not isinstance(buffers, list):
        raise RecordingError(f"recording: {path}, line {number}: no message")
    try:
        decoded = tuple(base64.b64decode(each, validate=True) for each in buffers)
    except (TypeError, ValueError, binascii.Error):
        raise RecordingError(f"recording: {path}, line {number}: a buffer is no base64") from None
    message = Message(**cast("dict[str, Any]", parts), buffers=decoded)
    return Said(Channel(line["channel"]), cast("To", to), message)


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
