"""Which requests a host has passed on to a kernel, on disk: so its successor can say of each whether it may have run.

Written before a request is passed on, and again when its reply has come back from the kernel. It holds ids of messages
and nothing of what they say. The newest :data:`KEPT` requests are kept; who asks for an older one hears that nobody
knows.
"""

import hashlib
import os
import re
from collections import OrderedDict
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

import msgspec

from kernelwire import private_file
from kernelwire.channels import Channel
from kernelwire.connection_file import runtime_dir
from kernelwire.errors import ConnectionFileError, ConnectionFileNotFound
from kernelwire.messages import Frame, WireMessage

KEPT: Final = 1000
"""Requests of one kernel that are remembered."""

MAX_BYTES: Final = 1024 * 1024
"""Bound on a journal file, which is written anew long before that."""

_LINES: Final = 4 * KEPT
_PLAIN: Final = re.compile(r"[!-~]{1,128}")
_PASSED, _ANSWERED, _FORGOT = "p", "a", "f"


class Fate(StrEnum):
    """What became of a request."""

    NEVER = "never passed on"
    """The kernel has not got it, nor will it: it can be sent again."""
    PASSED = "passed on"
    """The kernel has got it, or was just about to; it may run, or have run."""
    ANSWERED = "answered"
    """It has run, and the kernel has replied."""
    FORGOTTEN = "forgotten"
    """It is older than what the journal reaches back to, or was never passed on."""


class _Header(msgspec.Struct):
    msg_id: str = ""


_decode = msgspec.json.Decoder(_Header).decode


class Journal:
    """One kernel's. Whoever makes one goes on with what is there.

    Arguments:
        path: the file, absolute; made when there is something to write, with mode 0600.

    Attributes:
        path: as given.
        former: the fates, by id, that former hosts have written down.

    Raises:
        ConnectionFileError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fates: OrderedDict[str, Fate] = OrderedDict()
        self._reaches_back = True  # to the kernel's first request
        self._lines = 0
        self._descriptor: int | None = None
        self._read()
        self.former = dict(self._fates)

    @classmethod
    def of(cls, kernel_id: str) -> Self:
        """A host's, of one of its kernels."""
        return cls(runtime_dir() / f"hosted-{kernel_id}.journal")

    @property
    def unanswered(self) -> list[str]:
        """The requests that former hosts had passed on, and whose replies they have not seen."""
        return [key for key, fate in self.former.items() if fate is Fate.PASSED]

    def fate(self, msg_id: str) -> Fate:
        """What became of a request."""
        return self._fates.get(_key(msg_id), Fate.NEVER if self._reaches_back else Fate.FORGOTTEN)

    def passes(self, channel: Channel, request: WireMessage) -> None:
        """Of a bridge: a request is about to be passed on.

        Raises:
            ConnectionFileError: that cannot be written down.
        """
        if channel is not Channel.STDIN and (key := _key_of(request.frames[1])):
            self._note(key, Fate.PASSED)

    def returns(self, channel: Channel, reply: WireMessage) -> None:
        """Of a bridge: a reply has come. Raises as `passes`."""
        if channel is not Channel.STDIN and (key := _key_of(reply.frames[2])) in self._fates:
            self._note(key, Fate.ANSWERED)

    def close(self) -> None:
        """Let go of the file, for a successor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """The kernel has ended."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _note(self, key: str, fate: Fate) -> None:
        self._remember(key, fate)
        if self._descriptor is None or self._lines >= _LINES:
            self._write()
            return
        try:
            os.write(self._descriptor, _line(key, fate))
        except OSError as error:
            raise ConnectionFileError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._lines += 1

    def _remember(self, key: str, fate: Fate) -> None:
        self._fates[key] = fate
        if len(self._fates) > KEPT:
            self._fates.popitem(last=False)
            self._reaches_back = False

    def _write(self) -> None:
        """All of it anew."""
        self.close()
        lines = [] if self._reaches_back else [f"{_FORGOT}\n".encode()]
        lines += [_line(key, fate) for key, fate in self._fates.items()]
        self._descriptor = private_file.write(self.path, b"".join(lines), overwrite=True)
        self._lines = len(lines)

    def _read(self) -> None:
        try:
            data, _ = private_file.read(self.path, MAX_BYTES)
        except ConnectionFileNotFound:
            return
        for line in data.decode("ascii", "replace").splitlines():
            mark, _, key = line.partition(" ")
            if mark == _FORGOT:
                self._reaches_back = False
            elif mark in (_PASSED, _ANSWERED) and key:
                self._remember(key, Fate.PASSED if mark == _PASSED else Fate.ANSWERED)


def _key_of(header: Frame) -> str:
    """Of a message by its header; empty if it has no id that anybody could ask for."""
    try:
        msg_id = _decode(header).msg_id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return _key(msg_id) if msg_id else ""


def _key(msg_id: str) -> str:
    """Fit to stand on a line, whatever a client has thought up."""
    return msg_id if _PLAIN.fullmatch(msg_id) else f"sha256:{hashlib.sha256(msg_id.encode()).hexdigest()}"


def _line(key: str, fate: Fate) -> bytes:
    return f"{_ANSWERED if fate is Fate.ANSWERED else _PASSED} {key}\n".encode("ascii")
