"""EK certificates: the maker's word that an endorsement key lives in one of its TPMs.

Follows the path checks of RFC 5280, section 6.1, with the leaf of TCG EK Credential Profile 2.6, section 3.
Trusted: the roots that the caller configured. Established: the key in the certificate was endorsed by a
chain to such a root, at the time the caller gives. Not established: revocation (the caller has no lists
here), and that the peer holds the key; that is what :mod:`attest.enrolment` proves.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtensionOID

from attest.certificate import Certificate, EndorsementError, EndorsementFailure, decode_certificates
from attest.errors import AttestUsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from vtpm.tpm2.public import Public

__all__ = [
    "Anchors",
    "Endorsement",
    "EndorsementError",
    "EndorsementFailure",
    "TpmIdentity",
    "verify_endorsement",
]

BENT: Final = "endorsement-bent"
"""Begins every note on a certificate that is not quite DER."""
MAX_CHAIN: Final = 8
"""Certificates from EK to root, both counted. CAs on the die make six (Intel's firmware TPM)."""
MAX_INTERMEDIATES: Final = 8
MAX_TRIES: Final = 128
"""Ways up that may fail: CAs of one name lead to more than anybody has the time to try."""

EK_CERTIFICATE_USAGE: Final = x509.ObjectIdentifier("2.23.133.8.1")
"""tcg-kp-EKCertificate (EK Credential Profile, 3.2.16)."""
_ANY_USAGE: Final = x509.ObjectIdentifier("2.5.29.37.0")
_MANUFACTURER: Final = x509.ObjectIdentifier("2.23.133.2.1")
_MODEL: Final = x509.ObjectIdentifier("2.23.133.2.2")
_VERSION: Final = x509.ObjectIdentifier("2.23.133.2.3")

_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
"""Extensions that may be critical. Policies need no rule here: any policy is acceptable to us."""

_STRONG_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_STRONG_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_RSA_BITS: Final = range(2048, 8192 + 1)
_RSA_EXPONENT: Final = 65_537

HARDWARE_MANUFACTURERS: Final = frozenset(
    f"id:{vendor.hex().upper()}"
    for vendor in (
        *(b"AMD\0", b"ATML", b"BRCM", b"CSCO", b"IFX\0", b"INTC", b"LEN\0", b"NSG\0", b"NSM ", b"NTC\0"),
        *(b"NTZ\0", b"QCOM", b"SMSC", b"SMSN", b"SNS\0", b"STM ", b"TXN\0", b"WEC\0"),
    )
)
"""Makers of chips and firmware TPMs (TCG TPM Vendor ID Registry).

Whoever also ships a TPM in software (IBM, Microsoft, Google, VMware) is left out, and swtpm names itself
``id:00001014``: what is not known to be hardware counts as software.
"""


@dataclass(frozen=True, slots=True)
class TpmIdentity:
    """Who made the TPM, from the certificate's subjectAltName (EK Credential Profile, 3.1.2)."""

    manufacturer: str
    """``id:`` and the four bytes of the vendor id in upper case hex, as the TPM reports them."""
    model: str
    version: str

    @property
    def is_software(self) -> bool:
        """True unless the maker is known to make hardware only."""
        return self.manufacturer not in HARDWARE_MANUFACTURERS


@dataclass(frozen=True, slots=True)
class Endorsement:
    """An EK certificate that was verified up to a configured root."""

    certificate: bytes
    """DER, without the fill that NV indices add."""
    identity: TpmIdentity | None
    chain: tuple[str, ...]
    """Subjects from the issuer of the EK certificate to the root (RFC 4514)."""
    bent: tuple[str, ...] = ()
    """What had to be put up with to read the certificates of the chain (:mod:`attest.bent`); for a person."""

    @property
    def is_software(self) -> bool:
        """True unless the certificate names a maker that is known to make hardware only."""
        return self.identity is None or self.identity.is_software


@dataclass(frozen=True, slots=True)
class Anchors:
    """The roots that the verifier trusts, and intermediates at hand, which are not trusted by themselves."""

    roots: tuple[Certificate, ...]
    intermediates: tuple[Certificate, ...]

    @classmethod
    def decode(cls, files: Iterable[bytes]) -> Anchors:
        """Read PEM or DER files. What names itself as issuer is a root, the rest are intermediates.

        Raises EndorsementError for a file that is no certificate, AttestUsageError if there is no root.
        """
        return cls.of([certificate for raw in files for certificate in decode_certificates(raw)])

    @classmethod
    def of(cls, found: Sequence[Certificate]) -> Anchors:
        """Tell roots from intermediates; raises AttestUsageError if there is no root."""
        roots = tuple(each for each in found if each.subject == each.issuer)
        if not roots:
            raise AttestUsageError(
                "no root certificate among the anchors; give one that names itself as issuer"
            )
        return cls(roots, tuple(each for each in found if each.subject != each.issuer))


def verify_endorsement(
    certificate: bytes,
    anchors: Anchors,
    *,
    now: datetime,
    ek: Public | None = None,
    intermediates: Sequence[bytes] = (),
) -> Endorsement:
    """Verify an EK certificate (DER) up to a root of ``anchors`` at the time ``now`` (with time zone).

    ``ek`` is the EK whose key the certificate must hold. ``intermediates`` (DER) come from the peer.
    Raises EndorsementError.
    """
    if now.tzinfo is None:
        raise AttestUsageError("the time of verification has no time zone; pass an aware datetime")
    if len(intermediates) > MAX_INTERMEDIATES:
        what = f"{len(intermediates)} intermediate certificates; at most {MAX_INTERMEDIATES} are read"
        raise EndorsementError(EndorsementFailure.MALFORMED, f"EK certificate: {what}")
    leaf = Certificate.decode(certificate)
    _check_each(leaf, now)
    _check_leaf(leaf)
    if ek is not None and leaf.spki != ek.spki():
        raise _error(EndorsementFailure.OTHER_KEY, leaf, "it certifies another key than the EK given")
    pool = (*anchors.intermediates, *(Certificate.decode(der) for der in intermediates))
    path = _path(leaf, anchors.roots, pool, now)
    chain = tuple(each.name for each in path)
    return Endorsement(leaf.der, _identity(leaf), chain, tuple(_bent((leaf, *path))))


def _path(
    leaf: Certificate, roots: tuple[Certificate, ...], pool: tuple[Certificate, ...], now: datetime
) -> tuple[Certificate, ...]:
    """Return the issuers from ``leaf`` to a root; raises the error of the path that came farthest."""
    failures: list[tuple[int, EndorsementError]] = []
    for path in _climb((leaf,), roots, pool, now, failures):
        return path[1:]
    if failures:
        raise max(failures, key=lambda failure: failure[0])[1]
    what = f"no chain to a configured root; issuer {leaf.issuer.rfc4514_string()}"
    raise _error(EndorsementFailure.NO_PATH, leaf, what)


def _climb(
    below: tuple[Certificate, ...],
    roots: tuple[Certificate, ...],
    pool: tuple[Certificate, ...],
    now: datetime,
    failures: list[tuple[int, EndorsementError]],
) -> Iterator[tuple[Certificate, ...]]:
    """Yield each chain that continues ``below`` up to a root; note why the others end."""
    if len(failures) >= MAX_TRIES:
        return
    if len(below) == MAX_CHAIN:
        too_long = _error(EndorsementFailure.PATH_LENGTH, below[0], f"more than {MAX_CHAIN} certificates")
        failures.append((len(below), too_long))
        return
    for issuer in (
        each for each in (*roots, *pool) if each.subject == below[-1].issuer and each not in below
    ):
        try:
            _check_issuer(issuer, below, now)
        except EndorsementError as error:
            failures.append((len(below), error))
            continue
        if issuer in roots:
            yield (*below, issuer)
        else:
            yield from _climb((*below, issuer), roots, pool, now, failures)


def _check_issuer(issuer: Certificate, below: tuple[Certificate, ...], now: datetime) -> None:
    """RFC 5280, 6.1.3 (a) and 6.1.4 (k) to (o), for one issuer above the certificates ``below``."""
    constraints = issuer.find(x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise _error(EndorsementFailure.NOT_CA, issuer, "it issued a certificate and is no CA")
    usage = issuer.find(x509.KeyUsage)
    if usage is None or not usage.key_cert_sign:
        raise _error(EndorsementFailure.NOT_CA, issuer, "its key may not sign certificates")
    if constraints.path_length is not None and len(below) - 1 > constraints.path_length:
        raise _error(EndorsementFailure.PATH_LENGTH, issuer, "more CAs are below it than it allows")
    extended = issuer.find(x509.ExtendedKeyUsage)
    if extended is not None and not {EK_CERTIFICATE_USAGE, _ANY_USAGE} & set(extended):
        raise _error(EndorsementFailure.USAGE, issuer, "it may not issue EK certificates")
    _check_each(issuer, now)
    if below[-1].hash_name not in _STRONG_HASHES:
        raise _error(EndorsementFailure.STRENGTH, below[-1], f"it is signed over {below[-1].hash_name}")
    if not below[-1].is_signed_by(issuer):
        raise _error(EndorsementFailure.SIGNATURE, below[-1], "the issuer that it names did not sign it")


def _check_each(certificate: Certificate, now: datetime) -> None:
    """Check what every certificate of a chain needs: dates, known critical extensions, key strength."""
    start, end = certificate.raw.not_valid_before_utc, certificate.raw.not_valid_after_utc
    if not start <= now <= end:
        start_, end_, now_ = (f"{each:%Y-%m-%d %H:%M:%S}" for each in (start, end, now.astimezone(UTC)))
        what = f"valid from {start_} to {end_}, not at {now_} (UTC)"
        raise _error(EndorsementFailure.TIME, certificate, what)
    if certificate.find(x509.NameConstraints) is not None:
        what = "name constraints are not understood, and must not be passed over (RFC 5280, 4.2.1.10)"
        raise _error(EndorsementFailure.CRITICAL_EXTENSION, certificate, what)
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            what = f"critical extension {extension.oid.dotted_string} is not understood"
            raise _error(EndorsementFailure.CRITICAL_EXTENSION, certificate, what)
    if not _is_strong(certificate):
        raise _error(EndorsementFailure.STRENGTH, certificate, "its key is too weak or of an unusual kind")


def _is_strong(certificate: Certificate) -> bool:
    key = certificate.key
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size in _RSA_BITS and key.public_numbers().e == _RSA_EXPONENT
    return key.curve.name in _STRONG_CURVES


def _check_leaf(leaf: Certificate) -> None:
    """EK Credential Profile, 3.2: not a CA, a key to decrypt or agree with, made for an EK."""
    constraints = leaf.find(x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise _error(EndorsementFailure.USAGE, leaf, "an EK certificate may not be a CA")
    usage = leaf.find(x509.KeyUsage)
    if usage is not None and not _may_decrypt(usage, leaf):
        raise _error(EndorsementFailure.USAGE, leaf, "its key usage is not that of an EK")
    extended = leaf.find(x509.ExtendedKeyUsage)
    if extended is not None and EK_CERTIFICATE_USAGE not in extended:
        raise _error(EndorsementFailure.USAGE, leaf, "its extended key usage lacks 2.23.133.8.1")


def _may_decrypt(usage: x509.KeyUsage, leaf: Certificate) -> bool:
    return usage.key_encipherment if isinstance(leaf.key, rsa.RSAPublicKey) else usage.key_agreement


def _identity(leaf: Certificate) -> TpmIdentity | None:
    names = leaf.find(x509.SubjectAlternativeName)
    found: dict[x509.ObjectIdentifier, str] = {}
    for name in names.get_values_for_type(x509.DirectoryName) if names else ():
        for attribute in name:
            if attribute.oid in found or not isinstance(attribute.value, str):
                raise _error(EndorsementFailure.MALFORMED, leaf, "its TPM attributes are ambiguous")
            found[attribute.oid] = attribute.value
    if _MANUFACTURER not in found:
        return None
    prefix, _, vendor = found[_MANUFACTURER].partition(":")
    return TpmIdentity(f"{prefix}:{vendor.upper()}", found.get(_MODEL, ""), found.get(_VERSION, ""))


def _bent(chain: Iterable[Certificate]) -> Iterator[str]:
    for certificate in chain:
        for bent in certificate.bent:
            yield f"{BENT}: {bent}: {certificate.name}"


def _error(failure: EndorsementFailure, certificate: Certificate, message: str) -> EndorsementError:
    return EndorsementError(failure, f"EK certificate chain, {certificate.name}: {message}")
