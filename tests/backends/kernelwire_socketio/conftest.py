"""Relays: a real process for the scenes, and one in the test's own loop for its parts."""

import io
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from integration._certificates import Certificates
from integration._relay_scenes import OpenScene, Scene
from integration._relays import RelayProcess
from kernelwire_socketio.host_tokens import HostKeys
from kernelwire_socketio.relay.limits import Limits
from kernelwire_socketio.relay.server import Relay


@pytest.fixture
async def open_scene() -> AsyncIterator[OpenScene]:
    """Opens a scene, with the limits that are given."""
    async with AsyncExitStack() as stack:

        async def open_scene(
            *,
            host_keys: HostKeys | None = None,
            behind_proxy: bool = False,
            clock: Any = None,
            tls: ssl.SSLContext | None = None,
            **limits: Any,
        ) -> Scene:
            log = io.StringIO()
            more = {} if clock is None else {"clock": clock}
            relay = Relay(Limits(**{"joins": 0, **limits}), log, host_keys=host_keys, behind_proxy=behind_proxy, **more)
            port = await relay.start("127.0.0.1", 0, tls)
            stack.push_async_callback(relay.close)
            inner = await stack.enter_async_context(AsyncExitStack())
            return Scene(relay, f"{'http' if tls is None else 'https'}://127.0.0.1:{port}", log, inner)

        yield open_scene


@pytest.fixture
async def scene(open_scene: OpenScene) -> Scene:
    """One with the usual limits."""
    return await open_scene()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, and what it says of this machine."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def relay_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """One for all tests that do not harm it."""
    with RelayProcess(tmp_path_factory.mktemp("relay")) as relay:
        yield relay


@pytest.fixture
def new_relay_process(tmp_path: Path) -> Iterator[Callable[..., RelayProcess]]:
    """Starts one of the test's own."""
    started: list[RelayProcess] = []

    def start(*arguments: str, **environment: str) -> RelayProcess:
        directory = tmp_path / secrets.token_hex(4)
        directory.mkdir()
        relay = RelayProcess(directory, *arguments, environment=environment)
        relay.start()
        started.append(relay)
        return relay

    yield start
    for relay in started:
        if relay.process is not None:
            relay.stop()
