"""X.509 certificates of TPMs and their CAs, read from files and NV indices. Reading proves nothing."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest.errors import AttestInputError

MAX_CERTIFICATE: Final = 16 * 1024
"""Bytes of one certificate; the largest EK certificates seen are below 4 kB."""
MAX_FILE: Final = 1024 * 1024
"""Bytes of one PEM file of certificates."""

_LENGTH_OCTETS: Final = (1, 2)
"""Octets of a long-form DER length that a certificate of at most 64 kB can have."""
_PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


class EndorsementFailure(StrEnum):
    """Why an EK certificate is not believed."""

    MALFORMED = "ek-certificate-malformed"
    NO_PATH = "ek-certificate-no-path"
    SIGNATURE = "ek-certificate-signature"
    TIME = "ek-certificate-time"
    NOT_CA = "ek-certificate-issuer-not-ca"
    PATH_LENGTH = "ek-certificate-path-length"
    USAGE = "ek-certificate-usage"
    CRITICAL_EXTENSION = "ek-certificate-critical-extension"
    STRENGTH = "ek-certificate-strength"
    OTHER_KEY = "ek-certificate-other-key"


class EndorsementError(AttestInputError):
    """An EK certificate or its chain is not believed; ``code`` is the value of ``failure``."""

    def __init__(self, failure: EndorsementFailure, message: str) -> None:
        super().__init__(message, code=failure.value)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate whose parts were all parsed; none of them has been verified."""

    raw: x509.Certificate
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    extensions: x509.Extensions
    subject: x509.Name
    issuer: x509.Name
    hash_name: str | None
    """Hash under the issuer's signature; None for schemes that name none."""

    @classmethod
    def decode(cls, der: bytes) -> Certificate:
        """Read one DER certificate, fill after it included; raises EndorsementError."""
        try:
            return cls._decode(_trim(der))
        except _PARSE_ERRORS as error:
            raise _malformed(f"not a certificate that can be read: {error}") from None

    @classmethod
    def _decode(cls, der: bytes) -> Certificate:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd encodings that the maker signed are no news to our user
            found = x509.load_der_x509_certificate(der)
            key, hashed = found.public_key(), found.signature_hash_algorithm
            if found.version is not x509.Version.v3:
                raise _malformed("X.509 version 3 is required")
            if not der.endswith(b"\0" + found.signature):
                raise _malformed("the signature has spare bits, which its parser would ignore")
            if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
                raise EndorsementError(
                    EndorsementFailure.STRENGTH, "EK certificate: a key neither RSA nor ECC"
                )
            # read now what is parsed late: a year 0 is refused here, and not met by our caller
            _ = (found.not_valid_before_utc, found.not_valid_after_utc)
            name = hashed.name if hashed else None
            return cls(found, key, found.extensions, found.subject, found.issuer, name)

    @property
    def name(self) -> str:
        """The subject (RFC 4514), or the serial number of a certificate without one; for messages."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a serial number below 1
            return self.subject.rfc4514_string() or f"serial {self.raw.serial_number:x}"

    @property
    def der(self) -> bytes:
        """The bytes of the certificate itself."""
        return self.raw.public_bytes(Encoding.DER)

    @property
    def spki(self) -> bytes:
        """The key as DER SubjectPublicKeyInfo."""
        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def find(self, kind: type[_Kind]) -> _Kind | None:
        """Return the extension of this kind, None if there is none."""
        found = (each.value for each in self.extensions if isinstance(each.value, kind))
        return next(found, None)

    def is_signed_by(self, issuer: Certificate) -> bool:
        """Tell whether ``issuer`` names and signs this certificate."""
        try:
            self.raw.verify_directly_issued_by(issuer.raw)
        except (InvalidSignature, *_PARSE_ERRORS):
            return False
        return True


def decode_certificates(raw: bytes) -> list[Certificate]:
    """Return each certificate of a PEM file, or the one in a DER file; raises EndorsementError."""
    if b"-----BEGIN" not in raw:
        return [Certificate.decode(raw)]
    if len(raw) > MAX_FILE:
        raise _malformed(f"a PEM file of {len(raw)} bytes; at most {MAX_FILE} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = x509.load_pem_x509_certificates(raw)
    except _PARSE_ERRORS as error:
        raise _malformed(f"not a PEM certificate: {error}") from None
    return [Certificate.decode(each.public_bytes(Encoding.DER)) for each in found]


def decode_certificate(raw: bytes) -> Certificate:
    """Return the only certificate of a PEM or DER file; raises EndorsementError."""
    found = decode_certificates(raw)
    if len(found) != 1:
        raise _malformed(f"{len(found)} certificates where one is expected")
    return found[0]


def _trim(raw: bytes) -> bytes:
    """Cut the fill after a DER certificate, all 00 or all FF: NV indices may be larger than that."""
    if len(raw) > MAX_CERTIFICATE:
        raise _malformed(f"{len(raw)} bytes; a certificate has at most {MAX_CERTIFICATE}")
    end = _end_of_sequence(raw)
    fill = set(raw[end:])
    if end > len(raw) or not (fill <= {0x00} or fill <= {0xFF}):
        raise _malformed(f"the DER sequence ends at byte {end}, the file at {len(raw)}")
    return raw[:end]


def _end_of_sequence(raw: bytes) -> int:
    if raw[:1] != b"\x30" or len(raw) < 2:  # noqa: PLR2004 - tag and first length octet
        raise _malformed("neither PEM nor a DER SEQUENCE at byte 0")
    if raw[1] < 0x80:  # noqa: PLR2004 - short form of a DER length
        return 2 + raw[1]
    octets = raw[1] & 0x7F
    if octets not in _LENGTH_OCTETS:
        raise _malformed(f"a DER length of {octets} octets at byte 1")
    return 2 + octets + int.from_bytes(raw[2 : 2 + octets], "big")


def _malformed(message: str) -> EndorsementError:
    return EndorsementError(EndorsementFailure.MALFORMED, f"EK certificate: {message}")
