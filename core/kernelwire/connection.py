"""Connection information: what a client must know to reach a kernel, and the file that tells it.

Source: "Messaging in Jupyter", "Connection files" of https://jupyter-client.readthedocs.io/en/stable/kernels.html, and
Jupyter enhancement proposal 106. Which fields a transport needs is the backend's to say; here only their types and
ranges are checked. Unknown fields are kept: they belong to somebody.
"""

import dataclasses
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Self

from kernelwire.errors import InvalidField
from kernelwire.signing import DEFAULT_SCHEME, Signer

_Z85: Final = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#")

PORT_FIELDS: Final = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")


@dataclass(frozen=True)
class ConnectionInfo:
    """The fields of a connection file; immutable. ``repr`` shows neither keys nor unknown values.

    Attributes:
        transport: the name of the backend; ``tcp`` where a file names none, as everywhere in Jupyter.
        ip: tcp: the kernel's address; ipc: the path that ``-N`` is added to. None where the transport has none.
        shell_port: 1 to 65535, as all the ports; None where the transport has none or it is still to be chosen.
        iopub_port: see shell_port.
        stdin_port: see shell_port.
        control_port: see shell_port.
        hb_port: see shell_port.
        key: the HMAC key; empty for unsigned messages.
        signature_scheme: ``hmac-`` and a hash's name.
        kernel_name: the kernelspec's name.
        curve_publickey: the kernel's CURVE public key, Z85, 40 characters.
        curve_secretkey: the matching secret key.
        extra: every other field of the file, as it stood.

    Raises:
        InvalidField: a value of the wrong type or out of range.
    """

    transport: str = "tcp"
    ip: str | None = None
    shell_port: int | None = None
    iopub_port: int | None = None
    stdin_port: int | None = None
    control_port: int | None = None
    hb_port: int | None = None
    key: bytes = field(default=b"", repr=False)
    signature_scheme: str = DEFAULT_SCHEME
    kernel_name: str | None = None
    curve_publickey: bytes | None = field(default=None, repr=False)
    curve_secretkey: bytes | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        _check_text("transport", self.transport)
        for name in ("ip", "kernel_name"):
            if (value := getattr(self, name)) is not None:
                _check_text(name, value)
        for name in PORT_FIELDS:
            if (value := getattr(self, name)) is not None:
                _check_port(name, value)
        _check_text("signature_scheme", self.signature_scheme)
        Signer(b"", self.signature_scheme)
        if not isinstance(self.key, bytes):
            raise InvalidField("key", f"{_kind(self.key)} where bytes are needed")
        try:
            self.key.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidField("key", "bytes that are no UTF-8, which no connection file can hold") from None
        for name in ("curve_publickey", "curve_secretkey"):
            if (value := getattr(self, name)) is not None:
                _check_curve_key(name, value)
        if known := set(self.extra) & (_names(self) - {"extra"}):
            raise InvalidField(min(known), "a field of its own, which cannot stand in extra too")
        object.__setattr__(self, "extra", MappingProxyType(dict(self.extra)))

    # A read-only view cannot be pickled or copied by itself, and connection information goes to other processes.
    def __reduce__(self) -> tuple[Any, ...]:
        values = {name: getattr(self, name) for name in _names(self)}
        return _rebuild, (type(self), values | {"extra": dict(self.extra)})

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """From the JSON object of a connection file.

        Keys may be strings or bytes. ``ip`` and ``kernel_name`` may be empty or null, which counts as absent.

        Raises:
            InvalidField: a value of the wrong type or out of range; a port of 0, which asks for a free one and so
                cannot stand in the file of a kernel that runs.
        """
        if not isinstance(fields, Mapping):
            raise InvalidField("connection", f"{_kind(fields)} where an object is needed")
        known = _names(cls) - {"extra"}
        values = {name: value for name, value in fields.items() if name in known}
        for name in ("curve_publickey", "curve_secretkey"):
            if name in values and values[name] is None:
                del values[name]
        for name in ("key", "curve_publickey", "curve_secretkey"):
            if name in values:
                values[name] = _encoded(name, values[name])
        for name in ("ip", "kernel_name"):
            if name in values and not values[name] and isinstance(values[name], str | None):
                del values[name]
        for name in PORT_FIELDS:
            if name in values and values[name] is None:
                raise InvalidField(name, "null where a number from 1 to 65535 is needed")
        for name in ("curve_publickey", "curve_secretkey"):
            if not values.get(name):
                values.pop(name, None)
        return cls(**values, extra={k: v for k, v in fields.items() if k not in known})

    def to_dict(self) -> dict[str, Any]:
        """The JSON object for a connection file: the known fields that have a value, then the unknown ones.

        It holds the key.
        """
        values: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name != "extra" and value is not None:
                values[f.name] = value.decode("utf-8") if isinstance(value, bytes) else value
        return values | dict(self.extra)

    def replace(self, **changes: Any) -> Self:
        """A copy with other values; names that are no known field go to ``extra``.

        Raises:
            InvalidField: as for a new one.
        """
        known = _names(self)
        extra = changes.pop("extra", self.extra)
        extra = dict(extra) | {k: v for k, v in changes.items() if k not in known}
        return dataclasses.replace(self, **{k: v for k, v in changes.items() if k in known}, extra=extra)

    def port(self, field_name: str) -> int:
        """The value of a port field that the caller cannot do without.

        Raises:
            InvalidField: it is missing.
        """
        value = getattr(self, field_name)
        if value is None:
            raise InvalidField(field_name, f"missing; transport {self.transport!r} needs it")
        assert isinstance(value, int)
        return value

    @property
    def address(self) -> tuple[object, ...]:
        """Where the kernel is, without secrets: equal for two descriptions of the same endpoint."""
        ports = tuple(getattr(self, field) for field in PORT_FIELDS)
        if any(ports):
            ip = "127.0.0.1" if self.ip in (None, "localhost") else self.ip
            return (self.transport, ip, *ports)
        # Which of the other fields say where, only their transport knows; one of them may be a token.
        others = repr(sorted(self.extra.items())).encode("utf-8", "backslashreplace")
        return (self.transport, self.ip, hashlib.sha256(others).hexdigest())


