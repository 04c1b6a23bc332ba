"""Start a kernel that goes on by itself.

Returns when the kernel answers, and prints the path of its connection file. 'kernelwire stop' ends the kernel. Ctrl-C
before that leaves nothing behind.

    FILE=$(kernelwire start)
    kernelwire exec --connect $FILE "6 * 7"
    kernelwire stop $FILE
"""

import argparse
import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, cast, get_args

from kernelwire import kernelspecs, registry
from kernelwire.cli import OK, UNREACHABLE, remote, signals
from kernelwire.cli.arguments import seconds, telling, wait_for_kernel
from kernelwire.cli.keeper import keep, started
from kernelwire.cli.running import RunningKernel
from kernelwire.client import connect
from kernelwire.errors import ConfigurationError, NotServed
from kernelwire.kernel_address import SPOKEN
from kernelwire.launch import Encryption
from kernelwire.launcher import LocalLauncher
from kernelwire.manager import KernelManager
from kernelwire.processes import until

HELP: Final = "start a kernel that goes on by itself"

_GRACE: Final = 20.0
"""Seconds that a keeper has to end its kernel and itself, before it is killed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    native = kernelspecs.NATIVE
    parser.add_argument("--kernel", default=native, metavar="NAME", help=f"the kernelspec ({native})")
    parser.add_argument("--transport", default="tcp", metavar="NAME", help="what its clients speak (tcp)")
    parser.add_argument("--connection-file", metavar="FILE", help="where to write it (Jupyter's runtime directory)")
    parser.add_argument("--ip", metavar="IP", help="the address to serve on; for ipc, a path (this machine only)")
    parser.add_argument("--cwd", metavar="DIR", help="the kernel's working directory (the current one)")
    parser.add_argument(
        "--env", type=_variable, action="append", default=[], metavar="NAME=VALUE", help="set a variable; repeatable"
    )
    parser.add_argument(
        "--encryption",
        choices=get_args(Encryption),
        default="disabled",
        help="encrypt the wire never, if the kernel and the transport can, or else do not start it (disabled)",
    )
    parser.add_argument(
        "--argument", action="append", default=[], metavar="WORD", help="add a word to its command; repeatable"
    )
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="S", help="seconds until it must answer (60)")
    parser.add_argument("--foreground", action="store_true", help="stay until the kernel ends; Ctrl-C ends it")
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of the path")
    parser.add_argument("--host", metavar="FILE", help=remote.HELP)
    parser.add_argument("--keeper", action="store_true", help=argparse.SUPPRESS)  # see _start_kept


def run(arguments: argparse.Namespace) -> int:
    """Start it."""
    _check_is_new(arguments.connection_file)
    if arguments.host is not None:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        return signals.run(remote.start(arguments, parser.parse_args([])))
    options = _options(arguments)
    if arguments.keeper:
        options["env"] = json.load(sys.stdin)
        return signals.run(keep(options, LocalLauncher(pass_on=lambda _: None), _report_and_fall_silent))
    if arguments.foreground:
        return signals.run(_stay(options, as_json=arguments.json))
    if arguments.transport in SPOKEN:
        return signals.run(_start(options, as_json=arguments.json))
    return signals.run(_start_kept(options, as_json=arguments.json))


async def _start(options: Mapping[str, Any], *, as_json: bool) -> int:
    """Start it, and let it go."""
    async with KernelManager() as manager:
        with telling():
            await manager.start(**options, launcher=LocalLauncher(independent=True))
        path = manager.connection_file
        try:
            _report(started(manager, options), as_json=as_json)
            await manager.detach()
        except BaseException:
            await manager.shutdown(now=True)
            path.unlink(missing_ok=True)
            raise
    return OK


async def _stay(options: Mapping[str, Any], *, as_json: bool) -> int:
    with telling() as told:

        def report(kernel: RunningKernel) -> None:
            told()
            _report(kernel, as_json=as_json)

        return await keep(options, LocalLauncher(), report)


async def _start_kept(options: Mapping[str, Any], *, as_json: bool) -> int:
    """Have it started by a process that stays: this command once more, in a session of its own."""
    keeper = subprocess.Popen(  # noqa: ASYNC220, S603 - it blocks until exec only; to run this is our work
        _keeper_command(options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        with telling():
            report = await _told_by(keeper, options)
        if report is None:
            return await _ended(keeper)  # what was wrong, it has said itself
        # As any other process would: not every transport reaches one.
        try:
            async with connect(report["connection_file"]) as client:
                await wait_for_kernel(client, options["timeout"])
        except NotServed as error:
            raise NotServed(f"transport {options['transport']!r} does not reach another process: {error}") from error
        _print(report, as_json=as_json)
    except BaseException:
        keeper.terminate()
        await _ended(keeper)
        raise
    keeper.returncode = OK  # it is of no interest any more: without this there is a ResourceWarning
    return OK


def _keeper_command(options: Mapping[str, Any]) -> list[str]:
    # A module of the current directory must not take the place of another, unless it does so here too.
    safe = [] if sys.path[0] in ("", str(Path.cwd())) else ["-P"]
    passed = {name: options[name] for name in ("transport", "connection_file", "ip", "cwd", "encryption", "timeout")}
    passed["kernel"] = options["kernel_name"]
    words = [f"--{name.replace('_', '-')}={value}" for name, value in passed.items() if value is not None]
    words += [f"--argument={word}" for word in options["arguments"]]
    return [sys.executable, *safe, "-m", "kernelwire.cli", "start", "--keeper", *words]


async def _told_by(keeper: "subprocess.Popen[bytes]", options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Its report; None if it has none."""
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    with suppress(BrokenPipeError), keeper.stdin as pipe:
        # Not in its command, which every user of the machine can read for as long as it runs.
        pipe.write(json.dumps(options["env"]).encode())
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, keeper.stdout)
    with closing(transport):
        report = await reader.read()
    return cast("dict[str, Any]", json.loads(report)) if report else None


