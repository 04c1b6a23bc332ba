"""What ``start``, ``restart`` and ``kernels`` do with ``--host``: on another machine, through its host."""

import argparse
import json
import re
from pathlib import Path
from typing import Final

from kernelwire.cli import OK
from kernelwire.cli.arguments import telling
from kernelwire.cli.running import find, read
from kernelwire.connection_file import ConnectionFile
from kernelwire.errors import ConfigurationError
from kernelwire.host.remote import RemoteHost

HELP: Final = "the file of a host's ticket, or - for standard input: do it there"

KERNEL_ID: Final = "kernel_id"
"""The field of a connection file with what the host calls the kernel."""

_ID: Final = re.compile("[0-9a-f]{16}")
"""What hosts call their kernels."""

_LOCAL: Final = ("transport", "ip", "encryption", "argument", "foreground")


async def start(arguments: argparse.Namespace, defaults: argparse.Namespace) -> int:
    """Start a kernel there, and print the path of its connection file, which is written here.

    Arguments:
        arguments: of ``kernelwire start``.
        defaults: its arguments if none are given.

    Raises:
        ConfigurationError: an argument makes sense only for a kernel that is started here.
        KernelwireError: as :meth:`kernelwire.host.remote.RemoteHost.spawn`.
    """
    for name in _LOCAL:
        if getattr(arguments, name) != getattr(defaults, name):
            raise ConfigurationError(f"--{name}: not with --host, which decides that itself")
    host = RemoteHost.of(arguments.host)
    with telling():
        kernel = await host.spawn(
            arguments.kernel, cwd=arguments.cwd, env=dict(arguments.env), timeout=arguments.timeout
        )
    try:
        info = kernel.info.replace(**{KERNEL_ID: kernel.kernel_id})
        path = ConnectionFile.write(info, arguments.connection_file).path
    except BaseException:
        await host.shutdown(kernel.kernel_id, now=True)
        raise
    report = {
        "connection_file": str(path),
        "kernel_name": kernel.info.kernel_name,
        "transport": kernel.info.transport,
        "kernel_id": kernel.kernel_id,
    }
    print(json.dumps(report) if arguments.json else path, flush=True)
    return OK


async def restart(arguments: argparse.Namespace) -> int:
    """Have a kernel started again there; its connection file stays as it is.

    Arguments:
        arguments: of ``kernelwire restart``; its ``file`` may be what the host calls the kernel.

    Raises:
        KernelwireError: as :meth:`kernelwire.host.remote.RemoteHost.restart`.
    """
    host = RemoteHost.of(arguments.host)
    kernel_id = _kernel_id(arguments.file)
    with telling():
        await host.restart(kernel_id, now=arguments.now, timeout=arguments.timeout)
    return OK


async def kernels(arguments: argparse.Namespace) -> int:
    """Print the kernelspecs that a host allows, and the kernels that it has started."""
    host = RemoteHost.of(arguments.host)
    specs, running = await host.kernelspecs(), await host.kernels()
    if arguments.json:
        print(json.dumps({"kernelspecs": specs, "kernels": running}, indent=2))
        return OK
    for spec in specs:
        print(f"{spec['name']}  {spec['display_name']}  {spec.get('error') or ''}".rstrip())
    print()
    for kernel in running:
        words = (kernel["kernel_id"], kernel["kernel_name"], kernel["state"], kernel["reason"] or "")
        print("  ".join(" ".join(str(word).split()) for word in words).rstrip())
    return OK


def _kernel_id(text: str) -> str:
    """That, or what stands in the connection file of that name."""
    if _ID.fullmatch(text) and not Path(text).exists():
        return text
    path = find(text)
    kernel_id = read(path).info.extra.get(KERNEL_ID)
    if not isinstance(kernel_id, str):
        raise ConfigurationError(f"{path}: not of a kernel that 'kernelwire start --host' has started")
    return kernel_id
