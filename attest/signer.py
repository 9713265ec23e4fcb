"""The one port through which this package has something signed."""

from __future__ import annotations

from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from attest.errors import AttestUsageError


class Signer(Protocol):
    """A key that signs; a key in a TPM and a key in memory fit it by shape.

    ECDSA on P-256 with SHA-256 (FIPS 186-5; ``ES256`` of RFC 7518, 3.4). The private half never leaves it.
    """

    def spki(self) -> bytes:
        """Return the public key as DER SubjectPublicKeyInfo (RFC 5280, 4.1)."""
        ...

    def sign(self, digest: bytes) -> bytes:
        """Sign a 32-byte SHA-256 digest; return the DER ECDSA-Sig-Value (RFC 3279, 2.2.3)."""
        ...


class MemoryKey:
    """A Signer whose private key lies in the memory of this process."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def from_pem(cls, raw: bytes) -> MemoryKey:
        """Read an unencrypted PEM private key on P-256; raises AttestUsageError for anything else."""
        try:
            key = load_pem_private_key(raw, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise AttestUsageError("not an unencrypted PEM private key", code="key") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise AttestUsageError("not a key on P-256: openssl ecparam -name prime256v1 -genkey", code="key")
        return cls(key)

    def spki(self) -> bytes:
        """Return the public key in DER."""
        return self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest."""
        return self._key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))
