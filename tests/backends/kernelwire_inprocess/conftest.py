"""IPython kernels of the tests' own: their profile is in a directory of the tests."""

import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from kernelwire.client import KernelClient, connect
from kernelwire_inprocess import ipython

Open = Callable[..., Awaitable[KernelClient]]


@pytest.fixture(autouse=True)
def _own_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not [each.name for each in set(threading.enumerate()) - before if each.name.startswith("kernelwire")]


@pytest.fixture
async def opened(no_thread_is_left: None) -> AsyncIterator[Open]:
    """Serve IPython, and connect to it; what else is given goes to `connect`."""
    async with AsyncExitStack() as stack:

        async def opens(user_ns: dict[str, object] | None = None, **options: object) -> KernelClient:
            info = await stack.enter_async_context(ipython(user_ns))
            return await stack.enter_async_context(connect(info, **options))  # type: ignore[arg-type]

        yield opens
    with contextlib.suppress(AttributeError):
        del no_thread_is_left
