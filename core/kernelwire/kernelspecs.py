"""Kernelspecs: how kernels are started, found where Jupyter finds them.

Source: "Kernel specs" of https://jupyter-client.readthedocs.io/en/stable/kernels.html.
"""

import difflib
import logging
import os
import re
import string
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import Any, Final, Literal, Self, cast

from kernelwire import jsoncodec
from kernelwire.errors import KernelspecError, MalformedMessage, NoSuchKernelspec

_log = logging.getLogger(__name__)

NATIVE: Final = f"python{sys.version_info[0]}"
"""The name of the kernelspec of this very Python, which is there even if it was never installed."""

_FILE: Final = "kernel.json"
_PYTHONS: Final = frozenset({"python", NATIVE, f"{NATIVE}.{sys.version_info[1]}"})


@dataclass(frozen=True)
class KernelSpec:
    """How a kernel is started.

    Attributes:
        name: in lower case.
        argv: its command, with ``{connection_file}`` where the path of that goes.
        display_name: for people.
        language: what it runs.
        env: environment variables to add, which may name others as ``${VAR}``.
        interrupt_mode: ``signal`` if SIGINT interrupts it, ``message`` if an interrupt_request does.
        metadata: anything.
        resource_dir: where its files are; None for one that was made by hand.
    """

    name: str
    argv: Sequence[str]
    display_name: str = ""
    language: str = ""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    interrupt_mode: Literal["signal", "message"] = "signal"
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    resource_dir: Path | None = None

    @classmethod
    def from_directory(cls, name: str, directory: Path) -> Self:
        """Read the ``kernel.json`` of a directory.

        Raises:
            KernelspecError: there is none, or it is not a kernelspec; the text says what is wrong with it.
        """
        path = directory / _FILE
        # Raised where no error is being handled: what jsoncodec raises may quote the file.
        problem = ""
        fields: object = None
        try:
            data = path.read_bytes()
            data.decode("utf-8")
            fields = jsoncodec.decode(data, "kernelspec")
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            problem = "not UTF-8"
        except MalformedMessage as error:
            problem = str(error)
        problem = problem or _problem(fields)
        if problem:
            raise KernelspecError(f"kernelspec {name!r}: {path}: {problem}")
        known = cast("dict[str, Any]", fields)
        return cls(
            name=name,
            argv=tuple(known["argv"]),
            display_name=known.get("display_name", name),
            language=known.get("language", ""),
            env=known.get("env") or {},
            interrupt_mode=known.get("interrupt_mode", "signal"),
            metadata=known.get("metadata") or {},
            resource_dir=directory,
        )

    @property
    def supported_encryption(self) -> frozenset[str]:
        """The kinds of encryption that the kernel claims to know, in lower case; ``curve`` is ZeroMQ's."""
        claimed = self.metadata.get("supported_encryption") or ()
        each = [claimed] if isinstance(claimed, str) else claimed if isinstance(claimed, list | tuple) else ()
        return frozenset(str(kind).strip().lower() for kind in each)

    @property
    def provisioner(self) -> str | None:
        """The kernel provisioner of jupyter_client that it wants to be started by; None for the ordinary one."""
        wanted = self.metadata.get("kernel_provisioner")
        name = wanted.get("provisioner_name") if isinstance(wanted, Mapping) else None
        return None if name in (None, "", "local-provisioner") else str(name)

    def command(self, connection_file: str | os.PathLike[str], arguments: Sequence[str] = ()) -> list[str]:
        """The command for a kernel on this connection file, as Jupyter makes it, with `arguments` at its end.

        ``{connection_file}``, ``{prefix}`` (of this Python) and ``{resource_dir}`` are filled in; other braces stay.
        A command that begins with ``python`` gets this very Python, whatever stands first on the PATH.
        """
        values = {"connection_file": os.path.realpath(connection_file), "prefix": sys.prefix}
        if self.resource_dir is not None:
            values["resource_dir"] = str(self.resource_dir)
        words = (*self.argv, *arguments)
        argv = [re.sub(r"\{([A-Za-z0-9_]+)\}", lambda m: values.get(m[1], m[0]), each) for each in words]
        if argv and argv[0] in _PYTHONS:
            argv[0] = sys.executable
        return argv

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of this process, then the kernelspec's, then `extra`; the later one wins.

        ``${VAR}`` in the kernelspec's values is filled in from this process's environment and `extra`; a name that
        stands in neither stays as it is.
        """
        known = {**os.environ, **(extra or {})}
        known.pop("PYTHONEXECUTABLE", None)  # meant for this process; it would lead another Python astray
        own = {name: string.Template(value).safe_substitute(known) for name, value in self.env.items()}
        return {**known, **own, **(extra or {})}


def find_all(on_problem: Callable[[str, KernelspecError], object] | None = None) -> dict[str, KernelSpec]:
    """Every kernelspec that can be used, by name. One that cannot be read is left out.

    Arguments:
        on_problem: called with the name and the error of each that is left out; by default the log gets a warning.
    """
    found: dict[str, KernelSpec] = {}
    for name, directory in _installed().items():
        try:
            found[name] = KernelSpec.from_directory(name, directory)
        except KernelspecError as error:
            if on_problem is None:
                _log.warning("%s", error)
            else:
                on_problem(name, error)
    if NATIVE not in found and (native := _native()) is not None:
        found[NATIVE] = native
    return dict(sorted(found.items()))


def get(name: str) -> KernelSpec:
    """The kernelspec of this name; upper and lower case are the same.

    Raises:
        NoSuchKernelspec: there is none; the text names the nearest ones, and where it looked.
        KernelspecError: it is there, but it cannot be used.
    """
    wanted = name.lower()
    installed = _installed()
    if wanted in installed:
        return KernelSpec.from_directory(wanted, installed[wanted])
    native = _native()
    if native is not None and wanted == NATIVE:
        return native
    names = sorted({*installed, *([NATIVE] if native else [])})
    near = difflib.get_close_matches(wanted, names, 3, 0.5) or names
    hint = f"there are: {', '.join(near)}" if near else "none is installed; `pip install ipykernel` brings Python's"
    looked = ", ".join(map(str, directories()))
    raise NoSuchKernelspec(f"no kernelspec {name!r}; {hint} (looked in {looked})", name, names)


def directories() -> list[Path]:
    """Where kernelspecs are looked for; the first that has a name wins."""
    from jupyter_core.paths import jupyter_path  # here, because it takes 30 ms

    found = [Path(each) for each in jupyter_path("kernels")]
    if util.find_spec("IPython") is not None:  # as Jupyter does, for kernelspecs from before there was a Jupyter
        found.append(Path(os.environ.get("IPYTHONDIR") or "~/.ipython").expanduser() / "kernels")
    return found


def _installed() -> dict[str, Path]:
    """Names to directories. Nothing is read, so what is broken is there too; what may not be looked at is not."""
    found: dict[str, Path] = {}
    for directory in directories():
        try:
            entries = sorted(directory.iterdir())
        except OSError:  # most of them are not there
            continue
        for entry in entries:
            if os.path.isfile(entry / _FILE):  # noqa: PTH113 - pathlib raises where others may not look
                found.setdefault(entry.name.lower(), entry)
    return found


def _native() -> KernelSpec | None:
    """The one of ipykernel, if that is installed for this Python; it is not imported to know that."""
    module = util.find_spec("ipykernel")
    if module is None or module.origin is None:
        return None
    return KernelSpec(
        name=NATIVE,
        argv=(sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
        display_name=f"Python {sys.version_info[0]} (ipykernel)",
        language="python",
        metadata={"debugger": True} | ({"supported_encryption": ["curve"]} if _encrypts("ipykernel") else {}),
        resource_dir=Path(module.origin).parent / "resources",
    )


def _encrypts(ipykernel: str) -> bool:
    """Whether the ipykernel that is installed under this name reads CURVE keys: from 7.3 on it does."""
    from importlib import metadata  # here, because it takes 30 ms

    try:
        version = re.match(r"(\d+)\.(\d+)", metadata.version(ipykernel))
    except metadata.PackageNotFoundError:  # a module alone
        return False
    return version is not None and (int(version[1]), int(version[2])) >= (7, 3)


def _problem(fields: object) -> str:
    """What is wrong with the JSON value of a kernel.json; empty if nothing is."""
    if not isinstance(fields, dict):
        return "JSON, but not an object"
    argv = fields.get("argv")
    if not isinstance(argv, list) or not argv or not all(isinstance(each, str) for each in argv):
        return "field 'argv' must be a list of text, with the command first"
    for name in ("display_name", "language"):
        if not isinstance(fields.get(name, ""), str):
            return f"field {name!r} must be text"
    env = fields.get("env") or {}
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        return "field 'env' must be an object whose values are text"
    if not isinstance(fields.get("metadata") or {}, dict):
        return "field 'metadata' must be an object"
    if fields.get("interrupt_mode", "signal") not in ("signal", "message"):
        return "field 'interrupt_mode' must be 'signal' or 'message'"
    return ""
