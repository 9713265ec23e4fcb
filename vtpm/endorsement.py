"""The endorsement key of a TPM, with the certificate that its maker left in it (EK Credential Profile)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vtpm.errors import ResponseError, StructureError
from vtpm.templates import EK_TEMPLATES, EkTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vtpm.key import Key
    from vtpm.tpm import Tpm


@dataclass(frozen=True, slots=True)
class Endorsement:
    """An EK, made again from its template, and its certificate (DER) for the same key."""

    key: Key
    certificate: bytes


def endorsement(tpm: Tpm, templates: Sequence[EkTemplate] = EK_TEMPLATES) -> Endorsement:
    """Return the first EK that has a certificate: by default RSA-2048, then P-256, then P-384.

    Raises ``ResponseError`` with code ``absent`` if no certificate is there, ``StructureError`` if the one
    found cannot be read or is for another key than this TPM's.
    """
    for template in templates:
        try:
            certificate = tpm.nv.read(template.certificate_index)
        except ResponseError as error:
            if error.code != "absent":
                raise
            continue
        return _matched(tpm, template, certificate)
    raise ResponseError("the TPM holds no EK certificate", code="absent", response=0)


def _matched(tpm: Tpm, template: EkTemplate, certificate: bytes) -> Endorsement:
    where = f"EK certificate in NV {template.certificate_index:#x}"
    try:
        public_key = x509.load_der_x509_certificate(certificate).public_key()
        certified = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except ValueError as error:
        raise StructureError(where, 0, f"cannot be read: {error}", code="value") from None
    key = tpm.create_ek(template.public)
    if key.public.spki() != certified:
        raise StructureError(where, 0, "is for another key than the EK of this TPM", code="value")
    return Endorsement(key, certificate)
