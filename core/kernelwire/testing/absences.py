"""What is not claimed is not there: one check for each capability. What works without being claimed is a mistake too,
since nobody would hold the transport to it.
"""

import asyncio
from collections.abc import Awaitable
from random import Random
from types import MappingProxyType
from typing import Final

from kernelwire import registry
from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.errors import KernelwireError, NotSupported, TransportError
from kernelwire.link.framing import MAGIC
from kernelwire.testing.faults import Middle
from kernelwire.testing.harness import KEY, Client, Pair
from kernelwire.testing.kit import Behaviour, Check, Group

PATIENCE: Final = 2.0
"""Seconds for what is not expected to come."""


class Undeclared(AssertionError):
    """It works, and is not claimed."""


class CannotTell(Exception):
    """Nobody can know whether it is there."""


async def _no_signed(pair: Pair, _: Random) -> None:
    """No signature arrives."""
    client = await pair.connect()
    await client.end.shell.send(client.wire())
    if bytes((await pair.kernel.end.shell.receive()).frames[0]):
        raise Undeclared("signed: the signature arrives as it was sent")


async def _no_multi_client(pair: Pair, _: Random) -> None:
    """A second client is refused, or one of the two gets no answer."""
    try:
        async with asyncio.timeout(PATIENCE):
            clients = [await pair.connect() for _client in range(2)]
            for client in clients * 2:
                await _ask(pair, client)
    except (KernelwireError, TimeoutError):
        return
    raise Undeclared("multi_client: two clients work, each with its own replies")


async def _ask(pair: Pair, client: Client) -> None:
    request = client.message()
    await client.shell.send(request)
    _, wire = await pair.kernel.shell.receive_from()
    await pair.kernel.shell.send(pair.kernel.session.message("reply", parent=request), wire.peer)
    while not (await client.shell.receive()).is_child_of(request):
        pass


async def _no_resume(pair: Pair, _: Random) -> None:
    """A wire that is cut stays so."""
    middle = _middle(pair)
    client = await pair.connect()
    await _ask(pair, client)
    middle.cut()
    try:
        async with asyncio.timeout(PATIENCE):
            await _ask(pair, client)
    except (KernelwireError, TimeoutError):
        return
    raise Undeclared("resume: the wire was cut, and the client goes on")


async def _no_encrypted(pair: Pair, _: Random) -> None:
    """What passes is not what the link seals."""
    middle = _middle(pair)
    middle.record = True
    client = await pair.connect()
    await _ask(pair, client)
    if any(each.data.startswith(MAGIC) for each in middle.passed):
        raise Undeclared("encrypted: what passes is sealed")


async def _no_peer_events(pair: Pair, _: Random) -> None:
    """The kernel's end is not told of a client that comes."""
    events = pair.kernel.end.peers
    if events is None:
        return
    await pair.connect()
    if await _comes(events.receive()):
        raise Undeclared("peer_events: the kernel's end is told of clients")


async def _no_beat(pair: Pair, _: Random) -> None:
    """A heartbeat raises NotSupported."""
    client = await pair.connect()
    if Channel.HEARTBEAT not in client.end.channels:
        return
    try:
        await client.end.heartbeat.beat(PATIENCE)
    except NotSupported:
        return
    raise Undeclared("beat: a heartbeat is answered")


async def _no_serve(pair: Pair, _: Random) -> None:
    """The backend refuses to open a kernel's end."""
    try:
        backend = registry.load(pair.client_info.transport)
    except TransportError:
        raise CannotTell("the backend is not installed") from None
    try:
        end = await backend.serve(backend.prepare(ConnectionInfo(transport=pair.client_info.transport, key=KEY)))
    except KernelwireError:
        return
    await end.aclose()
    raise Undeclared("serve: it has a kernel's end")


async def _no_lossless_iopub(_pair: Pair, _: Random) -> None:
    """A wire may lose what is published: that is allowed, and need not happen."""
    raise CannotTell("what may be lost need not be")


async def _no_gap_notice(_pair: Pair, _: Random) -> None:
    """A loss may go without a word: what is lost elsewhere nobody here can know."""
    raise CannotTell("some losses may be told of")


def _middle(pair: Pair) -> Middle:
    try:
        return pair.middle
    except NotSupported:
        raise CannotTell("the harness has no power over the wire") from None


async def _comes(awaited: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            await awaited
    except (KernelwireError, TimeoutError):
        return False
    return True


def _absence(capability: str, check: Check) -> Behaviour:
    summary = (check.__doc__ or "").strip().splitlines()[0]
    return Behaviour(0, f"no_{capability}", Group.CLAIMS, summary, (), check)


_CHECKS: Final = {
    "serve": _no_serve,
    "signed": _no_signed,
    "multi_client": _no_multi_client,
    "lossless_iopub": _no_lossless_iopub,
    "gap_notice": _no_gap_notice,
    "resume": _no_resume,
    "encrypted": _no_encrypted,
    "peer_events": _no_peer_events,
    "beat": _no_beat,
}

ABSENCES: Final = MappingProxyType({name: _absence(name, check) for name, check in _CHECKS.items()})
"""By capability: passes if it is not there, raises Undeclared if it is."""
