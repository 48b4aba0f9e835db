"""The certificates of one embedded cluster: made in memory in milliseconds, valid for a month."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pytest_istio.local.certificates import unsigned

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Authority", "KeyPair", "write_private", "write_signing_key"]

# Kept clusters live on for days; nobody keeps one for longer.
_VALID = dt.timedelta(days=30)


@dataclass(frozen=True)
class KeyPair:
    """The files of a certificate and its private key, both PEM."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority of the cluster's own, and the folder that holds what it issues."""

    def __init__(self, folder: Path) -> None:
        """Make the authority and write its certificate as ``ca.crt``; its key never leaves the memory."""
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("pytest-istio", None)
        self._identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        self.certificate = folder / "ca.crt"
        builder = unsigned(self._key.public_key(), self._name, self._name, _VALID, authority=True)
        self._sign(builder, self.certificate)

    def issue(
        self,
        file_name: str,
        common_name: str,
        *,
        organization: str | None = None,
        names: Iterable[str] = (),
        addresses: Iterable[str] = (),
    ) -> KeyPair:
        """Issue a certificate for both ends of a connection and write it beside the authority's.

        Args:
            file_name: The files' name without suffix.
            common_name: To Kubernetes, the user.
            organization: To Kubernetes, the user's group.
            names: DNS names that it serves.
            addresses: IP addresses that it serves.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = unsigned(key.public_key(), _name(common_name, organization), self._name, _VALID)
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        pair = KeyPair(self._folder / f"{file_name}.crt", self._folder / f"{file_name}.key")
        self._sign(builder, pair.certificate)
        write_signing_key(pair.key, key)
        return pair

    def _sign(self, builder: x509.CertificateBuilder, path: Path) -> None:
        certificate = builder.add_extension(self._identifier, critical=False).sign(self._key, hashes.SHA256())
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def write_signing_key(path: Path, key: ec.EllipticCurvePrivateKey | None = None) -> None:
    """Write a private key, a new one if none is given, in the form that the API server reads.

    For service-account keys that is ``EC PRIVATE KEY``; PKCS #8 is rejected.
    """
    pem = (key or ec.generate_private_key(ec.SECP256R1())).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    write_private(path, pem.decode())


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, at no moment readable by anybody else."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _name(common_name: str, organization: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)
