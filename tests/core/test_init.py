"""The public names: a list that changes on purpose only, and costs nothing until a name is used."""

import ast
import inspect
import subprocess
import sys
from importlib import metadata

import pytest

import kernelwire

PUBLIC = [
    "AutoRestart",
    "Backend",
    "BlockingKernelManager",
    "Bridge",
    "Capabilities",
    "Channel",
    "ClientEnd",
    "ConnectionFile",
    "ConnectionInfo",
    "ControlChannel",
    "ExecuteResult",
    "Execution",
    "HeartbeatChannel",
    "HeartbeatMonitor",
    "IOPubChannel",
    "IOPubPublisher",
    "InputRequest",
    "KernelClient",
    "KernelEnd",
    "KernelManager",
    "Launcher",
    "LocalLauncher",
    "Message",
    "MessageChannel",
    "Patience",
    "RawChannels",
    "Session",
    "ShellChannel",
    "StdinChannel",
    "WireMessage",
    "connect",
    "errors",
    "new_key",
    "open_bridge",
    "open_channels",
    "serve",
]


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_list() -> None:
    assert kernelwire.__all__ == PUBLIC


def test_type_checkers_see_the_same_names_from_the_same_homes() -> None:
    seen = {}
    for node in ast.walk(ast.parse(inspect.getsource(kernelwire))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kernelwire"):
            for alias in node.names:
                assert alias.asname == alias.name, "a type checker takes only `as` for a re-export"
                home = (node.module or "").removeprefix("kernelwire").removeprefix(".")
                seen[alias.name] = home or alias.name
    assert seen == kernelwire._HOMES


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_resolves(name: str) -> None:
    value = getattr(kernelwire, name)
    home = f"kernelwire.{kernelwire._HOMES[name]}"
    assert (value.__name__ if name == "errors" else value.__module__) == home
    assert value.__doc__


def test_the_version_is_that_of_the_distribution() -> None:
    assert kernelwire.__version__ == metadata.version("kernelwire")
    assert "__version__" in dir(kernelwire)
    assert run("import sys, kernelwire; print('importlib.metadata' in sys.modules)") == "False"


def test_everything_may_be_imported_at_once() -> None:
    assert run("from kernelwire import *; print(sorted(n for n in dir() if n[0] != '_'))") == str(PUBLIC)


def test_dir_has_the_names_before_they_are_used() -> None:
    names = run("import kernelwire; print(*dir(kernelwire))").split()
    assert set(PUBLIC) < set(names)
    assert names == sorted(set(names))


def test_a_name_that_is_not_there() -> None:
    name = "nonsense"
    with pytest.raises(AttributeError, match="module 'kernelwire' has no attribute 'nonsense'"):
        getattr(kernelwire, name)
    assert not hasattr(kernelwire, "__path_to_nowhere__")


def test_importing_costs_next_to_nothing() -> None:
    script = "import sys; import kernelwire; print({'zmq', 'asyncio', 'msgspec', 'stevedore'} & sys.modules.keys())"
    assert run(script) == "set()"


def test_using_a_pure_name_imports_no_transport() -> None:
    script = """
import sys
from kernelwire import Session, connect, open_bridge
print({'zmq', 'stevedore', 'kernelwire_zmq', 'kernelwire_inprocess', 'jupyter_core'} & sys.modules.keys())
"""
    assert run(script) == "set()"
