"""Open a bridge between two connection infos: the backends are loaded, the near side is served, and closed with it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager

from kernelwire import registry
from kernelwire.bridge import TIME_TO_DEAD, Bridge
from kernelwire.carrying import Witness, cancel
from kernelwire.channels import Channel
from kernelwire.connection import ConnectionInfo
from kernelwire.ends import ClientEnd, KernelEnd
from kernelwire.errors import AddressInUse, BridgeLoop, InvalidField
from kernelwire.session import Session

_log = logging.getLogger("kernelwire.bridge")


@asynccontextmanager
async def open_bridge(
    far: ConnectionInfo,
    near: ConnectionInfo,
    *,
    time_to_dead: float = TIME_TO_DEAD,
    allow_unsigned: bool = False,
    on_open: Callable[[KernelEnd], object] | None = None,
    witness: Witness | None = None,
) -> AsyncIterator[ConnectionInfo]:
    """Serve the kernel at `far` at `near` too, as long as the context lasts; yields `near` with its address complete.

    It can be served again from what is yielded. What is written for clients must not have all of that: see
    :meth:`kernelwire.backend.Backend.for_clients`.

    When the far side ends, the near side closes at once. If it broke, that is logged at once too, and raised when the
    context is left without another error.

    Arguments:
        far: where the kernel is.
        near: where to serve it: at least a transport, and a key for the clients there. What is missing of its
            address is chosen.
        time_to_dead: see :data:`TIME_TO_DEAD`.
        allow_unsigned: serve a kernel that has a key without one.
        on_open: called with the near side's end, to be looked at only.
        witness: see there.

    Raises:
        InvalidField: the near side has no key, and the far side has; unless the near transport needs none.
        BridgeLoop: both are the same address.
        ConfigurationError: a transport or a field cannot be used, or the near address is taken.
        NotSupported: the near transport has no kernel end.
        NotServed, ConnectionLost: the far side cannot be opened; or, at the end of the context, it broke.
    """
    near_backend = registry.load(near.transport)
    if far.key and not near.key and near_backend.new_key() and not allow_unsigned:
        raise InvalidField("key", "missing on the near side, which would open the kernel to everybody who reaches it")
    if near.address == far.address:
        raise BridgeLoop("both sides of the bridge are the same kernel: give the near side another address")
    far_backend = registry.load(far.transport)

    def open_client(identity: bytes, channels: Collection[Channel]) -> Awaitable[ClientEnd]:
        return far_backend.connect(far, identity=identity, channels=channels)

    near = near_backend.prepare(near)
    async with AsyncExitStack() as stack:
        stack.callback(near_backend.release, near)
        try:
            end = await stack.enter_async_context(await near_backend.serve(near))
        except AddressInUse:
            stack.pop_all()  # what stands there is somebody else's
            raise
        if on_open is not None:
            on_open(end)
        carrier = Bridge(
            end,
            open_client,
            near_session=Session.of(near),
            far_session=Session.of(far),
            time_to_dead=time_to_dead,
            witness=witness,
            has_gaps=far_backend.capabilities.gap_notice,
        )
        running = asyncio.create_task(_run_and_close(carrier, end), name="kernelwire bridge")
        try:
            await _opened_or_failed(carrier, running)
            yield near
            if running.done():
                running.result()
        finally:
            await cancel([running])


async def _run_and_close(carrier: Bridge, near: KernelEnd) -> None:
    """Clients of a bridge that carries no more must not wait for ever."""
    try:
        await carrier.run()
    except Exception as error:
        if carrier.opened.is_set():  # whoever will see it raised is busy with something else now
            _log.error("the bridge broke: %s: %s", type(error).__name__, error)
        raise
    finally:
        await near.aclose()


async def _opened_or_failed(carrier: Bridge, running: "asyncio.Task[None]") -> None:
    """Raises what `running` raised before the far side was open."""
    opened = asyncio.create_task(carrier.opened.wait())
    try:
        await asyncio.wait([opened, running], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel([opened])
    if running.done():
        running.result()
