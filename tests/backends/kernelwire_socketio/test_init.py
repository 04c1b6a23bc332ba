"""The package's public names, and what importing it costs."""

import subprocess
import sys

import pytest

import kernelwire_socketio
from kernelwire import registry


def test_the_public_names_are_these() -> None:
    assert kernelwire_socketio.__all__ == ["SocketioBackend"]


def test_they_are_what_the_registry_loads() -> None:
    assert type(registry.load("socketio")) is kernelwire_socketio.SocketioBackend


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Relay'"):
        kernelwire_socketio.Relay  # noqa: B018


def test_no_web_framework_is_imported_before_it_is_used() -> None:
    code = (
        "import sys; from kernelwire import registry; registry.load('socketio'); "
        "print([name for name in ('aiohttp', 'socketio', 'engineio', 'jwt') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
