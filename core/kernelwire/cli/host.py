"""Serve kernels of this machine to clients elsewhere, through a relay that both dial.

Starts a kernel, or shares one that runs, and stays. When a client could reach the kernel, its connection file is
written, for 'kernelwire exec --connect FILE' anywhere. Ctrl-C ends the host and the kernel that it has started.

    kernelwire host --relay https://relay.example --kernel python3 --output kernel.json
"""

import argparse
import asyncio
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from kernelwire import connection_file, kernelspecs, registry, ticket
from kernelwire.cli import OK, signals
from kernelwire.cli.arguments import seconds, telling
from kernelwire.connection import ConnectionInfo
from kernelwire.connection_file import ConnectionFile
from kernelwire.errors import ConfigurationError, KernelDied, KernelExited
from kernelwire.host.host import LEASE, Host, reach
from kernelwire.host.service import Service
from kernelwire.host.state import StateFile, unfinished

HELP: Final = "serve kernels of this machine through a relay"

HOST_TOKEN: Final = "KERNELWIRE_HOST_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable with the token that lets a host use a relay."""

_MAX_TOKEN: Final = 64 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--kernel", metavar="NAME", help=f"start this kernelspec ({kernelspecs.NATIVE})")
    what.add_argument("--existing", metavar="FILE", help="share the kernel of this connection file")
    what.add_argument(
        "--allow", metavar="NAME[,NAME]", help="start kernels on request, of these kernelspecs; writes a host ticket"
    )
    parser.add_argument("--relay", metavar="URL", help="the relay to dial, https://...")
    parser.add_argument("--output", metavar="FILE", help="where to write the connection file or the host ticket")
    parser.add_argument("--ticket", action="store_true", help="print a ticket, one line, instead of the path")
    parser.add_argument("--host-token", metavar="FILE", help=f"the relay's token for hosts (${HOST_TOKEN})")
    parser.add_argument("--transport", default="socketio", metavar="NAME", help="what clients speak (socketio)")
    parser.add_argument(
        "--field", type=_field, action="append", default=[], metavar="NAME=VALUE", help="a connection field; repeatable"
    )
    parser.add_argument("--cwd", metavar="DIR", help="the kernel's working directory (the current one)")
    parser.add_argument("--name", metavar="NAME", help="of this host, to resume it by (from --output)")
    parser.add_argument(
        "--resume", action="store_true", help="go on as the host of this --name or --output that was killed, or fail"
    )
    parser.add_argument("--keep", action="store_true", help="leave the kernels running at the end, for --resume")
    parser.add_argument(
        "--lease", type=seconds, default=LEASE, metavar="S", help="end kernels without clients after this (86400)"
    )
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="S", help="seconds until it must answer (60)")
    parser.add_argument("--json", action="store_true", help="print what happens as JSON objects, one a line")


def run(arguments: argparse.Namespace) -> int:
    """Serve until the end."""
    fields = _fields(arguments)
    name = _name(arguments)
    with StateFile.taken(name) as state:
        return signals.run(_Command(arguments, fields, name, state).run())


