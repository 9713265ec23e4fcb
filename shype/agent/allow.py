"""Who may ask a host agent: a PEM file of client certificates, as an operator collects them.

A list of keys, not of authorities: each certificate is self-signed, for TLS clients only (RFC 5280, 4.2.1.12)
and no CA, so that none on the list can put another on it, and a server's certificate is no client's
(CVE-2026-1709). Text between the certificates is comment (RFC 7468, 2).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from attest.certificate import Certificate, decode_certificates
from attest.endorsement import EndorsementError
from shype.errors import ShypeInputError
from shype.tls_key import CLIENT

MAX_ALLOW: Final = 256 * 1024
MAX_CLIENTS: Final = 64
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""What a client may be called: it is written into logs as it stands."""
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)


class AllowError(ShypeInputError):
    """The list of who may ask is not one."""

    code = "allow-malformed"


@dataclass(frozen=True, slots=True)
class AllowList:
    """Clients by the SHA-256 of their certificate, and the key of each by its name.

    ``pem`` has the certificates and nothing else.
    """

    names: Mapping[bytes, str]
    keys: Mapping[str, ec.EllipticCurvePublicKey]
    pem: str

    @classmethod
    def joined(cls, lists: Iterable[Self]) -> Self:
        """Return one list of the clients of several, none of whom is on two (``shype.agent.clients``)."""
        names, keys, pem = dict[bytes, str](), dict[str, ec.EllipticCurvePublicKey](), ""
        for each in lists:
            names |= each.names
            keys |= each.keys
            pem += each.pem
        return cls(MappingProxyType(names), MappingProxyType(keys), pem)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read the file; raises AllowError."""
        if b"PRIVATE KEY-----" in raw:
            raise AllowError("allow list: it holds a private key; only certificates belong here")
        if len(raw) > MAX_ALLOW:
            raise AllowError(f"allow list: more than {MAX_ALLOW} bytes")
        try:
            found = decode_certificates(raw)
        except EndorsementError as error:
            raise AllowError(f"allow list: {error}") from None
        if len(found) > MAX_CLIENTS:
            raise AllowError(f"allow list: {len(found)} clients; at most {MAX_CLIENTS}")
        names: dict[bytes, str] = {}
        keys: dict[str, ec.EllipticCurvePublicKey] = {}
        for each in found:
            name, key = _checked(each)
            names[hashlib.sha256(each.der).digest()] = name
            keys[name] = key
        if len(keys) < len(found) or len({each.spki for each in found}) < len(found):
            raise AllowError("allow list: two certificates have one name or one key")
        pem = "".join(each.raw.public_bytes(Encoding.PEM).decode() for each in found)
        return cls(MappingProxyType(names), MappingProxyType(keys), pem)

    def name_of(self, certificate: bytes | None) -> str | None:
        """Return who has this certificate (DER); None for nobody on the list."""
        return None if certificate is None else self.names.get(hashlib.sha256(certificate).digest())


def _checked(certificate: Certificate) -> tuple[str, ec.EllipticCurvePublicKey]:
    """Return the client's name, which is the certificate's common name, and its key."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if len(names) == 1 else ""
    if not NAME.fullmatch(name):
        raise AllowError("allow list: a client is called by one common name: letters, digits, and . _ @ -")
    constraints = certificate.find(x509.BasicConstraints)
    usage = certificate.find(x509.ExtendedKeyUsage)
    if not isinstance(certificate.key, ec.EllipticCurvePublicKey) or not isinstance(
        certificate.key.curve, _CURVES
    ):
        raise AllowError(f"allow list: {name}: a key on P-256 or P-384 is needed")
    if constraints is None or constraints.ca:
        raise AllowError(f"allow list: {name}: its certificate may issue others (CA)")
    if usage is None or list(usage) != [CLIENT]:
        raise AllowError(f"allow list: {name}: not a certificate for TLS clients, and for them only")
    if not certificate.is_signed_by(certificate):
        raise AllowError(
            f"allow list: {name}: not self-signed: list the key itself, not what an authority says"
        )
    return name, certificate.key
