"""What every certificate carries that is made here, by the cluster or by a program in it.

That is what a strict verifier asks for (Python 3.13 is one): the subject's key identifier, constraints and
usages. It adds the identifier of the authority's key, too, which only who issues knows.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["unsigned"]

_BACKDATED = dt.timedelta(minutes=5)
"""Machines that verify may be a little behind the one that issues."""


def unsigned(
    key: ec.EllipticCurvePublicKey,
    subject: x509.Name,
    issuer: x509.Name,
    lifetime: dt.timedelta,
    *,
    authority: bool = False,
) -> x509.CertificateBuilder:
    """Return a certificate before it is signed.

    Args:
        key: The subject's.
        subject: Whose it is; empty where alternative names say that.
        issuer: The subject of the authority's certificate.
        lifetime: For how long it is good from now on.
        authority: Whether it is good for signing others, and not for both ends of a connection.
    """
    now = dt.datetime.now(dt.timezone.utc)
    usage = x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    if authority:
        return builder
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
