"""A served object and raw channels to it, in one process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from kernelwire.client import KernelClient, connect
from kernelwire.connection import ConnectionInfo
from kernelwire.serving import serve

Open = Callable[..., Awaitable[KernelClient]]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Serve an object, and connect to it; what else is given goes to `connect`."""
    async with AsyncExitStack() as stack:

        async def opens(served: object, **options: object) -> KernelClient:
            info = await stack.enter_async_context(serve(served, "inprocess"))
            assert isinstance(info, ConnectionInfo)
            return await stack.enter_async_context(connect(info, **options))  # type: ignore[arg-type]

        yield opens