class _Command:
    """One run of it."""

    def __init__(self, arguments: argparse.Namespace, fields: Mapping[str, Any], name: str, state: StateFile) -> None:
        self._arguments = arguments
        self._fields = fields
        self._name = name
        self._state = state
        self._files = ExitStack()

    async def run(self) -> int:
        arguments = self._arguments
        saved = self._state.read()
        if arguments.resume and not saved.kernels and saved.service is None:
            raise ConfigurationError(f"there is nothing to resume of a host {self._name!r}{_others(self._name)}")
        transport = arguments.transport
        with self._files:
            async with Host(self._state, transport, self._fields, on_event=self._tell) as host:
                resumed = await host.resume()
                host.keep = bool(resumed or host.service)  # as they were, until they can be reached again
                if saved.kernels and not (resumed or host.shared) and arguments.output is not None:
                    _remove(arguments.output)  # of a kernel that is no more
                for kernel_id, msg_ids in host.unanswered.items():
                    self._tell("unanswered", {"kernel_id": kernel_id, "msg_ids": msg_ids})
                for kernel in resumed:
                    self._tell("resumed", {"kernel_id": kernel.kernel_id, "pid": kernel.pid})
                if host.service is not None or arguments.allow is not None:
                    code = await self._serve_requests(host)
                elif resumed or host.shared:
                    code = await self._serve_one(host)
                elif arguments.resume:
                    raise KernelDied("the kernel that was to be resumed has ended meanwhile")
                else:
                    code = await self._start(host)
        return code

    async def _start(self, host: Host) -> int:
        arguments = self._arguments
        with telling():
            if arguments.existing is not None:
                await host.share(connection_file.find(arguments.existing).absolute())
            else:
                name = arguments.kernel or kernelspecs.NATIVE
                await host.start(name, cwd=_directory(arguments.cwd), timeout=arguments.timeout)
        return await self._serve_one(host)

    async def _serve_one(self, host: Host) -> int:
        """One kernel, until it ends."""
        try:
            if host.shared:
                (info,) = host.shared
                await reach(info, self._arguments.timeout)
                host.keep = self._arguments.keep
                self._announce(info, {"kernel_name": info.kernel_name, "pid": None})
                await asyncio.get_running_loop().create_future()
            (kernel,) = host.kernels.values()
            await kernel.wait_ready(self._arguments.timeout)
            host.keep = self._arguments.keep
            self._announce(kernel.info, {"kernel_name": kernel.kernel_name, "pid": kernel.pid})
            reason = await host.wait_end(kernel.kernel_id)
        except KernelDied:
            host.keep = False
            raise
        if isinstance(reason, KernelExited) and reason.exit_code != 0:
            raise reason
        return OK

    async def _serve_requests(self, host: Host) -> int:
        arguments = self._arguments
        if arguments.allow is None:
            raise ConfigurationError(f"host {self._name!r} took requests: give it --allow again")
        allowed = [name for name in arguments.allow.split(",") if name]
        if not allowed:
            raise ConfigurationError("--allow: the names of kernelspecs are needed, with commas between them")
        for name in allowed:
            kernelspecs.get(name)
        lease = None if arguments.keep else arguments.lease
        near = host.service or host.new_address()
        async with Service(host, near, allowed, lease=lease, timeout=arguments.timeout) as service:
            host.keep_service(near)
            await service.reach(arguments.timeout)
            host.keep = arguments.keep
            self._announce(registry.load(near.transport).for_clients(near), {"kernelspecs": allowed}, kind="host")
            await service.closed()
        return OK

    def _announce(self, info: ConnectionInfo, details: Mapping[str, Any], *, kind: ticket.Kind = "kernel") -> None:
        """The file, and who is to know of it."""
        path = self._write(info, kind)
        details = {"name": self._name, "connection_file": None if path is None else str(path), **details}
        if self._arguments.json:
            if self._arguments.ticket:
                details["ticket"] = ticket.encode(info, kind=kind)
            self._tell("ready", details)
            return
        served = f"kernel {info.kernel_name}" if kind == "kernel" else "requests"
        through = f" through {info.extra['relay']}" if "relay" in info.extra else f" on {info.transport}"
        print(f"kernelwire host {self._name}: serving {served}{through}; Ctrl-C ends it", file=sys.stderr)
        if kind == "host":
            print("kernelwire host: whoever has this ticket can run code on this machine", file=sys.stderr)
        print(ticket.encode(info, kind=kind) if self._arguments.ticket else path, flush=True)

    def _write(self, info: ConnectionInfo, kind: ticket.Kind) -> Path | None:
        output = self._arguments.output
        if output is None and self._arguments.ticket:
            return None
        path = connection_file.runtime_dir() / f"{kind}-{self._name}.json" if output is None else Path(output)
        if kind == "host":
            path = ticket.write(path, info, kind=kind, overwrite=True)
            self._files.callback(path.unlink, missing_ok=True)
        else:
            path = self._files.enter_context(ConnectionFile.write(info, path, overwrite=True)).path
        if self._arguments.keep:
            self._files.pop_all()
        return path

    def _tell(self, event: str, details: Mapping[str, Any]) -> None:
        if self._arguments.json:
            print(json.dumps({"event": event, **details}), flush=True)
        elif event == "resumed":
            print(f"kernelwire host: took over the kernel of process {details['pid']}", file=sys.stderr)
        elif event == "unanswered":
            *more, last = details["msg_ids"]
            ids = f"{last} and {len(more)} more" if more else last
            print(
                f"kernelwire host: passed on by the host before, and may have run, or run still: {ids}", file=sys.stderr
            )
        elif event == "lease":
            print(f"kernelwire host: a kernel had no client for {details['seconds']:g} s and is ended", file=sys.stderr)
        elif event == "ended" and self._arguments.allow is not None:
            print(f"kernelwire host: kernel {details['kernel_id']}: {details['reason']}", file=sys.stderr)


def _fields(arguments: argparse.Namespace) -> dict[str, Any]:
    fields = dict(arguments.field)
    if arguments.relay is not None:
        fields["relay"] = arguments.relay
    if arguments.host_token is not None:
        try:
            with open(arguments.host_token, "rb") as file:  # noqa: PTH123 - a name such as /dev/fd/3 is no path to look at
                fields["host_token"] = file.read(_MAX_TOKEN).decode("ascii").strip()
        except OSError as error:
            raise ConfigurationError(f"--host-token {arguments.host_token}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ConfigurationError(f"--host-token {arguments.host_token}: holds no token") from None
    elif arguments.transport == "socketio" and (token := os.environ.get(HOST_TOKEN)):
        fields["host_token"] = token.strip()
    registry.load(arguments.transport)
    return fields


def _name(arguments: argparse.Namespace) -> str:
    """Of a host: as it was given, or the same one for the same output."""
    if arguments.name is not None:
        return str(arguments.name)
    if arguments.output is not None:
        path = str(Path(arguments.output).absolute())
        return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    if not arguments.resume:
        return secrets.token_hex(6)
    names = unfinished()
    if len(names) != 1:
        there = f"give one with --name: {', '.join(names)}" if names else "no host has left anything"
        raise ConfigurationError(f"--resume: {there}")
    return names[0]


def _others(name: str) -> str:
    names = [each for each in unfinished() if each != name]
    return f"; there is of: {', '.join(names)}" if names else ""


def _directory(text: str | None) -> str:
    try:
        return str(Path.cwd() / (text or ""))
    except FileNotFoundError:
        raise ConfigurationError("the current directory is gone: change to another") from None


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _field(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError("NAME=VALUE is needed")  # without the text, which may be a secret
    return name, int(value) if name.endswith("_port") and value.isascii() and value.isdigit() else value