def _names(kind: type[ConnectionInfo] | ConnectionInfo) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def _rebuild(kind: type[ConnectionInfo], values: dict[str, Any]) -> ConnectionInfo:
    return kind(**values)


def new_key() -> bytes:
    """A fresh key for a kernel: 32 hexadecimal digits, of 128 random bits."""
    return secrets.token_hex(16).encode("ascii")


def _kind(value: object) -> str:
    """The type of a value, for an error; never the value, which may be a secret put in the wrong place."""
    names = {
        "str": "text",
        "NoneType": "null",
        "dict": "an object",
        "list": "a list",
        "bool": "true or false",
    }
    return names.get(type(value).__name__, type(value).__name__)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise InvalidField(name, f"{_kind(value) if value != '' else 'empty text'} where text is needed")
    if "\0" in value:
        raise InvalidField(name, "a NUL character in it")
    _encoded(name, value)


def _check_port(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidField(name, f"{_kind(value)} where a number from 1 to 65535 is needed")
    if value == 0:
        raise InvalidField(
            name, "0 is no port; a kernel's file has the number that it got, and one that is left out is chosen"
        )
    if not 1 <= value <= 65535:
        raise InvalidField(name, f"{value} is no port; a number from 1 to 65535 is needed")


def _check_curve_key(name: str, value: object) -> None:
    if not isinstance(value, bytes) or len(value) != 40 or not _Z85.issuperset(value):
        raise InvalidField(name, "a CURVE key is 40 characters of Z85")


def _encoded(name: str, value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise InvalidField(name, f"{_kind(value)} where text is needed")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidField(name, "text that has no form in UTF-8") from None
