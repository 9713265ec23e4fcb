"""X.509 certificates of TPMs and their CAs, read from files and NV indices. Reading proves nothing."""

from __future__ import annotations

import base64
import binascii
import re
import warnings
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest.bent import Bent, Unbent, unbend
from attest.der import DerError
from attest.errors import AttestInputError

MAX_CERTIFICATE: Final = 16 * 1024
"""Bytes of one certificate; the largest EK certificates seen are below 4 kB."""
MAX_FILE: Final = 1024 * 1024
"""Bytes of one PEM file of certificates."""

_BEGIN: Final = b"-----BEGIN"
_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----")
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
    """As a strict parser reads it. Where something was bent its bytes are not the maker's: use ``parts``."""
    parts: Unbent
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    extensions: x509.Extensions
    subject: x509.Name
    issuer: x509.Name
    hash_name: str | None
    """Hash under the issuer's signature; None for schemes that name none."""

    @classmethod
    def decode(cls, der: bytes) -> Certificate:
        """Read one DER certificate, fill after it included; raises EndorsementError.

        What was read is kept for a while: a verifier meets the certificate of a host at every judgement.
        """
        return _read(bytes(der))

    @classmethod
    def _of_der(cls, der: bytes) -> Certificate:
        if len(der) > MAX_CERTIFICATE:
            raise _malformed(f"{len(der)} bytes; a certificate has at most {MAX_CERTIFICATE}")
        try:
            return cls._decode(unbend(der))
        except DerError as error:
            raise _malformed(f"neither PEM nor a DER certificate: {error}") from None
        except _PARSE_ERRORS as error:
            raise _malformed(f"not a certificate that can be read: {error}") from None

    @classmethod
    def _decode(cls, parts: Unbent) -> Certificate:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd encodings that the maker signed are no news to our user
            found = x509.load_der_x509_certificate(parts.readable)
            key, hashed = found.public_key(), found.signature_hash_algorithm
            if found.version is not x509.Version.v3:
                raise _malformed("X.509 version 3 is required")
            if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
                raise EndorsementError(
                    EndorsementFailure.STRENGTH, "EK certificate: a key neither RSA nor ECC"
                )
            # read now what is parsed late: a year 0 is refused here, and not met by our caller
            _ = (found.not_valid_before_utc, found.not_valid_after_utc, found.signature_algorithm_parameters)
            name = hashed.name if hashed else None
            return cls(found, parts, key, found.extensions, found.subject, found.issuer, name)

    @property
    def name(self) -> str:
        """The subject (RFC 4514), or the serial number of a certificate without one; for messages."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a serial number below 1
            return self.subject.rfc4514_string() or f"serial {self.raw.serial_number:x}"

    @property
    def der(self) -> bytes:
        """The bytes of the certificate itself, as its maker wrote them."""
        return self.parts.der

    @property
    def bent(self) -> tuple[Bent, ...]:
        """What had to be put up with to read it."""
        return self.parts.bent

    @property
    def spki(self) -> bytes:
        """The key as DER SubjectPublicKeyInfo."""
        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def find(self, kind: type[_Kind]) -> _Kind | None:
        """Return the extension of this kind, None if there is none."""
        found = (each.value for each in self.extensions if isinstance(each.value, kind))
        return next(found, None)

    def is_signed_by(self, issuer: Certificate) -> bool:
        """Tell whether ``issuer`` names and signs this certificate, over the bytes that its maker wrote."""
        inner, outer = self.parts.algorithms
        if self.issuer != issuer.subject or inner != outer:
            return False
        try:
            return self._is_signed_with(issuer.key)
        except (InvalidSignature, *_PARSE_ERRORS):
            return False

    def _is_signed_with(self, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bool:
        scheme, hashed = self.raw.signature_algorithm_parameters, self.raw.signature_hash_algorithm
        match key, scheme:
            case rsa.RSAPublicKey(), padding.PKCS1v15() | padding.PSS() if hashed is not None:
                key.verify(self.parts.signature, self.parts.signed, scheme, hashed)
            case ec.EllipticCurvePublicKey(), ec.ECDSA():
                key.verify(self.parts.signature, self.parts.signed, scheme)
            case _:
                return False
        return True


@lru_cache(maxsize=256)
def _read(der: bytes) -> Certificate:
    return Certificate._of_der(der)  # noqa: SLF001 - the one door to it


def decode_certificates(raw: bytes) -> list[Certificate]:
    """Return each certificate of a PEM file, or the one in a DER file; raises EndorsementError.

    Text around the blocks of a PEM file is passed over (RFC 7468, 2); a block of another kind is refused.
    """
    return [Certificate.decode(der) for der in _each(raw)]


def decode_certificate(raw: bytes) -> Certificate:
    """Return the only certificate of a PEM or DER file; raises EndorsementError."""
    found = _each(raw)
    if len(found) != 1:
        raise _malformed(f"{len(found)} certificates where one is expected; CAs go into files of their own")
    return Certificate.decode(found[0])


def _each(raw: bytes) -> list[bytes]:
    """Return the bytes of each certificate in a file; none is read yet."""
    if _BEGIN not in raw:
        return [raw]
    if len(raw) > MAX_FILE:
        raise _malformed(f"a PEM file of {len(raw)} bytes; at most {MAX_FILE} are read")
    blocks = _BLOCK.findall(raw)
    if len(blocks) != raw.count(_BEGIN):
        raise _malformed("not PEM certificates: a block that does not end, or is of another kind")
    return [_body(block) for block in blocks]


def _body(block: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(block.split()), validate=True)
    except binascii.Error as error:
        raise _malformed(f"not a PEM certificate: {error}") from None


def _malformed(message: str) -> EndorsementError:
    return EndorsementError(EndorsementFailure.MALFORMED, f"EK certificate: {message}")
