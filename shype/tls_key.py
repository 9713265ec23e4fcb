"""Key pairs for TLS between a verifier and a host agent: P-256, each with a certificate that it signs itself.

No authority stands behind such a certificate. A verifier's is known to the host because its operator put it
on the list of who may ask; a host agent's key is known to the verifier because the host's TPM signed its
digest together with the nonce.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH
MAX_DAYS: Final = 3650
_ECDSA: Final = ec.ECDSA(hashes.SHA256())
_SKEW: Final = timedelta(days=1)
"""The clocks of verifier and host may differ by a time zone: what an operator lists is a key, not a date."""


@dataclass(frozen=True, slots=True)
class TlsKey:
    """A key pair. ``secret`` is the private key and the certificate, both PEM; keep it in mode 0600."""

    secret: bytes
    certificate: bytes
    """PEM."""
    spki_digest: bytes
    """SHA-256 of the DER SubjectPublicKeyInfo."""

    def __repr__(self) -> str:
        return f"TlsKey({self.spki_digest.hex()})"


def make(name: str, usage: ObjectIdentifier, now: datetime, days: int) -> TlsKey:
    """Make a key for one ``usage`` (CLIENT or SERVER), good for ``days`` from ``now``; no CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_digital_signature(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return TlsKey(private + certificate, certificate, spki_digest(key.public_key()))


def spki_digest(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the SHA-256 of a key as DER SubjectPublicKeyInfo (RFC 5280, 4.1)."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Return an ECDSA signature with SHA-256 in DER (RFC 3279, 2.2.3), as ``openssl dgst -sha256 -sign``."""
    return key.sign(message, _ECDSA)


def is_signed_by(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    """Tell whether ``sign`` made this signature, by the owner of ``key``."""
    try:
        key.verify(signature, message, _ECDSA)
    except InvalidSignature:
        return False
    return True


def _digital_signature() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
