"""The backend, and what makes connection fields for it.

===========  =========================================================================================
field        meaning
===========  =========================================================================================
`mode`       ``record`` or ``replay``; ``record`` if not given
`recording`  the file's path
`inner`      to record: the connection fields of the transport that is wrapped, without ``key``, ``signature_scheme``
             and ``kernel_name``, which are this one's
===========  =========================================================================================
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from kernelwire import registry
from kernelwire.backend import Backend, Capabilities, check_identity
from kernelwire.channels import ALL_CHANNELS, Channel
from kernelwire.connection import ConnectionInfo, new_key
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import InvalidField, NotSupported
from kernelwire.session import Session
from kernelwire_recorder.channels import MAX_MESSAGE_BYTES, tapped
from kernelwire_recorder.recording import Recording, read
from kernelwire_recorder.replay import Player, Tape

VARIABLE: Final = "KERNELWIRE_RECORDING"
"""Environment variable: where a kernel that is started on this transport has its clients record. A temporary file that
goes with the kernel if it is not set.
"""

_PREFIX: Final = "kernelwire-recording-"
_SHARED: Final = ("key", "signature_scheme", "kernel_name")


def record(kernel: ConnectionInfo, path: str | os.PathLike[str]) -> ConnectionInfo:
    """The connection to a kernel that runs, by way of a recording: each client that uses it is written down.

    Arguments:
        kernel: where it is.
        path: the recording; clients are added to one that is there.
    """
    inner = {name: value for name, value in kernel.to_dict().items() if name not in _SHARED}
    return ConnectionInfo(
        transport="recorder",
        key=kernel.key,
        signature_scheme=kernel.signature_scheme,
        kernel_name=kernel.kernel_name,
        extra={"mode": "record", "recording": str(Path(path).absolute()), "inner": inner},
    )


def replay(path: str | os.PathLike[str]) -> ConnectionInfo:
    """The connection to a kernel that is a recording. Each client begins at its beginning."""
    extra = {"mode": "replay", "recording": str(Path(path).absolute())}
    return ConnectionInfo(transport="recorder", key=new_key(), extra=extra)


class RecorderBackend(Backend):
    """Wraps any transport, and claims what all of them have."""

    capabilities = Capabilities(beat="kernel", max_message_bytes=MAX_MESSAGE_BYTES)

    def prepare(self, info: ConnectionInfo) -> ConnectionInfo:
        """Complete the wrapped address; tcp if there is none."""
        if _mode(info) == "replay":
            raise NotSupported("a recording is replayed to its clients, and has no kernel's end")
        if not info.extra.get("recording"):
            path = os.environ.get(VARIABLE) or Path(tempfile.mkdtemp(prefix=_PREFIX)) / "recording.jsonl"
            info = info.replace(recording=str(Path(path).absolute()))
        inner = _inner(info if info.extra.get("inner") else info.replace(inner={"transport": "tcp"}))
        return _with_inner(info, registry.load(inner.transport).prepare(inner))

    def for_clients(self, info: ConnectionInfo) -> ConnectionInfo:
        """Without what the wrapped transport keeps for the kernel's end."""
        if _mode(info) == "replay":
            return info
        inner = _inner(info)
        return _with_inner(info, registry.load(inner.transport).for_clients(inner))

    def release(self, info: ConnectionInfo) -> None:
        """Remove what the wrapped transport left, and a recording that nobody has asked for."""
        if _mode(info) == "replay":
            return
        inner = _inner(info)
        registry.load(inner.transport).release(inner)
        folder = _recording(info).parent
        if folder.name.startswith(_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)

    async def serve(self, info: ConnectionInfo) -> KernelEnd:
        """The wrapped one: it is the clients who write."""
        if _mode(info) == "replay":
            raise NotSupported("a recording is replayed to its clients, and has no kernel's end")
        inner = _inner(info)
        with _of_inner():
            return await registry.load(inner.transport).serve(inner)

    async def connect(
        self, info: ConnectionInfo, *, identity: bytes, channels: Collection[Channel] = ALL_CHANNELS
    ) -> ClientEnd:
        """Connect to the wrapped kernel, or to the recording."""
        check_identity(identity)
        if _mode(info) == "replay":
            return await _play(info, identity, channels)
        inner = _inner(info)
        path = _recording(info)
        with _of_inner():
            end = await registry.load(inner.transport).connect(inner, identity=identity, channels=channels)
        try:
            recording = Recording(path)  # not before there is something to be written down
        except BaseException:
            await end.aclose()
            raise

        async def close() -> None:
            try:
                await end.aclose()
            finally:
                recording.close()

        return tapped(end, recording, lambda: Session.of(info), close)


async def _play(info: ConnectionInfo, identity: bytes, channels: Collection[Channel]) -> ClientEnd:
    """A kernel of this client's own, in this process."""
    tape = Tape(read(_recording(info)))
    backend = registry.load("inprocess")
    here = backend.prepare(ConnectionInfo(transport="inprocess", key=info.key, signature_scheme=info.signature_scheme))
    kernel = await backend.serve(here)
    try:
        end = await backend.connect(here, identity=identity, channels=channels)
    except BaseException:
        await kernel.aclose()
        raise
    playing = asyncio.create_task(Player(kernel, Session.of(info), tape).run(), name="kernelwire recorder")

    async def close() -> None:
        try:
            await end.aclose()
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            await kernel.aclose()

    opened = end.channels
    return ClientEnd(
        shell=end.shell if Channel.SHELL in opened else None,
        control=end.control if Channel.CONTROL in opened else None,
        stdin=end.stdin if Channel.STDIN in opened else None,
        iopub=end.iopub if Channel.IOPUB in opened else None,
        heartbeat=end.heartbeat if Channel.HEARTBEAT in opened else None,
        on_close=close,
    )


def _mode(info: ConnectionInfo) -> str:
    mode = info.extra.get("mode", "record")
    if mode not in ("record", "replay"):
        raise InvalidField("mode", "'record' or 'replay' is needed")
    return str(mode)


def _recording(info: ConnectionInfo) -> Path:
    path = info.extra.get("recording")
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidField("recording", "the path of a file is needed")
    return Path(path)


def _inner(info: ConnectionInfo) -> ConnectionInfo:
    fields = info.extra.get("inner")
    if not isinstance(fields, Mapping):
        raise InvalidField("inner", "the connection fields of the wrapped transport are needed, as an object")
    if fields.get("transport") == "recorder":
        raise InvalidField("inner", "a recorder cannot wrap itself")
    shared: dict[str, Any] = {name: getattr(info, name) for name in _SHARED}
    its_own = {name: value for name, value in fields.items() if name not in _SHARED}
    with _of_inner():
        return ConnectionInfo.from_dict(its_own).replace(**shared)


@contextmanager
def _of_inner() -> Iterator[None]:
    """Errors name the field `inner` too, since that is where the field is that they name."""
    try:
        yield
    except InvalidField as error:
        raise InvalidField("inner", str(error)) from error


def _with_inner(info: ConnectionInfo, inner: ConnectionInfo) -> ConnectionInfo:
    fields = {name: value for name, value in inner.to_dict().items() if name not in _SHARED}
    return info.replace(inner=fields, mode=_mode(info))
