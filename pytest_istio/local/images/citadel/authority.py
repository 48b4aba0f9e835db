"""The certificate authority: a self-signed root, and the keys and certificates it issues.

Workloads have no subject, so their alternative names are critical. Lifetimes are those of Citadel 1.0: a year
for the root, 90 days for a workload.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pytest_istio.local.certificates import unsigned

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Authority", "KeyPair"]

_ORGANIZATION = "k8s.cluster.local"
_ROOT_LIFETIME = dt.timedelta(days=365)
_WORKLOAD_LIFETIME = dt.timedelta(days=90)


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its key.

    Attributes:
        certificate: PEM.
        key: PEM, PKCS 8, not encrypted.
    """

    certificate: bytes
    key: bytes


class Authority:
    """Issues certificates that chain to one root."""

    def __init__(self, root: KeyPair) -> None:
        """Continue with an existing root.

        Raises:
            ValueError: `root` is no certificate with an elliptic-curve key.
        """
        self.root = root
        self._certificate = x509.load_pem_x509_certificate(root.certificate)
        key = serialization.load_pem_private_key(root.key, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"the root's key is a {type(key).__name__}, not an elliptic-curve one")  # noqa: TRY004 - one kind of error for a root that is of no use
        self._key = key

    @classmethod
    def self_signed(cls) -> Authority:
        """Return an authority with a new root."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION)])
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = unsigned(key.public_key(), name, name, _ROOT_LIFETIME, authority=True)
        builder = builder.add_extension(identifier, critical=False)
        return cls(_pair(builder.sign(key, hashes.SHA256()), key))

    def issue(self, identity: str, dns_names: Sequence[str] = ()) -> KeyPair:
        """Return a new key and certificate, good for servers and clients.

        Args:
            identity: The URI that names the workload, ``spiffe://domain/ns/namespace/sa/account``.
            dns_names: Names under which the workload is reached as a server.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.UniformResourceIdentifier(identity), *(x509.DNSName(name) for name in dns_names)]
        builder = (
            unsigned(key.public_key(), x509.Name([]), self._certificate.subject, _WORKLOAD_LIFETIME)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(self._identifier(), critical=False)
        )
        return _pair(builder.sign(self._key, hashes.SHA256()), key)

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        subject = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject.value)

    def vouches_for(self, certificate: bytes) -> bool:
        """Whether a PEM certificate was issued by this root and has more than half of its life left."""
        try:
            parsed = x509.load_pem_x509_certificate(certificate)
            parsed.verify_directly_issued_by(self._certificate)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, a new one replaces it
            return False
        return dt.datetime.now(dt.timezone.utc) < parsed.not_valid_after_utc - _WORKLOAD_LIFETIME / 2


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), private)
