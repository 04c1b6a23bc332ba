"""What is remembered of a launch, and what cannot be one."""

from typing import Any

import pytest

from kernelwire import kernelspecs
from kernelwire.errors import KernelspecError, LocalError, NoSuchKernelspec
from kernelwire.kernelspecs import KernelSpec
from kernelwire.launch import Launch


def test_overrides() -> None:
    launch = Launch(kernel_name="a", argv=["x"], ip="127.0.0.1", env={"A": "1"})
    assert launch.overridden({}) == launch
    other = launch.overridden({"env": {"B": "2"}, "cwd": "/", "timeout": 3.0})
    assert (other.argv, other.env, other.cwd, other.timeout, other.ip) == (["x"], {"B": "2"}, "/", 3.0, "127.0.0.1")
    assert launch.overridden({"argv": ["y"]}).argv == ["y"]
    other = launch.overridden({"arguments": ["-v"]}).overridden({"kernel_name": "b"})
    assert (other.argv, other.arguments) == (None, ())
    with pytest.raises(LocalError, match=r"cannot change ip, transport, only kernel_name"):
        launch.overridden({"transport": "ipc", "ip": "*", "cwd": "/"})


def test_the_kernelspec(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Launch(kernel_name="mine", argv=["x", "{connection_file}"]).spec()
    assert (spec.name, spec.argv, spec.interrupt_mode) == ("mine", ("x", "{connection_file}"), "signal")
    with pytest.raises(NoSuchKernelspec):
        Launch(kernel_name="no-such-kernel").spec()
    monkeypatch.setattr(kernelspecs, "get", lambda name: kernelspecs.KernelSpec(name, ("y",)))
    assert Launch(kernel_name="mine").spec().argv == ("y",)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"argv": "python -m kernel"}, "argv: a list"),
        ({"argv": [1]}, "argv: a list"),
        ({"argv": 1}, "argv: a list"),
        ({"arguments": "--debug"}, "arguments: a list"),
        ({"arguments": None}, "arguments: a list"),
        ({"env": {"A": 1}}, "env: names and values are text"),
        ({"env": {"A": None}}, "env: names and values are text"),
        ({"env": ["A"]}, "env: names and values are text"),
        ({"argv": []}, "argv: it is empty"),
        ({"kernel_name": 3}, "kernel_name: text"),
        ({"launcher": "local"}, "launcher: an object"),
        ({"cwd": 3}, "cwd: a path"),
        ({"connection_file": 3}, "connection_file: a path"),
        ({"timeout": "soon"}, "timeout: a number of seconds"),
        ({"encryption": "curve"}, "encryption: 'curve' is none of disabled, auto, required"),
        ({"encryption": True}, "encryption: True is none of"),
    ],
)
def test_what_is_no_launch(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(LocalError, match=says):
        Launch(**wrong)
    if not wrong.keys() & {"encryption", "connection_file"}:
        with pytest.raises(LocalError, match=says):
            Launch().overridden(wrong)


@pytest.mark.parametrize(
    ("claims", "asked", "comes_to"),
    [
        (["curve"], "disabled", "disabled"),
        (["curve"], "auto", "auto"),
        (["curve"], "required", "required"),
        ([], "disabled", "disabled"),
        ([], "auto", "disabled"),
    ],
)
def test_encryption(claims: list[str], asked: Any, comes_to: str) -> None:
    spec = KernelSpec("mine", ("x",), metadata={"supported_encryption": claims})
    assert Launch(encryption=asked).encryption_of(spec) == comes_to


def test_encryption_that_the_kernel_does_not_claim() -> None:
    with pytest.raises(KernelspecError, match=r"'mine'.*supported_encryption.*encryption='auto'"):
        Launch(encryption="required").encryption_of(KernelSpec("mine", ("x",)))
    own = Launch(encryption="required", argv=["x"])
    assert own.encryption_of(own.spec()) == "required"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (["relay"], "fields: a mapping"),
        ({1: "x"}, "fields: a mapping"),
        ({"relay": "x", "key": "k"}, "fields: key is an argument of its own"),
    ],
)
def test_connection_fields_that_cannot_be(fields: Any, says: str) -> None:
    with pytest.raises(LocalError, match=says):
        Launch(fields=fields)
    assert "the-secret" not in repr(Launch(fields={"host_token": "the-secret"}))
