"""Where a relay is, and what may be wrong there."""

import ipaddress
import os
import ssl
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp

from kernelwire.connection import ConnectionInfo
from kernelwire.errors import ConnectionLost, InvalidField, KernelwireError, NotServed

_SCHEMES: Final = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
_NOT_FOUND: Final = 404
_PASSING: Final = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Address:
    """A relay's.

    Attributes:
        origin: scheme, host and port.
        path: of its Socket.IO, without a slash before or behind.
        ca: a file with the certificates that are trusted; None for the system's.
    """

    origin: str
    path: str
    ca: str | None = None

    @classmethod
    def of(cls, info: ConnectionInfo) -> Self:
        """From the fields ``relay`` and ``relay_ca``.

        Raises:
            InvalidField: one of them is missing or cannot be used.
        """
        url = info.extra.get("relay")
        if url is None:
            raise InvalidField(
                "relay", "missing; transport 'socketio' needs the address of a relay (variable KERNELWIRE_RELAY)"
            )
        if not isinstance(url, str) or not url.isprintable() or " " in url:
            raise InvalidField("relay", "no address; one looks like https://relay.example")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise InvalidField("relay", "no address; one looks like https://relay.example") from None
        scheme = _SCHEMES.get(parts.scheme)
        if scheme is None or not parts.hostname or port == 0:
            raise InvalidField("relay", "no address; one begins with https:// or http:// and a host's name")
        if parts.username is not None or parts.query or parts.fragment:
            raise InvalidField("relay", "a name and a password, a query or a fragment, which no relay's address has")
        ca = info.extra.get("relay_ca")
        if ca is not None and (not isinstance(ca, str) or not ca):
            raise InvalidField("relay_ca", "the path of a file with certificates is needed")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        origin = f"{scheme}://{host}" + ("" if port is None else f":{port}")
        return cls(origin, f"{parts.path.strip('/')}/socket.io".lstrip("/"), ca)

    def __str__(self) -> str:
        return f"the relay at {self.origin}/{self.path.removesuffix('socket.io')}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        host = urlsplit(self.origin).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def ssl_context(self) -> ssl.SSLContext | bool:
        """What to trust.

        Raises:
            InvalidField: ``relay_ca`` cannot be read.
        """
        if self.ca is None:
            return True
        try:
            return ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or "no certificates in PEM"
            raise InvalidField("relay_ca", f"{self.ca}: cannot be used: {reason}") from None

    def explain(self, error: BaseException) -> KernelwireError:
        """What it means that connecting failed: a :class:`~kernelwire.errors.NotServed` where waiting does not help."""
        cause: BaseException | None = error
        while cause is not None:
            match cause:
                case aiohttp.WSServerHandshakeError(status=status):
                    if status in _PASSING:
                        return ConnectionLost(f"{self} cannot be reached just now (HTTP {status})")
                    if status == 200:
                        return NotServed(
                            f"{self}: something answers, but without websockets; check the address, or the proxy"
                        )
                    hint = "" if status == _NOT_FOUND else ", or a proxy in between that passes no websockets"
                    return NotServed(f"{self}: no relay answers there (HTTP {status}); check the address{hint}")
                case aiohttp.ClientConnectorCertificateError():
                    reason = getattr(cause.certificate_error, "verify_message", "") or "it cannot be verified"
                    return NotServed(
                        f"{self}: its certificate is not trusted: {reason.rstrip('.')}; connection field 'relay_ca' "
                        "names a file of certificates to trust"
                    )
                case aiohttp.ClientConnectorSSLError():
                    return NotServed(f"{self}: no TLS connection: {_reason(cause.os_error)}; is it http:// there?")
                case aiohttp.ClientConnectorError():
                    return ConnectionLost(f"{self} cannot be reached: {_reason(cause.os_error)}")
                case aiohttp.ClientHttpProxyError(status=status):
                    return ConnectionLost(f"{self} cannot be reached: the proxy answers HTTP {status}")
            cause = cause.__cause__ or cause.__context__
        hint = "" if self.origin.startswith("https:") else "; is it https:// there?"
        return ConnectionLost(f"{self} cannot be reached: whoever answers there hangs up{hint}")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it failed").replace("_", " ").lower()
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio's own text repeats the address
    return error.strerror or str(error) or type(error).__name__
