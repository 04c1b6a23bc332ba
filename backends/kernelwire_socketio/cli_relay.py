"""Run a relay, at which kernels' hosts and their clients meet.

Prints its address and stays until SIGTERM or Ctrl-C. On this machine alone it needs nothing more:

    kernelwire relay --port 7171

For others it needs TLS, or a proxy in front that has it, and the key of whoever says who may be a host there:

    kernelwire token new-key operator.pem
    kernelwire relay --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --host-key operator.pem.pub
"""

import argparse
import asyncio
import contextlib
import dataclasses
import ipaddress
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kernelwire.cli import OK, signals
from kernelwire.errors import AddressInUse, ConfigurationError

if TYPE_CHECKING:
    from kernelwire_socketio.host_tokens import HostKeys

HELP: Final = "run a relay, at which kernels' hosts and their clients meet"

PORT: Final = 7171

KEYS: Final = "KERNELWIRE_RELAY_HOST_KEYS"
"""The environment variable with the public keys, in PEM, if no ``--host-key`` is given."""

_LIMITS: Final = {
    "sockets": (int, "N", "connections in all"),
    "pending": (int, "N", "connections from one address that have not found their partner yet"),
    "rooms": (int, "N", "kernels that one host token may have here at a time"),
    "clients": (int, "N", "clients of a kernel"),
    "joins": (int, "N", "attempts per minute from one address, and to one kernel; 0 for no limit"),
    "frames": (int, "N", "messages per second on one connection, which is read more slowly above that"),
    "rate": (int, "BYTES", "bytes per second on one connection, likewise; 0 for no limit"),
    "deadline": (float, "S", "seconds that connecting may take"),
    "stall": (float, "S", "seconds that a reader may stand still"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    from kernelwire_socketio.relay.limits import Limits

    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=PORT, metavar="N", help=f"the port; 0 for a free one ({PORT})")
    parser.add_argument("--tls-cert", metavar="FILE", help="the certificate and those that lead to it, in PEM")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key")
    parser.add_argument("--behind-proxy", action="store_true", help="a proxy in front has TLS, and says who comes")
    parser.add_argument(
        "--host-key",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help=f"public keys of those whose tokens let hosts in (${KEYS})",
    )
    parser.add_argument(
        "--origin", action="append", default=[], metavar="URL", help="let web pages of this origin connect; repeatable"
    )
    parser.add_argument("--no-metrics", action="store_true", help="no /metrics")
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of the address")
    defaults = Limits()
    limits = parser.add_argument_group("limits")
    for name, (kind, metavar, text) in _LIMITS.items():
        default = getattr(defaults, name)
        note = f"{default:g}, and none on this machine alone" if name == "joins" else f"{default:g}"
        limits.add_argument(f"--{name}", type=_number(kind, name), metavar=metavar, help=f"{text} ({note})")


def run(arguments: argparse.Namespace) -> int:
    """Run it."""
    for package in ("aiohttp", "socketio", "jwt", "prometheus_client"):
        if find_spec(package) is None:
            raise ConfigurationError(f"a relay needs the package {package}; fix: pip install 'kernelwire[relay]'")
    keys = _host_keys(arguments.host_key)
    context = _tls(arguments.tls_cert, arguments.tls_key)
    _check_exposure(arguments, has_tls=context is not None, has_keys=keys is not None)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(arguments, keys, context))


async def _serve(arguments: argparse.Namespace, keys: "HostKeys | None", context: ssl.SSLContext | None) -> int:
    from kernelwire_socketio.events import LIMIT
    from kernelwire_socketio.heap import keep_blocks
    from kernelwire_socketio.relay.limits import Limits
    from kernelwire_socketio.relay.server import Relay

    keep_blocks(5 * LIMIT)  # its own are no larger than a message, but several come and go at a time
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    chosen = {name: value for name in _LIMITS if (value := getattr(arguments, name)) is not None}
    if _is_loopback(arguments.host) and not arguments.behind_proxy:
        chosen.setdefault("joins", 0)
    limits = Limits(**chosen)
    _allow_files(limits.sockets)
    relay = Relay(
        limits,
        sys.stderr,
        host_keys=keys,
        behind_proxy=arguments.behind_proxy,
        origins=arguments.origin,
        metrics=not arguments.no_metrics,
    )
    ended = asyncio.Event()
    with signals.heeded(ended.set, signal.SIGTERM, signal.SIGINT):
        try:
            port = await relay.start(arguments.host, arguments.port, context)
        except OSError as error:
            raise AddressInUse(
                f"--host {arguments.host} --port {arguments.port}: cannot be listened on: {error.strerror or error}"
            ) from None
        url = _url(arguments.host, port, tls=context is not None)
        relay.log("started", url=url, limits=json.dumps(dataclasses.asdict(limits)))
        print(json.dumps({"url": url, "port": port, "pid": os.getpid()}) if arguments.json else url, flush=True)
        await ended.wait()
        relay.log("ending")
        await relay.close()
        relay.log("ended")
        return OK


def _check_exposure(arguments: argparse.Namespace, *, has_tls: bool, has_keys: bool) -> None:
    """Nobody opens a relay to the world by accident."""
    if _is_loopback(arguments.host) and not arguments.behind_proxy:
        return
    if not has_tls and not arguments.behind_proxy:
        raise ConfigurationError(
            f"--host {arguments.host}: others can connect there, so TLS is needed: --tls-cert FILE --tls-key FILE; "
            "or --behind-proxy, if a proxy in front has it"
        )
    if not has_keys:
        where = "--behind-proxy" if arguments.behind_proxy else f"--host {arguments.host}"
        raise ConfigurationError(
            f"{where}: others can connect, so a key is needed for who may be a host: --host-key FILE; "
            "'kernelwire token new-key' makes one"
        )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ConfigurationError(f"--host {host}: no address of this machine") from None
    return bool(host) and all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)


def _host_keys(files: list[str]) -> "HostKeys | None":
    from kernelwire_socketio.host_tokens import HostKeys, read_public

    keys = []
    for file in files:
        try:
            data = Path(file).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"--host-key {file}: cannot be read: {error.strerror or error}") from None
        keys += read_public(data, f"--host-key {file}")
    if not files and (text := os.environ.get(KEYS)):
        keys += read_public(text.encode(), KEYS)
    return HostKeys(keys) if keys else None


def _tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigurationError("--tls-cert and --tls-key belong together")
    for option, file in (("--tls-cert", certificate), ("--tls-key", key)):
        try:
            with Path(file).open("rb"):
                pass
        except OSError as error:
            raise ConfigurationError(f"{option} {file}: cannot be read: {error.strerror or error}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = (getattr(error, "reason", None) or "no PEM, or one with a password").replace("_", " ").lower()
        raise ConfigurationError(f"--tls-cert {certificate} --tls-key {key}: cannot be used: {reason}") from None
    return context


def _no_password() -> str:
    raise ValueError("a key with a password")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


def _allow_files(sockets: int) -> None:
    """As many open files as connections, if the system lets us."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = sockets + 100
        if soft != resource.RLIM_INFINITY and soft < wanted:
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _url(host: str, port: int, *, tls: bool) -> str:
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = socket.gethostname()
        elif address.version == 6:
            host = f"[{host}]"
    return f"{'https' if tls else 'http'}://{host}:{port}"


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: a number from 0 to 65535 is needed")
    return port


def _number(kind: type[int] | type[float], name: str) -> Callable[[str], Any]:
    least = 0 if name in ("rate", "joins") else 1

    def number(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text}: a number from {least} on is needed")
        return value

    return number
