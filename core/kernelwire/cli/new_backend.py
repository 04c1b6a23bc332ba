"""Write a plug-in project for a transport of your own.

It installs, registers and passes the conformance kit as it is written, and can carry a real kernel at once:

    kernelwire new-backend mywire
    cd kernelwire-mywire
    pip install -e .
    kernelwire check mywire
    kernelwire start --transport mywire
"""

import argparse
import importlib.util
import keyword
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Final

from kernelwire import registry
from kernelwire.cli import OK
from kernelwire.errors import ConfigurationError

HELP: Final = "write a plug-in project for a transport of your own"

_SUFFIX: Final = ".template"

_NATIVE: Final = {
    "requirement": "kernelwire>=0.1",
    "what": "a Unix socket, which only this user can open.",
    "advice": "Replace the socket in `backend.py` and `server.py` by your wire. If that is no stream of bytes, "
    "`wire.py` goes too:\n"
    "`kernelwire.demultiplexer` needs a function that sends a message of a channel, and to be fed what arrives.",
}
_NATIVE_FILES: Final = {
    "backend.py": "`connect` and `serve`, the address, the claim",
    "server.py": "the kernel's end: one wire for each client",
    "wire.py": "five channels over one stream of bytes",
    "heartbeat.py": "the heartbeat",
}
_PIPE: Final = {
    "requirement": "kernelwire[link]>=0.1",
    "what": "pipes over TCP,\nof which kernelwire's link makes reliable, sealed channels.",
    "advice": "Replace the TCP connection in `backend.py` by your wire: `send`, `receive` and `aclose` of the pipe, "
    "and how to dial\nand to listen. It may break at any moment; the link mends that.",
}
_PIPE_FILES: Final = {"backend.py": "the pipe, how to dial, how to listen"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("name", metavar="NAME", help="the transport's name, as connection files will have it")
    parser.add_argument("--pipe", action="store_true", help="a pipe: the link makes it reliable and sealed")
    parser.add_argument("--directory", metavar="D", help="where to write it (kernelwire-NAME)")


def run(arguments: argparse.Namespace) -> int:
    """Write it."""
    name: str = arguments.name
    _check_name(name)
    distribution = "kernelwire-" + name.replace("_", "-")
    target = Path(arguments.directory or distribution)
    if os.path.lexists(target):
        raise ConfigurationError(f"--directory {target}: exists already; choose another")
    values = _values(name, distribution, pipe=arguments.pipe)
    try:
        _write(target, _files(values, pipe=arguments.pipe))
    except OSError as error:
        raise ConfigurationError(f"--directory {target}: cannot be written: {error.strerror or error}") from error
    print(f"{target}: next, in this directory: pip install -e . && kernelwire check {name}")
    return OK


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        lowered = re.sub(r"_+", "_", re.sub(r"\W|[^\x00-\x7f]", "_", name.lower())).strip("_")
        hint = f"; {lowered!r} would do" if lowered[:1].isalpha() and not keyword.iskeyword(lowered) else ""
        raise ConfigurationError(
            f"{name!r} is no name for a transport: a Python identifier in small letters is needed{hint}"
        )
    for each in registry.installed():
        if each.name == name:
            raise ConfigurationError(f"{name!r} is taken: {each.distribution} provides a transport of this name")
    if importlib.util.find_spec(f"kernelwire_{name}") is not None:
        raise ConfigurationError(f"{name!r} is taken: a package kernelwire_{name} is installed")


def _values(name: str, distribution: str, *, pipe: bool) -> dict[str, str]:
    package = f"kernelwire_{name}"
    files = _PIPE_FILES if pipe else _NATIVE_FILES
    return {
        **(_PIPE if pipe else _NATIVE),
        "name": name,
        "distribution": distribution,
        "package": package,
        "cls": "".join(part.capitalize() for part in name.split("_")),
        "files": "\n".join(f"| `src/{package}/{file}` | {holds} |" for file, holds in files.items()),
    }


def _files(values: Mapping[str, str], *, pipe: bool) -> dict[str, str]:
    """What to write: paths and texts."""
    templates = resources.files("kernelwire.cli") / "templates"
    package = values["package"]
    files = {f"src/{package}/py.typed": ""}
    for folder in ("both", "pipe" if pipe else "native"):
        for source in sorted((templates / folder).iterdir(), key=lambda each: each.name):
            if source.name.endswith(_SUFFIX):
                path = _place(source.name.removesuffix(_SUFFIX), package)
                files[path] = _text(source, values)
    return files


def _place(name: str, package: str) -> str:
    if name.startswith("test_"):
        return f"tests/{name}"
    return f"src/{package}/{name}" if name.endswith(".py") else name


def _text(source: Traversable, values: Mapping[str, str]) -> str:
    return Template(source.read_text(encoding="utf-8")).substitute(values)


def _write(target: Path, files: Mapping[str, str]) -> None:
    """All of it, or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".new-backend-", dir=target.parent))
    try:
        unfinished.chmod(0o755)
        for path, text in files.items():
            (unfinished / path).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / path).write_text(text, encoding="utf-8")
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
