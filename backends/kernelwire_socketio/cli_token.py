"""Make the tokens that let kernels' hosts in at a relay.

An operator makes a key once, gives its public half to the relay, and issues a token to each host:

    kernelwire token new-key operator.pem
    kernelwire relay --host-key operator.pem.pub ...
    kernelwire token issue --key operator.pem --valid 90 --output laptop.token
    kernelwire token show laptop.token

Who has a token may be a host there. Clients need none: their ticket is enough.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kernelwire import private_file
from kernelwire.cli import OK
from kernelwire.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HELP: Final = "make the tokens that let kernels' hosts in at a relay"

_DAY: Final = 86400.0
_LONGEST: Final = 3660
_MAX_BYTES: Final = 64 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    new_key = actions.add_parser("new-key", help="make an operator's key: FILE, and FILE.pub for the relay")
    new_key.add_argument("file", metavar="FILE", help="where to write it; a file that is there is not overwritten")
    issue = actions.add_parser("issue", help="issue a token")
    issue.add_argument("--key", required=True, metavar="FILE", help="the operator's key")
    issue.add_argument("--valid", type=_days, default=30.0, metavar="DAYS", help="how long it is valid (30)")
    issue.add_argument("--rooms", type=_count, metavar="N", help="kernels at a time (as many as the relay allows)")
    issue.add_argument("--clients", type=_count, metavar="N", help="clients of each (likewise)")
    issue.add_argument(
        "--output", metavar="FILE", help="write it to a file for its owner alone, instead of printing it"
    )
    show = actions.add_parser("show", help="show what a token says")
    show.add_argument("file", metavar="FILE", help="the token; - for standard input")
    show.add_argument("--host-key", metavar="FILE", help="the public key that must have signed it")
    show.add_argument("--json", action="store_true", help="print a JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    return {"new-key": _new_key, "issue": _issue, "show": _show}[arguments.action](arguments)


def _new_key(arguments: argparse.Namespace) -> int:
    from kernelwire_socketio.host_tokens import new_key

    private, public = new_key()
    path = Path(arguments.file).absolute()
    public_path = path.with_name(path.name + ".pub")
    for each in (path, public_path):
        if each.exists():
            raise ConfigurationError(f"{each}: exists already; choose another name")
    _write(path, private)
    try:
        public_path.write_bytes(public)
    except OSError as error:
        path.unlink()
        raise ConfigurationError(f"{public_path}: cannot be written: {error.strerror or error}") from None
    print(public_path)
    return OK


def _issue(arguments: argparse.Namespace) -> int:
    from kernelwire_socketio.host_tokens import issue

    token = issue(
        _private_key(arguments.key),
        valid=arguments.valid * _DAY,
        rooms=arguments.rooms,
        clients=arguments.clients,
    )
    if arguments.output is None:
        print(token)
    else:
        _write(Path(arguments.output).absolute(), token.encode() + b"\n")
    return OK


def _show(arguments: argparse.Namespace) -> int:
    import jwt

    from kernelwire_socketio.host_tokens import HostKeys, read_public
    from kernelwire_socketio.tokens import MAX_SIZE, BadToken, key_id_of

    if arguments.file == "-":
        token, where = sys.stdin.read(MAX_SIZE + 2).strip(), "standard input"
    else:
        where = arguments.file
        token = private_file.read(Path(where), _MAX_BYTES)[0].decode("ascii", "replace").strip()
    try:
        key_id = key_id_of(token)
        claims = jwt.decode(token, options={"verify_signature": False})
        if arguments.host_key is not None:
            data, _ = private_file.read(Path(arguments.host_key), _MAX_BYTES)
            HostKeys(read_public(data, arguments.host_key)).read(token)
    except (BadToken, jwt.PyJWTError) as error:
        reason = error if isinstance(error, BadToken) else "it is no token"
        raise ConfigurationError(f"{where}: not a good host token: {reason}") from None
    said = _said(claims, key_id, verified=arguments.host_key is not None)
    if arguments.json:
        print(json.dumps(said))
    else:
        for name, value in said.items():
            print(f"{name:10} {'as many as the relay allows' if value is None else value}")
    return OK


def _said(claims: dict[str, Any], key_id: str, *, verified: bool) -> dict[str, Any]:
    expires = claims.get("exp")
    left = expires - time.time() if isinstance(expires, int | float) else None
    return {
        "scope": claims.get("scope"),
        "id": claims.get("jti"),
        "key": key_id,
        "signature": "good" if verified else "not checked",
        "issued": _date(claims.get("iat")),
        "expires": _date(expires),
        "state": "unknown" if left is None else "valid" if left > 0 else "expired",
        "rooms": claims.get("rooms"),
        "clients": claims.get("clients"),
    }


def _private_key(file: str) -> "Ed25519PrivateKey":
    from kernelwire_socketio.host_tokens import read_private

    path = Path(file)
    data, mode = private_file.read(path, _MAX_BYTES)
    key = read_private(data, file)
    private_file.warn_if_open(path, mode, "an operator's key", stacklevel=2)
    return key


def _write(path: Path, data: bytes) -> None:
    import os

    os.close(private_file.write(path, data, overwrite=False))


def _date(seconds: object) -> str:
    if not isinstance(seconds, int | float):
        return "unknown"
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "unknown"


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text}: a number of days above 0 is needed, at most {_LONGEST}")
    return days


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text}: a number from 1 on is needed")
    return count