async def _ended(keeper: "subprocess.Popen[bytes]") -> int:
    """Wait until it has ended, though not for ever; its exit code."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_GRACE):
            await until(lambda: keeper.poll() is not None)
    keeper.kill()
    code = keeper.wait()
    return code if code >= 0 else UNREACHABLE


def _report(kernel: RunningKernel, *, as_json: bool) -> None:
    assert kernel.record is not None
    report = {
        "connection_file": str(kernel.path),
        "kernel_name": kernel.info.kernel_name,
        "transport": kernel.info.transport,
        "pid": kernel.record.kernel.pid,
        "keeper_pid": None if kernel.record.keeper is None else kernel.record.keeper.pid,
    }
    _print(report, as_json=as_json)


def _print(report: Mapping[str, Any], *, as_json: bool) -> None:
    print(json.dumps(report) if as_json else report["connection_file"])
    sys.stdout.flush()  # now: a kernel that nobody is told of must not stay


def _report_and_fall_silent(kernel: RunningKernel) -> None:
    """To the process that waits for this one, whose streams this one then lets go."""
    _report(kernel, as_json=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stderr.fileno())
    os.dup2(nowhere, sys.stdout.fileno())  # last, since its end is what is waited for
    os.close(nowhere)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """For `KernelManager.start`.

    Raises:
        ConfigurationError: they cannot be used.
    """
    kernelspecs.get(arguments.kernel)
    registry.load(arguments.transport)
    if arguments.transport == "inprocess":
        raise ConfigurationError(
            "--transport inprocess: such a kernel lives in the process of its clients, and no other reaches it; "
            "use tcp or ipc"
        )
    path = arguments.connection_file
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise ConfigurationError("the current directory is gone: change to another") from None
    return {
        "kernel_name": arguments.kernel,
        "transport": arguments.transport,
        "connection_file": None if path is None else str(here / path),
        "ip": arguments.ip,
        "cwd": str(here / (arguments.cwd or "")),
        "env": dict(arguments.env),
        "arguments": arguments.argument,
        "encryption": arguments.encryption,
        "timeout": arguments.timeout,
    }


def _check_is_new(path: str | None) -> None:
    if path is not None and os.path.lexists(path):
        raise ConfigurationError(
            f"--connection-file {path}: exists already; choose another name, or end its kernel first: "
            f"kernelwire stop {shlex.quote(path)}"
        )


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError("NAME=VALUE is needed")  # without the text, which may be a secret
    return name, value
