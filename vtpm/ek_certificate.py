"""EK certificates for vTPMs, by the profile of hardware ones (TCG EK Credential Profile for TPM 2.0, 3.2).

Pure: keys, times and serial numbers come from the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from vtpm.errors import VtpmUsageError
from vtpm.tpm2.constants import Attributes
from vtpm.tpm2.public import Public, RsaKey

if TYPE_CHECKING:
    from datetime import datetime

CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_TPM_MANUFACTURER: Final = ObjectIdentifier("2.23.133.2.1")
_TPM_MODEL: Final = ObjectIdentifier("2.23.133.2.2")
_TPM_VERSION: Final = ObjectIdentifier("2.23.133.2.3")
_EK_CERTIFICATE: Final = ObjectIdentifier("2.23.133.8.1")
_SUBJECT_DIRECTORY_ATTRIBUTES: Final = ObjectIdentifier("2.5.29.9")
_SPECIFICATION: Final = bytes.fromhex("3019301706056781050210310e300c0c03322e30020100020200a4")
"""SEQUENCE of tpmSpecification (2.23.133.2.16): family "2.0", level 0, revision 164, as libtpms has it."""

_SWTPM: Final = ((_TPM_MANUFACTURER, "id:00001014"), (_TPM_MODEL, "swtpm"), (_TPM_VERSION, "id:20191023"))
"""What swtpm says of itself: an EK certificate of a vTPM must not pass for one of hardware."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when until when a certificate holds; both with a time zone."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True, repr=False)
class EkIssuer:
    """Who vouches for vTPMs: a private key and its CA certificate."""

    key: CaKey
    certificate: x509.Certificate

    def __post_init__(self) -> None:
        if self.key.public_key() != self.certificate.public_key():
            raise VtpmUsageError("the issuer's certificate is for another key")

    def issue(self, ek: Public, vid: str, *, serial: int, validity: Validity) -> bytes:
        """Return the EK certificate (DER) of the vTPM ``vid`` (32 hexadecimal digits).

        The subject is empty; subjectAltName has the TPM's maker, model and version, and ``urn:uuid:`` with
        the vid. Raises ``VtpmUsageError`` if ``ek`` is no restricted decryption key.
        """
        if not {Attributes.DECRYPT, Attributes.RESTRICTED} <= set(ek.attributes):
            raise VtpmUsageError("an EK is a restricted decryption key")
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(ek.key())
            .serial_number(serial)
            .not_valid_before(validity.begin)
            .not_valid_after(validity.end)
            .add_extension(_alternative_name(vid), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(rsa_key=isinstance(ek.parameters, RsaKey)), critical=True)
            .add_extension(x509.ExtendedKeyUsage([_EK_CERTIFICATE]), critical=False)
            .add_extension(_specification(), critical=False)
            .add_extension(_authority(self.key), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


def self_signed(key: CaKey, name: str, *, serial: int, validity: Validity) -> x509.Certificate:
    """Return a CA certificate for ``key``, which may issue EK certificates and nothing below them."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(validity.begin)
        .not_valid_after(validity.end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _alternative_name(vid: str) -> x509.SubjectAlternativeName:
    maker = x509.Name([x509.NameAttribute(oid, value) for oid, value in _SWTPM])
    urn = f"urn:uuid:{vid[:8]}-{vid[8:12]}-{vid[12:16]}-{vid[16:20]}-{vid[20:]}"
    return x509.SubjectAlternativeName([x509.DirectoryName(maker), x509.UniformResourceIdentifier(urn)])


def _key_usage(*, rsa_key: bool) -> x509.KeyUsage:
    """Return the use of an EK: key encipherment for RSA, key agreement for ECC (3.2.15)."""
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=rsa_key,
        data_encipherment=False,
        key_agreement=not rsa_key,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _specification() -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(_SUBJECT_DIRECTORY_ATTRIBUTES, _SPECIFICATION)


def _authority(key: CaKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
