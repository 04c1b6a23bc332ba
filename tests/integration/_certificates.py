"""A certificate authority of the tests' own, and a certificate of it."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Certificates:
    """Files in PEM.

    Arguments:
        directory: where to put them.
        address: what the certificate is for.
        days: from now until it ends.

    Attributes:
        authority: what to trust.
        certificate, key: what a server has.
    """

    def __init__(self, directory: Path, address: str = "127.0.0.1", days: int = 1) -> None:
        directory.mkdir(exist_ok=True)
        self.authority, self.certificate, self.key = (directory / f"{name}.pem" for name in ("ca", "cert", "key"))
        own_key, key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
        name = _name("an authority for tests")
        self.authority.write_bytes(_signed(name, name, own_key, own_key, 2, authority=True))
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        self.certificate.write_bytes(_signed(_name(address), name, key, own_key, days, alternative))
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def context(self) -> ssl.SSLContext:
        """For a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    issuer_key: EllipticCurvePrivateKey,
    days: int,
    alternative: x509.SubjectAlternativeName | None = None,
    *,
    authority: bool = False,
) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if alternative is not None:
        builder = builder.add_extension(alternative, critical=False)
    return builder.sign(issuer_key, SHA256()).public_bytes(Encoding.PEM)
